"""Which chips a job explains: those of a slide, those at polygons of a raster, or those of a folder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from affine import Affine
from rasterio.windows import Window

from ..engine.jobs import AttributionJob
from ..models.files import Model
from ..rasters.chip_labels import chips_of_features
from ..rasters.chips import ChipSet, chips_of_folder
from ..rasters.errors import InputError
from ..rasters.grid import Grid
from ..rasters.scene import Scene
from ..rasters.wavelengths import Band
from .chip_summary import Place
from .context import Context
from .slide import Chips, Listed, Slide, Source

# Chips of a folder are put on one map up to this many pixels of the rectangle around them.
_LARGEST_MOSAIC = 50_000_000


@dataclass(frozen=True)
class ChipSource:
    """Chips to explain: `source` gives them over `window` of the raster that has the grid `whole`.

    `chips` and their own `grids` are there where chips are listed; the grids only for chips of files.
    `no_map` says in a clause why chips of a folder have no common raster; None where they have one.
    """

    source: Source
    window: Window
    whole: Grid
    side: int
    bands: tuple[Band, ...]
    chips: ChipSet | None = None
    grids: tuple[Grid, ...] = ()
    no_map: str | None = None

    @property
    def total(self) -> int:
        """How many chips there are."""
        return self.source.count(self.window)

    def places(self, chips: Chips) -> list[Place]:
        """Return name, centre in the CRS and class of each chip, None where unknown."""
        return [self._place(*values) for values in zip(*(a.tolist() for a in chips[:3]))]

    def upper_left(self, chips: Chips) -> Chips:
        """Return the chips with the pixels where they lie on their own rasters."""
        if not self.grids or self.chips is None:
            return chips
        found = [self.chips.chips[key] for key in chips.keys.tolist()]
        return chips._replace(
            rows=np.array([chip.row for chip in found]), cols=np.array([chip.col for chip in found])
        )

    def _place(self, key: int, row: int, col: int) -> Place:
        name, label, grid = f"row {row}, column {col}", None, self.whole
        if self.chips:
            chip = self.chips.chips[key]
            name = chip.name
            label = self.chips.names[chip.class_index] if chip.class_index >= 0 else None
        if self.grids:
            grid, row, col = self.grids[key], 0, 0
        if not grid.georeferenced:
            return name, None, None, label
        x, y = grid.transform * (col + self.side / 2, row + self.side / 2)
        return name, float(x), float(y), label


def chips_of(job: AttributionJob, context: Context, model: Model, scene: Scene | None) -> ChipSource:
    """Find the chips that `job` explains; InputError where there are none or they do not fit the model."""
    side, bands = model.patch_size, model.card.used_bands
    if scene is None:
        return _of_folder(job, context, model, side)
    slide = Slide(scene, side, job.chip_stride, bands)
    window = scene.grid.window_of(job.extent)
    if not job.mask_features:
        return ChipSource(slide, window, scene.grid, side, scene.bands)
    chips = chips_of_features(scene, job.mask_features, side)
    for text in chips.warnings:
        context.warn(text)
    listed = _listed(chips, [(chip.row, chip.col) for chip in chips.chips], bands)
    if not listed.count(window):
        raise InputError("The mask has no chip inside the extent; change one of them.")
    return ChipSource(listed, _overlap(listed.window, window), scene.grid, side, scene.bands, chips)


def _of_folder(job: AttributionJob, context: Context, model: Model, side: int) -> ChipSource:
    chips = chips_of_folder(job.patches or "", side, job.skip_unreadable, context.check)
    model.card.check_bands(chips.bands, chips.chips[0].path)
    for text in chips.warnings:
        context.warn(text)
    grids = tuple(chips.grid(index) for index in range(len(chips)))
    whole, corners, no_map = _common_grid(grids)
    listed = _listed(chips, corners, model.card.used_bands)
    return ChipSource(listed, whole.whole, whole, side, chips.bands, chips, grids, no_map)


def _listed(chips: ChipSet, corners: list[tuple[int, int]], bands: list[int]) -> Listed:
    rows, cols = np.array(corners, dtype=np.int64).T
    return Listed(chips, rows, cols, bands)


def _common_grid(grids: tuple[Grid, ...]) -> tuple[Grid, list[tuple[int, int]], str | None]:
    """Return a grid that holds all chips, and the upper left pixel of each there.

    Where the chips have no common grid they lie in a column, and the clause says why.
    """
    first, side = grids[0], grids[0].width
    column = Grid(side, side * len(grids), None, first.transform)
    places = [(side * index, 0) for index in range(len(grids))]
    if not all(grid.georeferenced for grid in grids):
        return column, places, "not all chips are georeferenced"
    if not all(grid.same_crs_as(first) for grid in grids):
        return column, places, "the chips are in several coordinate systems"
    pixels = np.array([[t.a, t.b, t.d, t.e] for t in (grid.transform for grid in grids)])
    if not np.allclose(pixels, pixels[0], rtol=1e-6, atol=1e-9 * np.abs(pixels[0]).max()):
        return column, places, "the chips have pixels of several sizes"
    back = ~first.transform
    exact = np.array([back * (grid.transform.c, grid.transform.f) for grid in grids])
    corners = np.round(exact).astype(np.int64)
    if np.abs(exact - corners).max() > 1e-2:
        return column, places, "the pixels of the chips do not lie on one grid"
    left, top = corners.min(0).tolist()
    width, height = (corners.max(0) - corners.min(0) + side).tolist()
    if width * height > _LARGEST_MOSAIC:
        reason = f"the rectangle around the chips has {width} x {height} pixels, more than 50 million"
        return column, places, reason
    whole = Grid(width, height, first.crs, first.transform * Affine.translation(left, top))
    return whole, [(int(row) - top, int(col) - left) for col, row in corners], None


def _overlap(a: Window, b: Window) -> Window:
    left, top = max(a.col_off, b.col_off), max(a.row_off, b.row_off)
    right = min(a.col_off + a.width, b.col_off + b.width)
    bottom = min(a.row_off + a.height, b.row_off + b.height)
    return Window(left, top, right - left, bottom - top)
