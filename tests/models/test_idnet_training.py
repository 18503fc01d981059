"""Training of ID-Net: what it gains over least squares, what it believes in, and when it stops."""

from __future__ import annotations

import math
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from explanation_layers.models.endmembers import bundles, vca
from explanation_layers.models.fcls import fcls
from explanation_layers.models.idnet import IdNet, Unmixed, idnet
from explanation_layers.models.idnet_start import nonlinear_evidence, start
from explanation_layers.models.idnet_training import EVIDENCE, IdNetEpoch, IdNetSettings, fit_idnet
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.simulate_mixtures import (
    Design,
    Mixed,
    Mixing,
    make_bilinear_scene,
    mixed_scene,
)

SAMSON = Path(__file__).resolve().parents[3] / "shared" / "data" / "unmixing_samson"
BANDS = 30


def spectra(materials: int = 3, bands: int = BANDS) -> np.ndarray:
    waves = np.linspace(0, 1, bands)
    return np.array([0.4 + 0.3 * np.sin(3 * waves * (k + 1) + 2 * k) for k in range(materials)])


def scene(kind: str = "bilinear", strength: float = 1.0, size: int = 32, **options: float) -> Mixed:
    design = Design(spectra(), (Mixing(kind, strength),), **{"scale_spread": 0, "shape_spread": 0, **options})
    return mixed_scene(design, size, 1, 30)


def fitted(
    pixels: np.ndarray, materials: int = 3, seed: int = 0, options: dict | None = None, **settings: object
) -> tuple[IdNet, list[IdNetEpoch], np.ndarray]:
    """Network, history, and FCLS's abundances with the vertices that the bundles began from."""
    vertices = pixels[vca(pixels, materials, seed)]
    own = [pixels[rows] for rows in bundles(pixels, vertices)]
    network = idnet(pixels.shape[1], materials, seed=seed, **(options or {}))
    history = fit_idnet(
        network, pixels, own, IdNetSettings(**{"epochs": 8, "seed": seed, **settings}),
        lambda epoch: None, lambda share: None,
    )  # fmt: skip
    return network, history, fcls(pixels, vertices)


def unmixed(network: IdNet, pixels: np.ndarray) -> Unmixed:
    return network.unmix(torch.from_numpy(pixels.astype(np.float32)))


def error_of(found: np.ndarray, truth: np.ndarray) -> float:
    """Root of the mean squared error with materials in the order that fits best."""
    order = [int(((found[:, [k]] - truth) ** 2).mean(0).argmin()) for k in range(truth.shape[1])]
    assert len(set(order)) == len(order)
    return float(np.sqrt(((found - truth[:, order]) ** 2).mean()))


@pytest.fixture(scope="module")
def bilinear() -> Mixed:
    return scene()


def test_a_bilinear_scene_is_unmixed_better_than_by_least_squares(bilinear: Mixed) -> None:
    network, history, linear = fitted(bilinear.values)
    found = unmixed(network, bilinear.values)
    error = error_of(found.abundances.numpy(), bilinear.abundances)
    assert error < 0.5 * error_of(linear, bilinear.abundances)
    assert network.evidence > 0.8 and not network.training
    # The energy of the nonlinear part is where it was put.
    strong = bilinear.nonlinearity > np.median(bilinear.nonlinearity)
    assert found.d_mix.numpy()[strong].mean() > 3 * found.d_mix.numpy()[~strong].mean()
    numbers = [epoch.number for epoch in history]
    assert numbers == [*range(1, 9)] and history[-1].elbo > history[0].elbo
    assert float(network.gain) == 1


def test_a_linear_scene_stays_linear() -> None:
    linear = scene("linear")
    network, _, least_squares = fitted(linear.values)
    found = unmixed(network, linear.values)
    assert network.evidence < EVIDENCE
    assert float(found.d_mix.mean()) < 0.01
    error = error_of(found.abundances.numpy(), linear.abundances)
    assert error < 1.1 * error_of(least_squares, linear.abundances)


def test_brightness_that_varies_is_not_taken_for_mixing() -> None:
    varied = scene("linear", size=40, scale_spread=0.08)
    network, _, least_squares = fitted(varied.values)
    found = unmixed(network, varied.values)
    error = error_of(found.abundances.numpy(), varied.abundances)
    assert error < 0.7 * error_of(least_squares, varied.abundances)


def test_a_scene_of_pure_pixels_is_recovered() -> None:
    truth = np.repeat(np.eye(3), 100, 0)
    pixels = truth @ spectra() + 0.004 * np.random.default_rng(0).standard_normal((300, BANDS))
    network, _, _ = fitted(pixels, epochs=4)
    found = unmixed(network, pixels)
    assert found.abundances.max(1).values.min() > 0.95
    assert error_of(found.abundances.numpy(), truth) < 0.01
    means = found.endmembers.mean(0).numpy()
    assert np.sort(((means[:, None] - spectra()) ** 2).mean(2), 1)[:, 0].max() < 0.004**2


