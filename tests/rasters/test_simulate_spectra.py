"""Simulated spectra: plausible, and different between classes in the planted bands only."""

from __future__ import annotations

import numpy as np
import pytest

from explanation_layers.rasters.simulate_spectra import (
    CLASSES,
    DECOY,
    LATENTS,
    Feature,
    evidence,
    reflectance,
    spectrometer,
)

WAVELENGTHS, FWHM = spectrometer()


def simulate(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return classes (n,) and noise-free spectra (n, band), `count` of each class and of plain continuum."""
    classes = np.repeat(np.arange(-1, len(CLASSES)), count)
    latents = np.random.default_rng(seed).standard_normal((len(LATENTS), len(classes)))
    return classes, reflectance(WAVELENGTHS, classes, latents)


def test_bands_are_those_of_an_imaging_spectrometer() -> None:
    assert WAVELENGTHS[0] == 420 and WAVELENGTHS[-1] < 2450
    assert np.all(np.diff(WAVELENGTHS) > 6) and 150 <= len(WAVELENGTHS) <= 180
    assert np.all((FWHM > 7) & (FWHM < 18))
    for low, high in ((1345, 1425), (1795, 1955)):
        assert not [w for w in WAVELENGTHS if low < w < high]


def test_a_feature_has_its_width_at_half_depth_and_leans_to_one_side() -> None:
    feature = Feature("test", centre_nm=1000, fwhm_nm=60, asymmetry=2)
    deep = np.arange(900, 1100, 0.1)[feature.shape(np.arange(900, 1100, 0.1)) > 0.5]
    assert deep[-1] - deep[0] == pytest.approx(60, abs=0.3)
    assert (deep[-1] - 1000) / (1000 - deep[0]) == pytest.approx(2, rel=0.02)


def test_reflectance_is_physical() -> None:
    _, spectra = simulate(2000, seed=0)
    assert spectra.dtype == np.float32
    assert spectra.min() > 0.01 and spectra.max() < 1


def test_one_pixel_of_two_classes_differs_by_their_features_alone() -> None:
    latents = np.random.default_rng(1).standard_normal((len(LATENTS), 50))
    plain = reflectance(WAVELENGTHS, np.full(50, -1), latents)
    for index, planted in enumerate(CLASSES):
        ratio = reflectance(WAVELENGTHS, np.full(50, index), latents) / plain
        shape = np.max([feature.shape(WAVELENGTHS) for feature in planted.features], axis=0)
        assert np.allclose(ratio[:, shape < 1e-4], 1, atol=1e-4)
        low, high = planted.features[0].depth
        assert np.all((1 - ratio.min(axis=1) > 0.8 * low) & (1 - ratio.min(axis=1) < high))


def test_classes_differ_in_planted_bands_only() -> None:
    classes, spectra = simulate(1500, seed=2)
    logarithms = np.log(spectra)
    plain = logarithms[classes == -1]
    own, unplanted = evidence(WAVELENGTHS)
    for index in range(len(CLASSES)):
        members = logarithms[classes == index]
        error = np.sqrt(plain.var(axis=0) / len(plain) + members.var(axis=0) / len(members))
        score = (members.mean(axis=0) - plain.mean(axis=0)) / error
        assert np.all(score[own[index]] < -6)
        assert np.abs(score[unplanted]).max() < 4


def test_evidence_is_each_classes_own_and_never_the_decoy() -> None:
    own, unplanted = evidence(WAVELENGTHS)
    assert np.all(own.sum(axis=0) <= 1)
    assert np.all(own.sum(axis=1) >= 4)
    assert not np.any(own & unplanted)
    assert np.all(unplanted[DECOY.shape(WAVELENGTHS) > 0.5])
    assert unplanted.sum() > 60
