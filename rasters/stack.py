"""Rasters of one place, of different resolution, read as one scene: their bands one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from rasterio.windows import Window

from .errors import InputError
from .grid import Grid, as_text
from .scene import Scene, open_scene

RESAMPLINGS = ("nearest", "average")
GRIDS = ("finest", "coarsest", "first")


@dataclass(frozen=True, kw_only=True)
class Stack(Scene):
    """The bands of several rasters on the grid of one of them; `paths` are all, `counts` their bands.

    A raster on another grid is resampled: `nearest` takes the value of its pixel that holds the centre of the
    pixel to be filled, `average` the mean of its pixels by the area that they share with that pixel, those
    without data left out. NaN where a raster has no data.
    """

    paths: tuple[str, ...]
    resampling: str
    parts: tuple[Scene, ...] = field(repr=False)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many bands each raster has."""
        return tuple(len(part.bands) for part in self.parts)

    def _read_inside(self, window: Window, indexes: list[int]) -> np.ndarray:
        values = np.empty((len(indexes), int(window.height), int(window.width)), np.float32)
        first = 0
        for part in self.parts:
            places = [place for place, band in enumerate(indexes) if 0 <= band - first < len(part.bands)]
            if places:
                values[places] = self._resampled(part, window, [indexes[place] - first for place in places])
            first += len(part.bands)
        return values

    def _resampled(self, part: Scene, window: Window, bands: list[int]) -> np.ndarray:
        """Return a raster's bands (band, y, x) on a window of this scene's grid."""
        if part.grid.same_as(self.grid):
            return part.read(window, bands=bands)
        across = _edges(self.grid, part.grid, int(window.col_off), int(window.width), 0)
        down = _edges(self.grid, part.grid, int(window.row_off), int(window.height), 1)
        take = _taken if self.resampling == "nearest" else _averaged
        columns, rows = take(across, part.grid.width), take(down, part.grid.height)
        if columns is None or rows is None:
            return np.full((len(bands), int(window.height), int(window.width)), np.nan, np.float32)
        inside = Window(columns.first, rows.first, columns.weights.shape[1], rows.weights.shape[1])
        values = part.read(inside, bands=bands)
        known = np.isfinite(values)
        total = rows.weights @ np.where(known, values, 0) @ columns.weights.T
        weight = rows.weights @ known.astype(np.float32) @ columns.weights.T
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(weight > 0, total / weight, np.nan).astype(np.float32)


@dataclass(frozen=True)
class _Taken:
    """How pixels along one axis are made of those of another raster, from its pixel `first` on.

    `weights` float32 (pixel, other raster's pixel).
    """

    first: int
    weights: np.ndarray


def open_stack(paths: Sequence[str], resampling: str = "nearest", grid: str = "finest") -> Scene:
    """Open rasters as one scene; a single one is itself. Only their headers are read.

    Raises InputError where they can't lie on one grid: none or another coordinate system, rotated against
    each other, nothing in common.
    """
    for name, value, known in (("resampling", resampling, RESAMPLINGS), ("grid", grid, GRIDS)):
        if value not in known:
            raise InputError(f"There is no {name} '{value}'; choose one of {', '.join(known)}.")
    if not paths:
        raise InputError("There is no raster; choose one, or one for each sensor.")
    parts = tuple(open_scene(path) for path in paths)
    if len(parts) == 1:
        return parts[0]
    if len({part.path for part in parts}) < len(parts):
        raise InputError("One raster is given twice; give each once.")
    areas = [abs(part.grid.transform.determinant) for part in parts]
    places = {"first": 0, "finest": int(np.argmin(areas)), "coarsest": int(np.argmax(areas))}
    base = parts[places[grid]]
    for part in parts:
        _check_placed(part, base)
    return Stack(
        path=" + ".join(paths), bands=tuple(band for part in parts for band in part.bands), grid=base.grid,
        nodata=tuple(value for part in parts for value in part.nodata), dtype="float32",
        paths=tuple(paths), resampling=resampling, parts=parts,
    )  # fmt: skip


def _check_placed(part: Scene, base: Scene) -> None:
    if part.grid.same_as(base.grid):
        return
    for scene in (part, base):
        if not scene.grid.georeferenced:
            raise InputError(
                f"{part.path} and {base.path} have other sizes, and {scene.path} no georeference to lay the "
                "one on the other; give it one, or rasters of one size."
            )
    if not part.grid.same_crs_as(base.grid):
        raise InputError(
            f"{part.path} has another coordinate system than {base.path}; warp it to that of the other first."
        )
    moved = ~base.grid.transform * part.grid.transform
    if abs(moved.b) > 1e-6 or abs(moved.d) > 1e-6 or moved.a <= 0 or moved.e <= 0:
        raise InputError(f"{part.path} is rotated or mirrored against {base.path}; warp it to the same axes.")
    if base.grid.touched(part.grid.extent, base.grid.transform) is None:
        raise InputError(
            f"{part.path} covers {as_text(part.grid.extent)} and {base.path} {as_text(base.grid.extent)}, "
            "which have nothing in common; choose rasters of the same place."
        )


def _edges(grid: Grid, other: Grid, first: int, count: int, axis: int) -> np.ndarray:
    """Return where pixels `first` and on begin and end along an axis (0: x), in pixels of the other grid."""
    moved = ~other.transform * grid.transform
    scale, offset = (moved.a, moved.c) if axis == 0 else (moved.e, moved.f)
    # Coordinates carry rounding errors: without this, edges that meet would not.
    return np.round(offset + scale * np.arange(first, first + count + 1), 6)


def _taken(edges: np.ndarray, size: int) -> _Taken | None:
    """Return the pixel that holds the centre of each, None where the raster reaches none of them."""
    centres = np.floor((edges[:-1] + edges[1:]) / 2).astype(int)
    inside = (centres >= 0) & (centres < size)
    if not inside.any():
        return None
    first, last = int(centres[inside].min()), int(centres[inside].max())
    weights = np.zeros((len(centres), last - first + 1), np.float32)
    weights[np.flatnonzero(inside), centres[inside] - first] = 1
    return _Taken(first, weights)


def _averaged(edges: np.ndarray, size: int) -> _Taken | None:
    """Return what each pixel shares with those of the raster, None where the raster reaches none of them."""
    first, last = max(math.floor(edges[0]), 0), min(math.ceil(edges[-1]), size)
    if first >= last:
        return None
    others = np.arange(first, last)
    shared = np.minimum(edges[1:, None], others + 1) - np.maximum(edges[:-1, None], others)
    return _Taken(first, np.clip(shared, 0, None).astype(np.float32))
