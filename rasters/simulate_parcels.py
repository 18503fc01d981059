"""Parcels of a simulated scene: quadrilaterals on a jittered lattice, with a strip of land between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from affine import Affine
from rasterio.features import rasterize
from rasterio.windows import Window

SIDES = (6, 64)  # smallest and largest mean side of a parcel, pixels
PER_SIDE = 12  # parcels along a side of the scene, where their size allows it
JITTER = 0.22  # of a parcel's side, of every corner in either direction; under 0.25 all parcels are convex
STRIP = 1.2  # pixels between parcels


class ParcelMap:
    """Which parcel each pixel belongs to, and the parcels' outlines; parcels are numbered from 0."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self._across = int(size / np.clip(size / PER_SIDE, *SIDES))
        self._side = size / self._across
        lattice = np.stack(np.meshgrid(*2 * [np.linspace(0, size, self._across + 1)]), axis=-1)
        moves = rng.uniform(-JITTER, JITTER, size=lattice.shape) * self._side
        # What lies on the scene's edge stays there.
        moves[:, [0, -1], 0] = moves[[0, -1], :, 1] = 0
        corners = lattice + moves
        quads = np.stack([corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]], axis=2)
        middles = quads.mean(axis=2, keepdims=True)
        shrunk = middles + (1 - STRIP / self._side) * (quads - middles)
        self._outlines = shrunk.reshape(-1, 4, 2)

    def __len__(self) -> int:
        return len(self._outlines)

    def outline(self, parcel: int) -> list[tuple[float, float]]:
        """Return the closed outline as (column, row), the scene's upper left corner being (0, 0)."""
        ring = [(float(x), float(y)) for x, y in self._outlines[parcel]]
        return [*ring, ring[0]]

    def read(self, window: Window) -> np.ndarray:
        """Return the parcel (y, x), int32, whose outline holds the pixel's centre; -1 between parcels."""
        shapes = [
            ({"type": "Polygon", "coordinates": [self.outline(parcel)]}, parcel)
            for parcel in self._near(window)
        ]
        place = Affine.translation(window.col_off, window.row_off)
        shape = (int(window.height), int(window.width))
        return rasterize(shapes, out_shape=shape, transform=place, fill=-1, dtype="int32")

    def _near(self, window: Window) -> list[int]:
        """Return the parcels that may touch the window: no corner moves as far as a parcel's side."""
        rows, columns = (
            range(max(0, int(start / self._side) - 1), min(self._across, int(end / self._side) + 2))
            for start, end in (
                (window.row_off, window.row_off + window.height),
                (window.col_off, window.col_off + window.width),
            )
        )
        return [row * self._across + column for row in rows for column in columns]


def by_share(shares: Sequence[float], count: int, least: int, rng: np.random.Generator) -> np.ndarray:
    """Return which class (count,) each of `count` things has: in these shares, `least` of each or more."""
    wanted = np.maximum(np.floor(np.array(shares) / sum(shares) * count).astype(int), least)
    wanted[np.argmax(wanted)] += count - wanted.sum()
    return rng.permutation(np.repeat(np.arange(len(shares)), wanted))
