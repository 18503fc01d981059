"""Where things lie on a simulated street: sky, road, marks, patches, barriers with signals, and shadows.

A barrier is a bar one pixel high. A closed one has a signal, a bar as wide, 6 rows above or below it: at
Chebyshev distance 6 of each of its pixels. An open one has none. Which barriers are closed is drawn apart
from all else, and signals of other barriers stay at distance 8 or more: within 5 pixels nothing tells the two
kinds from each other, and the best rule is "closed where there is a signal at distance 6".
"""

from __future__ import annotations

import numpy as np
from rasterio.windows import Window

from .simulate_layout import PatchMap
from .simulate_street_spectra import (
    CLOSED,
    MARK,
    OPEN,
    OTHER,
    PAINTED,
    ROAD,
    SHADOW,
    SIGNAL,
    SKY,
    VEGETATION,
)
from .tiles import plan_tiles

SIGNAL_DISTANCE = 6  # pixels, Chebyshev
SIGNAL_CLEARANCE = 8  # of signals of other barriers
BOUNDARY = 2  # pixels from an edge
SUN, SHADE, EDGE = 1, 2, 3  # values of the raster of strata
STRATA = ("sun", "shadow", "boundary")
STRATA_COLOURS = ((240, 200, 80), (70, 80, 120), (190, 60, 60))
_WIDTH = 7  # of barriers and signals, pixels: from one end to the other it is no more than the distance
_PITCH = (20, 16)  # rows and columns from barrier to barrier, before each is moved by up to _JITTER
_JITTER = 1
_LINES = ((-0.92, False), (-0.31, True), (0.31, True), (0.92, False))  # marks: share of half the road; dashed
_DASH, _PERIOD = 7, 12  # rows
_SHADOWS = 5
_TILE = 512


