"""Writing rasters tile by tile into compressed GeoTIFFs that describe themselves."""

from __future__ import annotations

import html
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from types import TracebackType

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from .datasets import open_dataset
from .errors import InputError
from .grid import Grid
from .styles import Colour
from .wavelengths import Band, describe_band

BLOCK = 256


class RasterWriter:
    """A GeoTIFF being written, as a context manager.

    Leaving the context closes the file and checks that all of it is on the disk. Any failure to write
    is an InputError that names the folder. The same data written in the same order give the same bytes.
    One thread may write at a time.

    `bands` are the bands that the output's bands stand for: they give wavelengths, dates and, where
    `descriptions` is None, descriptions. `class_names` and `class_colours` describe values from 1 on of
    a raster of classes, 0 being no class. `block` is the side of the file's blocks, a multiple of 16.
    """

    def __init__(
        self,
        path: str,
        grid: Grid,
        count: int,
        dtype: str = "float32",
        nodata: float = math.nan,
        bands: Sequence[Band] | None = None,
        descriptions: Sequence[str] | None = None,
        tags: Mapping[str, str] | None = None,
        class_names: Sequence[str] | None = None,
        class_colours: Sequence[Colour] | None = None,
        block: int = BLOCK,
    ) -> None:
        self.path = path
        self._count = count
        self._nodata = nodata
        self._class_names = class_names
        try:
            self._dataset = _create(path, grid, count, dtype, nodata, block)
            if tags:
                self._dataset.update_tags(**tags)
            if descriptions is None and bands is not None:
                descriptions = [describe_band(i, band) for i, band in enumerate(bands)]
            for i, description in enumerate(descriptions or ()):
                self._dataset.set_band_description(i + 1, description)
            for i, band in enumerate(bands or ()):
                _write_band_items(self._dataset, i + 1, band)
            if class_colours:
                self._dataset.write_colormap(1, {0: (0, 0, 0), **dict(enumerate(class_colours, 1))})
        except (RasterioError, OSError) as error:
            raise self._failure() from error

    def write(self, window: Window, values: np.ndarray) -> None:
        """Write (band, y, x) values, or (y, x) for one band, at `window` of the written grid.

        NaN is written as the raster's nodata.
        """
        if values.ndim == 2:
            values = values[np.newaxis]
        if values.dtype.kind == "f" and not math.isnan(self._nodata):
            values = np.where(np.isnan(values), self._nodata, values)
        try:
            self._dataset.write(values.astype(self._dataset.dtypes[0], copy=False), window=window)
        except (RasterioError, OSError) as error:
            raise self._failure() from error

    def __enter__(self) -> RasterWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._dataset.close()
            if kind is None:
                if self._class_names:
                    _write_category_names(self.path, self._class_names)
                self._verify()
        except (RasterioError, OSError, InputError) as problem:  # InputError: it can't even be opened again
            if kind is None:
                raise self._failure() from problem

    def _verify(self) -> None:
        """Raise where a block is not in the file: GDAL reports a full disk on closing to nobody."""
        size = os.path.getsize(self.path)
        with open_dataset(self.path) as dataset:
            for number, (height, width) in enumerate(dataset.block_shapes, start=1):
                for row in range(math.ceil(dataset.height / height)):
                    for column in range(math.ceil(dataset.width / width)):
                        start = dataset.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", number)
                        length = dataset.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", number)
                        if start is None or length is None or int(start) + int(length) > size:
                            raise self._failure()

    def _failure(self) -> InputError:
        folder, name = os.path.split(os.path.abspath(self.path))
        return InputError(
            f"The disk of the folder {folder} is full or failed while {name} was written; "
            "free some space or choose another folder."
        )


def class_dtype(class_count: int) -> str:
    """Return the type of a raster of classes numbered from 1, with 0 for nodata."""
    return "uint8" if class_count <= 255 else "uint16"


def _create(
    path: str, grid: Grid, count: int, dtype: str, nodata: float, block: int
) -> rasterio.io.DatasetWriter:
    profile = {
        "driver": "GTiff",
        "width": grid.width,
        "height": grid.height,
        "count": count,
        "dtype": dtype,
        "nodata": nodata,
        "crs": CRS.from_wkt(grid.crs) if grid.crs else None,
        "transform": grid.transform if grid.georeferenced else None,
        "tiled": True,
        "blockxsize": min(block, -(-grid.width // 16) * 16),
        "blockysize": min(block, -(-grid.height // 16) * 16),
        "compress": "zstd",
        # Level 1 takes a quarter of the time of deflate and of the default level, for 1-3 % more bytes.
        "zstd_level": 1,
        "predictor": 3 if np.dtype(dtype).kind == "f" else 2,
        "interleave": "band",
        "BIGTIFF": "IF_SAFER",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, "w", **profile)


def _write_band_items(dataset: rasterio.io.DatasetWriter, number: int, band: Band) -> None:
    if band.date is not None:
        dataset.update_tags(number, date=band.date)
    if band.wavelength_nm is None:
        return
    items = {"wavelength": f"{band.wavelength_nm:.10g}", "wavelength_units": "Nanometers"}
    imagery = {"CENTRAL_WAVELENGTH_UM": f"{band.wavelength_nm / 1e3:.10g}"}
    if band.fwhm_nm is not None:
        items["fwhm"] = f"{band.fwhm_nm:.10g}"
        imagery["FWHM_UM"] = f"{band.fwhm_nm / 1e3:.10g}"
    dataset.update_tags(number, **items)
    dataset.update_tags(number, ns="IMAGERY", **imagery)


def _write_category_names(path: str, names: Sequence[str]) -> None:
    """Write class names where GDAL keeps what GeoTIFF has no place for: the file's `.aux.xml`."""
    categories = "\n".join(f"      <Category>{html.escape(name)}</Category>" for name in ("", *names))
    with open(path + ".aux.xml", "w", encoding="utf-8", newline="\n") as file:
        file.write(
            '<PAMDataset>\n  <PAMRasterBand band="1">\n    <CategoryNames>\n'
            f"{categories}\n    </CategoryNames>\n  </PAMRasterBand>\n</PAMDataset>\n"
        )
