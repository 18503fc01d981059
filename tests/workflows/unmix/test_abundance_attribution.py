"""Attribution of abundances: of a linear mixture the closed form, of a network what it adds up to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from explanation_layers.engine.jobs import AttributionJob
from explanation_layers.models.card import UNMIXING
from explanation_layers.models.files import load_model
from explanation_layers.rasters.errors import InputError
from explanation_layers.workflows.attribution import explain
from explanation_layers.workflows.context import Context

SIZE = 40


def explained(scene: str, model: str, folder: Path, **options: object) -> tuple[np.ndarray, np.ndarray, dict]:
    """Return attribution (band, y, x), saliency (3, y, x) and numbers."""
    paths = {name: str(folder / f"{name}.tif") for name in ("attribution", "saliency")}
    job = AttributionJob(scene, model, **{"target": "class", "baseline": "mean", **options}, **paths)
    result = explain(job, Context("test", lambda message: None))
    rasters = []
    for path in paths.values():
        with rasterio.open(path) as dataset:
            rasters.append(dataset.read())
    return rasters[0], rasters[1], result["numbers"]


def test_a_linear_mixture_is_explained_by_its_inverse(run, linear, tmp_path):
    """With all materials present on the whole path, an abundance is affine in the spectrum."""
    model = run(linear.raster, method="fcls", spectra=linear.spectra).paths["model"]
    found, saliency, numbers = explained(linear.raster, model, tmp_path, class_name="soil")
    spectra = linear.design.spectra
    values = linear.truth.values
    mean = load_model(model, UNMIXING).spectra.mean.numpy()
    # Least squares with a sum of one: the pseudo-inverse of the spectra about their mean.
    inverse = np.linalg.pinv((spectra - spectra.mean(0)).T)
    expected = inverse[1] * (values - mean)
    inside = (linear.truth.abundances > 1e-3).all(1) & (
        (inverse @ (mean - spectra.mean(0)) + 1 / 3) > 0
    ).all()
    assert inside.sum() > 100
    shown = found.reshape(len(mean), -1).T
    assert np.abs(shown - expected)[inside].max() < 1e-3 * np.abs(expected).max()
    assert numbers["MEAN_RESIDUAL"] < 0.01 and numbers["PIXELS"] == SIZE**2
    difference = saliency[1] + saliency[2]  # signed sum and residual
    start = (inverse @ (mean - spectra.mean(0)) + 1 / 3)[1]
    assert np.abs(difference.ravel() - (linear.truth.abundances[:, 1] - start)).max() < 1e-3


def test_a_saved_model_gives_the_abundances_that_unmix_wrote(run, bilinear, tmp_path):
    first = run(bilinear.raster, method="idnet", endmembers=3, epochs=2)
    window = [3e5, 5.8e6 - 180, 3e5 + 180, 5.8e6]
    _, saliency, _ = explained(
        bilinear.raster, first.paths["model"], tmp_path, class_name="material 1", explainer="band_ablation",
        baseline="mean", extent=window,
    )  # fmt: skip
    model = load_model(first.paths["model"], UNMIXING)
    start = model.network.logits(model.spectra.mean[None, :, None, None])[0, 0, 0, 0]
    shown = saliency[1] + saliency[2] + float(start)
    assert np.abs(shown - first.abundances[0, :6, :6]).max() < 1e-4


@pytest.mark.parametrize("explainer", ["integrated_gradients", "band_shapley"])
def test_the_bands_of_a_network_add_up(run, bilinear, tmp_path, explainer):
    model = run(bilinear.raster, method="idnet", endmembers=3, epochs=2).paths["model"]
    _, saliency, numbers = explained(
        bilinear.raster, model, tmp_path, class_name="1", explainer=explainer, samples=4,
        extent=[3e5, 5.8e6 - 120, 3e5 + 120, 5.8e6],
    )  # fmt: skip
    assert numbers["PIXELS"] == 16
    assert numbers["MEAN_RESIDUAL"] < (0.1 if explainer == "integrated_gradients" else 1e-5)
    assert np.isfinite(saliency).all()


def test_explainers_that_need_layers_are_refused(run, linear, tmp_path):
    model = run(linear.raster, method="fcls", spectra=linear.spectra).paths["model"]
    with pytest.raises(
        InputError, match="'deeplift' can't explain a model of unmixing; choose one of saliency"
    ):
        explained(linear.raster, model, tmp_path, class_name="soil", explainer="deeplift")
    with pytest.raises(InputError, match="has no class 'snow'; its classes are vegetation, soil, water"):
        explained(linear.raster, model, tmp_path, class_name="snow")


def test_materials_are_no_reference_of_pixels(run, linear, tmp_path):
    model = run(linear.raster, method="fcls", spectra=linear.spectra).paths["model"]
    with pytest.raises(InputError, match="for classifiers of pixels, .* choose one of predicted, class, con"):
        explained(linear.raster, model, tmp_path, target="reference", reference_raster=linear.raster)
