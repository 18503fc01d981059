"""Where along the spectrum a network looks: peaks of a profile of attributions, and what windows hold of it.

A profile has a value per band, such as the mean absolute attributions of a class; its signs do not matter.
Only bands of contiguous ranges count (`rasters.continuum.ranges_of`). Chance is what the same profile would
give had it lain elsewhere: it is shifted around each range by a number of bands drawn at random, which keeps
how neighbouring bands go together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.signal import find_peaks

from ..rasters.continuum import ATMOSPHERE_NM, Wavelengths, Windows, inside

SHIFTS = 1000
_LEAST_PROMINENCE = 0.05
# A full width at half height in standard deviations of a Gaussian.
_FWHM = 2.3548
# Sums that differ by less than rounding are the same.
_ROUNDING = 1e-9


class Peak(NamedTuple):
    """A peak of a profile: wavelength in nm, band, height and prominence per nm, as parts of the highest."""

    wavelength_nm: float
    band: int
    height: float
    prominence: float


class Score(NamedTuple):
    """What a set of bands holds of a profile.

    `score` is the sum of absolute values over the `bands` of the set, `share` its part of all; `enrichment`
    that part over the set's part of the bands. `p`: how often a shifted profile scores as high or higher,
    `expected` the mean share of those; `q` the false discovery rate at which the set would count among those
    scored together (Benjamini & Hochberg 1995). All are None where no band of the set counts, or nothing is
    attributed to any band.
    """

    bands: int
    score: float | None = None
    share: float | None = None
    enrichment: float | None = None
    expected: float | None = None
    p: float | None = None
    q: float | None = None


def peaks(
    profile: np.ndarray, wavelengths_nm: Wavelengths, ranges: Sequence[np.ndarray], fwhm_nm: float = 0.0
) -> list[Peak]:
    """Return the peaks of a profile (band,), the highest first.

    Values are taken per nm, so that closely spaced bands count no more, and smoothed within each range by a
    Gaussian with the sensor's `fwhm_nm`. A peak's prominence is at least 5 % of the highest value; ends of
    ranges can be peaks.
    """
    at = np.asarray([np.nan if value is None else value for value in wavelengths_nm], dtype=np.float64)
    smoothed = [
        _smoothed(np.abs(profile[bands]) / _widths(at[bands]), at[bands], fwhm_nm) for bands in ranges
    ]
    highest = max((float(values.max()) for values in smoothed), default=0.0)
    if not highest > 0:
        return []
    found = []
    for bands, values in zip(ranges, smoothed, strict=True):
        places, shape = find_peaks(np.pad(values / highest, 1), prominence=_LEAST_PROMINENCE)
        for place, prominence in zip(places - 1, shape["prominences"], strict=True):
            height = float(values[place] / highest)
            found.append(Peak(float(at[bands[place]]), int(bands[place]), height, float(prominence)))
    return sorted(found, key=lambda peak: (-peak.height, peak.wavelength_nm))


def window_scores(
    profile: np.ndarray,
    wavelengths_nm: Wavelengths,
    ranges: Sequence[np.ndarray],
    windows: Windows,
    exposure: np.ndarray | None = None,
    shifts: int = SHIFTS,
    seed: int = 0,
) -> list[Score]:
    """Return the scores of windows (low, high) in nm, such as those of named features; see `set_scores`."""
    sets = np.array([inside(wavelengths_nm, [window]) for window in windows], dtype=bool)
    return set_scores(profile, sets.reshape(-1, len(profile)), ranges, exposure, shifts, seed)


def set_scores(
    profile: np.ndarray,
    sets: np.ndarray,
    ranges: Sequence[np.ndarray],
    exposure: np.ndarray | None = None,
    shifts: int = SHIFTS,
    seed: int = 0,
) -> list[Score]:
    """Return the scores of sets of bands, bool (set, band), for a profile (band,).

    Such a set are the bands of the absorptions that a spectrum has: its `share` against the `expected` one is
    how far attribution and absorptions lie on each other. The same `seed` gives the same p.

    Contributions from a continuum are as large as absorptions are deep, whatever the network: those of random
    weights lie on absorptions too. `exposure` (band,), the mean size of what the pixels differ by from their
    baseline, takes that out of chance: it stays in place, and what is shifted is the profile per unit of it.
    """
    size = np.abs(np.asarray(profile, dtype=np.float64))
    usable = np.zeros(len(size), dtype=bool)
    for bands in ranges:
        usable[bands] = True
    counts = (sets & usable).sum(1)
    total = size[usable].sum()
    if not total > 0:
        return [Score(int(count)) for count in counts]
    scores = (sets & usable) @ np.where(usable, size, 0)
    held = np.ones(len(size)) if exposure is None else np.abs(np.asarray(exposure, dtype=np.float64))
    rate = np.divide(size, held, where=held > 0, out=np.zeros(len(size)))
    chance = _shifted_shares(rate, held, sets, ranges, shifts, seed)
    p = (1 + (chance >= scores / total * (1 - _ROUNDING)).sum(0)) / (1 + shifts)
    known = counts > 0
    q = np.ones(len(sets))
    q[known] = false_discovery_rates(p[known])
    return [
        Score(
            int(counts[i]), float(scores[i]), float(scores[i] / total),
            float(scores[i] / total / (counts[i] / usable.sum())), float(chance[:, i].mean()),
            float(p[i]), float(q[i]),
        ) if known[i] else Score(0)
        for i in range(len(sets))
    ]  # fmt: skip


def feature_scores(
    profile: np.ndarray, sets: np.ndarray, absorbed: np.ndarray, ranges: Sequence[np.ndarray],
    exposure: np.ndarray | None = None, shifts: int = SHIFTS, seed: int = 0,
) -> list[Score]:  # fmt: skip
    """Return the scores of the bands of single features, bool (set, band), among bands of no absorption.

    Scores, shares and expected shares are those of `set_scores`. p and q are of the bands of all ranges that
    are the feature's own or not `absorbed` (band,): beside another absorption that the network follows as
    well, neither would seem more than chance. Ranges are joined end to end, as one of 28 bands has 28 shifts,
    too few for any p below 0.04.
    """
    joined = joined_range(ranges)
    known = set_scores(profile, sets, joined, exposure, shifts, seed)
    p = np.ones(len(sets))
    for number, (own, score) in enumerate(zip(sets, known, strict=True)):
        if score.p is not None:
            apart = [bands[(own | ~absorbed)[bands]] for bands in joined]
            alone = set_scores(profile, own[None], apart, exposure, shifts, seed)[0].p
            p[number] = 1.0 if alone is None else alone
    tested = np.array([score.p is not None for score in known], dtype=bool)
    q = np.ones(len(sets))
    q[tested] = false_discovery_rates(p[tested])
    return [
        score._replace(p=float(p[i]), q=float(q[i])) if tested[i] else score for i, score in enumerate(known)
    ]


def joined_range(ranges: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return all ranges joined to one, as a list of one; of none where there is none."""
    return [np.concatenate(list(ranges))] if len(ranges) else []


