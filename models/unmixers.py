"""Unmixing as networks of single pixels whose outputs are abundances, so that a model file can hold them.

`front` divides stored values by the scale that makes them reflectance; `body` is the unmixing itself. What
explains a classifier's logits then explains abundances.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from .brightness import Brightness
from .fcls import fcls
from .idnet import IdNet
from .networks import BandScaling, PatchNetwork
from .simplex import nearest_in_simplex

FCLS, IDNET = "fcls", "idnet"
# The columns of the least squares that an ID-Net solves some times over, float64, and what comes of them.
_BYTES = 200


class Fcls(nn.Module):
    """Fully constrained least squares in `endmembers` (material, band), reflectance; see `fcls`."""

    endmembers: Tensor

    def __init__(self, bands: int, materials: int) -> None:
        super().__init__()
        self.bands, self.materials = bands, materials
        self.register_buffer("endmembers", torch.rand(materials, bands))

    def abundances(self, pixels: np.ndarray) -> np.ndarray:
        """Abundances (n, material), float64, of reflectance (n, band)."""
        return fcls(pixels, self.endmembers.double().cpu().numpy())

    def forward(self, pixels: Tensor) -> Tensor:
        """The same, with the gradient of the materials that are present."""
        spectra = self.endmembers.double()
        gram = (spectra @ spectra.T).expand(len(pixels), -1, -1)
        return nearest_in_simplex(gram, pixels.double() @ spectra.T).to(pixels)


class Inferred(nn.Module):
    """The posterior mean abundances (n, material) of an ID-Net."""

    def __init__(self, network: IdNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        alpha = self.network.infer(pixels / self.network.scale).alpha
        return alpha / alpha.sum(1, keepdim=True)


class PixelsAsRows(nn.Module):
    """(n, band, y, x) to (n * y * x, band)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1).flatten(0, -2)


class RowsAsPixels(nn.Module):
    """(n, material) to (n, material, 1, 1), as bodies of networks of single spectra give their outputs."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, None, None]


class AbundanceNetwork(PatchNetwork):
    """Abundances of pixels of stored values (n, band, y, x); `unmixer` is the method, on reflectance rows.

    With `brightness` it sees pixels over their own.
    """

    def __init__(self, unmixer: Fcls | IdNet, brightness: Brightness | None = None) -> None:
        method = Inferred(unmixer) if isinstance(unmixer, IdNet) else unmixer
        front = nn.Sequential(BandScaling(unmixer.bands), PixelsAsRows())
        whole = nn.Sequential(brightness, method) if brightness else method
        super().__init__(
            unmixer.bands, unmixer.materials, 1, "none", front, nn.Sequential(whole, RowsAsPixels())
        )

    @property
    def bytes_per_pixel(self) -> int:
        """About what a gradient of the abundances keeps in memory for a pixel."""
        latent = getattr(self.unmixer, "latent", 0)
        return _BYTES * self.bands * (self.classes * (1 + latent) + 2)

    @property
    def unmixer(self) -> Fcls | IdNet:
        """The method itself."""
        whole = self.body[0]
        method = whole[1] if isinstance(whole, nn.Sequential) else whole
        return method.network if isinstance(method, Inferred) else cast(Fcls, method)

    @property
    def brightness(self) -> Brightness | None:
        """What divides pixels by their brightness, where something does."""
        whole = self.body[0]
        return cast(Brightness, whole[0]) if isinstance(whole, nn.Sequential) else None


def options_of(network: AbundanceNetwork) -> dict[str, Any]:
    """Return the options that `build_unmixer` makes a network of the same shape with."""
    unmixer = network.unmixer
    own = ("latent", "nonlinear", "variability") if isinstance(unmixer, IdNet) else ()
    options = {name: getattr(unmixer, name) for name in ("bands", "materials", *own)}
    return {**options, "any_brightness": network.brightness is not None}


UNMIXERS = {FCLS: Fcls, IDNET: IdNet}


def build_unmixer(architecture: str, any_brightness: bool = False, **options: Any) -> AbundanceNetwork:
    """Make the network `architecture` with fresh weights; KeyError where the name is unknown."""
    unmixer = UNMIXERS[architecture](**options)
    brightness = Brightness(unmixer.bands, unmixer.materials) if any_brightness else None
    return AbundanceNetwork(unmixer, brightness)


def scaled_unmixer(unmixer: Fcls | IdNet, brightness: Brightness | None, scale: float) -> AbundanceNetwork:
    """Return the network of stored values that are `scale` times reflectance."""
    network = AbundanceNetwork(unmixer, brightness)
    network.scaling.scale.fill_(scale)
    return network
