"""What an attribution leaves: rasters, their styles, the band table, numbers and warnings."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
from rasterio.windows import Window

from ..engine.jobs import AttributionJob
from ..explainers.base import Explainer
from ..explainers.dense import Dense
from ..models.card import Card
from ..rasters.date_styles import write_signed_date_series_qml
from ..rasters.errors import first_of
from ..rasters.outputs import Outputs
from ..rasters.scene import Grid
from ..rasters.styles import qml_path, write_diverging_qml
from ..rasters.tables import BandStatistics
from ..rasters.writers import RasterWriter
from .context import Context
from .parts import Parts
from .tiling import BLOCK

if TYPE_CHECKING:
    from .attribution_worker import TileResult

# A network for which absorptions do less than this share of the work decides by brightness or slope.
FEW = 0.3
SALIENCY_BANDS = ("total absolute", "signed sum", "residual")
# Of methods whose parts, with these two, are the output itself.
EXACT_BANDS = ("reference", "padding")


class AttributionWriters:
    """The rasters of attributions, of the continuum's part and of saliency, those that are wanted."""

    def __init__(
        self, job: AttributionJob, outputs: Outputs, parts: Parts, grid: Grid, exact: bool,
        tags: dict[str, str], stack: ExitStack,
    ) -> None:  # fmt: skip
        self._job, self._outputs, self._parts = job, outputs, parts
        self._saliency = None
        self._attribution, self._continuum = (
            stack.enter_context(
                RasterWriter(
                    outputs.stage(path), grid, len(parts.bands), bands=parts.bands,
                    descriptions=parts.descriptions, tags=tags, block=BLOCK,
                )
            ) if path else None
            for path in (job.attribution, job.continuum_part)
        )  # fmt: skip
        if job.saliency:
            names = saliency_bands(exact)
            self._saliency = stack.enter_context(
                RasterWriter(
                    outputs.stage(job.saliency), grid, len(names), descriptions=names, tags=tags, block=BLOCK
                )
            )

    def write(self, window: Window, result: TileResult) -> None:
        """Write a tile; bands that the model does not read are nodata."""
        if self._attribution:
            self._attribution.write(window, self._of_all_bands(result.of_ground))
        if self._continuum and result.continuum is not None:
            self._continuum.write(window, self._of_all_bands(result.continuum))
        if self._saliency:
            self._saliency.write(window, saliency_of(result))

    def _of_all_bands(self, values: np.ndarray) -> np.ndarray:
        every = np.full((len(self._parts.bands), *values.shape[1:]), np.nan, dtype=np.float32)
        every[list(self._parts.places)] = values
        return every

    def write_styles(self, summary: Summary) -> None:
        """Write styles that show the bands of largest mean absolute values, and the signed sum."""
        band, limit, sum_limit = summary.style()
        if self._job.attribution:
            target = self._outputs.stage(qml_path(self._job.attribution))
            dates = list(dict.fromkeys(part.date for part in self._parts.bands if part.date))
            if dates:
                write_signed_date_series_qml(target, dates, limit, len(self._parts.bands) // len(dates))
            else:
                write_diverging_qml(target, band + 1, limit)
        if self._job.continuum_part:
            write_diverging_qml(
                self._outputs.stage(qml_path(self._job.continuum_part)), *summary.continuum_style()
            )
        if self._job.saliency:
            write_diverging_qml(self._outputs.stage(qml_path(self._job.saliency)), 2, sum_limit)


def saliency_bands(exact: bool) -> tuple[str, ...]:
    """Return the names of the saliency raster's bands; those of `exact` methods are more."""
    return (*SALIENCY_BANDS, *EXACT_BANDS) if exact else SALIENCY_BANDS


def saliency_of(result: TileResult) -> np.ndarray:
    """Return the bands of the saliency raster, float32 (3 or 5, y, x)."""
    values = result.values
    exact = [maps for maps in (result.reference, result.padding) if maps is not None]
    return np.stack([np.abs(values).sum(0), values.sum(0), result.residual, *exact]).astype(np.float32)


class Summary:
    """Running sums over the tiles: band statistics per predicted class, residuals, unsettled pixels."""

    def __init__(self, card: Card, parts: Parts, width: int, explainer: Explainer, seed: int) -> None:
        self._card, self._parts, self._explainer = card, parts, explainer
        self.seed, self.class_count, self.scene_width = seed, len(card.classes), width
        self._bands = BandStatistics(len(card.classes), len(parts.places), seed=seed)
        self._continuum = BandStatistics(len(card.classes), len(parts.places), seed=seed)
        self._two_legs = False
        self._saliency = BandStatistics(1, len(saliency_bands(isinstance(explainer, Dense))), seed=seed)
        self.pixels = self.all_pixels = self.unsettled = self.above = 0
        self._residual = self._difference = 0.0
        self._evaluations = 0
        self._error, self._sampled = 0.0, 0
        # Sizes of what absorptions, and what level and slope, did to the output, (class, 2).
        self._legs = np.zeros((len(card.classes), 2))

    def add(self, result: TileResult, tile: Window) -> None:
        """Add a tile at its place on the scene."""
        rows, cols = np.nonzero(result.predicted >= 0)
        keys = self.keys(rows, cols, tile)
        self._bands.add(result.predicted[rows, cols], result.of_ground[:, rows, cols].T, keys)
        self._saliency.add(np.zeros(len(rows), np.int64), saliency_of(result)[:, rows, cols].T, keys)
        self.pixels += len(rows)
        self._evaluations += result.evaluations
        self.unsettled += int((~result.settled[rows, cols]).sum())
        residual, difference = np.abs(result.residual[rows, cols]), np.abs(result.difference[rows, cols])
        self._residual += float(np.nansum(residual, dtype=np.float64))
        self._difference += float(np.nansum(difference, dtype=np.float64))
        if result.continuum is not None:
            self._two_legs = True
            self._continuum.add(result.predicted[rows, cols], result.continuum[:, rows, cols].T, keys)
        if result.level is not None:
            for leg, sizes in enumerate((difference, np.abs(result.level[rows, cols]))):
                np.add.at(self._legs[:, leg], result.predicted[rows, cols], np.nan_to_num(sizes))
        if result.error is not None:
            self._error += float(np.nansum(result.error, dtype=np.float64))
            self._sampled += int(np.isfinite(result.error).sum())
        self.above += int((residual > self._explainer.options.tolerance * difference).sum())

    def keys(self, rows: np.ndarray, cols: np.ndarray, tile: Window) -> np.ndarray:
        """Return a number for each pixel of a tile, its place on the scene."""
        return (rows + int(tile.row_off)) * np.int64(self.scene_width) + cols + int(tile.col_off)

    def add_sums(self, sums: np.ndarray, continuum: np.ndarray | None, pixels: np.ndarray) -> None:
        """Add attributions summed over pixels, (class, band) and (class,), of which `add` gets a sample.

        `continuum` likewise, of the continuum's part where there is one.
        """
        self._bands.add_totals(sums, pixels)
        if continuum is not None:
            self._continuum.add_totals(continuum, pixels)
        self.all_pixels += int(pixels.sum())

    def warn(self, context: Context) -> None:
        """Say what did not settle, what is not complete, and what the method can't tell."""
        options = self._explainer.options
        if self.unsettled:
            context.warn(
                f"{self.unsettled} of {self.pixels} pixels had not settled at {options.max_steps} steps; "
                "raise the most steps, or read them with care."
            )
        if not self._explainer.contributions:
            context.warn(
                "This explainer's values are not contributions to the output: their residual is not defined "
                "and is nodata."
            )
        elif self.above:
            context.warn(
                f"The residual is above {options.tolerance:g} of the output difference at {self.above} of "
                f"{self.pixels} pixels; it is in the third band of the saliency raster."
            )
        if slopes := [name for name, share in self.absorption_shares().items() if share < FEW]:
            context.warn(
                f"Absorptions did less than {FEW:.0%} of what decided for {first_of(slopes)}: the network "
                "goes by brightness or slope there, which the continuum as baseline does not show."
            )

    def numbers(self) -> dict[str, float | None]:
        """Return the number outputs; the mean residual is relative to the mean output difference."""
        relative = self._residual / self._difference if self._difference else 0.0
        return {
            "MEAN_RESIDUAL": relative if self._explainer.contributions else None,
            "PIXELS": self.all_pixels or self.pixels,
            "UNSETTLED": self.unsettled,
            "ABSORPTION_SHARE": float(self._legs[:, 0].sum() / total)
            if (total := self._legs.sum())
            else None,
        }

    def absorption_shares(self) -> dict[str, float]:
        """Return by class how much of the outputs' changes from the mean spectrum absorptions did, 0 to 1.

        The way goes from the mean spectrum to each pixel's continuum and on to the pixel; the share is that
        of the second leg in the sizes of both. Empty for other baselines.
        """
        totals = self._legs.sum(1)
        return {
            name: float(legs[0] / total)
            for name, legs, total in zip(self._card.class_names, self._legs, totals) if total
        }  # fmt: skip

    def facts(self) -> dict:
        """Return what the run record says."""
        complete = self._explainer.contributions
        return {
            "pixels": self.all_pixels or self.pixels,
            "pixels_explained_one_by_one": self.pixels,
            "evaluations_per_pixel": round(self._evaluations / self.pixels, 2),
            "unsettled": self.unsettled,
            "mean_residual": self.numbers()["MEAN_RESIDUAL"],
            "pixels_with_residual_above_tolerance": self.above if complete else None,
            "absorption_share": self.absorption_shares() or None,
            "mean_standard_error": self._error / self._sampled if self._sampled else None,
        }

    def style(self) -> tuple[int, float, float]:
        """Return the scene band to show with its limit, and the signed sum's limit; no limit is 0."""
        place, limit = self._strongest(self._bands)
        return place, limit, float(self._saliency.limits()[1]) or 1.0

    def continuum_style(self) -> tuple[int, float]:
        """Return the band to show of the continuum's part, from 1, with its limit."""
        place, limit = self._strongest(self._continuum)
        return place + 1, limit

    def _strongest(self, statistics: BandStatistics) -> tuple[int, float]:
        totals = np.zeros(len(self._parts.places))
        for row in statistics.rows():
            totals[row.band] += (row.mean_absolute or 0.0) * row.pixels
        place = int(totals.argmax())
        return self._parts.places[place], float(statistics.limits()[place]) or 1.0

    def band_table(self) -> dict:
        """Return the band table: a row per predicted class and band, or other part."""
        columns = [
            ("class", "string", "Predicted class"), ("band", "int", "Band"),
            ("band_name", "string", "Band name"),
            ("wavelength_nm", "double", "Wavelength (nm)"), ("mean", "double", "Mean attribution"),
            ("mean_absolute", "double", "Mean absolute attribution"),
            ("share", "double", "Share of mean absolute"),
            ("percentile_10", "double", "10th percentile"), ("percentile_90", "double", "90th percentile"),
            ("pixels", "int", "Pixels"),
            ("mean_absolute_pixels", "int", "Pixels that the mean absolute is of"),
            ("percentile_pixels", "int", "Pixels that the percentiles are of"),
        ]  # fmt: skip
        if self._two_legs:
            columns += [
                ("continuum_mean", "double", "Mean part of the continuum"),
                ("continuum_mean_absolute", "double", "Mean absolute part of the continuum"),
            ]
        continuum = {(row.class_index, row.band): row for row in self._continuum.rows()}
        rows = []
        for row in self._bands.rows():
            index = self._parts.places[row.band]
            level = continuum.get((row.class_index, row.band))
            rows.append([
                self._card.class_names[row.class_index], index + 1, self._parts.descriptions[index],
                self._parts.bands[index].wavelength_nm,
                row.mean, row.mean_absolute, row.share, row.p10, row.p90,
                row.pixels, row.absolutes, row.sampled,
                *((level.mean, level.mean_absolute) if level else ()),
            ])  # fmt: skip
        return {"columns": [dict(zip(("name", "type", "alias"), c)) for c in columns], "rows": rows}
