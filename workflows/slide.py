"""Chips that lie on a raster, sliding over it or at stated places, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from rasterio.windows import Window

from ..rasters.chips import ChipSet
from ..rasters.errors import InputError
from ..rasters.scene import Scene
from .tiling import BLOCK


class Chips(NamedTuple):
    """Chips to work on: `values` (n, band, s, s), NaN without data, and the upper left pixels.

    `keys` int64 (n,) tell a chip from all others, whatever is read of the raster.
    """

    keys: np.ndarray
    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray


class Source(Protocol):
    """Chips that lie on a raster, in the order of rows, then columns."""

    def count(self, window: Window) -> int:
        """Return how many chips touch a window."""

    def batches(self, window: Window, size: int) -> Iterator[Chips]:
        """Yield the chips that touch a window, up to `size` at a time."""


class Slide:
    """Chips of `side` pixels over a whole raster, every `stride` pixels from its upper left corner on.

    Where the last chip of a row or column would stand out, or pixels would be left over, it lies at the edge.
    Places depend on the raster alone, not on what part of it is asked for. `bands` are those to read.
    Raises InputError where a stride leaves pixels out, or the raster is smaller than a chip.
    """

    def __init__(self, scene: Scene, side: int, stride: int, bands: list[int]) -> None:
        if not 0 <= stride <= side:
            raise InputError(
                f"The chip stride can't be {stride} with chips of {side} x {side} pixels; choose 1 to "
                f"{side}, or 0 for half a chip."
            )
        if side > min(scene.grid.width, scene.grid.height):
            raise InputError(
                f"{scene.path} has {scene.grid.width} x {scene.grid.height} pixels, which is smaller than a "
                f"chip of the model, {side} x {side}; choose a larger raster."
            )
        self.side, self.stride = side, stride or max(1, side // 2)
        self._scene, self._bands = scene, bands
        self.rows = starts(scene.grid.height, side, self.stride)
        self.cols = starts(scene.grid.width, side, self.stride)

    def count(self, window: Window) -> int:
        """Return how many chips touch a window."""
        rows, cols = self._touching(window)
        return (rows.stop - rows.start) * (cols.stop - cols.start)

    def batches(self, window: Window, size: int) -> Iterator[Chips]:
        """Yield the chips that touch a window, up to `size` at a time; the raster is read once."""
        rows, cols = self._touching(window)
        across = cols.stop - cols.start
        left, right = int(self.cols[cols][0]), int(self.cols[cols][-1]) + self.side
        strip = _Strip(self._scene, self._bands, left, right, int(self.rows[rows][-1]) + self.side)
        for start in range(0, self.count(window), size):
            places = np.arange(start, min(start + size, self.count(window)))
            down, along = rows.start + places // across, cols.start + places % across
            tops, lefts = self.rows[down], self.cols[along]
            values = [
                strip.rows(top, self.side)[:, :, col - left : col - left + self.side]
                for top, col in zip(tops.tolist(), lefts.tolist())
            ]
            yield Chips(down * np.int64(len(self.cols)) + along, tops, lefts, np.stack(values))

    def _touching(self, window: Window) -> tuple[slice, slice]:
        """Return the indices of the rows and of the columns of chips that touch a window."""
        top, left = int(window.row_off), int(window.col_off)
        return (
            _between(self.rows, top - self.side, top + int(window.height)),
            _between(self.cols, left - self.side, left + int(window.width)),
        )


class Listed:
    """Chips of a set that lie at stated places of one raster; `bands` are those to read."""

    def __init__(self, chips: ChipSet, rows: np.ndarray, cols: np.ndarray, bands: list[int]) -> None:
        self.side = chips.side
        self._chips, self._bands = chips, bands
        self._order = np.lexsort((cols, rows))
        self._rows, self._cols = rows, cols

    @property
    def window(self) -> Window:
        """The smallest window that holds all chips."""
        left, top = int(self._cols.min()), int(self._rows.min())
        right, bottom = int(self._cols.max()) + self.side, int(self._rows.max()) + self.side
        return Window(left, top, right - left, bottom - top)

    def count(self, window: Window) -> int:
        """Return how many chips touch a window."""
        return len(self._touching(window))

    def batches(self, window: Window, size: int) -> Iterator[Chips]:
        """Yield the chips that touch a window, up to `size` at a time; their keys are their indices."""
        touching = self._touching(window)
        for start in range(0, len(touching), size):
            keys = touching[start : start + size]
            values = self._chips.read(keys.tolist(), self._bands)
            yield Chips(keys, self._rows[keys], self._cols[keys], values)

    def _touching(self, window: Window) -> np.ndarray:
        rows, cols = self._rows[self._order], self._cols[self._order]
        inside = (rows + self.side > window.row_off) & (rows < window.row_off + window.height)
        inside &= (cols + self.side > window.col_off) & (cols < window.col_off + window.width)
        return self._order[inside]


class _Strip:
    """Columns of a scene, read from the top down, each row once; the rows in use are kept."""

    def __init__(self, scene: Scene, bands: list[int], left: int, right: int, bottom: int) -> None:
        self._scene, self._bands = scene, bands
        self._left, self._right, self._bottom = left, right, bottom
        self._top = 0
        self._values = np.empty((len(bands), 0, right - left), dtype=np.float32)

    def rows(self, top: int, count: int) -> np.ndarray:
        """Return (band, count, width) from row `top` on, which is never less than that before."""
        end = self._top + self._values.shape[1]
        if top + count > end:
            first = max(top, end)
            height = min(max(top + count - first, BLOCK), self._bottom - first)
            more = self._scene.read(
                Window(self._left, first, self._right - self._left, height), 0, self._bands
            )
            self._values = np.concatenate([self._values[:, top - self._top :], more], axis=1)
            self._top = top
        return self._values[:, top - self._top : top - self._top + count]


def starts(size: int, side: int, stride: int) -> np.ndarray:
    """Return the first pixels, int64 (n,), of chips along an axis of `size` pixels, the last at its end."""
    regular = np.arange(0, size - side + 1, stride, dtype=np.int64)
    return regular if regular[-1] == size - side else np.append(regular, size - side)


def _between(ordered: np.ndarray, low: int, high: int) -> slice:
    """Return the indices of what is above `low` and below `high`."""
    return slice(int(np.searchsorted(ordered, low, "right")), int(np.searchsorted(ordered, high, "left")))
