"""Where things lie in a simulated scene: patches of classes, smooth fields, labelled points.

Patches and fields are made from small lattices drawn once per scene, so that a window costs the same
wherever it lies and neighbouring windows join without a seam.
"""

from __future__ import annotations

import numpy as np
from rasterio.windows import Window

PATCH_SIDES = (5, 16)  # smallest and largest mean side of a patch of one class, pixels
COARSE_SHARE, FINE_SHARE = 0.3, 0.3  # of a field's variance; the rest is white
FINE_SPACING = 4  # pixels


class PatchMap:
    """Patches of classes: the cells of a Voronoi diagram of jittered seeds, each class on as many cells."""

    def __init__(self, size: int, classes: int, rng: np.random.Generator) -> None:
        self.side = int(np.clip(size // 10, *PATCH_SIDES))
        cells = -(-size // self.side) + 2  # one more all round, for the neighbours of the outermost pixels
        order = np.arange(cells * cells) % classes
        self._class = rng.permutation(order).reshape(cells, cells)
        self._seed = rng.uniform(0.1, 0.9, size=(2, cells, cells))

    def read(self, window: Window) -> np.ndarray:
        """Return the 0-based class (y, x) of each pixel of `window`."""
        y, x = (axis / self.side + 1 for axis in _pixel_centres(window))
        cell_y, cell_x = np.floor(y).astype(int)[:, None], np.floor(x).astype(int)[None, :]
        shape = (len(y), len(x))
        nearest, classes = np.full(shape, np.inf), np.zeros(shape, np.int64)
        for step_y in (-1, 0, 1):
            for step_x in (-1, 0, 1):
                row, col = np.broadcast_arrays(cell_y + step_y, cell_x + step_x)
                seed_y, seed_x = self._seed[:, row, col]
                distance = (seed_y + row - y[:, None]) ** 2 + (seed_x + col - x[None, :]) ** 2
                closer = distance < nearest
                nearest = np.where(closer, distance, nearest)
                classes = np.where(closer, self._class[row, col], classes)
        return classes


class RandomField:
    """A standard normal field: regional trend, fine texture and white noise in fixed shares."""

    def __init__(self, size: int, coarse_spacing: int, rng: np.random.Generator) -> None:
        self._layers = []
        for share, spacing in ((COARSE_SHARE, coarse_spacing), (FINE_SHARE, FINE_SPACING)):
            knots = -(-size // spacing) + 3  # a cubic spline reaches one knot before and two behind
            self._layers.append((share, spacing, rng.standard_normal((knots, knots), dtype=np.float32)))

    def read(self, window: Window, rng: np.random.Generator) -> np.ndarray:
        """Return the field (y, x) in `window`, its white part drawn from `rng`."""
        y, x = _pixel_centres(window)
        white = rng.standard_normal((len(y), len(x)), dtype=np.float32)
        field = np.sqrt(1 - COARSE_SHARE - FINE_SHARE) * white
        for share, spacing, lattice in self._layers:
            down, across = (_spline_weights(axis / spacing, len(lattice)) for axis in (y, x))
            field = field + np.sqrt(share) * (down @ lattice @ across.T)
        return field.astype(np.float32)


class SmoothField:
    """A standard normal field without any texture: one cubic spline through knots `spacing` pixels apart."""

    def __init__(self, size: int, spacing: int, rng: np.random.Generator) -> None:
        knots = -(-size // spacing) + 3
        self._spacing, self._lattice = spacing, rng.standard_normal((knots, knots))

    def read(self, window: Window) -> np.ndarray:
        """Return the field (y, x) in `window`."""
        y, x = _pixel_centres(window)
        down, across = (_spline_weights(axis / self._spacing, len(self._lattice)) for axis in (y, x))
        return down @ self._lattice @ across.T


class PointSample:
    """Up to `per_class` labelled points of each class, each equally likely, from tiles in any order."""

    def __init__(self, classes: int, per_class: int) -> None:
        self._per_class = per_class
        self._rows = [np.empty((0, 3)) for _ in range(classes)]  # key, row, column; the smallest keys stay

    def add(self, window: Window, classes: np.ndarray, rng: np.random.Generator) -> None:
        """Offer the pixels of `window` with their 0-based `classes` (y, x), -1 for none."""
        y, x = np.meshgrid(*_pixel_centres(window), indexing="ij")
        # Points stay well inside their pixel, so that rounding of coordinates can't move them out.
        shift = rng.uniform(-0.3, 0.3, size=(2, *classes.shape))
        offered = np.stack([rng.random(classes.shape), y + shift[0], x + shift[1]], axis=-1)
        for index, kept in enumerate(self._rows):
            rows = np.concatenate([kept, offered[classes == index]])
            self._rows[index] = rows[np.argsort(rows[:, 0], kind="stable")[: self._per_class]]

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return classes, rows and columns (n,) of the points; rows and columns with fractions."""
        classes = np.repeat(np.arange(len(self._rows)), [len(rows) for rows in self._rows])
        points = np.concatenate(self._rows)
        return classes, points[:, 1], points[:, 2]


def _pixel_centres(window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of the pixel centres of `window`, in pixels from the scene's corner."""
    return np.arange(window.height) + window.row_off + 0.5, np.arange(window.width) + window.col_off + 0.5


def _spline_weights(position: np.ndarray, knots: int) -> np.ndarray:
    """Return cubic B-spline weights (position, knot) of unit norm, which keeps unit variance."""
    distance = np.abs(position[:, None] + 1 - np.arange(knots)[None, :])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    weights = np.where(distance < 1, near, far)
    return weights / np.linalg.norm(weights, axis=1, keepdims=True)
