"""Integrated gradients of a classifier of a simulated year find the windows that were planted for its crops.

The figures are those of docs/series.md.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from sklearn.metrics import roc_auc_score

from explanation_layers.engine.jobs import AttributionJob, DemoDataJob, SeriesSource, TrainClassifierJob
from explanation_layers.workflows.attribution import explain
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.demo_data import simulate
from explanation_layers.workflows.train_classifier import train

pytestmark = pytest.mark.slow


def context() -> Context:
    return Context("planted", lambda message: None, 0)


@pytest.fixture(scope="module", params=[1, 2])
def year(request, tmp_path_factory) -> SimpleNamespace:
    """A simulated year of 64 x 64 pixels: the series, its parcels, classes (y, x) from 1, and the truth."""
    folder = tmp_path_factory.mktemp("year")
    files = simulate(DemoDataJob("sar_series", str(folder), 64, request.param), context())["files"]
    with open(files["truth"], encoding="utf-8") as file, rasterio.open(files["label_raster"]) as labels:
        truth, classes = json.load(file), labels.read(1)
    return SimpleNamespace(
        source=SeriesSource((files["raster"],)), labels=files["label_raster"], classes=classes, truth=truth,
        folder=folder, seed=request.param,
    )  # fmt: skip


def learnt(year: SimpleNamespace, name: str, **settings) -> tuple[str, dict]:
    model = str(year.folder / f"{name}.safetensors")
    job = TrainClassifierJob(
        None, model, series=year.source, values="power", label_raster=year.labels, split="parcels",
        compare_splits=False, seed=year.seed, **{"epochs": 12, **settings},
    )  # fmt: skip
    return model, train(job, context())["numbers"]


def areas(year: SimpleNamespace, model: str) -> np.ndarray:
    """The area (class,): the chance that a planted date adds more to its class than any other date does."""
    found = []
    for entry in year.truth["classes"]:
        path = str(year.folder / "attribution.tif")
        job = AttributionJob(
            None, model, series=year.source, target="class", class_name=entry["name"], steps=4,
            attribution=path,
        )  # fmt: skip
        explain(job, context())
        with rasterio.open(path) as dataset:
            values = dataset.read()[:, year.classes == entry["id"]]
        by_date = np.nanmean(values, axis=1).reshape(len(year.truth["dates"]), -1).sum(1)
        planted = np.isin(np.arange(len(by_date)), entry["dates"])
        found.append(roc_auc_score(planted, by_date))
    return np.array(found)


def test_planted_windows_decide_for_their_crops_because_they_were_learnt(year):
    model, numbers = learnt(year, "model")
    trained = areas(year, model)
    # As good as no training: weights stay where chance put them.
    random, _ = learnt(year, "random", epochs=1, learning_rate=1e-7)
    untrained = areas(year, random)
    print(year.seed, numbers["OVERALL_ACCURACY"], trained.round(3), untrained.round(3))
    assert numbers["OVERALL_ACCURACY"] > 0.98
    assert trained.min() > 0.95
    assert untrained.mean() < 0.7
