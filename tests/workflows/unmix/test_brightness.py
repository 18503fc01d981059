"""Scenes in light and shade: what free brightness brings, and what it can't."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from pytest import approx

WAVELENGTHS = np.linspace(450, 2350, 39)  # nm, of all scenes


@pytest.fixture(scope="module")
def shaded(make, write_raster, tmp_path_factory):
    """Linear mixtures, the light on them (y, x), and the raster of both."""
    folder = tmp_path_factory.mktemp("shaded")
    scene = make(folder, noise=0.001)
    light = np.random.default_rng(3).uniform(0.2, 1.3, (40, 40))
    values = scene.truth.values.T.reshape(-1, 40, 40) * light
    return scene, light, write_raster(folder / "shaded.tif", values, wavelengths=WAVELENGTHS)


def rmse(found, scene, order=slice(None)) -> float:
    truth = scene.truth.abundances.T.reshape(-1, 40, 40)
    return float(np.sqrt(np.square(found.abundances - truth[order]).mean()))


def test_fcls_finds_abundances_and_light(run, shaded):
    scene, light, raster = shaded
    options = {"method": "fcls", "spectra": scene.spectra}
    plain, free = run(raster, "plain", **options), run(raster, "free", **options, any_brightness=True)
    assert rmse(plain, scene) > 0.1 and rmse(free, scene) < 0.02
    assert np.abs(free.brightness[0] / light - 1).max() < 0.05
    with rasterio.open(raster) as dataset:
        pixels = dataset.read()
    assert np.abs(free.parts.sum(0) - pixels.mean(0)).max() < 1e-6
    assert free.reconstruction_error.max() < 0.003
    assert np.abs(free.abundances.sum(0) - 1).max() < 1e-6
    assert "brightness" not in plain.result["files"]
    assert "A model without ANY_BRIGHTNESS does not give BRIGHTNESS." in plain.result["warnings"]
    # Spectra of the table are of full light.
    means = np.array([row["mean"] for row in free.rows]).reshape(3, -1)
    assert means == approx(scene.design.spectra, abs=1e-5)


def test_idnet_finds_them_without_spectra(run, shaded):
    scene, light, raster = shaded
    options = {"method": "idnet", "endmembers": 3, "epochs": 4}
    plain, free = run(raster, "plain", **options), run(raster, "free", **options, any_brightness=True)
    order = np.argsort(-scene.design.spectra.mean(1))
    assert rmse(free, scene, order) < min(0.08, rmse(plain, scene, order) / 2)
    assert np.corrcoef(free.brightness.ravel(), light.ravel())[0, 1] > 0.95
    with rasterio.open(raster) as dataset:
        pixels = dataset.read()
    assert np.abs(free.parts.sum(0) - pixels.mean(0)).max() < 1e-6


@pytest.mark.parametrize("method", ["fcls", "idnet"])
def test_a_saved_model_keeps_it(run, shaded, method):
    _, _, raster = shaded
    first = run(raster, method=method, endmembers=3, epochs=1, any_brightness=True)
    again = run(raster, "again", method=method, trained_model=first.paths["model"], model=None)
    assert np.array_equal(first.abundances, again.abundances)
    assert np.array_equal(first.brightness, again.brightness)
    assert again.result["record"]["any_brightness"] is True