@pytest.mark.parametrize(
    ("options", "settings"),
    [({"nonlinear": False}, {}), ({"variability": False}, {}), ({}, {"self_training": False}),
     ({}, {"as_released": True}), ({}, {"tau": 0.01}), ({}, {"strongest": 0.3})],
)  # fmt: skip
def test_parts_can_be_left_out(bilinear: Mixed, options: dict, settings: dict) -> None:
    network, history, _ = fitted(bilinear.values, options=options, epochs=2, **settings)
    found = unmixed(network, bilinear.values)
    assert all(torch.isfinite(getattr(found, field.name)).all() for field in fields(found))
    assert bool(found.nonlinear.any()) == network.nonlinear
    assert bool(found.spread.any()) == network.variability
    usual, _, _ = fitted(bilinear.values, epochs=2)
    assert not torch.equal(unmixed(usual, bilinear.values).abundances, found.abundances)
    assert all(math.isfinite(epoch.elbo) for epoch in history)


def test_the_same_seed_learns_the_same_and_another_nearly() -> None:
    pixels = scene(size=24).values
    (one, again), (same, repeated), (other, _) = (
        fitted(pixels, epochs=3, seed=seed)[:2] for seed in (0, 0, 1)
    )
    assert again == repeated
    first, second, third = (unmixed(network, pixels).abundances for network in (one, same, other))
    assert torch.equal(first, second) and not torch.equal(first, third)


def test_values_of_another_unit_are_unmixed_alike(bilinear: Mixed) -> None:
    # Reflectance keeps its unit; what is far from it is scaled by its own brightest pixels.
    one, _, _ = fitted(3e3 * bilinear.values, epochs=2)
    other, _, _ = fitted(6e3 * bilinear.values, epochs=2)
    torch.testing.assert_close(
        unmixed(one, 3e3 * bilinear.values).abundances, unmixed(other, 6e3 * bilinear.values).abundances,
        atol=2e-3, rtol=0,
    )  # fmt: skip


def test_training_takes_a_sample_and_stops_where_the_caller_raises(bilinear: Mixed) -> None:
    shares: list[float] = []

    def stop(share: float) -> None:
        shares.append(share)
        if len(shares) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_idnet(
            idnet(BANDS, 3), bilinear.values, [bilinear.values[k : k + 2] for k in range(3)],
            IdNetSettings(epochs=2, most_pixels=500, batch_size=250), lambda epoch: None, stop,
        )  # fmt: skip
    assert shares == pytest.approx([1 / 4, 2 / 4, 3 / 4])


def test_a_loss_beyond_all_bounds_is_told(bilinear: Mixed) -> None:
    with pytest.raises(InputError, match="grew beyond all bounds in epoch"):
        fitted(bilinear.values, epochs=3, learning_rate=1e30)


def test_evidence_is_told_without_training(bilinear: Mixed) -> None:
    for pixels, nonlinear in ((bilinear.values, True), (scene("linear").values, False)):
        network = idnet(BANDS, 3)
        start(network, pixels, [pixels[rows] for rows in bundles(pixels, pixels[vca(pixels, 3)])])
        before = network.strength.clone()
        assert (nonlinear_evidence(network, pixels) > EVIDENCE) == nonlinear
        assert torch.equal(network.strength, before)
    assert nonlinear_evidence(idnet(BANDS, 3, nonlinear=False), pixels) == 0


def samson() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, abundances and endmembers: of the files, pixels go down the columns of the arrays."""
    pixels = loadmat(SAMSON / "Samson.mat")["Y"].T
    abundances = loadmat(SAMSON / "A_true.mat")["A_true"].transpose(1, 0, 2).reshape(-1, 3)
    return pixels, abundances, loadmat(SAMSON / "E.mat")["E"].T


@pytest.mark.slow
@pytest.mark.skipif(not SAMSON.is_dir(), reason="needs the scene in ../shared")
@pytest.mark.parametrize("seed", [0, 1])
def test_the_acceptance_scene_is_unmixed_with_endmembers_found_in_it(seed: int) -> None:
    truth = make_bilinear_scene(samson()[2], seed=seed)
    network, _, linear = fitted(truth.values, seed=seed, epochs=IdNetSettings.epochs)
    error = error_of(unmixed(network, truth.values).abundances.numpy(), truth.abundances)
    assert error < 0.025 < error_of(linear, truth.abundances)


@pytest.mark.slow
@pytest.mark.skipif(not SAMSON.is_dir(), reason="needs the scene in ../shared")
def test_samson_is_unmixed_as_its_truth_is_made() -> None:
    pixels, abundances, endmembers = samson()
    began = time.perf_counter()
    np.testing.assert_allclose(fcls(pixels, endmembers), abundances, atol=1e-4)
    assert time.perf_counter() - began < 5
    began = time.perf_counter()
    network, _, linear = fitted(pixels, epochs=IdNetSettings.epochs)
    assert time.perf_counter() - began < 300
    assert error_of(linear, abundances) < 0.03
    assert error_of(unmixed(network, pixels).abundances.numpy(), abundances) < 0.04
