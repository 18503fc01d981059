"""Wrong pixels that belong together: contiguous ones of one true and one predicted class, as outlines."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.features import shapes
from rasterio.windows import Window

from ..rasters.grid import Grid
from ..rasters.labels import LabelledPixels
from ..rasters.parcels import parcels_of
from ..rasters.tiles import plan_tiles
from .review_reference import Judged, Reference

# A region is outlined by pieces of this side, so that memory does not grow with its bounding box.
_PIECE = 2048
# Metres of a degree of latitude.
_DEGREE = 111_320.0


@dataclass(frozen=True)
class Regions:
    """Errors, each of `counts` int64 (m,) pixels: `order` lists them region by region from `starts` on.

    What is in `order` are indices into the reference. `true`, `predicted` int64 (m,); `centre`: the pixel of
    each that lies nearest to its middle. `parcel_share`: how much of the reference's parcels that it lies in
    a region covers, NaN for points. `inner`: the share of its pixels whose eight neighbours are in it.
    """

    order: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    centre: np.ndarray
    parcel_share: np.ndarray
    inner: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    def members(self, region: int) -> np.ndarray:
        """Return the pixels of a region, indices into the reference."""
        return self.order[self.starts[region] : self.starts[region] + self.counts[region]]


def regions_of(reference: Reference, judged: Judged, width: int) -> Regions:
    """Return the regions of wrong pixels; single pixels where the reference is points.

    Found on the list of all wrong pixels at once, so that blocks can't cut them.
    """
    wrong = np.flatnonzero(judged.known() & (judged.predicted != reference.true))
    pairs = reference.true[wrong] * len(reference.classes) + judged.predicted[wrong]
    if reference.points:
        numbers = np.arange(len(wrong))
    elif len(wrong):
        labels = LabelledPixels(reference.rows[wrong], reference.cols[wrong], pairs, ())
        numbers = parcels_of(labels, width)
    else:
        numbers = np.empty(0, dtype=np.int64)
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    counts = np.diff(np.append(starts, len(wrong)))
    members = wrong[order]
    first = members[starts]
    return Regions(
        order=members, starts=starts, counts=counts, true=reference.true[first],
        predicted=judged.predicted[first], centre=_centres(reference, members, starts, counts),
        parcel_share=_parcel_shares(reference, members, starts, counts),
        inner=_inner_shares(reference, members, starts, counts, width),
    )  # fmt: skip


def _centres(reference: Reference, members: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the pixel of each region nearest to the mean of its places."""
    if not len(starts):
        return np.empty(0, dtype=np.int64)
    region = np.repeat(np.arange(len(starts)), counts)
    away = np.zeros(len(members))
    for places in (reference.rows[members], reference.cols[members]):
        mean = np.add.reduceat(places.astype(np.float64), starts) / counts
        away += (places - mean[region]) ** 2
    nearest = np.lexsort((away, region))
    return members[nearest[starts]]


def _parcel_shares(
    reference: Reference, members: np.ndarray, starts: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    if reference.points or not len(starts):
        return np.full(len(starts), np.nan)
    sizes = np.bincount(reference.parcels)
    region = np.repeat(np.arange(len(starts)), counts)
    pairs = np.unique(np.stack([region, reference.parcels[members]]), axis=1)
    return counts / np.bincount(pairs[0], sizes[pairs[1]])


def _inner_shares(
    reference: Reference, members: np.ndarray, starts: np.ndarray, counts: np.ndarray, width: int
) -> np.ndarray:
    region = np.repeat(np.arange(len(starts)), counts)
    keys = reference.rows[members] * np.int64(width) + reference.cols[members]
    order = np.argsort(keys)
    keys, region = keys[order], region[order]
    inner = np.ones(len(keys), dtype=bool)
    for row in (-1, 0, 1):
        for col in (-1, 0, 1):
            near = keys + row * np.int64(width) + col
            place = np.searchsorted(keys, near).clip(0, max(len(keys) - 1, 0))
            inner &= (keys[place] == near) & (region[place] == region)
    return np.bincount(region, inner, len(starts)) / np.maximum(counts, 1)


def spread(regions: Regions, region: int, most: int) -> np.ndarray:
    """Return up to `most` pixels of a region, its middle one first and then evenly spread ones."""
    members, middle = regions.members(region), regions.centre[region]
    others = members[members != middle]
    if len(others) >= most:
        others = others[np.linspace(0, len(others) - 1, most - 1).round().astype(np.int64)]
    return np.concatenate([[middle], others])


def outline(reference: Reference, members: np.ndarray, grid: Grid) -> str:
    """Return the outline of pixels as the WKT of a MultiPolygon, in the coordinates that QGIS shows."""
    rows, cols = reference.rows[members], reference.cols[members]
    transform = grid.display_transform(0)
    box = Window(cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1)
    polygons = []
    for piece in plan_tiles(box, _PIECE):
        mask = np.zeros((int(piece.height), int(piece.width)), dtype=np.uint8)
        down, across = rows - int(piece.row_off), cols - int(piece.col_off)
        inside = (down >= 0) & (down < mask.shape[0]) & (across >= 0) & (across < mask.shape[1])
        mask[down[inside], across[inside]] = 1
        placed = transform * Affine.translation(piece.col_off, piece.row_off)
        polygons += [_rings(shape["coordinates"]) for shape, _ in shapes(mask, mask.astype(bool), 4, placed)]
    return f"MULTIPOLYGON({','.join(polygons)})"


def _rings(rings: list) -> str:
    return f"({','.join('(' + ','.join(f'{x!r} {y!r}' for x, y in ring) + ')' for ring in rings)})"


def pixel_area(grid: Grid, rows: np.ndarray) -> np.ndarray:
    """Return the area of pixels in rows (n,) in m², NaN where the coordinates have no known unit."""
    if not grid.crs or not grid.georeferenced:
        return np.full(len(rows), np.nan)
    crs, size = CRS.from_wkt(grid.crs), abs(grid.transform.determinant)
    if not crs.is_geographic:
        return np.full(len(rows), size * crs.linear_units_factor[1] ** 2)
    latitude = grid.transform.f + grid.transform.e * (rows + 0.5)
    return size * _DEGREE**2 * np.cos(np.radians(latitude.clip(-90, 90)))


def place_of(grid: Grid, row: int, col: int) -> tuple[float, float]:
    """Return the centre of a pixel in the coordinates that QGIS shows."""
    x, y = grid.display_transform(0) * (col + 0.5, row + 0.5)
    return float(x), float(y)


def as_number(value: float) -> float | None:
    """Return a number for a table, None for NaN."""
    return None if math.isnan(value) else float(value)
