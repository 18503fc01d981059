"""Training: from labels to a model file, with figures that can be checked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from explanation_layers.engine.jobs import ClassifyJob, TrainClassifierJob
from explanation_layers.models.card import PIXEL_CLASSIFICATION, Card
from explanation_layers.models.files import load_model
from explanation_layers.models.splits import block_split
from explanation_layers.rasters.labels import read_label_raster
from explanation_layers.rasters.scene import open_scene
from explanation_layers.workflows.classify import classify
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.train_classifier import train


@pytest.fixture
def job(demo, tmp_path: Path) -> TrainClassifierJob:
    """A short training of pixels, without comparison."""
    return TrainClassifierJob(
        demo.raster, str(tmp_path / "m.safetensors"), label_raster=demo.label_raster, epochs=2,
        compare_splits=False,
    )  # fmt: skip


@pytest.fixture
def run(context: Context) -> Callable[[TrainClassifierJob], tuple[dict, Card]]:
    """Return a function that trains and gives the result and the model's card."""

    def train_and_read(job: TrainClassifierJob) -> tuple[dict, Card]:
        value = train(job, context)
        return value, load_model(job.model, PIXEL_CLASSIFICATION).card

    return train_and_read


def weights_of(path: str) -> dict[str, torch.Tensor]:
    return load_model(path, PIXEL_CLASSIFICATION).network.state_dict()


def test_points_and_raster_of_the_same_labels_train_the_same_network(job, demo, run, tmp_path) -> None:
    from_raster, card = run(job)
    points = replace(
        job, model=str(tmp_path / "p.safetensors"), label_raster=None, label_features=demo.points
    )
    from_points, point_card = run(points)
    first, second = weights_of(job.model), weights_of(points.model)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert from_raster["numbers"] == from_points["numbers"]
    assert point_card.class_names == ["1", "2", "3", "4", "5", "6"]
    assert card.class_names[:2] == ["chlorophyll", "ferric iron"]


def test_the_card_tells_bands_classes_and_training(job, demo, run) -> None:
    value, card = run(replace(job, label_name="land cover", seed=3, block_size=8))
    scene = open_scene(demo.raster)
    assert [band.wavelength_nm for band in card.bands] == scene.wavelengths_nm
    assert all(band.used for band in card.bands)
    assert card.training["label_name"] == "land cover" and card.training["seed"] == 3
    trial = card.training["trials"][0]
    labelled = len(read_label_raster(demo.label_raster, scene.grid).rows)
    assert trial["train_pixels"] + trial["test_pixels"] == labelled
    assert trial["test_pixels"] / labelled == pytest.approx(0.3, abs=0.1)
    assert value["numbers"]["OVERALL_ACCURACY"] == trial["overall_accuracy"]


def test_figures_are_those_of_the_confusion_table(job, run) -> None:
    value, card = run(job)
    table = value["tables"]["CONFUSION"]
    names = [column["name"] for column in table["columns"]]
    assert names == [
        "reference", *(f"predicted_{i}" for i in range(1, 7)), "pixels", "recall", "precision", "iou"
    ]  # fmt: skip
    assert all(len(row) == len(names) for row in table["rows"])
    assert [row[0] for row in table["rows"]] == card.class_names
    confusion = np.array([row[1:7] for row in table["rows"]])
    hits = np.diag(confusion)
    assert confusion.sum() == card.training["trials"][0]["test_pixels"]
    assert value["numbers"]["OVERALL_ACCURACY"] == pytest.approx(hits.sum() / confusion.sum())
    for number, row in enumerate(table["rows"]):
        assert row[7] == confusion[number].sum()
        assert row[8] == pytest.approx(hits[number] / confusion[number].sum())
        predicted = confusion[:, number].sum()
        assert row[9] == (pytest.approx(hits[number] / predicted) if predicted else None)
        assert row[10] == pytest.approx(hits[number] / (row[7] + predicted - hits[number]))
    json.dumps(value, allow_nan=False)


