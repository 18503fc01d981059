"""Pixels brought to the brightness of mixtures, so that light and shade are not taken for materials.

A pixel of any brightness is s times a mixture. With s the sum of its non-negative least squares, the fully
constrained least squares of the pixel over s are the scaled ones, S-CLSU: non-negative abundances over their
sum, which are right where light scales all of a pixel's endmembers alike (Veganzones, Drumetz et al., "A new
extended linear mixing model to address spectral variability").
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .endmembers import bundles
from .fcls import as_simplex, nonnegative
from .simplex import nearest_in_simplex

# Pure pixels of a material are in full light from this percentile of theirs on.
_FULL_LIGHT = 90
# What is dimmer than this share of a mixture is noise, and stays dim.
_DIMMEST = 0.02


def in_full_light(pixels: np.ndarray, endmembers: np.ndarray) -> np.ndarray:
    """Endmembers (material, band) found among pixels (n, band), each as bright as its pure pixels in the sun.

    A vertex may be a pixel in the shade, and abundances are shares of area only in the same light.
    """
    light = Brightness.against(endmembers).of(pixels)
    found = bundles(pixels / light[:, None], endmembers)
    return endmembers * np.array([[np.percentile(light[own], _FULL_LIGHT)] for own in found])


class Brightness(nn.Module):
    """Divides pixels (n, band) by how many times brighter they are than a mixture of `endmembers`.

    `endmembers` (material, band) are reflectance like the pixels, of the light that counts as 1.
    """

    endmembers: Tensor

    def __init__(self, bands: int, materials: int) -> None:
        super().__init__()
        self.register_buffer("endmembers", torch.rand(materials, bands))

    @classmethod
    def against(cls, endmembers: np.ndarray) -> Brightness:
        """Make one for endmembers (material, band)."""
        brightness = cls(endmembers.shape[1], len(endmembers))
        brightness.endmembers.copy_(torch.from_numpy(endmembers))
        return brightness

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """Brightness (n,), float64: the sum of the pixel's non-negative abundances, 0.02 at least."""
        found = nonnegative(pixels, self.endmembers.double().cpu().numpy())
        return np.maximum(found.sum(1), _DIMMEST)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (n, band) over their brightness, with its gradient."""
        values = pixels.double()
        size = values.norm(dim=1, keepdim=True).clamp_min(1e-30)
        corners, sizes = as_simplex(self.endmembers.double().cpu().numpy())
        vertices = torch.from_numpy(corners).to(values)
        gram = (vertices @ vertices.T).expand(len(values), -1, -1)
        shares = nearest_in_simplex(gram, values / size @ vertices.T)[:, :-1]
        brightness = (shares @ torch.from_numpy(sizes).to(values))[:, None] * size
        return (values / brightness.clamp_min(_DIMMEST)).to(pixels)
