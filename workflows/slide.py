"""Chips that slide over a raster: where they lie, how they are read, how overlapping ones are merged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from rasterio.windows import Window

from ..rasters.chips import ChipSet
from ..rasters.errors import InputError
from ..rasters.scene import Scene
from ..rasters.tiles import plan_tiles
from .tiling import BLOCK, in_order

MERGES = ("uniform", "centre")
# Columns of the pieces in which merged rows are given out.
_PIECE = 1024
# A panel's strip in work may take this part of the memory.
_STRIPS = 3


class Chips(NamedTuple):
    """Chips to work on: `values` (n, band, s, s), NaN without data, and the upper left pixels.

    `keys` int64 (n,) tell a chip from all others, whatever is read of the raster.
    """

    keys: np.ndarray
    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray


class Maps(Protocol):
    """What is known of n chips: `values` (n, channel, s, s) or (n, channel, 1, 1), at `valid` (n, s, s)."""

    @property
    def values(self) -> np.ndarray:
        """One map for each chip and channel."""

    @property
    def valid(self) -> np.ndarray:
        """The pixels that take part in the merge; none of a chip that has no say."""


M = TypeVar("M", bound=Maps)


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


@dataclass(frozen=True)
class Plan:
    """How chips are merged: `weights` (s, s) of a chip's pixels, for so many `channels`.

    `values_per_pixel` float32 are in memory for each pixel of the rows in work, which may take a part of
    `memory_mb`. Batches hold `size` chips; `ahead` of them are in work at a time.
    """

    weights: np.ndarray
    channels: int
    values_per_pixel: int
    memory_mb: int
    size: int
    ahead: int

    def panels(self, window: Window) -> Iterator[Window]:
        """Yield the panels of full height that a window is worked on in, from left to right.

        Chips that touch two panels are worked on twice; most windows are one panel.
        """
        rows = len(self.weights) + 2 * BLOCK
        width = self.memory_mb * 2**20 // (_STRIPS * 4 * self.values_per_pixel * rows)
        width = max(BLOCK, width // BLOCK * BLOCK)
        for left in range(0, int(window.width), width):
            right = min(left + width, int(window.width))
            yield Window(window.col_off + left, window.row_off, right - left, window.height)


class Merge:
    """Weighted means of overlapping chips over the pixels of a window, finished from the top down.

    `weights` (s, s) are those of a chip's pixels. Memory holds the rows that chips may still touch.
    """

    def __init__(self, window: Window, channels: int, weights: np.ndarray) -> None:
        self._left, self._width = int(window.col_off), int(window.width)
        self._top, self._bottom = int(window.row_off), int(window.row_off + window.height)
        self._weights = weights.astype(np.float32)
        # The last channel is the sum of the weights.
        self._sums = np.zeros((channels + 1, 0, self._width), dtype=np.float32)

    def add(self, row: int, col: int, values: np.ndarray, valid: np.ndarray) -> None:
        """Add a chip: `values` (channel, s, s) or (channel, 1, 1), at the pixels that are `valid` (s, s)."""
        side = len(self._weights)
        top, bottom = max(row, self._top), min(row + side, self._bottom)
        left, right = max(col, self._left), min(col + side, self._left + self._width)
        if top >= bottom or left >= right:
            return
        self._grow(bottom - self._top)
        part = (slice(top - row, bottom - row), slice(left - col, right - col))
        here = self._sums[:, top - self._top : bottom - self._top, left - self._left : right - self._left]
        weights = self._weights[part] * valid[part]
        values = values if values.shape[1] == 1 else values[:, *part]
        # A pixel without data has weight 0, which must not meet a value that is not finite.
        here[:-1] += np.where(weights > 0, values, 0) * weights
        here[-1] += weights

    def finished(self, row: int | None = None) -> Iterator[tuple[Window, np.ndarray]]:
        """Yield what no chip from `row` on touches, None for all that is left, a block of rows at a time.

        Comes as windows with the means (channel, y, x), NaN where no chip covers a pixel.
        """
        until = self._bottom if row is None else min(row, self._bottom)
        while self._top + BLOCK <= until or self._top < until == self._bottom:
            rows = min(BLOCK, self._bottom - self._top)
            self._grow(rows)
            for piece in plan_tiles(Window(self._left, self._top, self._width, rows), _PIECE):
                left = int(piece.col_off) - self._left
                sums = self._sums[:, :rows, left : left + int(piece.width)]
                with np.errstate(invalid="ignore", divide="ignore"):
                    yield piece, np.where(sums[-1] > 0, sums[:-1] / sums[-1], np.float32(np.nan))
            self._sums = self._sums[:, rows:]
            self._top += rows

    def _grow(self, rows: int) -> None:
        """Make room for so many rows from the top on."""
        missing = rows - self._sums.shape[1]
        if missing > 0:
            more = np.zeros((len(self._sums), -(-missing // BLOCK) * BLOCK, self._width), dtype=np.float32)
            self._sums = np.concatenate([self._sums, more], axis=1)


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


def merge_weights(name: str, side: int) -> np.ndarray:
    """Return the weights (side, side) of a chip's pixels: all 1, or a Hann window, which is never 0.

    Along an axis `centre` is sin^2(pi (i + 1/2) / side) for pixel i. Raises InputError for another name.
    """
    if name not in MERGES:
        raise InputError(f"There is no merge '{name}'; choose one of {', '.join(MERGES)}.")
    if name == "uniform":
        return np.ones((side, side))
    axis = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    return np.outer(axis, axis)


def merged(
    source: Source, window: Window, plan: Plan, pool: Executor,
    work: Callable[[Chips], M], seen: Callable[[Chips, M, np.ndarray], None],
) -> Iterator[tuple[Window, np.ndarray]]:  # fmt: skip
    """Work on the chips that touch a window and yield their merged maps (channel, y, x), piece by piece.

    `work` runs on the pool; `seen` gets each batch in order, with its maps and with which of its chips (n,)
    come for the first time.
    """
    for panel in plan.panels(window):
        merge = Merge(panel, plan.channels, plan.weights)
        for chips, maps in in_order(pool, work, source.batches(panel, plan.size), plan.ahead):
            yield from merge.finished(int(chips.rows[0]))
            for row, col, values, valid in zip(chips.rows, chips.cols, maps.values, maps.valid):
                merge.add(int(row), int(col), values, valid)
            first = panel.col_off == window.col_off
            seen(chips, maps, np.full(len(chips.keys), True) if first else chips.cols >= panel.col_off)
        yield from merge.finished()


def _between(ordered: np.ndarray, low: int, high: int) -> slice:
    """Return the indices of what is above `low` and below `high`."""
    return slice(int(np.searchsorted(ordered, low, "right")), int(np.searchsorted(ordered, high, "left")))
