"""Rasters of class numbers: laid on a scene's grid, and the names of their classes."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from .datasets import open_dataset
from .errors import InputError
from .grid import Grid, as_text
from .scene import grid_of

_CATEGORIES = re.compile(r"<CategoryNames>(.*?)</CategoryNames>", re.DOTALL)
_CATEGORY = re.compile(r"<Category\s*/>|<Category>(.*?)</Category>", re.DOTALL)


@contextmanager
def class_raster_on(path: str, grid: Grid) -> Iterator[tuple[rasterio.DatasetReader, Window, bool]]:
    """Open a raster of classes as if it were on `grid`: the dataset, its window, whether it is resampled.

    Raises InputError where it has more than one band or can't be laid on the grid.
    """
    with open_dataset(path) as dataset:
        if dataset.count != 1:
            raise InputError(f"{path} has {dataset.count} bands; choose a raster of classes, which has one.")
        own = grid_of(dataset)
        if own.same_as(grid):
            yield dataset, grid.whole, False
            return
        _check_placed(path, own, grid)
        window = _overlap(path, own, grid)
        # Two grids without CRS are in the same unknown one; the warper wants some name for it.
        names = {"src_crs": own.crs or "EPSG:3857", "crs": grid.crs or "EPSG:3857"}
        size = {"width": grid.width, "height": grid.height, "transform": grid.transform}
        alpha = dataset.nodata is None
        with WarpedVRT(dataset, resampling=Resampling.nearest, add_alpha=alpha, **names, **size) as warped:
            yield warped, window, True


def category_names(path: str) -> dict[int, str]:
    """Return the class names that the raster, its header or its `.aux.xml` gives to values."""
    with open_dataset(path) as dataset:
        listed = dataset.tags(ns="ENVI").get("class_names")
        text = dataset.tags(ns="xml:VRT").get("xml:VRT", "")
    if listed:
        names = [name.strip() for name in listed.strip("{} \n").split(",")]
    else:
        if os.path.exists(path + ".aux.xml"):
            with open(path + ".aux.xml", encoding="utf-8", errors="replace") as file:
                text = file.read()
        found = _CATEGORIES.search(text)
        names = [html.unescape(name).strip() for name in _CATEGORY.findall(found[1])] if found else []
    return {value: name for value, name in enumerate(names) if name}


def _check_placed(path: str, own: Grid, grid: Grid) -> None:
    if not own.georeferenced and not grid.georeferenced:
        raise InputError(
            f"The labels in {path} have {own.width} x {own.height} pixels and the scene {grid.width} x "
            f"{grid.height}, and neither has a georeference; choose labels of the scene's size."
        )
    for name, one, other in (("labels", own, grid), ("scene", grid, own)):
        lacks = "georeference" if not one.georeferenced else "coordinate system"
        if not one.georeferenced or (one.crs is None and other.crs is not None):
            raise InputError(
                f"The labels in {path} can't be laid on the scene, as the {name} raster has no {lacks}; "
                "give it one first."
            )


def _overlap(path: str, own: Grid, grid: Grid) -> Window:
    try:
        bounds = own.extent
        if not own.same_crs_as(grid):
            bounds = transform_bounds(own.crs, grid.crs, *bounds)
    except RasterioError as error:
        raise InputError(
            f"The labels in {path} can't be brought to the scene's coordinate system ({error})."
        ) from error
    window = grid.touched(bounds, grid.transform)
    if window is None:
        raise InputError(
            f"The labels in {path} cover {as_text(bounds)} and the scene {as_text(grid.extent)}; "
            "choose labels of the same place."
        )
    return window
