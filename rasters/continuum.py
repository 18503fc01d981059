"""The continuum of spectra: the upper convex hull over each contiguous range of wavelengths.

Clark & Roush 1984, DOI 10.1029/JB089iB07p06329. Absorptions lie below their continuum, nothing above it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Water vapour takes what the ground reflects here: no band of these windows says anything about the ground.
ATMOSPHERE_NM = ((1350.0, 1420.0), (1800.0, 1950.0))
# Beyond these few sensors have signal enough: such bands are read, and features there are flagged.
TRUSTED_NM = (420.0, 2450.0)

# A step of more than so many of its neighbours' steps is a gap, with nothing known of what lies in it.
_GAP = 5.0
_NEIGHBOURS = 5
# Where two spectrometers share no more than this many steps, they are made to join smoothly.
_JOIN = 2.5
# More than two steps of less than this share of the usual one, near each other: two that overlap for long.
_SAME = 1 / 3
_MOST_SAME = 2
# Spectrometers deliver runs of rising wavelengths; a list in shorter ones is in no order of theirs.
_SHORTEST_RUN = 8
# Fewer bands have no inside that could lie below a hull.
_LEAST_BANDS = 3
# Pixels at a time, so that what is computed of them stays in the processor's cache.
_BLOCK = 512
# A hull by no more than so many roundings above a value is that value.
_ROUNDINGS = 8

Windows = Sequence[tuple[float, float]]
# In nm, one per band; None, or NaN, where unknown.
Wavelengths = Sequence[float | None] | np.ndarray


def inside(wavelengths_nm: Wavelengths, windows: Windows = ATMOSPHERE_NM) -> np.ndarray:
    """Return bool (band,): wavelengths in nm that lie in one of the windows; unknown ones do not."""
    known = _known(wavelengths_nm)
    found = np.zeros(len(known), dtype=bool)
    for low, high in windows:
        found |= (known >= low) & (known <= high)
    return found


def untrusted(wavelengths_nm: Wavelengths) -> np.ndarray:
    """Return bool (band,): wavelengths at the ends, where few sensors have signal enough (`TRUSTED_NM`)."""
    known = _known(wavelengths_nm)
    return (known < TRUSTED_NM[0]) | (known > TRUSTED_NM[1])


def ranges_of(
    wavelengths_nm: Wavelengths,
    good: Sequence[bool] | None = None,
    masked: Windows = ATMOSPHERE_NM,
) -> list[np.ndarray]:
    """Return the contiguous ranges of a list of bands: indices int (band,) of each, by rising wavelength.

    In no range are: bands of unknown wavelength, those that are not `good`, those in a `masked` window. A
    range ends at such a window; where the list steps back by more than 2 bands, which is where the next
    spectrometer begins (a list that falls, or is in no order at all, is sorted first); at a gap of more than
    5 times the steps around it; and in bands of two spectrometers that are sorted into each other. Ranges of
    fewer than 3 bands are left out.
    """
    known = _known(wavelengths_nm)
    usable = np.isfinite(known) & ~inside(wavelengths_nm, masked)
    if good is not None:
        usable &= np.asarray(good, dtype=bool)
    ranges = [
        part
        for run in _spectrometers(known)
        for part in _without_breaks(run[usable[run]], known, masked)
        if len(part) >= _LEAST_BANDS and known[part[-1]] > known[part[0]]
    ]
    return sorted(ranges, key=lambda part: (known[part[0]], part[0]))


def upper_hull(values: np.ndarray, wavelengths_nm: Wavelengths, ranges: Sequence[np.ndarray]) -> np.ndarray:
    """Return the upper convex hull of spectra (..., band) over each of the `ranges`, float as the values are.

    It is nowhere below the values, and equal to them at its vertices and in bands of no range. Where a
    spectrum has a value in a range that is not finite, its hull is NaN in all of the range. `ranges` as of
    `ranges_of`.
    """
    spectra = values.reshape(-1, values.shape[-1])
    hull = spectra.copy()
    known = _known(wavelengths_nm)
    for bands in ranges:
        for start in range(0, len(spectra), _BLOCK):
            block = spectra[start : start + _BLOCK, bands]
            hull[start : start + _BLOCK, bands] = _hull_of_range(block, known[bands])
    return hull.reshape(values.shape)


def _known(wavelengths_nm: Wavelengths) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in wavelengths_nm], dtype=np.float64)


def _spectrometers(known: np.ndarray) -> list[np.ndarray]:
    """Return the bands of each run of rising wavelengths, or all of them sorted where there is no order.

    Runs that share a band or two are one, sorted.
    """
    bands = np.flatnonzero(np.isfinite(known))
    if (np.diff(known[bands]) < 0).sum() > len(bands) / 2:
        bands = bands[::-1]
    runs = np.split(bands, np.flatnonzero(np.diff(known[bands]) <= 0) + 1)
    if len(runs) > 1 and len(bands) < _SHORTEST_RUN * len(runs):
        return [_sorted(bands, known)]
    steps = np.abs(np.diff(known[bands]))
    joined = runs[:1]
    for run in runs[1:]:
        if known[joined[-1][-1]] - known[run[0]] <= _JOIN * np.median(steps):
            joined[-1] = _sorted(np.concatenate([joined[-1], run]), known)
        else:
            joined.append(run)
    return joined


def _sorted(bands: np.ndarray, known: np.ndarray) -> np.ndarray:
    return bands[np.argsort(known[bands], kind="stable")]


def _without_breaks(run: np.ndarray, known: np.ndarray, masked: Windows) -> list[np.ndarray]:
    """Cut a run of rising wavelengths at its gaps, at what is masked, and where spectrometers are mixed."""
    if len(run) < 2:
        return [run]
    at, steps = known[run], np.diff(known[run])
    around = [np.median(steps[max(0, i - _NEIGHBOURS) : i + _NEIGHBOURS + 1]) for i in range(len(steps))]
    breaks = steps > _GAP * np.array(around)
    same = np.flatnonzero(steps < _SAME * np.median(steps))
    for group in np.split(same, np.flatnonzero(np.diff(same) > 3) + 1):
        breaks[group] |= len(group) > _MOST_SAME
    for low, high in masked:
        breaks |= (at[:-1] <= low) & (at[1:] >= high)
    return np.split(run, np.flatnonzero(breaks) + 1)


def _hull_of_range(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the hull (n, band) of spectra (n, band) at rising wavelengths (band,)."""
    exact = values.astype(np.float64)
    unknown = ~np.isfinite(exact).all(1)
    exact[unknown] = 0
    vertex = _vertices(exact, at)
    places = np.arange(len(at))
    left = np.maximum.accumulate(np.where(vertex, places, 0), axis=1)
    right = np.minimum.accumulate(np.where(vertex, places, len(at))[:, ::-1], axis=1)[:, ::-1]
    low, high = (np.take_along_axis(exact, ends, 1) for ends in (left, right))
    # At a vertex both ends are the vertex itself.
    along = (at - at[left]) / np.where(vertex, 1.0, at[right] - at[left])
    hull = low + (high - low) * along
    nearly = hull - exact <= _ROUNDINGS * np.finfo(values.dtype).eps * np.maximum(np.abs(low), np.abs(high))
    hull[nearly] = exact[nearly]
    # Rounded to the values' own type it must not fall below them.
    rounded = np.maximum(hull.astype(values.dtype), values)
    rounded[unknown] = np.nan
    return rounded


def _vertices(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return bool (n, band): the vertices of the upper hulls of spectra (n, band).

    All spectra are wrapped at once (Jarvis 1973, DOI 10.1016/0020-0190(73)90020-3): the next vertex is where
    the line from the last one rises most.
    """
    last = len(at) - 1
    vertex = np.zeros(values.shape, dtype=bool)
    vertex[:, [0, last]] = True
    rows, place = np.arange(len(values)), np.zeros(len(values), dtype=np.int64)
    while len(rows):
        first = int(place.min()) + 1
        run = at[first:] - at[place][:, None]
        rise = values[rows, first:] - values[rows, place][:, None]
        slopes = np.divide(rise, run, where=run > 0, out=np.full_like(rise, -np.inf))
        place = first + slopes.argmax(1)
        vertex[rows, place] = True
        unfinished = place < last
        rows, place = rows[unfinished], place[unfinished]
    return vertex