def test_accuracy_is_that_of_the_written_model_on_unseen_blocks(job, demo, run, tmp_path) -> None:
    job = replace(job, architecture="hybrid_cnn", patch_size=9, components=6, block_size=8, epochs=4)
    value, _ = run(job)
    classes = tmp_path / "classes.tif"
    classify(ClassifyJob(demo.raster, job.model, classes=str(classes)), Context("1", lambda message: None))
    with rasterio.open(classes) as dataset:
        predicted = dataset.read(1)
    labels = read_label_raster(demo.label_raster, open_scene(demo.raster).grid)
    split = block_split(labels.rows, labels.cols, labels.classes, labels.names, 0.3, 8, 0)
    hits = predicted[labels.rows, labels.cols] == labels.classes + 1
    # Patches that reach the corner without data are filled a little differently in the two.
    assert hits[split.test].mean() == pytest.approx(value["numbers"]["OVERALL_ACCURACY"], abs=0.02)


def test_it_learns_from_few_pixels(spectral_model) -> None:
    card = load_model(spectral_model, PIXEL_CLASSIFICATION).card
    assert card.training["trials"][0]["overall_accuracy"] > 0.9


def test_both_splits_are_in_card_and_report(job, run, tmp_path) -> None:
    report = tmp_path / "report.html"
    job = replace(
        job, architecture="spatial_cnn", patch_size=5, compare_splits=True, block_size=8, report=str(report)
    )
    value, card = run(job)
    blocks, random = card.training["trials"]
    assert (blocks["split"], random["split"]) == ("blocks", "random")
    assert (blocks["block_size"], random["block_size"]) == (8, 0)
    # A random split tests where it trained.
    assert 1 >= random["test_pixels_sharing_a_patch"] > 0.95 > blocks["test_pixels_sharing_a_patch"] > 0
    assert value["numbers"]["OVERALL_ACCURACY"] == blocks["overall_accuracy"]
    assert value["files"] == {"model": job.model, "report": str(report)}
    text = report.read_text("utf-8")
    for trial in (blocks, random):
        assert f"{100 * trial['overall_accuracy']:.2f} %" in text
        assert f"{trial['kappa']:.4f}" in text
    for row in value["tables"]["CONFUSION"]["rows"]:
        assert f"{100 * row[8]:.2f} %" in text


def test_the_split_that_is_asked_for_makes_the_model(job, run, tmp_path) -> None:
    alone = replace(job, split="random", model=str(tmp_path / "alone.safetensors"))
    compared = replace(job, split="random", compare_splits=True)
    run(alone)
    _, card = run(compared)
    assert [trial["split"] for trial in card.training["trials"]] == ["random", "blocks"]
    first, second = weights_of(alone.model), weights_of(compared.model)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_comparison_that_is_not_possible_is_a_warning(job, run, demo, copy_raster, tmp_path) -> None:
    labels = np.zeros((1, 56, 56), np.uint8)
    labels[0, 0, 0:4], labels[0, 1, 0:4] = 1, 2
    path = copy_raster(demo.label_raster, tmp_path / "corner.tif", labels)
    value, card = run(replace(job, label_raster=path, split="random", compare_splits=True))
    assert [trial["split"] for trial in card.training["trials"]] == ["random"]
    (warning,) = value["warnings"]
    assert re.match(
        r"The blocks split can't be compared: Class 'class 1' lies in fewer than 2 blocks", warning
    )
    assert value["record"]["warnings"] == [warning]


def test_equal_runs_give_equal_bytes_whatever_the_files_are_called(
    job, demo, run, copy_raster, tmp_path
) -> None:
    copies = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        points = folder / f"{name}.geojson"
        points.write_bytes(Path(demo.points).read_bytes())
        same = replace(
            job, model=str(folder / "m.safetensors"), label_raster=None, label_features=str(points),
            architecture="hybrid_cnn", patch_size=9, components=5,
        )  # fmt: skip
        torch.rand(3)
        run(same)
        copies.append(Path(same.model).read_bytes())
    assert copies[0] == copies[1]
    run(replace(same, seed=1))
    assert Path(same.model).read_bytes() != copies[0]


