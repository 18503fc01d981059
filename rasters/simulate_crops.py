"""Radar backscatter of crops over a year: one season for all of them, and windows of dates for each.

The season (a double logistic, Beck et al. 2006, Remote Sensing of Environment 100, here in dB), its timing
from parcel to parcel, the level, the weather and the speckle have one distribution for all crops. A crop
adds its windows, in which a few acquisitions are brighter or darker, and nothing else. Dates are those of a
Sentinel-1 orbit at steps of six days, without the acquisitions in `MISSED`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from .styles import Colour

CHANNELS = ("VV", "VH")
LOOKS = 12.0  # of pixels of 20 m, as are left of ground-range products at 10 m with 4.4 looks
FIRST, STEP_DAYS, STEPS = date(2017, 1, 3), 6, 61
MISSED = (3, 14, 36, 37)  # steps without an acquisition
LEVEL_DB = (-13.0, -20.0)  # of bare ground, per channel
SEASON_DB = (2.0, 3.0)  # by which the full season is brighter
START_DAY, END_DAY = 120.0, 255.0  # of the year, where half of the season has come, and gone
START_DAYS, END_DAYS = 12.0, 14.0  # the logistic functions' time constants
SHIFT_SPREAD_DAYS = 2.0  # standard deviation of the season's timing from parcel to parcel
LEVEL_SPREAD_DB = 0.1  # of the level from parcel to parcel, both channels alike
WEATHER_DB = (0.5, 0.3)  # of what a date adds everywhere, per channel: rain, frost
STRENGTHS = (0.8, 1.2)  # range of a parcel's factor of the windows' dB

_TAKEN = [step for step in range(STEPS) if step not in MISSED]
DATES = tuple((FIRST + timedelta(STEP_DAYS * step)).isoformat() for step in _TAKEN)
_DAYS = np.array([date.fromisoformat(day).timetuple().tm_yday for day in DATES], np.float64)


@dataclass(frozen=True)
class DateWindow:
    """A few acquisitions in a row, from `first` (ISO) on, and by how many dB each channel departs there."""

    first: str
    count: int
    change_db: tuple[float, float]

    @property
    def dates(self) -> range:
        """The places in `DATES`, from 0."""
        start = DATES.index(self.first)
        return range(start, start + self.count)

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that depart."""
        return tuple(name for name, change in zip(CHANNELS, self.change_db) if change)


@dataclass(frozen=True)
class Crop:
    """One crop: its name and colour, its share of the parcels, and its windows."""

    name: str
    colour: Colour
    share: float
    windows: tuple[DateWindow, ...]

    @property
    def dates(self) -> list[int]:
        """The planted dates of all windows, as places in `DATES`, from 0."""
        return sorted({place for window in self.windows for place in window.dates})


CROPS = (
    Crop("cotton", (0, 114, 178), 0.28, (DateWindow("2017-08-25", 4, (5.0, 5.0)),)),
    Crop("tomato", (213, 94, 0), 0.22, (DateWindow("2017-07-02", 4, (-5.0, -5.0)),)),
    Crop("sugar beet", (204, 121, 167), 0.19, (DateWindow("2017-02-20", 4, (5.0, 5.0)),)),
    Crop("maize", (230, 159, 0), 0.17, (DateWindow("2017-05-21", 4, (5.0, 5.0)),)),
    Crop(
        "rice",
        (86, 180, 233),
        0.14,
        (DateWindow("2017-04-21", 4, (-5.0, -5.0)), DateWindow("2017-09-24", 4, (5.0, 5.0))),
    ),
)


def season(shift_days: np.ndarray) -> np.ndarray:
    """Return how much of the season (n, date) has come, 0 to 1, where it is `shift_days` (n,) late."""
    days = _DAYS - shift_days[:, None]
    risen, fallen = (
        1 / (1 + np.exp(-(days - middle) / width))
        for middle, width in ((START_DAY, START_DAYS), (END_DAY, END_DAYS))
    )
    return risen - fallen


@dataclass(frozen=True)
class Growth:
    """What is drawn per parcel (n,): its crop, days of delay, level in dB, and the windows' factor."""

    crop: np.ndarray
    shift_days: np.ndarray
    level_db: np.ndarray
    strength: np.ndarray

    @classmethod
    def drawn(cls, crop: np.ndarray, rng: np.random.Generator) -> Growth:
        """Draw the rest for parcels of these crops."""
        return cls(
            crop,
            SHIFT_SPREAD_DAYS * rng.standard_normal(len(crop)),
            LEVEL_SPREAD_DB * rng.standard_normal(len(crop)),
            rng.uniform(*STRENGTHS, len(crop)),
        )

    def decibels(
        self, crops: Sequence[Crop], parcels: np.ndarray, season_db: tuple[float, float]
    ) -> np.ndarray:
        """Return the mean backscatter in dB (n, date, channel) of `parcels` (n,), weather left out.

        `season_db` is what the full season adds, per channel. Parcel -1, the land between, has the average
        season and no window.
        """
        planted = np.stack([windows_db(crop) for crop in crops])
        decibels = np.empty((len(parcels), len(DATES), len(CHANNELS)))
        inside = parcels >= 0
        own = parcels[inside]
        decibels[:] = LEVEL_DB + season(np.zeros(1))[..., None] * season_db
        decibels[inside] = (
            LEVEL_DB
            + self.level_db[own, None, None]
            + season(self.shift_days[own])[..., None] * season_db
            + planted[self.crop[own]] * self.strength[own, None, None]
        )
        return decibels


def windows_db(crop: Crop) -> np.ndarray:
    """Return the departure of a crop from the common season in dB (date, channel)."""
    departure = np.zeros((len(DATES), len(CHANNELS)))
    for window in crop.windows:
        departure[list(window.dates)] += window.change_db
    return departure


def speckle(shape: tuple[int, ...], looks: float, rng: np.random.Generator) -> np.ndarray:
    """Return multiplicative speckle, float32: gamma distributed, mean 1, of `looks` looks."""
    return rng.standard_gamma(looks, size=shape, dtype=np.float32) / np.float32(looks)
