"""Peaks and windows of profiles by hand, and p-values that are what they say where there is no pattern."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control, kstest

from explanation_layers.explainers.feature_scores import (
    atmospheric_share,
    false_discovery_rates,
    peaks,
    set_scores,
    window_scores,
)
from explanation_layers.rasters.continuum import ranges_of

AT = np.arange(450.0, 1340.0, 10.0)
RANGES = [np.arange(40), np.arange(40, 89)]


def bump(centre: float, width: float) -> np.ndarray:
    return np.exp(-(((AT - centre) / width) ** 2))


def test_scores_by_hand() -> None:
    profile = np.array([1.0, -3.0, 0.0, 4.0, 9.0, -2.0, 100.0])
    at = [500, 510, 520, 530, 540, 550, 560]
    # The last band is in no range, and does not count.
    ranges = [np.arange(3), np.arange(3, 6)]
    first, second, third, none = window_scores(
        profile, at, ranges, [(505, 515), (535, 560), (490, 600), (700, 800)], shifts=3000
    )
    assert first[:4] == (1, 3.0, 3 / 19, pytest.approx(3 / 19 * 6))
    assert second[:4] == (2, 11.0, 11 / 19, pytest.approx(11 / 19 * 3))
    assert third[:4] == (6, 19.0, 1.0, 1.0)
    # Band 2 holds 1, 3 or 0 when shifted, bands 5 and 6 hold 13, 11 or 6.
    assert first.expected == pytest.approx((1 + 3 + 0) / 3 / 19, rel=0.05)
    assert second.expected == pytest.approx((13 + 11 + 6) / 3 / 19, rel=0.05)
    assert (first.p, second.p, third.p) == (pytest.approx(1 / 3, abs=0.03), pytest.approx(2 / 3, abs=0.03), 1)
    # Three tests, of which the middle one makes the first no more likely to be a discovery than itself.
    expected = (min(3 * first.p, 1.5 * second.p), min(1.5 * second.p, 1), 1)
    assert (first.q, second.q, third.q) == pytest.approx(expected)
    assert none == (0, None, None, None, None, None, None)


def test_nothing_attributed_has_no_score() -> None:
    (score,) = window_scores(np.zeros(89), AT, RANGES, [(500, 600)])
    assert score == (11, None, None, None, None, None, None)
    assert peaks(np.zeros(89), AT, RANGES) == [] and atmospheric_share(np.zeros(89), AT) is None
    assert window_scores(np.ones(89), AT, RANGES, []) == []
    assert peaks(np.ones(89), AT, []) == []


def test_p_is_uniform_for_white_noise() -> None:
    rng = np.random.default_rng(0)
    found = {"one range": [], "both ranges": []}
    for seed in range(400):
        one, both = window_scores(
            rng.standard_normal(89), AT, RANGES, [(520, 600), (800, 900)], shifts=200, seed=seed
        )
        found["one range"].append(one.p)
        found["both ranges"].append(both.p)
    for values in found.values():
        assert kstest(values, "uniform").pvalue > 0.01
        assert 0.02 < np.mean(np.array(values) <= 0.05) < 0.09


def test_a_smooth_profile_is_not_significant_for_being_smooth() -> None:
    rng = np.random.default_rng(1)
    kernel = np.hanning(15)
    small = []
    for seed in range(300):
        smooth = np.convolve(rng.standard_normal(89 + 14), kernel, "valid")
        (score,) = window_scores(smooth, AT, RANGES, [(520, 600)], shifts=200, seed=seed)
        small.append(score.p <= 0.05)
    assert np.mean(small) < 0.12


def test_a_profile_on_its_window_is_significant_and_one_beside_is_not() -> None:
    profile = bump(670, 20) + 0.01
    on, beside, far = window_scores(profile, AT, RANGES, [(640, 700), (500, 560), (1000, 1100)])
    assert on.p < 0.05 and on.q < 0.1 and on.enrichment > 5
    assert beside.p > 0.3 and far.p > 0.3 and far.enrichment < 1
    again = window_scores(profile, AT, RANGES, [(640, 700), (500, 560), (1000, 1100)])
    assert again == [on, beside, far]
    other = window_scores(profile, AT, RANGES, [(640, 700)], seed=7)[0]
    assert other.score == on.score and other.p == pytest.approx(on.p, abs=0.03)


def test_what_a_baseline_puts_where_absorptions_are_is_no_evidence() -> None:
    """A network without a preference has, against the continuum, as much at each band as it dips there."""
    rng = np.random.default_rng(4)
    depth = 0.01 + 0.2 * bump(670, 30) + 0.1 * bump(970, 40)
    dips = depth > 0.05
    plain, exposed = [], []
    for seed in range(200):
        profile = depth * np.abs(rng.standard_normal(89))
        options = {"shifts": 200, "seed": seed}
        plain.append(set_scores(profile, dips[None], RANGES, **options)[0].p)
        exposed.append(set_scores(profile, dips[None], RANGES, depth, **options)[0].p)
    assert np.mean(np.array(plain) <= 0.05) > 0.9
    assert 0.01 < np.mean(np.array(exposed) <= 0.05) < 0.1
    assert kstest(exposed, "uniform").pvalue > 0.01
    # One that looks at the absorption itself is told all the same.
    (found,) = set_scores(depth * (bump(670, 25) + 0.02), dips[None], RANGES, depth)
    assert found.p < 0.05 and found.share > 1.5 * found.expected
    # Nothing to differ from the baseline in: nothing to shift.
    (found,) = set_scores(np.where(dips, depth, 0), dips[None], RANGES, np.where(dips, depth, 0))
    assert found.share == 1 and found.p > 0.9


def test_overlap_with_sets_of_bands_that_lie_apart() -> None:
    rng = np.random.default_rng(2)
    absorbed = (bump(670, 30) + bump(970, 30)) > 0.3
    profile = bump(670, 25) + 0.5 * bump(970, 25) + 0.02 * rng.random(89)
    (found,) = set_scores(profile, absorbed[None], RANGES)
    assert found.share > 0.8 and found.p < 0.02 and found.share > 3 * found.expected
    (moved,) = set_scores(np.roll(profile, 11), absorbed[None], RANGES)
    assert moved.p > 0.2


def test_false_discovery_rates_are_scipys() -> None:
    rng = np.random.default_rng(3)
    for p in (rng.random(30) ** 2, np.array([0.04]), np.array([0.5, 0.01, 0.01, 1.0])):
        np.testing.assert_allclose(false_discovery_rates(p), false_discovery_control(p))
    assert len(false_discovery_rates(np.empty(0))) == 0


def test_peaks_are_ranked_and_small_ones_left_out() -> None:
    profile = -bump(670, 20) + 0.4 * bump(970, 30) + 0.03 * bump(1150, 20)
    first, second = peaks(profile, AT, RANGES)
    assert (first.wavelength_nm, first.band, first.height) == (670, 22, 1)
    assert (second.wavelength_nm, second.height) == (970, pytest.approx(0.4))
    # The ends of a range count as much as what is in it.
    assert [peak.wavelength_nm for peak in peaks(bump(450, 30) + bump(840, 5), AT, RANGES)] == [450, 840]


def test_closely_spaced_bands_have_no_higher_peaks() -> None:
    dense = np.concatenate([np.arange(500.0, 700, 2), np.arange(700.0, 1300, 20)])
    density = np.exp(-(((dense - 600) / 20) ** 2)) + 2 * np.exp(-(((dense - 1000) / 40) ** 2))
    steps = np.gradient(dense)
    first, second = peaks(density * steps, dense, [np.arange(len(dense))])
    assert (first.wavelength_nm, second.wavelength_nm) == (1000, 600)
    assert second.height == pytest.approx(0.5, abs=0.01)


def test_smoothing_by_the_sensors_width_joins_what_it_can_not_tell_apart() -> None:
    profile = bump(660, 8) + bump(690, 8)
    assert len(peaks(profile, AT, RANGES)) == 2
    (one,) = peaks(profile, AT, RANGES, fwhm_nm=60)
    assert one.wavelength_nm in (670, 680)


def test_share_of_the_atmosphere_counts_masked_bands() -> None:
    at = np.arange(1300.0, 2000.0, 50)
    profile = np.ones(len(at))
    profile[-1] = np.nan
    # 1350 and 1400, 1800 to 1950 nm, of which the last has no value.
    assert atmospheric_share(profile, at) == pytest.approx(5 / 13)
    ranges = ranges_of(at)
    assert all(not 1350 <= at[band] <= 1420 for part in ranges for band in part)
