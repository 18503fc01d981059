"""A classifier of series: trained, applied and explained date by date, from one file or many."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.windows import Window
from sklearn.metrics import roc_auc_score

from explanation_layers.engine.jobs import AttributionJob, ClassifyJob, SeriesSource, TrainClassifierJob
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.rasters.series import open_series
from explanation_layers.workflows.attribution import explain
from explanation_layers.workflows.classify import classify
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.samples import read_samples
from explanation_layers.workflows.series_labels import read_series_labels
from explanation_layers.workflows.series_reading import card_channels, card_dates
from explanation_layers.workflows.train_classifier import train
from explanation_layers.workflows.training_labels import read_labels

from .conftest import CHANNELS, DATES, EMPTY, GAP, PLANTED, SIDE, Scene, make_series, training

# 12 x 12 pixels at the upper left, the gap among them.
EXTENT = [3e5, 5_799_760.0, 300_240.0, 58e5]


def learning(scene: Scene, model, **settings) -> TrainClassifierJob:
    usual = {
        "label_features": scene.parcels, "values": "power", "split": "parcels", "epochs": 8,
        "compare_splits": False,
    }  # fmt: skip
    return TrainClassifierJob(None, str(model), series=scene.source, **{**usual, **settings})


@pytest.fixture(scope="module")
def learnt(scene, tmp_path_factory) -> tuple[str, dict]:
    """A classifier of the series, and what its training gave."""
    path = tmp_path_factory.mktemp("classifier") / "model.safetensors"
    report = str(path.with_name("report.html"))
    job = learning(scene, path, report=report)
    return str(path), train(job, Context("job", lambda message: None, 0))


@pytest.fixture(scope="module")
def classifier(learnt) -> str:
    return learnt[0]


@pytest.fixture(scope="module")
def by_date(scene, tmp_path_factory) -> SeriesSource:
    """The same series as one raster per date, told by the files' names."""
    folder = tmp_path_factory.mktemp("by_date")
    with rasterio.open(scene.raster) as dataset:
        profile, values = dataset.profile, dataset.read()
    for number, date in enumerate(DATES):
        path = folder / f"s1_{date.replace('-', '')}.tif"
        with rasterio.open(path, "w", **{**profile, "count": len(CHANNELS)}) as dataset:
            dataset.write(values[2 * number : 2 * number + 2])
            dataset.descriptions = CHANNELS
    return SeriesSource((str(folder),))


