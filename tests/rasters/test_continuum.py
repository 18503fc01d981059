"""Ranges of wavelengths and the upper hull over them, against hulls found in other ways."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from explanation_layers.rasters.continuum import inside, ranges_of, untrusted, upper_hull

VNIR = np.linspace(420, 990, 60)
SWIR = np.linspace(1000, 1340, 30)


def bands(found: list[np.ndarray]) -> list[list[int]]:
    return [part.tolist() for part in found]


def by_pairs(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The hull by its definition: the highest of all lines between two bands."""
    hull = values.astype(np.float64).copy()
    for i, j in itertools.combinations(range(len(at)), 2):
        along = (at[i : j + 1] - at[i]) / (at[j] - at[i])
        line = (1 - along) * values[..., i, None] + along * values[..., j, None]
        hull[..., i : j + 1] = np.maximum(hull[..., i : j + 1], line)
    return hull


def spectra(n: int, at: np.ndarray, seed: int = 0) -> np.ndarray:
    """Spectra of every kind: rough, smooth, bent up, bent down, flat, with dips and spikes."""
    rng = np.random.default_rng(seed)
    along = (at - at[0]) / (at[-1] - at[0])
    smooth = 0.3 + rng.normal(0, 0.3, (n, 1)) * along + rng.normal(0, 0.5, (n, 1)) * along * (1 - along)
    centre, width = rng.uniform(0, 1, (n, 1)), rng.uniform(0.02, 0.2, (n, 1))
    dips = 1 - rng.uniform(0, 0.5, (n, 1)) * np.exp(-(((along - centre) / width) ** 2))
    return smooth * dips + rng.choice([0, 0, 0.003, 0.3], (n, 1)) * rng.standard_normal((n, len(at)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_hull_is_the_highest_of_all_lines_between_two_bands(dtype: type) -> None:
    at = np.sort(np.random.default_rng(3).uniform(420, 1340, 45))
    values = spectra(700, at).astype(dtype)
    hull = upper_hull(values, at, [np.arange(45)])
    assert hull.dtype == dtype
    np.testing.assert_allclose(hull, by_pairs(values, at), atol=30 * np.finfo(dtype).eps)
    assert (hull >= values).all()


def test_vertices_are_those_of_qhull() -> None:
    at = VNIR
    for values in spectra(40, at, seed=5):
        corners = {0, len(at) - 1}
        found = ConvexHull(np.stack([at, values], 1))
        for (a, b), normal in zip(found.simplices, found.equations[:, :2], strict=True):
            corners |= {int(a), int(b)} if normal[1] > 0 else set()
        hull = upper_hull(values, at, [np.arange(len(at))])
        assert set(np.flatnonzero(hull == values)) == corners
        straight = np.interp(at, at[sorted(corners)], values[sorted(corners)])
        np.testing.assert_allclose(hull, straight, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("slope", [0.0, 1e-3, -2e-4, 7.0])
def test_straight_and_bulging_spectra_are_their_own_hull(dtype: type, slope: float) -> None:
    line = (0.3 + slope * (VNIR - 420)).astype(dtype)
    bulge = (0.3 + np.sqrt((VNIR - 419) / 600)).astype(dtype)
    for values in (line, bulge, np.zeros(60, dtype)):
        np.testing.assert_array_equal(upper_hull(values, VNIR, [np.arange(60)]), values)


def test_values_below_zero_and_far_above_keep_their_hull() -> None:
    values = spectra(50, VNIR)
    hull = upper_hull(values, VNIR, [np.arange(60)])
    for scale, shift in ((1e4, -5e3), (1e-5, 0.0), (3.0, 40.0)):
        moved = upper_hull(scale * values + shift, VNIR, [np.arange(60)])
        np.testing.assert_allclose(moved, scale * hull + shift, rtol=1e-9, atol=1e-9 * scale)


def test_order_of_the_bands_does_not_matter() -> None:
    at = np.concatenate([VNIR, SWIR])
    values = spectra(20, at)
    hull = upper_hull(values, at, ranges_of(at))
    for order in (np.random.default_rng(0).permutation(len(at)), np.arange(len(at))[::-1]):
        shuffled = upper_hull(values[:, order], at[order], ranges_of(at[order]))
        np.testing.assert_array_equal(shuffled, hull[:, order])


def test_bands_of_no_range_keep_their_values_and_nan_stays_in_its_range() -> None:
    at = np.concatenate([VNIR, SWIR])
    values = spectra(4, at)
    values[1, 70] = np.nan
    ranges = [np.arange(60), np.arange(60, 85)]
    hull = upper_hull(values, at, ranges)
    np.testing.assert_array_equal(hull[:, 85:], values[:, 85:])
    assert np.isnan(hull[1, 60:85]).all()
    assert np.isfinite(np.delete(hull, 1, 0)).all() and np.isfinite(hull[1, :60]).all()


def test_ranges_end_where_the_next_spectrometer_begins() -> None:
    # VNIR to 990 nm, SWIR from 900 nm: as EnMAP's list.
    at = np.concatenate([VNIR, np.linspace(900, 1340, 40)])
    assert bands(ranges_of(at)) == [list(range(60)), list(range(60, 100))]
    # The same, listed from the longest wavelength on.
    assert bands(ranges_of(at[::-1])) == [list(range(40, 100))[::-1], list(range(40))[::-1]]


def test_spectrometers_that_share_a_band_or_two_are_one_range() -> None:
    # As AVIRIS, whose detectors join without a step inside of the chlorophyll absorption.
    at = np.concatenate([np.arange(420, 697, 9.6), np.arange(686.9, 1280, 9.6)])
    (found,) = ranges_of(at)
    assert len(found) == len(at) and (np.diff(at[found]) >= 0).all()
    values = spectra(30, np.sort(at))[:, np.argsort(found)]
    hull = upper_hull(values, at, [found])
    np.testing.assert_allclose(hull[:, found], by_pairs(values[:, found], at[found]), atol=1e-12)
    # Two bands of the very same wavelength have one continuum; the higher one is on it.
    same = np.array([500.0, 510.0, 510.0, 520.0])
    hull = upper_hull(np.array([0.1, 0.3, 0.4, 0.1]), same, ranges_of(same))
    np.testing.assert_allclose(hull, [0.1, 0.4, 0.4, 0.1])


def test_ranges_end_at_gaps_and_at_what_is_masked_but_not_at_single_bad_bands() -> None:
    at = np.arange(420, 2450, 10.0)
    found = ranges_of(at)
    assert [(at[part[0]], at[part[-1]]) for part in found] == [(420, 1340), (1430, 1790), (1960, 2440)]
    assert bands(ranges_of(at, masked=())) == [list(range(203))]
    good = np.ones(203, bool)
    good[[10, 11, 40]] = False
    good[100:107] = False
    (first, second) = ranges_of(at, good, masked=())
    assert first.tolist() == [i for i in range(100) if i not in (10, 11, 40)]
    assert second.tolist() == list(range(107, 203))
    # A sensor without bands in the windows is cut there all the same.
    coarse = [1100.0, 1200.0, 1300.0, 1450.0, 1550.0, 1650.0]
    assert bands(ranges_of(coarse)) == [[0, 1, 2], [3, 4, 5]]


def test_overlapping_spectrometers_sorted_into_each_other_are_not_one_range() -> None:
    at = np.sort(np.concatenate([np.arange(420, 1000, 10.0), np.arange(901, 1340, 10.0)]))
    found = ranges_of(at)
    assert [(at[part[0]], at[part[-1]]) for part in found] == [(420, 900), (991, 1331)]


@pytest.mark.parametrize("given", [[None] * 9, [500.0, 600.0], [700.0] * 9, []])
def test_no_range_without_three_known_wavelengths(given: list) -> None:
    assert ranges_of(given) == []


def test_unknown_wavelengths_are_in_no_range() -> None:
    at = [*VNIR.tolist()]
    at[7] = None  # type: ignore[call-overload]
    assert bands(ranges_of(at)) == [[i for i in range(60) if i != 7]]


def test_windows_and_ends_are_told() -> None:
    at = [400.0, 420.0, 1349.0, 1350.0, 1420.0, 1900.0, 2450.0, 2460.0, None]
    assert inside(at).tolist() == [False, False, False, True, True, True, False, False, False]
    assert inside(at, [(0, 500)]).tolist() == [True, True, *[False] * 7]
    assert untrusted(at).tolist() == [True, *[False] * 6, True, False]


def test_a_million_rough_spectra_of_200_bands_take_minutes() -> None:
    at = np.linspace(420, 1340, 200)
    values = spectra(10_000, at).astype(np.float32)
    start = time.process_time()
    upper_hull(values, at, [np.arange(200)])
    assert (time.process_time() - start) * 100 < 300
