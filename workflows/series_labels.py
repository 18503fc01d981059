"""The labels of a series, and which parcels of them train and which test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..engine.series_jobs import SeriesJob
from ..models.splits import Split, parcel_split
from ..rasters.errors import InputError
from ..rasters.labels import LabelledPixels, read_label_features, read_label_raster
from ..rasters.parcels import parcels_of, with_only_ones_cut
from ..rasters.scene import Grid
from .context import Context


@dataclass(frozen=True)
class SeriesLabels:
    """Labelled pixels with their parcels int64 (n,), on a grid of `width`."""

    pixels: LabelledPixels
    parcels: np.ndarray
    width: int

    @property
    def keys(self) -> np.ndarray:
        """Row times width plus column of each pixel, int64 (n,), rising."""
        return self.pixels.rows * np.int64(self.width) + self.pixels.cols

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.pixels.names

    def split(self, test_share: float, seed: int) -> Split:
        """Return which pixels train and which test, by parcels; the same for the same labels and seed."""
        if not 0 < test_share < 1:
            raise InputError(f"The test share {test_share:g} is not between 0 and 1.")
        return parcel_split(self.parcels, self.pixels.classes, self.names, test_share, seed)

    def classes_at(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Return the classes int64 (n,) of pixels, -1 where they have no label."""
        return self._looked_up(self.pixels.classes, rows, cols)

    def parcels_at(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Return the parcels int64 (n,) of pixels, -1 where they are in none."""
        return self._looked_up(self.parcels, rows, cols)

    def _looked_up(self, values: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        wanted, keys = rows * np.int64(self.width) + cols, self.keys
        places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[places] == wanted, values[places], -1)


def read_series_labels(job: SeriesJob, grid: Grid, context: Context) -> SeriesLabels | None:
    """Read the labels of a job, None where it has none; what is left out is said."""
    if job.label_features:
        labels = read_label_features(job.label_features, grid)
    elif job.label_raster:
        labels = read_label_raster(job.label_raster, grid, job.unlabelled_value)
    else:
        return None
    for warning in labels.warnings:
        context.warn(warning)
    return in_parcels(labels, grid.width, context)


def in_parcels(labels: LabelledPixels, width: int, context: Context) -> SeriesLabels:
    """Return labelled pixels with their parcels; a class's only one is cut into strips, which is said."""
    parcels, cut = with_only_ones_cut(labels, parcels_of(labels, width))
    if cut:
        names = ", ".join(labels.names[number] for number in cut)
        context.warn(
            f"One parcel only has the class {names}: strips of it train and others test, which flatters the "
            "accuracy. Label more parcels."
        )
    return SeriesLabels(labels, parcels, width)


def label_paths(job: SeriesJob) -> list[str]:
    """Return the files that the labels of a job come from."""
    return [path for path in (job.label_features, job.label_raster) if path]