def read(path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read(masked=True).astype(float).filled(np.nan)


def classified(source, model, folder: Path, context, **settings) -> dict[str, np.ndarray]:
    paths = {name: str(folder / f"{name}.tif") for name in ("classes", "probabilities")}
    classify(ClassifyJob(None, model, series=source, **paths, **settings), context)
    return {name: read(path) for name, path in paths.items()}


def test_the_card_tells_dates_channels_and_how_values_were_read(classifier):
    card = load_model(classifier, PIXEL_CLASSIFICATION).card
    assert tuple(card_dates(card)) == DATES and tuple(card_channels(card)) == CHANNELS
    assert card.of_series and card.used_bands == list(range(2 * len(DATES)))
    assert (card.training["values"], card.training["calibration"]) == ("power", 0.0)
    assert card.class_names == sorted(PLANTED)


def test_classes_are_learnt_on_parcels_that_were_not_trained_on(learnt):
    path, result = learnt
    assert result["numbers"]["OVERALL_ACCURACY"] > 0.98
    text = Path(path).with_name("report.html").read_text(encoding="utf-8")
    assert "14 dates from 2017-01-03 to 2017-07-20" in text and "whole parcels (this model)" in text
    assert "power, taken to decibels" in text and "The dates were read from" in text


def test_the_parcels_that_test_are_those_of_the_jobs_about_series(scene, context):
    series, job = open_series([scene.raster], values="power"), learning(scene, "unused", compare_splits=True)
    labels = read_series_labels(training(scene, "unused"), series.grid, context)
    expected = labels.keys[labels.split(job.test_share, job.seed).test]
    found = read_labels(job, series, context)
    samples = read_samples(
        series, found.pixels, range(len(series.bands)), 1, job.seed, context.check, context.warn
    )
    split, other = found.splits(job, samples, context)
    keys = samples.rows * SIDE + samples.cols
    empty = np.zeros((SIDE, SIDE), dtype=bool)
    empty[EMPTY] = True
    assert set(keys[split.test]) == set(expected[~empty.ravel()[expected]])
    assert len(split.train) + len(split.test) == len(keys) and not set(split.train) & set(split.test)
    assert (split.kind, other.kind) == ("parcels", "random")


def test_every_pixel_with_data_gets_its_class(scene, classifier, context, tmp_path):
    found = classified(scene.source, classifier, tmp_path, context)
    names = list(PLANTED)
    truth = np.array([sorted(names).index(name) + 1 for name in names])[scene.classes]
    known = np.ones((SIDE, SIDE), dtype=bool)
    known[EMPTY] = False
    assert np.isnan(found["classes"][0][~known]).all()
    assert (found["classes"][0] == truth)[known].mean() > 0.98
    np.testing.assert_allclose(found["probabilities"].sum(0)[known], 1, atol=1e-5)


def test_one_file_or_one_per_date_is_the_same(scene, by_date, classifier, context, tmp_path):
    (tmp_path / "other").mkdir()
    one = classified(scene.source, classifier, tmp_path, context)
    many = classified(by_date, classifier, tmp_path / "other", context)
    np.testing.assert_array_equal(one["probabilities"], many["probabilities"])
    job = learning(scene, tmp_path / "a.safetensors", epochs=1)
    digests = [
        train(replace(job, series=source), context)["record"]["model_digest"]
        for source in (scene.source, by_date)
    ]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("spectral_cnn", {}),
        ("spatial_cnn", {"patch_size": 5}),
        ("hybrid_cnn", {"patch_size": 9, "components": 6}),
        ("unet", {"depth": 2, "filters": 4, "tile_size": 32}),
    ],
)
def test_every_architecture_reads_series_and_tiles_are_no_matter(
    scene, context, tmp_path, architecture, settings
):
    model = str(tmp_path / "model.safetensors")
    train(learning(scene, model, architecture=architecture, epochs=1, **settings), context)
    whole = classified(scene.source, model, tmp_path, context)["probabilities"]
    # Tiles of 32 pixels of patch networks, and less than the scene for all.
    for settings, part in (({"memory_mb": 128}, whole), ({"extent": EXTENT}, whole[:, :12, :12])):
        found = classified(scene.source, model, tmp_path, context, **settings)["probabilities"]
        np.testing.assert_allclose(found, part, atol=1e-5)
    explainer = "secant_contributions" if architecture == "unet" else "integrated_gradients"
    path = str(tmp_path / "attribution.tif")
    job = AttributionJob(
        None, model, series=scene.source, explainer=explainer, steps=8, attribution=path,
        extent=[300_200.0, 5_799_720.0, 300_280.0, 5_799_800.0],
    )  # fmt: skip
    explain(job, context)
    values = read(path)
    assert values.shape == (2 * len(DATES), 4, 4) and np.isfinite(values).all() and np.abs(values).sum() > 0


def explaining(scene, model, **settings) -> AttributionJob:
    return AttributionJob(None, model, series=scene.source, **settings)


def logits(scene, model, window: Window) -> np.ndarray:
    """The logits (class, y, x) of a window and those of the mean series (class,)."""
    loaded = load_model(model, PIXEL_CLASSIFICATION)
    values = open_series([scene.raster], values="power").read(window)
    with torch.no_grad():
        own = loaded.network(torch.from_numpy(values)[None])[0]
        mean = loaded.network(loaded.spectra.mean[None, :, None, None])[0]
    return (own - mean).numpy()


