"""Pixels unmixed by either method, as parts that add up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..models.idnet import IdNet
from ..models.unmixers import Fcls

# Pixels at a time, between two looks whether the work is still wanted.
_BATCH = 2048


@dataclass(frozen=True)
class Batch:
    """n pixels unmixed; spectra are reflectance.

    `pixels` (n, band). `abundances` (n, material). `endmembers` and `parts`, abundance times endmember,
    (n, material, band). `nonlinear` and `clipped` (n, band); the parts and these add up to the
    reconstruction. `spread` and `sd` (n, material): of the endmembers over the bands, and of the abundances.
    `shares` (n, 2): of the nonlinear part in the mixing, and in the way to the abundances. None of these
    four where the method has none.
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
    unmixer: Fcls | IdNet, pixels: np.ndarray, device: str, check: Callable[[], None]
) -> Iterator[Batch]:
    """Yield pixels (n, band) of reflectance unmixed, batch by batch; `check` may raise to stop."""
    for start in range(0, len(pixels), _BATCH):
        check()
        part = pixels[start : start + _BATCH]
        yield _by_fcls(unmixer, part) if isinstance(unmixer, Fcls) else _by_idnet(unmixer, part, device)


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
