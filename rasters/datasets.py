"""How this package opens datasets: GDAL's block cache capped, no warning where there is no georeference."""

from __future__ import annotations

import os
import warnings

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

from .errors import InputError

# GDAL sizes its cache by the machine (5 % of its memory) unless told before the first block is read.
os.environ.setdefault("GDAL_CACHEMAX", "64")


def open_dataset(path: str) -> rasterio.DatasetReader:
    """Open the raster at `path` for reading; InputError where that is not possible."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(path)
    except (RasterioIOError, OSError) as error:
        if not os.path.exists(path) and os.path.isabs(path):
            raise InputError(f"There is no file {path}; check the path of the raster.") from error
        raise InputError(
            f"{path} can't be opened as a raster; choose a file that GDAL reads ({error})."
        ) from error
