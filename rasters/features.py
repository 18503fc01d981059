"""Points and polygons of a GeoJSON file, and the pixels of a grid that they cover."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from affine import Affine
from rasterio.features import is_valid_geom, rasterize
from rasterio.windows import Window

from .errors import InputError
from .grid import Grid
from .tiles import plan_tiles

# A polygon is burnt by pieces of this side, so that memory does not grow with its bounding box.
_PIECE = 2048


@dataclass(frozen=True)
class Feature:
    """One feature: points (n, 2) in CRS units, GeoJSON polygons, the bounds of all, and properties."""

    points: np.ndarray
    polygons: tuple[dict, ...]
    bounds: tuple[float, float, float, float]
    properties: dict

    def covered(self, grid: Grid, transform: Affine) -> np.ndarray:
        """Return row * width + column, int64, of each pixel that holds a point or whose centre is inside.

        `transform` places the grid in the features' coordinates. A pixel may come twice.
        """
        pixels = [_pixels_of_points(self.points, grid, transform)]
        for polygon in self.polygons:
            window = grid.touched(_bounds(_vertices(polygon["coordinates"])), transform)
            for piece in plan_tiles(window, _PIECE) if window else ():
                rows, columns = np.nonzero(_burn([polygon], piece, transform))
                pixels.append((rows + piece.row_off) * np.int64(grid.width) + columns + piece.col_off)
        return np.concatenate(pixels)


@dataclass(frozen=True)
class Features:
    """The features of one file that have points or polygons; `skipped` counts the others."""

    path: str
    features: tuple[Feature, ...]
    skipped: int

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """The bounding box of all features in CRS units."""
        boxes = np.array([feature.bounds for feature in self.features])
        return (*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())

    def transform_of(self, grid: Grid) -> Affine:
        """Return the transform that places `grid` in the coordinates of these features."""
        return grid.display_transform(self.bounds[3])

    def mask(self, grid: Grid, window: Window) -> np.ndarray:
        """Return bool (y, x): the pixels of `window` that features cover."""
        transform = self.transform_of(grid)
        touched = ((feature, grid.touched(feature.bounds, transform)) for feature in self.features)
        near = [feature for feature, pixels in touched if pixels and _intersect(pixels, window)]
        return covered_by(near, grid, window, transform)


def covered_by(features: Sequence[Feature], grid: Grid, window: Window, transform: Affine) -> np.ndarray:
    """Return bool (y, x): the pixels of `window` that hold a point or whose centre is inside of a polygon.

    `transform` places the grid in the features' coordinates.
    """
    mask = np.zeros((int(window.height), int(window.width)), dtype=bool)
    polygons: list[dict] = []
    for feature in features:
        polygons += feature.polygons
        rows, columns = np.divmod(_pixels_of_points(feature.points, grid, transform), grid.width)
        rows, columns = rows - int(window.row_off), columns - int(window.col_off)
        inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
        mask[rows[inside], columns[inside]] = True
    return mask | _burn(polygons, window, transform) if polygons else mask


def read_features(path: str) -> Features:
    """Read the features of the GeoJSON file at `path`; InputError where it has none that can be used."""
    try:
        status = os.stat(path)
        features = _parse(path, status.st_mtime_ns, status.st_size)
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}; check the path of the features.") from error
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise InputError(f"{path} is not a GeoJSON file of features; export the layer again.") from error
    if not features.features:
        raise InputError(f"{path} has no feature with a point or polygon; choose a layer that has some.")
    return features


# A mask is asked for tile by tile.
@lru_cache(maxsize=2)
def _parse(path: str, changed_ns: int, size: int) -> Features:
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    features = []
    for item in document["features"]:
        points: list[Sequence[float]] = []
        polygons: list[dict] = []
        for geometry in _simple_geometries(item.get("geometry")):
            if geometry["type"] == "Point":
                points.append(geometry["coordinates"][:2])
            elif is_valid_geom(geometry):
                polygons.append(geometry)
        if points or polygons:
            array = np.array(points, dtype=np.float64).reshape(-1, 2)
            corners = np.concatenate([array, *(_vertices(polygon["coordinates"]) for polygon in polygons)])
            if np.isfinite(corners).all():
                properties = item.get("properties") or {}
                features.append(Feature(array, tuple(polygons), _bounds(corners), properties))
    return Features(path, tuple(features), len(document["features"]) - len(features))


def _simple_geometries(geometry: dict | None) -> Iterator[dict]:
    """Yield the points and polygons that a geometry consists of; lines have no pixels of their own."""
    if not geometry or not geometry.get("coordinates", geometry.get("geometries")):
        return
    if geometry["type"] == "GeometryCollection":
        for part in geometry["geometries"]:
            yield from _simple_geometries(part)
    elif geometry["type"] in ("MultiPoint", "MultiPolygon"):
        for coordinates in geometry["coordinates"]:
            yield {"type": geometry["type"].removeprefix("Multi"), "coordinates": coordinates}
    elif geometry["type"] in ("Point", "Polygon"):
        yield geometry


def _vertices(rings: Sequence) -> np.ndarray:
    return np.array([vertex[:2] for ring in rings for vertex in ring], dtype=np.float64)


def _bounds(vertices: np.ndarray) -> tuple[float, float, float, float]:
    return (*vertices.min(axis=0).tolist(), *vertices.max(axis=0).tolist())


def _pixels_of_points(points: np.ndarray, grid: Grid, transform: Affine) -> np.ndarray:
    columns, rows = (np.floor(axis) for axis in ~transform * (points[:, 0], points[:, 1]))
    inside = (columns >= 0) & (columns < grid.width) & (rows >= 0) & (rows < grid.height)
    return rows[inside].astype(np.int64) * grid.width + columns[inside].astype(np.int64)


def _burn(polygons: Sequence[dict], window: Window, transform: Affine) -> np.ndarray:
    burnt = rasterize(
        polygons,
        out_shape=(int(window.height), int(window.width)),
        transform=transform * Affine.translation(window.col_off, window.row_off),
        dtype="uint8",
    )
    return burnt.astype(bool)


def _intersect(a: Window, b: Window) -> bool:
    return (
        a.col_off < b.col_off + b.width
        and b.col_off < a.col_off + a.width
        and a.row_off < b.row_off + b.height
        and b.row_off < a.row_off + a.height
    )
