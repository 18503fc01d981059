"""QGIS styles of rasters with a band per date, played by the Temporal Controller, and of rasters of dates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np

from .dates import day_number
from .styles import VIRIDIS, Colour, diverging, sequential, write_classes_qml, write_style


def write_date_series_qml(
    path: str, dates: Sequence[str], low: float, high: float, bands_per_date: int = 1
) -> None:
    """Write a style for values from `low` to `high` of a raster with bands of ISO dates, ascending.

    Band 1 is shown, and in time the first of the `bands_per_date` bands of each date. Its range goes from
    midpoint to midpoint between the dates, of which each stands for noon.
    """
    write_style(path, sequential(1, low, high), _temporal(dates, bands_per_date))


def write_signed_date_series_qml(
    path: str, dates: Sequence[str], limit: float, bands_per_date: int = 1
) -> None:
    """Write the same for signed values: white at zero, full colour at ±limit."""
    write_style(path, diverging(1, limit), _temporal(dates, bands_per_date))


def write_date_classes_qml(path: str, dates: Sequence[str]) -> None:
    """Write a style for a raster whose values number `dates`, from 1 on."""
    write_classes_qml(path, dates, date_colours(dates))


def date_colours(dates: Sequence[str]) -> list[Colour]:
    """Return a colour per date (ascending), by its place in time between the first and the last."""
    days = np.array([day_number(date) for date in dates], dtype=float)
    ramp = np.array([[int(colour[i : i + 2], 16) for i in (0, 2, 4)] for colour in VIRIDIS])
    places = (days - days[0]) / max(days[-1] - days[0], 1) * (len(ramp) - 1)
    channels = [np.rint(np.interp(places, np.arange(len(ramp)), channel)).astype(int) for channel in ramp.T]
    return [(int(red), int(green), int(blue)) for red, green, blue in zip(*channels)]


def date_ranges(dates: Sequence[str]) -> list[tuple[datetime, datetime]]:
    """Return from when to when each date stands: to the midpoints between dates, half a gap at the ends.

    A date means its noon, so that days one after the other have a whole day each. An only date has its day.
    """
    noons = [datetime.fromisoformat(date) + timedelta(hours=12) for date in dates]
    halves = [(after - before) / 2 for before, after in pairwise(noons)] or [timedelta(hours=12)]
    edges = [noon + half for noon, half in zip(noons[:-1], halves)]
    starts, ends = [noons[0] - halves[0], *edges], [*edges, noons[-1] + halves[-1]]
    return list(zip(starts, ends))


def _temporal(dates: Sequence[str], bands_per_date: int) -> str:
    """Return the temporal properties of a layer: a fixed range per band, its end not included."""
    ranges = "".join(
        f'\n      <range band="{1 + index * bands_per_date}" begin="{start.isoformat()}Z" '
        f'end="{end.isoformat()}Z" includeBeginning="1" includeEnd="0"/>'
        for index, (start, end) in enumerate(date_ranges(dates))
    )
    return (
        '  <temporal enabled="1" mode="3" bandNumber="1" fetchMode="0">\n'
        f"    <ranges>{ranges}\n    </ranges>\n  </temporal>\n"
    )