def test_spectra_in_the_model_are_those_of_the_training_pixels(job, demo, run) -> None:
    run(job)
    model = load_model(job.model, PIXEL_CLASSIFICATION)
    scene = open_scene(demo.raster)
    labels = read_label_raster(demo.label_raster, scene.grid)
    split = block_split(labels.rows, labels.cols, labels.classes, labels.names, 0.3, 0, 0)
    values = scene.read(scene.grid.whole)[:, labels.rows, labels.cols].T.astype(np.float64)
    np.testing.assert_allclose(model.spectra.mean, values[split.train].mean(0), rtol=1e-5)
    for number, mean in enumerate(model.spectra.class_means):
        members = split.train[labels.classes[split.train] == number]
        np.testing.assert_allclose(mean, values[members].mean(0), rtol=1e-5)
    trained = {tuple(row) for row in values[split.train].tolist()}
    assert len(model.spectra.background) == 128
    assert all(tuple(row) in trained for row in model.spectra.background.tolist())
    # Scaling knows the training pixels alone.
    np.testing.assert_allclose(model.network.scaling.offset, values[split.train].mean(0), rtol=1e-5)


def test_bands_without_data_are_left_out(job, demo, run, copy_raster, tmp_path) -> None:
    with rasterio.open(demo.raster) as dataset:
        values = dataset.read()
    values[[0, 9]] = -32768
    scene = copy_raster(demo.raster, tmp_path / "gaps.tif", values)
    _, card = run(replace(job, scene=scene))
    assert [i for i, band in enumerate(card.bands) if not band.used] == [0, 9]
    result = tmp_path / "c.tif"
    classify(ClassifyJob(scene, job.model, classes=str(result)), Context("1", lambda message: None))
    with rasterio.open(result) as dataset:
        assert (dataset.read(1) > 0).sum() > 3000


def test_a_scene_without_georeference_trains_from_a_raster_of_its_size(
    job, demo, run, copy_raster, tmp_path
) -> None:
    plain = {"crs": None, "transform": None}
    scene = copy_raster(demo.raster, tmp_path / "plain.tif", **plain)
    labels = copy_raster(demo.label_raster, tmp_path / "labels.tif", **plain)
    value, _ = run(replace(job, scene=scene, label_raster=labels))
    placed, _ = run(replace(job, model=str(tmp_path / "placed.safetensors")))
    assert value["numbers"] == placed["numbers"]


def test_labels_without_data_are_left_out_and_said(job, demo, run, tmp_path) -> None:
    with rasterio.open(demo.label_raster) as dataset:
        labels, profile = dataset.read(), dataset.profile
    labels[0, -3:, -3:] = 1  # where the sensor missed the scene
    path = str(tmp_path / "labels.tif")
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(labels)
    value, card = run(replace(job, label_raster=path))
    assert value["warnings"] == ["9 labelled pixel(s) have no data in a band and are left out."]
    trial = card.training["trials"][0]
    assert trial["train_pixels"] + trial["test_pixels"] == np.count_nonzero(labels) - 9


def test_a_record_lies_beside_model_and_report(job, run, tmp_path) -> None:
    job = replace(job, seed=5, report=str(tmp_path / "report.html"))
    train_context = Context("1", lambda message: None, seed=5)
    value = train(job, train_context)
    record = json.loads((tmp_path / "m.json").read_text("utf-8"))
    assert json.loads((tmp_path / "report.json").read_text("utf-8")) == record == value["record"]
    assert record["job"] == job.to_dict() and record["seed"] == 5
    assert record["model_digest"] == load_model(job.model, PIXEL_CLASSIFICATION).card.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "m.json", "m.safetensors", "report.html", "report.json"
    ]  # fmt: skip


def test_progress_rises_and_names_the_epoch(job, monkeypatch) -> None:
    monkeypatch.setattr("explanation_layers.workflows.context.PROGRESS_INTERVAL", 0.0)
    messages: list[dict] = []
    train(replace(job, compare_splits=True), Context("1", messages.append))
    fractions = [message["fraction"] for message in messages if message["type"] == "progress"]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] > 0.9
    texts = [message["text"] for message in messages]
    assert any("Training (blocks split), epoch 1 of 2, loss" in text for text in texts)
    assert any("Training (random split), epoch 1 of 2, loss" in text for text in texts)
