"""Maps of overlapping chips merged into one by stated weights, in memory that no raster makes grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from rasterio.windows import Window

from ..rasters.errors import InputError
from ..rasters.tiles import plan_tiles
from .slide import Chips, Source
from .tiling import BLOCK, in_order

MERGES = ("uniform", "centre")
# Columns of the pieces in which merged rows are given out.
_PIECE = 1024
# A panel's strip in work may take this part of the memory.
_STRIPS = 3


class Maps(Protocol):
    """What is known of n chips: `values` (n, channel, s, s) or (n, channel, 1, 1), at `valid` (n, s, s)."""

    @property
    def values(self) -> np.ndarray:
        """One map for each chip and channel."""

    @property
    def valid(self) -> np.ndarray:
        """The pixels that take part in the merge; none of a chip that has no say."""


M = TypeVar("M", bound=Maps)


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
