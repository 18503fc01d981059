"""What a series looks like over time, class by class, and how important each date is for it."""

from __future__ import annotations

from datetime import date

import numpy as np

from ..rasters.series import Series
from ..rasters.tables import BandRow, BandStatistics
from .date_directions import Directions
from .series_labels import SeriesLabels
from .series_plot import ProfilePanel

ALL_PIXELS = "all pixels"


class Profiles:
    """Running statistics of observed values and of importance, per class and date.

    In decibels, means are of power: the mean of decibels is lower, the more so the more speckle there is.
    Percentiles are of the values themselves, of up to 4096 pixels of each class.
    """

    def __init__(
        self, series: Series, directions: Directions, labels: SeriesLabels | None, unit: str, seed: int
    ) -> None:
        self._series, self._directions, self._unit = series, directions, unit
        self.classes = labels.names if labels is not None else (ALL_PIXELS,)
        count, bands = len(self.classes), len(series.bands)
        self._means = BandStatistics(count, bands, sample=1, seed=seed)
        self._values = BandStatistics(count, bands, seed=seed)
        self._importance = BandStatistics(count, len(directions.names) * len(series.dates), seed=seed)

    def add(self, classes: np.ndarray, values: np.ndarray, importance: np.ndarray, keys: np.ndarray) -> None:
        """Add pixels: classes int (n,), -1 for none, values (n, band) and importance (direction, n, date).

        Values that were not observed are NaN.
        """
        chosen = classes >= 0
        classes, values, keys = classes[chosen], values[chosen], keys[chosen]
        maps = np.concatenate(list(importance[:, chosen]), 1)
        self._means.add(classes, 10 ** (values / 10) if self._unit == "dB" else values, keys)
        self._values.add(classes, values, keys)
        self._importance.add(classes, maps, keys)

    def limit(self) -> float:
        """Return the 99th percentile of the absolute importance."""
        return float(self._importance.limits().max())

    def importance(self) -> dict[int, np.ndarray]:
        """Return the mean importance (direction, date) of each class that has pixels; NaN where none is."""
        shape = (len(self._directions.names), len(self._series.dates))
        return {number: _means(rows).reshape(shape) for number, rows in _by_class(self._importance).items()}

    def table(self) -> dict:
        """Return the table of profiles: a row per class, direction, date and channel."""
        columns = [
            ("class", "string", "Class"), ("direction", "string", "Direction of the embedding"),
            ("date", "string", "Date"), ("channel", "string", "Channel"),
            ("mean", "double", f"Mean{self._in_unit}"),
            ("percentile_10", "double", f"10th percentile{self._in_unit}"),
            ("percentile_90", "double", f"90th percentile{self._in_unit}"),
            ("importance", "double", "Mean importance"),
            ("importance_0_to_1", "double", "Mean importance, from 0 at the least date to 1 at the greatest"),
            ("pixels", "int", "Pixels observed"),
        ]  # fmt: skip
        rows = []
        values, importance = self._profiles(), self.importance()
        channels = self._series.channels
        for number, (mean, low, high, pixels) in values.items():
            for name, profile in zip(self._directions.names, importance[number]):
                shown = from_least(profile)
                for t, day in enumerate(self._series.dates):
                    for c, channel in enumerate(channels):
                        rows.append([
                            self.classes[number], name, day, channel,
                            _known(mean[t, c]), _known(low[t, c]), _known(high[t, c]),
                            _known(profile[t]), _known(shown[t]), int(pixels[t, c]),
                        ])  # fmt: skip
        return {"columns": [dict(zip(("name", "type", "alias"), c)) for c in columns], "rows": rows}

    def panels(self, shown: int) -> list[list[ProfilePanel]]:
        """Return the panels of a plot of channel `shown`: a row per direction, a column per class."""
        values, importance = self._profiles(), self.importance()
        days = [date.fromisoformat(day) for day in self._series.dates]
        channels = self._series.channels
        return [
            [
                ProfilePanel(
                    title=self.classes[number], row_title=name, dates=days,
                    mean=mean[:, shown], low=low[:, shown], high=high[:, shown],
                    importance=from_least(importance[number][d]),
                    backdrops={channel: mean[:, c] for c, channel in enumerate(channels) if c != shown},
                    unit=f"{channels[shown]}{self._in_unit}", pixels=int(pixels.max()),
                )
                for number, (mean, low, high, pixels) in values.items()
            ]
            for d, name in enumerate(self._directions.names)
        ]  # fmt: skip

    @property
    def _in_unit(self) -> str:
        return f" ({self._unit})" if self._unit else ""

    def _profiles(self) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Return mean, 10th and 90th percentile, and pixels of each class, all (date, channel)."""
        shape = (len(self._series.dates), len(self._series.channels))
        means = _by_class(self._means)
        found = {}
        for number, rows in _by_class(self._values).items():
            mean = _means(means[number])
            mean = 10 * np.log10(mean) if self._unit == "dB" else mean
            low, high = (np.array([_number(getattr(row, name)) for row in rows]) for name in ("p10", "p90"))
            pixels = np.array([row.pixels for row in rows])
            found[number] = (
                mean.reshape(shape), low.reshape(shape), high.reshape(shape), pixels.reshape(shape),
            )  # fmt: skip
        return found


def from_least(profile: np.ndarray) -> np.ndarray:
    """Return values from 0 at the least to 1 at the greatest, 0 where all are alike; NaN stays."""
    if not np.isfinite(profile).any():
        return profile
    low, high = np.nanmin(profile), np.nanmax(profile)
    return (profile - low) / (high - low) if high > low else profile * 0


def _by_class(statistics: BandStatistics) -> dict[int, list[BandRow]]:
    found: dict[int, list[BandRow]] = {}
    for row in statistics.rows():
        found.setdefault(row.class_index, []).append(row)
    return found


def _means(rows: list[BandRow]) -> np.ndarray:
    return np.array([_number(row.mean) for row in rows])


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
