"""The explainers find the bands that were planted, and only where the network has learnt them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from explanation_layers.benchmarks.planted_evidence import Site, randomised

INITIALISATIONS = 8


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site.simulated(tmp_path_factory.mktemp("planted"), 64, 0)


@pytest.fixture(scope="module")
def model(site: Site, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A `spectral_cnn` trained with the default settings."""
    return site.trained(tmp_path_factory.mktemp("trained") / "model.safetensors", "spectral_cnn")


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("integrated_gradients", 0.95),
        ("deeplift", 0.95),
        ("input_x_gradient", 0.9),
        ("saliency", 0.9),
        ("band_ablation", 0.9),
    ],
)
def test_planted_bands_stand_out_in_every_class(site: Site, model: str, name: str, least: float) -> None:
    areas = site.areas(model, name, 32)
    assert set(areas) == {entry["name"] for entry in site.truth["classes"]}
    assert min(areas.values()) >= least


def test_with_random_weights_nothing_stands_out(site: Site, model: str, tmp_path: Path) -> None:
    found = []
    for seed in range(INITIALISATIONS):
        fresh = randomised(model, tmp_path / "random.safetensors", seed)
        found.append(np.mean(list(site.areas(fresh, "integrated_gradients", 10).values())))
    assert 0.35 <= np.mean(found) <= 0.65
