"""Band profiles compared: against SciPy and by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr, wasserstein_distance

from explanation_layers.explainers.profiles import (
    comparisons,
    jaccard,
    jaccard_by_chance,
    kendall,
    spearman,
    top_count,
    wasserstein,
)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Five profiles of 40 bands, with ties, and five more."""
    rng = np.random.default_rng(3)
    one = np.round(rng.random((5, 40)), 1)
    return one, np.round(one + rng.random((5, 40)), 1)


def test_correlations_are_those_of_scipy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    one, other = pair
    rows = list(zip(one, other))
    np.testing.assert_allclose(spearman(one, other), [spearmanr(*row).statistic for row in rows])
    np.testing.assert_allclose(kendall(one, other), [kendalltau(*row).statistic for row in rows])
    flat = np.ones((1, 4))
    assert np.isnan(spearman(flat, np.arange(4.0)[None])).all()
    assert np.isnan(kendall(flat, np.arange(4.0)[None])).all()


def test_wasserstein_is_that_of_scipy_in_any_order_of_bands(pair: tuple[np.ndarray, np.ndarray]) -> None:
    one, other = pair
    wavelengths = np.random.default_rng(1).permutation(np.linspace(400, 1000, 40) ** 1.1)
    expected = [wasserstein_distance(wavelengths, wavelengths, *row) for row in zip(one, other)]
    np.testing.assert_allclose(wasserstein(one, other, wavelengths), expected)
    moved = wasserstein(np.array([[1.0, 0, 0]]), np.array([[0, 0, 3.0]]), np.array([400.0, 500, 650]))
    assert moved == pytest.approx([250])
    assert np.isnan(wasserstein(np.zeros((1, 2)), np.ones((1, 2)), np.array([1.0, 2]))).all()


def test_jaccard_counts_the_top_tenth() -> None:
    one, other = np.zeros((1, 20)), np.zeros((1, 20))
    one[0, [3, 7]], other[0, [7, 9]] = (2, 1), (1, 5)
    assert top_count(20) == 2 and top_count(3) == 1
    assert jaccard(one, other) == pytest.approx([1 / 3])
    assert jaccard(one, one) == pytest.approx([1])


def test_chance_is_the_mean_over_all_choices() -> None:
    choices = [set(chosen) for chosen in combinations(range(20), 2)]
    mean = np.mean([len(choices[0] & chosen) / len(choices[0] | chosen) for chosen in choices])
    assert jaccard_by_chance(20) == pytest.approx(mean)


def test_distances_in_nm_need_wavelengths() -> None:
    assert list(comparisons(None)) == ["spearman", "kendall", "jaccard"]
    assert list(comparisons(np.arange(3.0))) == ["spearman", "kendall", "jaccard", "wasserstein_nm"]