def test_dates_and_channels_add_up_to_what_a_class_has_beyond_the_mean(scene, classifier, context, tmp_path):
    paths = {name: str(tmp_path / f"{name}.tif") for name in ("attribution", "saliency")}
    job = explaining(scene, classifier, target="class", class_name="maize", extent=EXTENT, **paths)
    result = explain(job, context)
    values, saliency = read(paths["attribution"]), read(paths["saliency"])
    difference = logits(scene, classifier, Window(0, 0, 12, 12))[sorted(PLANTED).index("maize")]
    np.testing.assert_allclose(saliency[1] + saliency[2], difference, atol=2e-3)
    assert result["numbers"]["MEAN_RESIDUAL"] < 0.02
    assert result["record"]["baseline"] == "mean"
    # What was filled in is not the ground's.
    rows, cols, day = GAP
    gap = np.zeros(values.shape, dtype=bool)
    gap[2 * day : 2 * day + 2, rows, cols] = True
    assert np.array_equal(np.isnan(values), gap)


def test_raster_and_table_name_dates_and_channels(scene, classifier, context, tmp_path):
    path = str(tmp_path / "attribution.tif")
    job = explaining(scene, classifier, explainer="input_x_gradient", extent=EXTENT, attribution=path)
    rows = explain(job, context)["tables"]["BAND_TABLE"]["rows"]
    with rasterio.open(path) as dataset:
        assert dataset.descriptions[:3] == (f"{DATES[0]} VV", f"{DATES[0]} VH", f"{DATES[1]} VV")
        assert dataset.tags(3)["date"] == DATES[1]
    assert "<temporal" in (tmp_path / "attribution.qml").read_text()
    assert {row[0] for row in rows} <= set(PLANTED)
    assert [row[2] for row in rows][:2] == [f"{DATES[0]} VV", f"{DATES[0]} VH"]


def test_planted_dates_decide_for_their_class(scene, classifier, context):
    """6 dB on two dates of VV: no other of the 28 bands says more for the class."""
    result = explain(explaining(scene, classifier, table_only=True), context)
    for name, days in PLANTED.items():
        rows = [row for row in result["tables"]["BAND_TABLE"]["rows"] if row[0] == name]
        planted = np.isin(np.arange(len(rows)), [2 * day for day in days])
        assert roc_auc_score(planted, [row[4] for row in rows]) > 0.95


def test_occlusion_replaces_all_channels_of_a_date(scene, classifier, context, tmp_path):
    path = str(tmp_path / "occlusion.tif")
    job = explaining(
        scene, classifier, explainer="occlusion", target="class", class_name="beet", attribution=path,
        extent=EXTENT,
    )  # fmt: skip
    explain(job, context)
    values = read(path)[:, 10, 10]
    loaded = load_model(classifier, PIXEL_CLASSIFICATION)
    x = torch.from_numpy(open_series([scene.raster], values="power").read(Window(10, 10, 1, 1)))[None]
    with torch.no_grad():
        for day in range(len(DATES)):
            without = x.clone()
            without[:, 2 * day : 2 * day + 2, 0, 0] = loaded.spectra.mean[2 * day : 2 * day + 2]
            fall = float((loaded.network(x) - loaded.network(without))[0, 0])
            assert values[2 * day : 2 * day + 2].sum() == pytest.approx(fall, abs=1e-4)


