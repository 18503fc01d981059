"""Absorption features of a spectrum: where it dips below its continuum, how deep, how wide, how lopsided.

Clark & Roush 1984, DOI 10.1029/JB089iB07p06329; Kokaly & Clark 1999, DOI 10.1016/S0034-4257(98)00084-4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.signal import find_peaks, savgol_filter

from .continuum import Wavelengths, upper_hull

# Shallower ones are not told from what calibration leaves, however little noise there is.
LEAST_DEPTH = 0.01
# An absorption is as deep as this many standard deviations of the noise, or more.
_SIGMAS = 3.0
_LEAST_BANDS = 2.0
# A dip in the side of a deeper one counts where it stands out by half of its depth.
_LEAST_PROMINENCE = 0.5
_SMOOTHING = 5
_ORDER = 2


@dataclass(frozen=True)
class Absorption:
    """An absorption; wavelengths in nm, depths as parts of the continuum.

    `centre_nm` and `depth` are those of the parabola through the logarithms of the depth in the three lowest
    bands, `band` is the lowest.
    `fwhm_nm` lies between `half_nm`, where half the depth is reached, or the ends where it is not. `ends_nm`:
    where the spectrum meets its continuum, or the next absorption. `area_nm` is that of the depth between
    them, `asymmetry` the natural logarithm of its part right of the centre over that left of it, None where
    one of them is nothing. `prominence`: how far it stands out from deeper ones beside it.
    """

    centre_nm: float
    depth: float
    band: int
    half_nm: tuple[float, float]
    ends_nm: tuple[float, float]
    area_nm: float
    asymmetry: float | None
    prominence: float

    @property
    def fwhm_nm(self) -> float:
        """Full width at half depth."""
        return self.half_nm[1] - self.half_nm[0]


def continuum_removed(
    values: np.ndarray, wavelengths_nm: Wavelengths, ranges: Sequence[np.ndarray]
) -> np.ndarray:
    """Return spectra (..., band) over their hulls, float64: 1 on the hull and less in absorptions.

    It is 1 too in bands of no range, and where a hull is not above 0, which nothing can be a part of.
    """
    hull = upper_hull(values, wavelengths_nm, ranges).astype(np.float64)
    removed = np.divide(values, hull, where=hull > 0, out=np.ones(hull.shape))
    outside = np.ones(hull.shape[-1], dtype=bool)
    for bands in ranges:
        outside[bands] = False
    removed[..., outside] = 1
    return removed


def absorptions(
    spectrum: np.ndarray,
    wavelengths_nm: Wavelengths,
    ranges: Sequence[np.ndarray],
    noise: float | np.ndarray = 0.0,
    smoothing: int = _SMOOTHING,
) -> list[Absorption]:
    """Return the absorptions of one spectrum (band,), by rising wavelength.

    They are minima of the continuum-removed spectrum, smoothed by a Savitzky-Golay filter of order 2 over so
    many bands; at least 1 % and 3 standard deviations of the `noise` deep (in the unit of the spectrum, one
    or (band,)), 2 bands wide at half depth, and prominent by half of their depth. Depth, centre and width are
    measured in the spectrum itself, which no filter has made shallower.
    """
    values = np.asarray(spectrum, dtype=np.float64)
    at = np.array([np.nan if value is None else value for value in wavelengths_nm], dtype=np.float64)
    sigma = np.broadcast_to(np.asarray(noise, dtype=np.float64), values.shape)
    removed, hull = continuum_removed(values, at, ranges), upper_hull(values, at, ranges)
    found = []
    for bands in ranges:
        depth = 1 - removed[bands]
        if not np.isfinite(depth).all():
            continue
        least = np.divide(
            _SIGMAS * sigma[bands], hull[bands], where=hull[bands] > 0, out=np.zeros(len(bands))
        )
        found += _in_range(depth, at[bands], np.maximum(least, LEAST_DEPTH), bands, smoothing)
    return sorted(found, key=lambda each: each.centre_nm)


def _in_range(
    depth: np.ndarray, at: np.ndarray, least: np.ndarray, bands: np.ndarray, smoothing: int
) -> list[Absorption]:
    smooth = savgol_filter(depth, smoothing, _ORDER) if len(depth) >= smoothing > _ORDER else depth
    places, shape = find_peaks(smooth, height=0, prominence=0)
    minima, prominences = [], []
    for place, prominence in zip(places, shape["prominences"], strict=True):
        # A filter moves a lopsided minimum by a band at most.
        place = place - 1 + int(np.argmax(depth[place - 1 : place + 2]))
        deep = smooth[place] >= least[place] and prominence >= _LEAST_PROMINENCE * smooth[place]
        if deep and 0 < place < len(depth) - 1 and place not in minima:
            minima.append(place)
            prominences.append(float(prominence))
    borders = [0, *(a + int(np.argmin(depth[a : b + 1])) for a, b in pairwise(minima)), len(depth) - 1]
    found = []
    for number, (place, prominence) in enumerate(zip(minima, prominences, strict=True)):
        one = _measured(
            depth, at, place, (borders[number], borders[number + 1]), prominence, int(bands[place])
        )
        if one:
            found.append(one)
    return found


def _measured(
    depth: np.ndarray, at: np.ndarray, place: int, borders: tuple[int, int], prominence: float, band: int
) -> Absorption | None:
    """Return what is measured of the minimum at `place`, None where it is too narrow."""
    centre, deepest = _vertex(at[place - 1 : place + 2], depth[place - 1 : place + 2])
    halves = [_crossing(depth, at, place, border, deepest / 2) for border in borders]
    steps = np.interp(halves, at, np.arange(len(at)))
    if steps[1] - steps[0] < _LEAST_BANDS:
        return None
    first, last = (_meets(depth, place, border) for border in borders)
    left, right = (_area(depth, at, centre, end) for end in (first, last))
    return Absorption(
        centre_nm=centre, depth=deepest, band=band, half_nm=(halves[0], halves[1]),
        ends_nm=(float(at[first]), float(at[last])), area_nm=left + right,
        asymmetry=math.log(right / left) if left > 0 and right > 0 else None, prominence=prominence,
    )  # fmt: skip


def _vertex(at: np.ndarray, depth: np.ndarray) -> tuple[float, float]:
    """Return place and height of the vertex through three points, the middle one highest.

    It is that of the parabola of the depth's logarithm, which a Gaussian is, where the depth has one.
    """
    if (depth > 0).all():
        centre, height = _parabola(at, np.log(depth))
        return centre, math.exp(height)
    return _parabola(at, depth)


def _parabola(at: np.ndarray, depth: np.ndarray) -> tuple[float, float]:
    (a, b, c), (low, top, high) = at.tolist(), depth.tolist()
    left, right = (top - low) / (b - a), (high - top) / (c - b)
    bend = (right - left) / (c - a)
    if bend >= 0:
        return b, top
    slope = left + bend * (b - a)
    # Beyond halfway to a neighbour the parabola would be about another band.
    along = min(max(-slope / (2 * bend), (a - b) / 2), (c - b) / 2)
    return b + along, top + slope * along + bend * along**2


def _crossing(depth: np.ndarray, at: np.ndarray, place: int, border: int, level: float) -> float:
    """Return the wavelength where the depth first falls to a level on the way from `place` to a border."""
    step = 1 if border > place else -1
    for here in range(place, border, step):
        after = here + step
        if depth[after] <= level:
            part = (depth[here] - level) / (depth[here] - depth[after]) if depth[here] > level else 0.0
            return float(at[here] + part * (at[after] - at[here]))
    return float(at[border])


def _meets(depth: np.ndarray, place: int, border: int) -> int:
    """Return the first band from `place` to a border that lies on the continuum, or the border."""
    step = 1 if border > place else -1
    return next((band for band in range(place, border, step) if depth[band] <= 0), border)


def _area(depth: np.ndarray, at: np.ndarray, centre: float, end: int) -> float:
    """Return the area of the depth between the centre and a band, by trapezoids."""
    low, high = sorted((centre, float(at[end])))
    within = at[(at > low) & (at < high)]
    knots = np.concatenate([[low], within, [high]])
    return float(np.trapezoid(np.interp(knots, at, depth), knots))
