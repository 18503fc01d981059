"""Labelled patches, stored without their overlaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class PatchSamples:
    """Patches around labelled pixels; neighbouring patches share their spectra.

    `spectra` float32 (m, band): every pixel that a patch needs, once. `index` int32 (n, s * s): which
    spectra make a patch, row by row. `classes` int64 (n,), `rows` and `cols` int64 (n,) on the scene.
    """

    spectra: Tensor
    index: Tensor
    classes: Tensor
    rows: np.ndarray
    cols: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def side(self) -> int:
        """Side of the patches in pixels."""
        return round(self.index.shape[1] ** 0.5)

    def patches(self, chosen: Tensor) -> Tensor:
        """Return the chosen patches, float32 (n, band, y, x)."""
        flat = self.spectra[self.index[chosen].long()]
        return flat.movedim(-1, 1).reshape(len(chosen), -1, self.side, self.side)

    def centres(self, chosen: Tensor) -> Tensor:
        """Return the spectra of the chosen labelled pixels themselves, float32 (n, band)."""
        return self.spectra[self.index[chosen, self.index.shape[1] // 2].long()]
