"""Gaps in the series of single pixels, filled by linear interpolation in time."""

from __future__ import annotations

import numpy as np

# Pixels filled at a time: keeps what this needs beside the values themselves to a few MB.
_PIXELS = 8192


def fill_gaps(values: np.ndarray, days: np.ndarray) -> None:
    """Fill the NaN of `values` (date, y, x), in place, linearly between the observed dates around them.

    `days` (date,), ascending, are the dates' true days. Before the first and after the last observed date
    the nearest value holds. A pixel with fewer than 2 observed dates becomes NaN throughout.
    """
    series = values.reshape(len(values), -1)
    if not np.shares_memory(series, values):
        raise ValueError("The values to fill must lie in one piece.")
    gaps = np.flatnonzero(np.isnan(series).any(axis=0))
    for start in range(0, len(gaps), _PIXELS):
        pixels = gaps[start : start + _PIXELS]
        series[:, pixels] = _filled(series[:, pixels], days)


def _filled(series: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Return (date, pixel) values without their gaps."""
    count = len(series)
    observed = ~np.isnan(series)
    steps = np.arange(count, dtype=np.int32)[:, np.newaxis]
    before = np.maximum.accumulate(np.where(observed, steps, -1), axis=0)
    after = np.minimum.accumulate(np.where(observed, steps, count)[::-1], axis=0)[::-1]
    before = np.where(before < 0, after, before)
    after = np.where(after == count, before, after)
    # A pixel without any observed date points beyond the ends; it becomes NaN below.
    step, pixel = np.nonzero(~observed)
    first, second = np.minimum(before[step, pixel], count - 1), np.minimum(after[step, pixel], count - 1)
    low, high = series[first, pixel], series[second, pixel]
    share = (days[step] - days[first]) / np.maximum(days[second] - days[first], 1)
    filled = series.copy()
    filled[step, pixel] = low + share * (high - low)
    filled[:, observed.sum(axis=0) < 2] = np.nan
    return filled
