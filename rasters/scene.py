"""Scenes: one raster, its bands with wavelengths, its grid, and windows of it with mirrored halo."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window

from .datasets import open_dataset
from .errors import InputError
from .grid import Grid
from .wavelengths import Band, describe_band, read_bands

__all__ = ["Band", "Grid", "Scene", "describe_band", "grid_of", "open_scene"]

# Every value of these fits a float32, so that they are read as such without a second copy.
_EXACT_IN_FLOAT32 = ("bool", "int8", "uint8", "int16", "uint16", "float16", "float32")


class _Datasets(threading.local):
    """One open dataset per thread, as GDAL asks; a copy sent to another process starts without."""

    dataset: rasterio.DatasetReader | None = None

    def __reduce__(self) -> tuple:
        return (_Datasets, ())


@dataclass(frozen=True)
class Scene:
    """One raster: `nodata` per band, `dtype` the common type of its bands. Files stay open with it."""

    path: str
    bands: tuple[Band, ...]
    grid: Grid
    nodata: tuple[float | None, ...]
    dtype: str
    _datasets: _Datasets = field(default_factory=_Datasets, repr=False, compare=False)

    @property
    def wavelengths_nm(self) -> list[float | None]:
        """Centre wavelengths in nanometres, None where unknown."""
        return [band.wavelength_nm for band in self.bands]

    def read(self, window: Window, halo: int = 0, bands: Sequence[int] | None = None) -> np.ndarray:
        """Return float32 (band, y, x) of `window` and `halo` more pixels on each side.

        Values are as stored (scale and offset are not applied); NaN stands for nodata, masked pixels
        and values that are not finite. Beyond the raster's edges the scene is mirrored as numpy.pad's
        mode "reflect" does. `bands` counts from 0. Safe to call from several threads at once.
        Raises InputError where the file is damaged.
        """
        rows = _mirrored(int(window.row_off) - halo, int(window.height) + 2 * halo, self.grid.height)
        columns = _mirrored(int(window.col_off) - halo, int(window.width) + 2 * halo, self.grid.width)
        indexes = list(range(len(self.bands))) if bands is None else [int(band) for band in bands]
        inside = Window(
            columns.min(), rows.min(), columns.max() - columns.min() + 1, rows.max() - rows.min() + 1
        )
        values = self._read_inside(inside, indexes)
        if not _in_sequence(rows):
            values = values[:, rows - rows.min(), :]
        if not _in_sequence(columns):
            values = values[:, :, columns - columns.min()]
        return np.ascontiguousarray(values)

    def _read_inside(self, window: Window, indexes: list[int]) -> np.ndarray:
        dataset = self._datasets.dataset
        if dataset is None:
            dataset = self._datasets.dataset = open_dataset(self.path)
        numbers = [index + 1 for index in indexes]
        dtype = "float32" if self.dtype in _EXACT_IN_FLOAT32 else self.dtype
        try:
            if len(set(dataset.dtypes)) == 1:
                stored = dataset.read(numbers, window=window, out_dtype=dtype)
            else:
                # rasterio reads bands of several types only one at a time.
                stored = np.stack([dataset.read(n, window=window, out_dtype=dtype) for n in numbers])
            with np.errstate(over="ignore"):
                values = stored.astype("float32", copy=False)
            invalid = ~np.isfinite(values)
            # rasterio makes these lists anew, for all bands, each time it is asked.
            dtypes, all_flags = dataset.dtypes, dataset.mask_flag_enums
            for place, index in enumerate(indexes):
                nodata = _as_stored(self.nodata[index], dtypes[index])
                if nodata is not None:
                    invalid[place] |= stored[place] == nodata
                flags = all_flags[index]
                if MaskFlags.per_dataset in flags or MaskFlags.alpha in flags:
                    invalid[place] |= dataset.read_masks(index + 1, window=window) == 0
        except RasterioError as error:
            raise InputError(
                f"{self.path} can't be read in full; the file may be damaged or cut short ({error})."
            ) from error
        values[invalid] = np.nan
        return values


def open_scene(path: str) -> Scene:
    """Open the raster at `path`; only its header is read. InputError where it can't serve as a scene."""
    with open_dataset(path) as dataset:
        if dataset.count == 0:
            parts = dataset.subdatasets
            hint = f"choose one of the rasters inside, such as {parts[0]}" if parts else "choose another file"
            raise InputError(f"{path} has no bands; {hint}.")
        if any(dtype.startswith("complex") for dtype in dataset.dtypes):
            raise InputError(
                f"{path} holds complex numbers; compute amplitude, intensity or phase from it first."
            )
        if dataset.gcps[0] and dataset.transform == Affine.identity():
            raise InputError(f"{path} is placed by ground control points only; warp it to a grid first.")
        return Scene(
            path=path,
            bands=read_bands(dataset),
            grid=grid_of(dataset),
            nodata=tuple(dataset.nodatavals),
            dtype=str(np.result_type(*dataset.dtypes)),
        )


def grid_of(dataset: rasterio.DatasetReader) -> Grid:
    """Return the grid of an open dataset."""
    crs = dataset.crs.to_wkt() if dataset.crs else None
    return Grid(dataset.width, dataset.height, crs, dataset.transform)


def _mirrored(first: int, count: int, size: int) -> np.ndarray:
    """Return `count` indices from `first` on, those outside 0..size-1 mirrored back as often as needed."""
    if size == 1:
        return np.zeros(count, dtype=np.int64)
    period = 2 * (size - 1)
    folded = np.arange(first, first + count) % period
    return np.minimum(folded, period - folded)


def _in_sequence(indices: np.ndarray) -> bool:
    return bool(np.all(np.diff(indices) == 1))


def _as_stored(nodata: float | None, dtype: str) -> float | int | None:
    """Return nodata as a pixel of `dtype` holds it, or None where no finite value of the type is it."""
    if nodata is None or not np.isfinite(nodata):
        return None
    kind = np.dtype(dtype)
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            return kind.type(nodata).item()
    whole = int(nodata)
    limits = np.iinfo(kind)
    return whole if whole == nodata and limits.min <= whole <= limits.max else None
