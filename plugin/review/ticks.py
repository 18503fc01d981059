"""Round numbers and dates for the axes of charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date

from .profile import DATE, WAVELENGTH, Axis

_DAYS = 365.25
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)


def round_ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most `most` round numbers between `low` and `high`."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high) or most < 1:
        return []
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(f * power for f in (1, 2, 5, 10, 20) if (high - low) / (f * power) <= most)
    first = math.ceil(low / step)
    return [count * step for count in range(first, math.floor(high / step) + 1)]


def label(value: float, ticks: Sequence[float]) -> str:
    """Return a number with the decimals that its neighbours need."""
    step = abs(ticks[1] - ticks[0]) if len(ticks) > 1 else abs(value) or 1.0
    largest = max((abs(tick) for tick in ticks), default=abs(value))
    if largest >= 1e6 or (largest and largest < 1e-3):
        return f"{value:.1e}"
    return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def place_ticks(axis: Axis, low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Return ticks of a profile's axis with their texts: nanometres, dates, or numbers of bands."""
    if axis.kind == DATE:
        return _date_ticks(low, high, most)
    ticks = round_ticks(low, high, most)
    if axis.kind != WAVELENGTH:
        ticks = [tick for tick in ticks if float(tick).is_integer()]
    return [(tick, f"{tick:.0f}") for tick in ticks]


def _date_ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Return first days of months, as sparse as `most` asks."""
    months = max(1.0, (high - low) / _DAYS * 12)
    step = next((step for step in _MONTHS if months / step <= most), _MONTHS[-1])
    first = date.fromordinal(int(low))
    ticks: list[tuple[float, str]] = []
    number = (first.year * 12 + first.month - 1) // step * step
    while True:
        day = date(number // 12, number % 12 + 1, 1)
        if day.toordinal() > high:
            return ticks
        if day.toordinal() >= low:
            ticks.append((float(day.toordinal()), f"{day:%Y}" if step >= 12 else f"{day:%Y-%m}"))
        number += step
