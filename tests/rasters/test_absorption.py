"""Absorptions that were put into spectra are found where, as deep and as wide as they are."""

from __future__ import annotations

import numpy as np
import pytest

from explanation_layers.rasters.absorption import Absorption, absorptions, continuum_removed
from explanation_layers.rasters.continuum import ranges_of
from explanation_layers.rasters.simulate_spectra import CLASSES, DECOY, Feature, spectrometer

STEP = 10.0
AT = np.arange(450.0, 1340.0, STEP)
LINE = 0.2 + 2e-4 * (AT - 450)


def gaussian(centre: float, fwhm: float, depth: float, at: np.ndarray = AT) -> np.ndarray:
    """What a Gaussian absorption leaves of the light."""
    return 1 - depth * np.exp2(-((2 * (at - centre) / fwhm) ** 2))


def same(one: Absorption, other: Absorption) -> bool:
    """The same, but for what the tails under bands that are gone add to the area."""
    pairs = (
        (getattr(one, name), getattr(other, name)) for name in ("centre_nm", "depth", "fwhm_nm", "area_nm")
    )
    return one.band == other.band and all(a == pytest.approx(b, rel=1e-3) for a, b in pairs)


@pytest.mark.parametrize("fwhm", [30.0, 60.0, 150.0])
@pytest.mark.parametrize("depth", [0.03, 0.2, 0.8])
@pytest.mark.parametrize("centre", [700.0, 703.1, 705.0, 708.4])
def test_a_gaussian_on_a_straight_continuum_is_measured(centre: float, depth: float, fwhm: float) -> None:
    (found,) = absorptions(LINE * gaussian(centre, fwhm, depth), AT, ranges_of(AT))
    assert abs(found.centre_nm - centre) < 0.1 * STEP
    assert found.depth == pytest.approx(depth, rel=0.02)
    assert found.fwhm_nm == pytest.approx(fwhm, rel=0.06)
    area = depth * fwhm * np.sqrt(np.pi / np.log(2)) / 2
    assert found.area_nm == pytest.approx(area, rel=0.05)
    assert found.asymmetry == pytest.approx(0, abs=0.2)
    assert AT[found.band] == pytest.approx(centre, abs=STEP)
    assert found.ends_nm[0] < found.half_nm[0] < centre < found.half_nm[1] < found.ends_nm[1]


def test_every_planted_feature_is_found_where_it_is() -> None:
    at, _ = spectrometer()
    ranges = ranges_of(at)
    step = np.gradient(at)
    line = 0.3 + 3e-5 * (at - 420)
    for planted in (feature for each in CLASSES for feature in each.features):
        found = absorptions(line * (1 - 0.2 * planted.shape(at)), at, ranges)
        assert len(found) == 1, planted.name
        band = np.abs(at - planted.centre_nm).argmin()
        assert abs(found[0].centre_nm - planted.centre_nm) < 0.5 * step[band]
        # The lopsided ones have no parabola: 3 % instead of 2 %.
        assert found[0].depth == pytest.approx(0.2, rel=0.03)
        # Two half-Gaussians: their areas are as their widths.
        assert found[0].asymmetry == pytest.approx(np.log(planted.asymmetry), abs=0.25)
    # Of the decoy the window of water vapour hides the left side, which the continuum can't know.
    (decoy,) = absorptions(line * (1 - 0.2 * DECOY.shape(at)), at, ranges)
    assert abs(decoy.centre_nm - DECOY.centre_nm) < 15 and decoy.depth < 0.2


def test_lopsided_absorptions_tell_their_side() -> None:
    for asymmetry in (0.4, 1.0, 2.5):
        shape = Feature("", 800, 90, asymmetry).shape(AT)
        (found,) = absorptions(LINE * (1 - 0.3 * shape), AT, ranges_of(AT))
        assert found.asymmetry == pytest.approx(np.log(asymmetry), abs=0.2)


def test_two_absorptions_beside_each_other_share_no_area() -> None:
    values = LINE * gaussian(700, 50, 0.2) * gaussian(790, 50, 0.1)
    one, other = absorptions(values, AT, ranges_of(AT))
    assert (one.centre_nm, other.centre_nm) == (pytest.approx(700, abs=5), pytest.approx(790, abs=5))
    assert one.ends_nm[1] == other.ends_nm[0]
    both = np.trapezoid(1 - continuum_removed(values, AT, ranges_of(AT)), AT)
    assert one.area_nm + other.area_nm == pytest.approx(both, rel=0.01)


def test_a_shoulder_and_what_is_too_shallow_or_too_narrow_are_none() -> None:
    deep = LINE * gaussian(700, 120, 0.5)
    (found,) = absorptions(deep * gaussian(760, 25, 0.02), AT, ranges_of(AT))
    assert found.centre_nm == pytest.approx(700, abs=6)
    assert absorptions(LINE * gaussian(700, 60, 0.008), AT, ranges_of(AT)) == []
    spike = LINE.copy()
    spike[30] *= 0.8
    assert absorptions(spike, AT, ranges_of(AT)) == []
    assert absorptions(LINE, AT, ranges_of(AT)) == []
    assert absorptions(0 * LINE, AT, ranges_of(AT)) == []


def test_what_noise_could_have_made_is_none() -> None:
    rng = np.random.default_rng(0)
    sigma = 0.01
    values = LINE * gaussian(800, 80, 0.4)
    extra = 0
    for _ in range(200):
        found = absorptions(values + sigma * rng.standard_normal(len(AT)), AT, ranges_of(AT), noise=sigma)
        assert any(abs(each.centre_nm - 800) < 20 for each in found)
        extra += len(found) - 1
    # Noise puts the hull above the spectrum, so that most of what it makes is deeper than itself.
    assert extra / 200 < 1.5
    everywhere = np.full(len(AT), sigma)
    assert absorptions(values, AT, ranges_of(AT), everywhere) == absorptions(values, AT, ranges_of(AT), sigma)
    assert absorptions(values, AT, ranges_of(AT), noise=0.1) == []


def test_order_of_bands_bad_bands_and_unknown_wavelengths() -> None:
    values = LINE * gaussian(703, 60, 0.3)
    (plain,) = absorptions(values, AT, ranges_of(AT))
    order = np.random.default_rng(1).permutation(len(AT))
    (shuffled,) = absorptions(values[order], AT[order], ranges_of(AT[order]))
    assert order[shuffled.band] == plain.band
    assert (shuffled.centre_nm, shuffled.depth) == (plain.centre_nm, plain.depth)
    # Bad bands hold anything; without them, and those beside, the absorption is the same.
    good = np.ones(len(AT), bool)
    good[[3, 40, 41]] = False
    spoilt = np.where(good, values, -99)
    (found,) = absorptions(spoilt, AT, ranges_of(AT, good))
    assert same(found, plain)
    unknown = [None if i in (3, 40, 41) else float(at) for i, at in enumerate(AT)]
    (found,) = absorptions(spoilt, unknown, ranges_of(unknown))
    assert same(found, plain)


def test_nothing_is_removed_without_a_continuum() -> None:
    values = np.stack([LINE, -LINE, 0 * LINE, LINE * gaussian(700, 60, 0.5)]).astype(np.float32)
    removed = continuum_removed(values, AT, [np.arange(40)])
    np.testing.assert_array_equal(removed[:3], 1)
    assert removed[3].min() == pytest.approx(0.5, abs=0.01) and (removed[3, 40:] == 1).all()
    assert (removed > 0).all() and (removed <= 1).all()
