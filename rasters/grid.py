"""The pixel grid of a raster, and the windows that extents cover on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from .errors import InputError

# Extents come as rounded text: this share of a pixel more or less does not take in another pixel.
_SNAP = 1e-3


@dataclass(frozen=True)
class Grid:
    """Size, CRS (WKT) and transform from (column, row) to CRS units; the identity where there is none."""

    width: int
    height: int
    crs: str | None
    transform: Affine

    @property
    def georeferenced(self) -> bool:
        """Whether pixels have a place in a coordinate system."""
        return self.transform != Affine.identity()

    @property
    def whole(self) -> Window:
        """The window of all pixels."""
        return Window(0, 0, self.width, self.height)

    def window_of(self, extent: Sequence[float] | None) -> Window:
        """Return the pixels that `extent` (x_min, y_min, x_max, y_max) touches; None means all.

        Raises InputError where the extent has no pixel of the grid.
        """
        if extent is None:
            return self.whole
        if len(extent) != 4 or not all(math.isfinite(value) for value in extent):
            raise InputError(f"The extent {list(extent)} is not x_min, y_min, x_max, y_max in numbers.")
        window = self.touched(extent, self.display_transform(max(extent[1], extent[3])))
        if window is None:
            raise InputError(
                f"The extent {as_text(extent)} lies outside the raster, which covers {as_text(self.extent)}; "
                "choose one inside."
            )
        return window

    def touched(self, bounds: Sequence[float], transform: Affine) -> Window | None:
        """Return the pixels that a box in the coordinates of `transform` touches, None where it has none."""
        inverse = ~transform
        corners = [inverse * (x, y) for x in (bounds[0], bounds[2]) for y in (bounds[1], bounds[3])]
        columns, rows = zip(*corners)
        left, right = _covered(min(columns), max(columns), self.width)
        top, bottom = _covered(min(rows), max(rows), self.height)
        return Window(left, top, right - left, bottom - top) if left < right and top < bottom else None

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """The bounding box (x_min, y_min, x_max, y_max) in CRS units, or in pixels without georeference."""
        corners = [self.transform * (x, y) for x in (0, self.width) for y in (0, self.height)]
        xs, ys = zip(*corners)
        return min(xs), min(ys), max(xs), max(ys)

    def display_transform(self, y_max: float) -> Affine:
        """Return the transform to use for coordinates that reach up to `y_max`.

        QGIS shows a raster without georeference with its rows going down from 0 to -height, GDAL
        counts them upwards from 0; coordinates that are never above 0 are meant as QGIS shows them.
        """
        return Affine.scale(1, -1) if not self.georeferenced and y_max <= 0 else self.transform

    def sub(self, window: Window) -> Grid:
        """Return the grid of a window.

        Without georeference, a window away from the corner is placed as QGIS shows the whole raster
        (rows downwards), so that the two lie on top of each other there.
        """
        transform = self.transform
        if not self.georeferenced and (window.col_off, window.row_off) != (0, 0):
            transform = Affine.scale(1, -1)
        transform = transform * Affine.translation(window.col_off, window.row_off)
        return Grid(int(window.width), int(window.height), self.crs, transform)

    def same_as(self, other: Grid) -> bool:
        """Whether the two grids have the same pixels: size, equivalent CRS, and corners to 1/1000 pixel."""
        if (self.width, self.height) != (other.width, other.height) or not self.same_crs_as(other):
            return False
        back = ~self.transform
        corners = [(x, y) for x in (0, self.width) for y in (0, self.height)]
        moved = [back * (other.transform * corner) for corner in corners]
        return all(math.dist(a, b) < _SNAP for a, b in zip(corners, moved))

    def same_crs_as(self, other: Grid) -> bool:
        """Whether the two have equivalent coordinate systems, or both have none."""
        if self.crs is None or other.crs is None or self.crs == other.crs:
            return self.crs == other.crs
        return CRS.from_wkt(self.crs) == CRS.from_wkt(other.crs)


def as_text(extent: Sequence[float]) -> str:
    """Return an extent as a person reads it."""
    return f"({', '.join(f'{value:.10g}' for value in extent)})"


def _covered(low: float, high: float, size: int) -> tuple[int, int]:
    """Return the whole pixels (first, one past the last) between two positions, cut to the grid's size."""
    first = math.floor(low + _SNAP)
    last = max(math.ceil(high - _SNAP), first + 1)
    return max(first, 0), min(last, size)
