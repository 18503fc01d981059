"""Fully constrained least squares against a solver, its conditions of optimality, and hard cases."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, minimize, nnls

from explanation_layers.models.fcls import fcls, nonnegative


def problem(materials: int, bands: int, pixels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    endmembers = generator.random((materials, bands))
    shares = generator.dirichlet(np.full(materials, 0.5), pixels)
    return shares @ endmembers + 0.3 * generator.standard_normal((pixels, bands)), endmembers


@pytest.mark.parametrize(("materials", "bands"), [(2, 5), (3, 156), (5, 20), (8, 8)])
def test_it_is_the_answer_of_a_quadratic_solver(materials: int, bands: int) -> None:
    pixels, endmembers = problem(materials, bands, 12)
    found = fcls(pixels, endmembers)
    for pixel, own in zip(pixels, found):
        best = minimize(
            lambda a: ((a @ endmembers - pixel) ** 2).sum(), np.full(materials, 1 / materials),  # noqa: B023
            jac=lambda a: 2 * endmembers @ (a @ endmembers - pixel),  # noqa: B023
            bounds=[(0, 1)] * materials, constraints=LinearConstraint(np.ones(materials), 1, 1),
            method="SLSQP", options={"ftol": 1e-16, "maxiter": 500},
        )  # fmt: skip
        np.testing.assert_allclose(own, best.x, atol=1e-6)


@pytest.mark.parametrize(("materials", "bands"), [(1, 4), (3, 156), (10, 100), (30, 50), (30, 200)])
def test_no_exchange_of_materials_lowers_the_error(materials: int, bands: int) -> None:
    pixels, endmembers = problem(materials, bands, 40)
    found = fcls(pixels, endmembers)
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)
    slopes = (found @ endmembers - pixels) @ endmembers.T
    over_mean = slopes - (slopes * found).sum(1, keepdims=True)
    assert over_mean.min() > -1e-9
    assert np.abs(over_mean[found > 1e-9]).max() < 1e-9


def test_more_endmembers_than_bands_and_equal_ones_have_an_answer() -> None:
    pixels, endmembers = problem(12, 8, 20)
    found = fcls(pixels, endmembers)
    slopes = (found @ endmembers - pixels) @ endmembers.T
    assert (slopes - (slopes * found).sum(1, keepdims=True)).min() > -1e-6
    twice = np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    np.testing.assert_allclose(fcls(np.array([[0.5, 0.5, 0]]), twice), [[0.25, 0.25, 0.5]], atol=1e-3)
    np.testing.assert_allclose(fcls(np.ones((2, 3)), np.full((4, 3), 0.2)), 0.25)


def test_black_saturated_and_negative_pixels_have_abundances() -> None:
    _, endmembers = problem(4, 30, 1)
    pixels = np.stack([np.zeros(30), np.full(30, 1e4), np.full(30, -3.0), np.full(30, 1e-9)])
    found = fcls(pixels.astype(np.float32), endmembers)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)


def test_values_of_any_scale_and_offset_give_the_same() -> None:
    pixels, endmembers = problem(5, 40, 30)
    found = fcls(pixels, endmembers)
    np.testing.assert_allclose(fcls(1e4 * pixels, 1e4 * endmembers), found, atol=1e-8)
    np.testing.assert_allclose(fcls(pixels - 7, endmembers - 7), found, atol=1e-8)


def test_other_bands_are_refused() -> None:
    with pytest.raises(ValueError, match="do not go with"):
        fcls(np.zeros((2, 3)), np.zeros((2, 4)))


def test_a_hundred_thousand_pixels_take_seconds() -> None:
    generator = np.random.default_rng(1)
    endmembers = np.cumsum(generator.standard_normal((10, 100)), 1)
    pixels = generator.dirichlet(np.full(10, 0.5), 100_000) @ endmembers
    pixels += 0.5 * generator.standard_normal((100_000, 1))
    start = time.perf_counter()
    fcls(pixels, endmembers)
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(("materials", "bands"), [(2, 5), (4, 30), (9, 40)])
def test_abundances_of_any_sum_are_those_of_nnls(materials: int, bands: int) -> None:
    pixels, endmembers = problem(materials, bands, 20)
    endmembers[0] *= 0.01  # a dark material
    found = nonnegative(pixels, endmembers)
    for pixel, own in zip(pixels, found):
        exact = nnls(endmembers.T, pixel)[0]
        np.testing.assert_allclose(own, exact, atol=1e-6 * exact.max(initial=1))
    np.testing.assert_allclose(nonnegative(0.01 * pixels, endmembers), 0.01 * found, rtol=1e-6, atol=1e-12)


def test_nothing_is_made_of_darkness() -> None:
    _, endmembers = problem(4, 30, 1)
    assert not nonnegative(-np.ones((1, 30)), endmembers).any()
    assert not nonnegative(np.zeros((1, 30)), endmembers).any()
    endmembers[2] = 0
    found = nonnegative(endmembers[:1], endmembers)
    np.testing.assert_allclose(found, [[1, 0, 0, 0]], atol=1e-9)
