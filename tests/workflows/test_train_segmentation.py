"""Training of a U-Net from labels to a model file, and what it then makes of a scene."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.windows import Window

from explanation_layers.engine.jobs import ClassifyJob, TrainClassifierJob
from explanation_layers.models.card import PIXEL_CLASSIFICATION, Card
from explanation_layers.models.files import load_model
from explanation_layers.models.segmentation_networks import SegmentationNetwork
from explanation_layers.models.splits import block_split
from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.rasters.labels import read_label_raster
from explanation_layers.rasters.scene import open_scene
from explanation_layers.workflows.classify import classify
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.segmentation_samples import read_pages
from explanation_layers.workflows.train_classifier import train


@pytest.fixture
def job(demo, tmp_path: Path) -> TrainClassifierJob:
    """A short training of a small U-Net."""
    return TrainClassifierJob(
        demo.raster, str(tmp_path / "m.safetensors"), label_raster=demo.all_classes, epochs=2,
        compare_splits=False, architecture="unet", depth=2, filters=4, tile_size=16, block_size=8,
    )  # fmt: skip


@pytest.fixture
def run(context: Context) -> Callable[[TrainClassifierJob], tuple[dict, Card]]:
    def train_and_read(job: TrainClassifierJob) -> tuple[dict, Card]:
        value = train(job, context)
        return value, load_model(job.model, PIXEL_CLASSIFICATION).card

    return train_and_read


@pytest.fixture(scope="module")
def dense_model(tmp_path_factory, demo) -> str:
    """The path of a U-Net of depth 3 that learnt a little."""
    path = str(tmp_path_factory.mktemp("unet") / "unet.safetensors")
    job = TrainClassifierJob(
        demo.raster, path, label_raster=demo.label_raster, epochs=3, compare_splits=False, tile_size=32,
        architecture="unet", filters=4, normalisation="per_pixel", brightness=True,
        normalisation_strength=0.5,
    )  # fmt: skip
    train(job, Context("train", lambda message: None))
    return path


def test_it_learns_the_demo_scene(job, run):
    value, card = run(replace(job, epochs=30, filters=8))
    assert value["numbers"]["OVERALL_ACCURACY"] > 0.45  # guessing has 1 in 6
    assert set(value["numbers"]) == {
        "OVERALL_ACCURACY", "KAPPA", "MEAN_IOU", "GLOBAL_IOU", "WEIGHTED_IOU",
    }  # fmt: skip
    trial = card.training["trials"][0]
    assert trial["weighted_iou"] == value["numbers"]["WEIGHTED_IOU"]
    json.dumps(value, allow_nan=False)


def test_a_model_file_gives_the_network_back_ready_to_explain(dense_model, demo):
    model = load_model(dense_model, PIXEL_CLASSIFICATION)
    network, options = model.network, model.card.options
    assert model.card.architecture == "unet" and isinstance(network, SegmentationNetwork)
    assert (options["depth"], options["filters"], options["brightness"], options["strength"]) == (
        3, 4, True, 0.5
    )  # fmt: skip
    assert network.prepared_bands == len(model.card.used_bands) + 1
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    with pytest.raises(TypeError):
        _ = model.patch_size


def test_test_figures_are_those_of_the_written_map(job, demo, run, tmp_path):
    value, _ = run(job)
    classes = str(tmp_path / "classes.tif")
    classify(ClassifyJob(demo.raster, job.model, classes=classes), Context("1", lambda message: None))
    with rasterio.open(classes) as dataset:
        predicted = dataset.read(1)
    labels = read_label_raster(demo.all_classes, open_scene(demo.raster).grid)
    has_data = predicted[labels.rows, labels.cols] > 0
    rows, cols, truth = (each[has_data] for each in (labels.rows, labels.cols, labels.classes))
    split = block_split(rows, cols, truth, labels.names, 0.3, 8, 0)
    hits = predicted[rows, cols][split.test] == truth[split.test] + 1
    assert hits.mean() == pytest.approx(value["numbers"]["OVERALL_ACCURACY"], abs=1e-3)


def test_per_class_figures_are_those_of_the_confusion(job, run):
    value, _ = run(job)
    rows = value["tables"]["CONFUSION"]["rows"]
    confusion = np.array([row[1:7] for row in rows], dtype=float)
    iou = np.diag(confusion) / (confusion.sum(0) + confusion.sum(1) - np.diag(confusion))
    weights = confusion.sum(1) / confusion.sum()
    assert value["numbers"]["WEIGHTED_IOU"] == pytest.approx((iou * weights).sum())
    assert value["numbers"]["MEAN_IOU"] == pytest.approx(np.nanmean(iou))
    hits, total = np.trace(confusion), confusion.sum()
    assert value["numbers"]["GLOBAL_IOU"] == pytest.approx(hits / (2 * total - hits))


@pytest.mark.parametrize("memory_mb", [1, 1024])
@pytest.mark.parametrize("extent", [None, (13, 21, 30, 17)])
def test_tiles_and_extents_give_the_same_map(dense_model, demo, run_classify, tmp_path, memory_mb, extent):
    whole = run_classify(demo.raster, dense_model, tmp_path)
    (tmp_path / "part").mkdir()
    window = Window(0, 0, 56, 56) if extent is None else Window(*extent)
    transform = open_scene(demo.raster).grid.transform
    corners = [transform * (c, r) for c, r in (
        (window.col_off, window.row_off + window.height), (window.col_off + window.width, window.row_off)
    )]  # fmt: skip
    options = {"extent": [*corners[0], *corners[1]], "memory_mb": memory_mb}
    part = run_classify(demo.raster, dense_model, tmp_path / "part", **options)
    rows = slice(window.row_off, window.row_off + window.height)
    cols = slice(window.col_off, window.col_off + window.width)
    np.testing.assert_allclose(part.probabilities, whole.probabilities[:, rows, cols], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(part.classes > 0, whole.classes[:, rows, cols] > 0)


def test_test_labels_only_test_and_labels_only_train(job, demo, run, copy_raster, tmp_path):
    with rasterio.open(demo.all_classes) as dataset:
        values = dataset.read()
    left, right = values.copy(), values.copy()
    left[:, :, 30:], right[:, :, :28] = 0, 0
    paths = [copy_raster(demo.all_classes, tmp_path / f"{name}.tif", each) for name, each in
             (("left", left), ("right", right))]  # fmt: skip
    for path in paths:
        Path(path + ".aux.xml").write_bytes(Path(demo.all_classes + ".aux.xml").read_bytes())
    for architecture in ("unet", "spectral_cnn"):
        value, card = run(
            replace(
                job, label_raster=paths[0], test_label_raster=paths[1], architecture=architecture,
                report=str(tmp_path / "r.html"), compare_splits=True,
            )
        )  # fmt: skip
        (trial,) = card.training["trials"]
        assert trial["split"] == "test_labels"
        assert trial["test_pixels"] <= np.count_nonzero(right) and trial["train_pixels"] > 0
        shared = np.count_nonzero(left.astype(bool) & right.astype(bool))
        total = np.count_nonzero(left) + np.count_nonzero(right) - shared
        left_out = sum(int(w.split()[0]) for w in value["warnings"] if "no data" in w)
        assert trial["train_pixels"] + trial["test_pixels"] == total - left_out
        assert f"{shared} pixel(s) are in LABELS and in TEST_LABELS; these only test." in value["warnings"]
        assert "test labels of their own" in (tmp_path / "r.html").read_text("utf-8")


def test_test_labels_of_another_class_are_refused(job, demo, context, copy_raster, tmp_path):
    with rasterio.open(demo.all_classes) as dataset:
        values = dataset.read()
    other = np.where(values == 2, 9, values)
    path = copy_raster(demo.all_classes, tmp_path / "other.tif", other)
    with pytest.raises(InputError, match=r"The test labels have a class '.*', which LABELS do not"):
        train(replace(job, test_label_raster=path), context)


def test_a_class_that_only_tests_is_refused(job, demo, context):
    # All pixels of LABELS are among the test labels, so that none is left to train.
    job = replace(job, label_raster=demo.label_raster, test_label_raster=demo.all_classes)
    with pytest.raises(InputError, match=r"has no pixel with data in LABELS that is not in TEST_LABELS"):
        train(job, context)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tile_size": 18}, "tile size 18 is no multiple of 4, .* depth 2 needs; choose 16 or 20"),
        ({"tile_size": 2}, "tile size 2 is no multiple of 4, .* choose 4 or 8"),
        ({"depth": 5, "tile_size": 48}, "tile size 48 is no multiple of 32, .* choose 32 or 64"),
        ({"depth": 0}, "depth can't be 0; choose one from 1 to 7"),
        ({"depth": 8, "tile_size": 256}, "depth can't be 8"),
        ({"filters": 0}, "number of filters can't be 0"),
        ({"normalisation_strength": 1.5}, "normalisation strength 1.5 is not between 0 and 1"),
        ({"memory_mb": 0}, "take .* MB, more than the 0 MB .* choose smaller tiles"),
    ],
)
def test_a_training_that_can_not_be(job, context, change, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        train(replace(job, **change), context)
    assert str(caught.value).endswith(".")


def test_a_network_deeper_than_the_raster_reads_it_whole(job, run, demo, run_classify, tmp_path):
    value, _ = run(replace(job, depth=5, tile_size=128, filters=2, epochs=1))
    assert 0 <= value["numbers"]["OVERALL_ACCURACY"] <= 1
    assert (run_classify(demo.raster, job.model, tmp_path).classes > 0).sum() > 3000


def test_pages_are_read_around_labels_alone(demo):
    scene = open_scene(demo.raster)
    labels = read_label_raster(demo.all_classes, scene.grid)
    corner = (labels.rows < 8) & (labels.cols < 8)
    labels = replace(
        labels, rows=labels.rows[corner], cols=labels.cols[corner], classes=labels.classes[corner]
    )
    samples = read_pages(scene, labels, [0, 1], 16, 4, lambda: None, lambda text: None)
    assert samples.numbers.tolist() == [0, 1, 7, 8]  # of 7 x 7 pages
    whole = scene.read(scene.grid.whole, bands=[0, 1])
    np.testing.assert_array_equal(samples.pages[3], whole[:, 8:16, 8:16])


def test_equal_runs_give_equal_bytes(job, run, tmp_path):
    copies = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        same = replace(job, model=str(tmp_path / name / "m.safetensors"), epochs=1)
        torch.rand(3)
        run(same)
        copies.append(Path(same.model).read_bytes())
    assert copies[0] == copies[1]


def test_both_splits_are_trained_from_the_same_pages(job, run, tmp_path):
    alone = replace(job, epochs=1, split="random", model=str(tmp_path / "alone.safetensors"))
    run(alone)
    _, card = run(replace(job, epochs=1, split="random", compare_splits=True))
    assert [trial["split"] for trial in card.training["trials"]] == ["random", "blocks"]
    assert Path(alone.model).stat().st_size > 0
    first, second = (load_model(path, PIXEL_CLASSIFICATION).network.state_dict()
                     for path in (alone.model, job.model))  # fmt: skip
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_training_is_cancelled(job):
    context = Context("1", lambda message: context.cancel() if "epoch 1" in message.get("text", "") else None)
    with pytest.raises(Cancelled):
        train(replace(job, epochs=200, patience=200), context)
    assert not Path(job.model).exists()