def test_classes_are_contrasted_and_stand_for_baselines(scene, classifier, context, tmp_path):
    path = str(tmp_path / "contrast.tif")
    job = explaining(
        scene, classifier, target="contrast", class_name="wheat", contrast_class="beet", extent=EXTENT,
        baseline="class_mean", baseline_class="beet", attribution=path,
    )  # fmt: skip
    explain(job, context)
    wheat = scene.classes[:12, :12] == list(PLANTED).index("wheat")
    means = np.nanmean(read(path)[:, wheat], axis=1)
    days = [*PLANTED["wheat"], *PLANTED["beet"]]
    assert set(np.argsort(-means)[:4]) == {2 * day for day in days}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"series": None}, "the raster INPUT or the rasters SERIES; give one of the two"),
        ({"scene": "scene.tif"}, "the raster INPUT or the rasters SERIES; give one of the two"),
        ({"values": "loud"}, "no values 'loud'"),
        ({"values": "as_is", "calibration": -83.0}, "CALIBRATION 0"),
        ({"normalisation": "per_pixel"}, "can't be divided by their sum"),
        ({"split": "fields"}, "no split 'fields'; choose one of blocks, parcels, random"),
        ({"test_share": 1.5}, "test share 1.5 is not between 0 and 1"),
    ],
)
def test_what_can_not_be_trained_is_said(scene, tmp_path, context, settings, sentence):
    job = replace(learning(scene, tmp_path / "model.safetensors"), **settings)
    with pytest.raises(InputError, match=sentence):
        train(job, context)
    assert not list(tmp_path.iterdir())


def test_one_date_is_no_series(scene, tmp_path, context):
    job = learning(scene, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="a series needs two or more"):
        train(replace(job, series=SeriesSource((scene.raster,), end=DATES[0])), context)


def test_what_can_not_be_classified_is_said(scene, classifier, model, spectral_model, context, tmp_path):
    out = {"classes": str(tmp_path / "c.tif")}
    cases = [
        (ClassifyJob(None, classifier, **out), "INPUT or the rasters SERIES; give one of the two"),
        (ClassifyJob(scene.raster, classifier, series=scene.source, **out), "give one of the two"),
        # Of the same bands, but in power and with gaps.
        (ClassifyJob(scene.raster, classifier, **out), "trained on a series, .* is read as one raster"),
        (ClassifyJob(None, spectral_model, series=scene.source, **out), "trained on a single raster"),
        (ClassifyJob(None, model, series=scene.source, **out), "series autoencoder"),
    ]
    for job, sentence in cases:
        with pytest.raises(InputError, match=sentence):
            classify(job, context)
    with pytest.raises(InputError, match="trained on a single raster"):
        explain(explaining(scene, spectral_model), context)
    with pytest.raises(InputError, match="is read as one raster"):
        explain(AttributionJob(scene.raster, classifier), context)
    assert not list(tmp_path.iterdir())


def test_other_dates_and_channels_are_refused(scene, classifier, context, tmp_path):
    moved = make_series(tmp_path, dates=("2017-01-04", *DATES[1:]), name="moved.tif")
    single = make_series(tmp_path, channels=("VV",), name="single.tif")
    out = {"classes": str(tmp_path / "c.tif")}
    for source, sentence in (
        (moved.source, "trained on 14 dates, of which .*moved.tif lacks 2017-01-03"),
        (single.source, "needs the channel VH, and .*single.tif has VV"),
    ):
        with pytest.raises(InputError, match=sentence):
            classify(ClassifyJob(None, classifier, series=source, **out), context)
        with pytest.raises(InputError, match=sentence):
            explain(AttributionJob(None, classifier, series=source), context)


def test_no_input_is_an_output(scene, by_date, classifier, context):
    last = sorted(Path(by_date.paths[0]).iterdir())[-1]
    with pytest.raises(InputError, match="is an input of this job"):
        classify(ClassifyJob(None, classifier, series=by_date, classes=str(last)), context)


def test_a_training_that_is_stopped_leaves_nothing(scene, tmp_path):
    context = Context("stopped", lambda message: None, 0)

    def listen(message):
        if message["type"] == "progress" and "epoch" in message["text"]:
            context.cancel()

    context._send = listen
    with pytest.raises(Cancelled):
        train(learning(scene, tmp_path / "model.safetensors", epochs=500), context)
    assert not list(tmp_path.iterdir())