class Street:
    """One draw of a street of `size` x `size` pixels.

    `classes` (y, x), uint8, are values of `simulate_street_spectra.CLASSES` counted from 1, everywhere;
    `light` (y, x), uint8, are indices into `factors` on reflectance, of which the first is the sun's, 1.
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size = size
        self.factors = np.concatenate([[1.0], rng.uniform(*SHADOW, size=_SHADOWS)]).astype(np.float32)
        horizon = _horizon(size, rng)
        self.classes = np.empty((size, size), np.uint8)
        self._draw_patches(PatchMap(size, 3, rng))
        self._draw_road(int(horizon.min()), rng)
        self.classes[np.arange(size)[:, None] < horizon] = SKY
        self._draw_barriers(int(horizon.max()), rng)
        self.light = self._shadows(rng)
        self.light[self.classes == SKY] = 0

    def labels(self, window: Window) -> np.ndarray:
        """Return the labels (y, x), uint8, of `window`: the classes, and 0 on the rims of vegetation."""
        classes = _windows(self.classes, window, 1)
        middle = classes[1, 1]
        beside = np.stack([classes[0, 1], classes[2, 1], classes[1, 0], classes[1, 2]])
        rim = np.isin(beside, (ROAD, SKY, OTHER, PAINTED)).any(axis=0)
        return np.where((middle == VEGETATION) & rim, 0, middle).astype(np.uint8)

    def strata(self, window: Window) -> np.ndarray:
        """Return strata (y, x), uint8, of `window`: edge where another class or light is near."""
        light, classes = (_windows(whole, window, BOUNDARY) for whole in (self.light > 0, self.classes))
        near_edge = (classes != classes[BOUNDARY, BOUNDARY]) | (light != light[BOUNDARY, BOUNDARY])
        inner = np.where(light[BOUNDARY, BOUNDARY], SHADE, SUN)
        return np.where(near_edge.any(axis=(0, 1)), EDGE, inner).astype(np.uint8)

    def _draw_patches(self, patches: PatchMap) -> None:
        """Fill all with patches of one kind of shape: vegetation, other and painted other."""
        kinds = np.array([VEGETATION, OTHER, PAINTED], np.uint8)
        for tile in plan_tiles(Window(0, 0, self.size, self.size), _TILE):
            self.classes[tile.toslices()] = kinds[patches.read(tile)]

    def _draw_road(self, top: int, rng: np.random.Generator) -> None:
        """Draw the road from its vanishing point in row `top` to the lower edge, with marks 1 or 2 wide."""
        middle, foot = self.size * rng.uniform(0.35, 0.65), self.size * rng.uniform(0.4, 0.6)
        half_foot = self.size * rng.uniform(0.3, 0.38)
        rows, columns = np.arange(top, self.size), np.arange(self.size)
        along = (rows - top) / (self.size - top)
        centre, half = middle + (foot - middle) * along, half_foot * (0.06 + 0.94 * along)
        part = self.classes[top:]
        part[np.abs(columns - centre[:, None]) <= half[:, None]] = ROAD
        for share, dashed in _LINES:
            line = np.floor(centre + share * half)
            offset = columns - line[:, None]
            wide = (offset == 0) | ((offset == 1) & (along > 0.5)[:, None])
            drawn = (along > 0.15) & (((rows - top) % _PERIOD < _DASH) | (not dashed))
            part[wide & drawn[:, None]] = MARK

    def _draw_barriers(self, horizon: int, rng: np.random.Generator) -> None:
        """Draw barriers on a jittered lattice under row `horizon`, half of them closed."""
        margin = SIGNAL_DISTANCE + _JITTER
        rows = np.arange(horizon + margin, self.size - margin, _PITCH[0])
        columns = np.arange(_JITTER, self.size - _WIDTH - _JITTER + 1, _PITCH[1])
        closed = rng.permutation(np.arange(len(rows) * len(columns)) % 2 == 0)
        up = rng.random(len(closed)) < 0.5
        moves = rng.integers(-_JITTER, _JITTER + 1, size=(len(closed), 2))
        for number, (row, column) in enumerate((r, c) for r in rows for c in columns):
            row, column = row + moves[number, 0], column + moves[number, 1]
            self.classes[row, column : column + _WIDTH] = CLOSED if closed[number] else OPEN
            if closed[number]:
                beyond = row + (-SIGNAL_DISTANCE if up[number] else SIGNAL_DISTANCE)
                self.classes[beyond, column : column + _WIDTH] = SIGNAL

    def _shadows(self, rng: np.random.Generator) -> np.ndarray:
        """Return which light (y, x) falls where: rectangles of any direction, the later over the earlier."""
        light = np.zeros((self.size, self.size), np.uint8)
        y = (np.arange(self.size, dtype=np.float32)[:, None] + 0.5) / self.size
        x = (np.arange(self.size, dtype=np.float32)[None, :] + 0.5) / self.size
        for number in range(1, _SHADOWS + 1):
            angle = rng.uniform(0, np.pi)
            # One in each fifth of the width, so that every draw has light and shadow on either side.
            at_y, at_x = rng.uniform(0.35, 0.95), (number - 1 + rng.random()) / _SHADOWS
            along = np.cos(angle) * (y - at_y) + np.sin(angle) * (x - at_x)
            across = np.cos(angle) * (x - at_x) - np.sin(angle) * (y - at_y)
            length, width = rng.uniform(0.15, 0.25), rng.uniform(0.08, 0.13)
            light[(np.abs(along) < length) & (np.abs(across) < width)] = number
        return light


def _horizon(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return the first row (x,) under the sky: a wave about a fifth of the scene down."""
    wave = np.sin(2 * np.pi * (rng.uniform(1, 2) * np.arange(size) / size + rng.random()))
    return np.rint(size * (rng.uniform(0.18, 0.22) + 0.02 * wave)).astype(np.int64)


def _windows(whole: np.ndarray, window: Window, reach: int) -> np.ndarray:
    """Return `window` of `whole` moved by up to `reach` rows and columns, (dy, dx, y, x); edges repeat."""
    rows = np.clip(np.arange(-reach, window.height + reach) + window.row_off, 0, len(whole) - 1)
    columns = np.clip(np.arange(-reach, window.width + reach) + window.col_off, 0, whole.shape[1] - 1)
    part = whole[np.ix_(rows, columns)]
    return np.lib.stride_tricks.sliding_window_view(part, (window.height, window.width))
