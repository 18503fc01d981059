"""What is known to be true of a scene's pixels, in the classes of a model, looked up by windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rasterio.windows import Window

from ..models.card import Card
from ..rasters.errors import InputError
from ..rasters.labels import LabelledPixels, read_label_features, read_label_raster
from ..rasters.scene import Grid
from .context import Context


class Labelled:
    """Labelled pixels of a grid as numbers in windows of it; `names` are those of the numbers from 0."""

    def __init__(self, labels: LabelledPixels, numbers: np.ndarray, names: tuple[str, ...], width: int):
        self.names, self._width = names, width
        self._keys = labels.rows * np.int64(width) + labels.cols
        self._numbers = numbers[labels.classes]

    def __len__(self) -> int:
        return len(self._keys)

    def of(self, window: Window) -> np.ndarray:
        """Return int64 (y, x) of a window: the number of each pixel, -1 where it has none.

        The window may reach beyond the grid.
        """
        top, left, width = int(window.row_off), int(window.col_off), int(window.width)
        first_col, last_col = max(left, 0), min(left + width, self._width)
        starts = (np.arange(int(window.height)) + top) * np.int64(self._width)
        first = np.searchsorted(self._keys, starts + first_col)
        last = np.searchsorted(self._keys, starts + last_col)
        found = np.full((int(window.height), width), -1, dtype=np.int64)
        for row in np.flatnonzero(last > first):
            members = slice(first[row], last[row])
            found[row, self._keys[members] - starts[row] - left] = self._numbers[members]
        return found


def read_truth(
    features: str | None, raster: str | None, unlabelled: int, card: Card, grid: Grid, context: Context
) -> Labelled | None:
    """Return the labels in the classes of the model's `card`, None where there are none.

    Raises InputError where the model does not know a class of theirs.
    """
    labels = _read(features, raster, unlabelled, grid, context)
    if labels is None:
        return None
    known = card.class_names
    return Labelled(labels, places_among(labels.names, known, "labels"), tuple(known), grid.width)


def places_among(names: Sequence[str], known: Sequence[str], source: str) -> np.ndarray:
    """Return the place, int64 (n,), of each class of a `source` among those that a model knows.

    Raises InputError where the model does not know one.
    """
    if unknown := [name for name in names if name not in known]:
        raise InputError(
            f"The model does not know the class '{unknown[0]}' of the {source}; its classes are "
            f"{', '.join(known)}: name the classes alike, or choose the model for these."
        )
    return np.array([known.index(name) for name in names], dtype=np.int64)


def read_regions(features: str | None, raster: str | None, grid: Grid, context: Context) -> Labelled | None:
    """Return named regions, None where there are none."""
    labels = _read(features, raster, 0, grid, context)
    if labels is None:
        return None
    return Labelled(labels, np.arange(len(labels.names)), labels.names, grid.width)


def _read(
    features: str | None, raster: str | None, unlabelled: int, grid: Grid, context: Context
) -> LabelledPixels | None:
    if features:
        labels = read_label_features(features, grid)
    elif raster:
        labels = read_label_raster(raster, grid, unlabelled)
    else:
        return None
    for warning in labels.warnings:
        context.warn(warning)
    return labels
