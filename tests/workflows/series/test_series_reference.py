"""The target `reference` on a series: each parcel is explained by the class that it is said to have."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio

from explanation_layers.engine.jobs import AttributionJob, TrainClassifierJob, job_from_dict
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.rasters.errors import InputError
from explanation_layers.workflows.attribution import explain
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.train_classifier import train

from .conftest import PLANTED

EXTENT = [3e5, 5_799_760.0, 300_240.0, 58e5]  # 12 x 12 pixels at the upper left, a gap among them


@pytest.fixture(scope="module")
def classifier(scene, tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("classifier") / "model.safetensors")
    job = TrainClassifierJob(
        None, path, series=scene.source, label_features=scene.parcels, values="power", split="parcels",
        epochs=4, compare_splits=False,
    )  # fmt: skip
    train(job, Context("job", lambda message: None, 0))
    return path


def explained(scene, model, path, **options) -> np.ndarray:
    job = AttributionJob(
        None, model, series=scene.source, extent=EXTENT, steps=8, attribution=str(path), **options
    )
    explain(job_from_dict(json.loads(json.dumps(job.to_dict()))), Context("job", lambda message: None, 0))
    with rasterio.open(path) as dataset:
        return dataset.read()


@pytest.mark.parametrize("explainer", ["integrated_gradients", "secant_contributions"])
def test_parcels_are_explained_by_their_class(scene, classifier, tmp_path, explainer):
    options = {"explainer": explainer}
    found = explained(
        scene, classifier, tmp_path / "reference.tif", target="reference", reference_features=scene.parcels,
        **options,
    )  # fmt: skip
    names = load_model(classifier, PIXEL_CLASSIFICATION).card.class_names
    wanted = np.full_like(found, np.nan)
    for number, name in enumerate(PLANTED):
        assert name in names
        one = explained(
            scene, classifier, tmp_path / f"{name}.tif", target="class", class_name=name, **options
        )
        chosen = scene.classes[:12, :12] == number
        wanted[:, chosen] = one[:, chosen]
    assert len(np.unique(scene.classes[:12, :12])) == 3
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.nanmax(np.abs(wanted)))


def test_an_autoencoder_says_what_can_be_chosen(scene, model, tmp_path):
    with pytest.raises(InputError, match="for classifiers of pixels, .* choose one of class, contrast here"):
        explained(
            scene, model, tmp_path / "a.tif", target="reference", reference_features=scene.parcels,
            class_name="dimension 1",
        )  # fmt: skip
