"""Tables and figures of an attribution of chips."""

from __future__ import annotations

import numpy as np

from ..explainers.base import Explainer
from ..models.card import Card
from ..rasters.scene import describe_band
from ..rasters.tables import BandStatistics
from .chip_outputs import Layout
from .chip_worker import Explained
from .context import Context
from .slide import Chips

# Rows of the chip table that are kept: a slide over a large raster has millions of chips.
_MOST_ROWS = 100_000
# Pixels of a chip that the limits of the styles are drawn from.
_STYLE_PIXELS = 256

Place = tuple[str, float | None, float | None, str | None]

_CHIP_COLUMNS = (
    ("chip", "string", "Chip"), ("row", "int", "Upper row"), ("col", "int", "Left column"),
    ("x", "double", "X of the centre"), ("y", "double", "Y of the centre"),
    ("class", "string", "Class of its folder or polygon"),
    ("predicted_class", "string", "Predicted class"), ("confidence", "double", "Confidence"),
    ("target_output", "double", "Output of the target"),
    ("baseline_output", "double", "Output of the baseline"), ("residual", "double", "Residual"),
    ("total_absolute", "double", "Total absolute attribution"), ("settled", "int", "Settled"),
)  # fmt: skip
_BAND_COLUMNS = (
    ("class", "string", "Predicted class"), ("band", "int", "Band"), ("band_name", "string", "Band name"),
    ("wavelength_nm", "double", "Wavelength (nm)"), ("mean", "double", "Mean attribution"),
    ("mean_absolute", "double", "Mean absolute attribution"), ("share", "double", "Share of mean absolute"),
    ("percentile_10", "double", "10th percentile"), ("percentile_90", "double", "90th percentile"),
    ("chips", "int", "Chips"), ("percentile_chips", "int", "Chips that the percentiles are of"),
)  # fmt: skip


class ChipSummary:
    """Running sums over the chips: statistics per predicted class and band, residuals, a row per chip."""

    def __init__(self, card: Card, layout: Layout, explainer: Explainer, seed: int) -> None:
        self._card, self._layout, self._explainer, self._seed = card, layout, explainer, seed
        count = len(layout.places)
        self._bands = BandStatistics(len(card.classes), count, seed=seed)
        self._pixels = BandStatistics(1, count + 1, seed=seed)
        self._rows: dict[int, list] = {}
        self.chips = self.silent = self.unsettled = self.above = self._evaluations = 0
        self._residual = self._difference = 0.0

    def add(self, chips: Chips, found: Explained, places: list[Place]) -> None:
        """Add chips that come for the first time, with the name, centre and class of each."""
        self.silent += int((~found.has_say).sum())
        voices = np.flatnonzero(found.has_say)
        self.chips += len(voices)
        self.unsettled += int((~found.settled[voices]).sum())
        self._evaluations += int(found.evaluations.sum())
        residual, difference = np.abs(found.residual[voices]), np.abs(found.output - found.reference)[voices]
        self._residual += float(np.nansum(residual, dtype=np.float64))
        self._difference += float(np.nansum(difference, dtype=np.float64))
        self.above += int((residual > self._explainer.options.tolerance * difference).sum())
        self._bands.add(found.predicted[voices], found.sums[voices], chips.keys[voices])
        for n in voices.tolist():
            self._add_pixels(int(chips.keys[n]), found.values[n, :-1], found.valid[n])
            if len(self._rows) < _MOST_ROWS:
                self._rows[int(chips.keys[n])] = self._row(chips, found, n, places[n])

    def _add_pixels(self, key: int, values: np.ndarray, valid: np.ndarray) -> None:
        rows, cols = np.nonzero(valid)
        step = -(-len(rows) // _STYLE_PIXELS)
        sample = values[:, rows[::step], cols[::step]]
        sample = np.concatenate([sample, sample.sum(0, keepdims=True)]).T
        keys = np.int64(key) * _STYLE_PIXELS + np.arange(len(sample))
        self._pixels.add(np.zeros(len(sample), np.int64), sample, keys)

    def _row(self, chips: Chips, found: Explained, n: int, place: Place) -> list:
        name, x, y, label = place
        numbers = (found.confidence, found.output, found.reference, found.residual, found.absolute)
        known = [float(value[n]) if np.isfinite(value[n]) else None for value in numbers]
        return [
            name, int(chips.rows[n]), int(chips.cols[n]), x, y, label,
            self._card.class_names[int(found.predicted[n])], *known, int(found.settled[n]),
        ]  # fmt: skip

    def warn(self, context: Context, total: int) -> None:
        """Say what has no data, did not settle or is not complete, and what the method can't tell."""
        options = self._explainer.options
        if self.silent:
            context.warn(
                f"{self.silent} of {total} chips have no data on more than half of their pixels and were "
                "left out."
            )
        if self.unsettled:
            context.warn(
                f"{self.unsettled} of {self.chips} chips had not settled at {options.max_steps} steps; "
                "raise the most steps, or read them with care."
            )
        if not self._explainer.contributions:
            context.warn(
                "The values of this explainer are no contributions to the output: their residual is not "
                "defined and is nodata."
            )
        elif self.above:
            context.warn(
                f"The residual is above {options.tolerance:g} of the output difference at {self.above} of "
                f"{self.chips} chips; it is in the chip table and in the third band of the saliency raster."
            )
        if self.chips > len(self._rows):
            context.warn(f"The chip table holds the first {len(self._rows)} of {self.chips} chips.")

    def numbers(self) -> dict[str, float | None]:
        """Return the number outputs; the mean residual is relative to the mean output difference."""
        relative = self._residual / self._difference if self._difference else 0.0
        return {
            "MEAN_RESIDUAL": relative if self._explainer.contributions else None,
            "CHIPS": self.chips,
            "UNSETTLED": self.unsettled,
        }

    def facts(self) -> dict:
        """Return what the run record says."""
        return {
            "chips": self.chips,
            "chips_without_data": self.silent,
            "evaluations_per_chip": round(self._evaluations / self.chips, 2),
            "unsettled": self.unsettled,
            "mean_residual": self.numbers()["MEAN_RESIDUAL"],
            "chips_with_residual_above_tolerance": self.above if self._explainer.contributions else None,
        }

    def style(self) -> tuple[int, float, float]:
        """Return the band of the values to show with its limit, and the signed sum's limit."""
        limits = self._pixels.limits()
        place = int(limits[:-1].argmax())
        return place, float(limits[place]) or 1.0, float(limits[-1]) or 1.0

    def tables(self) -> dict[str, dict]:
        """Return the band table and the chip table."""
        chips = [self._rows[key] for key in sorted(self._rows)]
        return {"BAND_TABLE": _table(_BAND_COLUMNS, self._band_rows()),
                "CHIP_TABLE": _table(_CHIP_COLUMNS, chips)}  # fmt: skip

    def _band_rows(self) -> list[list]:
        rows = []
        for row in self._bands.rows():
            index = self._layout.places[row.band]
            band = self._layout.bands[index]
            known: tuple = (index + 1, describe_band(index, band), band.wavelength_nm)
            if self._layout.single:
                known = (None, self._layout.single, None)
            rows.append([
                self._card.class_names[row.class_index], *known, row.mean, row.mean_absolute, row.share,
                row.p10, row.p90, row.pixels, row.sampled,
            ])  # fmt: skip
        return rows


def _table(columns: tuple, rows: list[list]) -> dict:
    return {"columns": [dict(zip(("name", "type", "alias"), column)) for column in columns], "rows": rows}