def false_discovery_rates(p: np.ndarray) -> np.ndarray:
    """Return q (test,) for p-values (test,).

    Benjamini & Hochberg 1995, DOI 10.1111/j.2517-6161.1995.tb02031.x: a test's q is the least rate of false
    discoveries at which it would be one of those found.
    """
    order = np.argsort(p)
    raw = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1)
    return q


def atmospheric_share(
    profile: np.ndarray, wavelengths_nm: Wavelengths, windows: Windows = ATMOSPHERE_NM
) -> float | None:
    """Return the share of the absolute values of all bands that lies in windows of the atmosphere.

    None where nothing is attributed to any band.
    """
    size = np.abs(np.nan_to_num(profile))
    return float(size[inside(wavelengths_nm, windows)].sum() / size.sum()) if size.any() else None


def _shifted_shares(
    rate: np.ndarray, held: np.ndarray, sets: np.ndarray, ranges: Sequence[np.ndarray], shifts: int, seed: int
) -> np.ndarray:
    """Return the shares (shift, set) of a profile whose rate is shifted around each range."""
    generator = np.random.default_rng(seed)
    scores, totals = np.zeros((shifts, len(sets))), np.zeros((shifts, 1))
    for bands in ranges:
        places = np.arange(len(bands))
        # Row k: the range's rates, moved on by k bands, times what is there.
        moved = rate[bands][(places[None, :] - places[:, None]) % len(bands)] * held[bands]
        drawn = generator.integers(0, len(bands), shifts)
        scores += (moved @ sets[:, bands].T)[drawn]
        totals += moved.sum(1, keepdims=True)[drawn]
    # A shift that leaves nothing anywhere tells nothing: it counts against significance.
    return np.divide(scores, totals, where=totals > 0, out=np.ones_like(scores))


def _widths(at: np.ndarray) -> np.ndarray:
    """Return the nm (band,) that each band of a range stands for: half of the way to either neighbour."""
    steps = np.diff(at)
    # Where detectors join, two bands can have nearly the same wavelength: they share what is around them.
    least = np.median(steps) / 2
    return np.maximum((np.append(steps, steps[-1]) + np.append(steps[0], steps)) / 2, least)


def _smoothed(values: np.ndarray, at: np.ndarray, fwhm_nm: float) -> np.ndarray:
    if not fwhm_nm > 0:
        return values
    weights = np.exp(-((_FWHM * (at[:, None] - at[None, :]) / fwhm_nm) ** 2) / 2)
    return weights @ values / weights.sum(1)
