"""Pixels unmixed by either method, as parts that add up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..models.idnet import IdNet
from ..models.unmixers import AbundanceNetwork, Fcls

# Pixels at a time, between two looks whether the work is still wanted.
_BATCH = 2048


@dataclass(frozen=True)
class Batch:
    """n pixels unmixed; spectra are reflectance.

    `pixels` (n, band). `abundances` (n, material). `endmembers` and `parts`, abundance times endmember,
    (n, material, band). `nonlinear` and `clipped` (n, band); the parts and these add up to the
    reconstruction. `spread` and `sd` (n, material): of the endmembers over the bands, and of the abundances.
    `shares` (n, 2): of the nonlinear part in the mixing, and in the way to the abundances. `brightness`
    (n,): how many times brighter than a mixture the pixel is, which the parts have in them and the
    endmembers have not. None where the method has none.
    """

    pixels: np.ndarray
    abundances: np.ndarray
    endmembers: np.ndarray
    parts: np.ndarray
    nonlinear: np.ndarray | None = None
    clipped: np.ndarray | None = None
    spread: np.ndarray | None = None
    sd: np.ndarray | None = None
    shares: np.ndarray | None = None
    brightness: np.ndarray | None = None

    @property
    def reconstruction(self) -> np.ndarray:
        """Reconstructed reflectance (n, band)."""
        total = self.parts.sum(axis=1)
        for part in (self.nonlinear, self.clipped):
            total = total if part is None else total + part
        return total

    @property
    def error(self) -> np.ndarray:
        """Root mean square over the bands of what the reconstruction leaves, (n,)."""
        return np.sqrt(np.square(self.pixels - self.reconstruction).mean(axis=1))


def unmixed(
    network: AbundanceNetwork, pixels: np.ndarray, device: str, check: Callable[[], None]
) -> Iterator[Batch]:
    """Yield pixels (n, band) of reflectance unmixed, batch by batch; `check` may raise to stop."""
    for start in range(0, len(pixels), _BATCH):
        check()
        part = pixels[start : start + _BATCH]
        brightness = network.brightness.of(part) if network.brightness else None
        found = _by_method(
            network.unmixer, part if brightness is None else levelled(part, brightness), device
        )
        yield found if brightness is None else _lit(found, part, brightness)


def levelled(pixels: np.ndarray, brightness: np.ndarray) -> np.ndarray:
    """Return pixels (n, band), float32, over their brightness (n,)."""
    return (pixels / brightness[:, None]).astype(np.float32)


def _lit(batch: Batch, pixels: np.ndarray, brightness: np.ndarray) -> Batch:
    """Return the batch of levelled pixels with parts that are as bright as the pixels were."""
    by_band = brightness[:, None]
    return replace(
        batch, pixels=pixels, brightness=brightness, parts=batch.parts * by_band[:, None],
        nonlinear=None if batch.nonlinear is None else batch.nonlinear * by_band,
        clipped=None if batch.clipped is None else batch.clipped * by_band,
    )  # fmt: skip


def _by_method(unmixer: Fcls | IdNet, pixels: np.ndarray, device: str) -> Batch:
    return _by_fcls(unmixer, pixels) if isinstance(unmixer, Fcls) else _by_idnet(unmixer, pixels, device)


def _by_fcls(unmixer: Fcls, pixels: np.ndarray) -> Batch:
    abundances = unmixer.abundances(pixels)
    spectra = unmixer.endmembers.cpu().numpy()
    endmembers = np.broadcast_to(spectra, (len(pixels), *spectra.shape))
    return Batch(pixels, abundances, endmembers, abundances[:, :, None] * spectra)


def _by_idnet(unmixer: IdNet, pixels: np.ndarray, device: str) -> Batch:
    found = unmixer.to(device).unmix(torch.from_numpy(np.ascontiguousarray(pixels)).to(device))
    values = {name: value.cpu().double().numpy() for name, value in vars(found).items()}
    return Batch(
        pixels, values["abundances"] / values["abundances"].sum(axis=1, keepdims=True),
        values["endmembers"], values["linear"].transpose(0, 2, 1), values["nonlinear"], values["clipped"],
        values["spread"], values["sd"], np.stack([values["d_mix"], values["d"]], axis=1),
    )  # fmt: skip
