"""What a user can get wrong: one clear sentence, and nothing on the disk is different."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from affine import Affine

from explanation_layers.engine.jobs import ClassifyJob, Job, TrainClassifierJob
from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.rasters.writers import RasterWriter
from explanation_layers.workflows import classify as classify_module
from explanation_layers.workflows.classify import classify
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.train_classifier import train

OLD = b"what was there before"


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of outputs; it holds older files of their names, which must be the same after the test."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    for name in ("m.safetensors", "m.json", "c.tif", "c.json", "c.qml", "c.tif.aux.xml", "other.txt"):
        (folder / name).write_bytes(OLD)
    before = contents(folder)
    yield folder
    assert contents(folder) == before


@pytest.fixture
def training(demo, folder: Path) -> TrainClassifierJob:
    """A training job that would run."""
    return TrainClassifierJob(
        demo.raster, str(folder / "m.safetensors"), label_raster=demo.label_raster, epochs=2,
        compare_splits=False, report=str(folder / "report.html"),
    )  # fmt: skip


@pytest.fixture
def classification(demo, spectral_model: str, folder: Path) -> ClassifyJob:
    """A classification job that would run."""
    paths = {name: str(folder / f"{name[0]}.tif") for name in ("classes", "probabilities")}
    return ClassifyJob(demo.raster, spectral_model, **paths)


@pytest.fixture
def refused(context: Context) -> Callable[[Job, str], None]:
    """Return a function that runs a job and expects the sentence that it is refused with."""

    def run(job: Job, sentence: str) -> None:
        work = train if isinstance(job, TrainClassifierJob) else classify
        with pytest.raises(InputError, match=sentence) as caught:
            work(job, context)
        text = str(caught.value)
        assert text.endswith(".") and "\n" not in text, text

    return run


@pytest.fixture
def variant(demo, copy_raster, tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a changed copy of a raster of the demo outside the outputs' folder."""

    def make(source: str, change: Callable[[np.ndarray], np.ndarray] = lambda v: v, **profile: object) -> str:
        with rasterio.open(getattr(demo, source)) as dataset:
            values = change(dataset.read())
        return copy_raster(getattr(demo, source), tmp_path / f"changed_{source}.tif", values, **profile)

    return make


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"architecture": "vnet"}, "no architecture 'vnet'; choose one of spectral_cnn, spatial_cnn, hybrid"),
        ({"normalisation": "minmax"}, "no normalisation 'minmax'; choose one of none, standard, per_pixel"),
        ({"split": "halves"}, "no split 'halves'; choose one of blocks, parcels, random"),
        ({"device": "tpu"}, "no device 'tpu'; choose auto, cpu or cuda"),
        (
            {"architecture": "hybrid_cnn", "patch_size": 10},
            "patch size 10 does not suit .* odd number from 9",
        ),
        ({"architecture": "hybrid_cnn", "patch_size": 7}, "patch size 7 does not suit .* odd number from 9"),
        ({"architecture": "spatial_cnn", "patch_size": -1}, "patch size -1 does not suit .* from 1 on"),
        ({"test_share": 0.0}, "test share 0.0 is not between 0 and 1"),
        ({"test_share": 1.0}, "test share 1.0 is not between 0 and 1"),
        ({"learning_rate": float("nan")}, "learning rate nan is not between"),
        ({"epochs": 0}, "number of epochs can't be 0; choose 1 or more"),
        ({"batch_size": -1}, "batch size can't be -1"),
        ({"components": 0}, "number of components can't be 0"),
        ({"patience": 0}, "patience can't be 0"),
        ({"seed": -1}, "seed can't be -1; choose 0 or more"),
        ({"block_size": -8}, "block size can't be -8; choose 0 or more"),
        ({"scene": "/nowhere/scene.tif"}, "There is no file /nowhere/scene.tif"),
        ({"label_raster": None}, "There are no labels; choose points, polygons or a class raster"),
        ({"label_raster": "/nowhere/l.tif"}, "There is no file /nowhere/l.tif"),
        ({"label_raster": None, "label_features": "/nowhere/l.geojson"}, "There is no file /nowhere/l.geoj"),
        ({"unlabelled_value": 1, "block_size": 2000}, "lies in fewer than 2 blocks of 2000 x 2000 pixels"),
    ],
)
def test_a_training_that_can_not_be(training, refused, change: dict, sentence: str) -> None:
    refused(replace(training, **change), sentence)


def test_labels_of_one_class(training, refused, variant) -> None:
    path = variant("label_raster", lambda v: np.where(v == 3, v, 0))
    refused(replace(training, label_raster=path), r"The labels have one class only, 'class 3'; two or more")


def test_a_class_in_one_block(training, refused, variant) -> None:
    def only_here(values: np.ndarray) -> np.ndarray:
        values[values == 2] = 0
        values[0, 8:10, 8:10] = 2
        return values

    path = variant("label_raster", only_here)
    refused(replace(training, label_raster=path), "'class 2' lies in fewer than 2 blocks of 4 x 4 pixels")


def test_a_class_of_one_pixel_at_random(training, refused, variant) -> None:
    def only_here(values: np.ndarray) -> np.ndarray:
        values[values == 2] = 0
        values[0, 8, 8] = 2
        return values

    path = variant("label_raster", only_here)
    refused(replace(training, label_raster=path, split="random"), r"'class 2' has 1 labelled pixel\(s\)")


def test_labels_of_another_place(training, refused, variant, demo) -> None:
    with rasterio.open(demo.raster) as dataset:
        far = dataset.transform * Affine.translation(1000, 0)
    path = variant("label_raster", transform=far)
    refused(
        replace(training, label_raster=path),
        r"labels in .* cover \(.*\) and the scene \(.*\); choose labels of the same place",
    )


def test_points_of_another_place(training, refused, demo, tmp_path) -> None:
    text = json.loads(Path(demo.points).read_text())
    for feature in text["features"]:
        feature["geometry"]["coordinates"][0] += 1e6
    path = tmp_path / "far.geojson"
    path.write_text(json.dumps(text))
    job = replace(training, label_raster=None, label_features=str(path))
    refused(job, r"No label in .* covers a pixel of the scene: the labels cover .* same place")


def test_labels_without_the_field(training, refused, demo, tmp_path) -> None:
    path = tmp_path / "other.geojson"
    path.write_text(Path(demo.points).read_text().replace('"class"', '"kind"'))
    refused(replace(training, label_raster=None, label_features=str(path)), "have no field 'class'; choose")


def test_labels_without_georeference_for_a_scene_with_one(training, refused, variant) -> None:
    path = variant("label_raster", crs=None, transform=None)
    refused(replace(training, label_raster=path), "labels raster has no georeference; give it one first")


def test_measured_values_as_labels(training, refused, variant) -> None:
    path = variant("label_raster", lambda v: v.astype(np.float32) / 3)
    refused(replace(training, label_raster=path), r"holds \d\.\d+, which is no class number")


def test_training_without_data(training, refused, variant) -> None:
    path = variant("raster", lambda v: np.full_like(v, -32768))
    refused(replace(training, scene=path), "Every labelled pixel of .*changed_raster.tif is nodata")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"scene": "/nowhere/scene.tif"}, "There is no file /nowhere/scene.tif"),
        ({"model": "/nowhere/m.safetensors"}, "There is no model file /nowhere/m.safetensors"),
        ({"device": "tpu"}, "no device 'tpu'"),
        ({"extent": [0.0, 0.0, 1.0, 1.0]}, r"extent \(0, 0, 1, 1\) lies outside the raster, which covers \("),
        ({"extent": [1.0, 2.0, 3.0]}, "not x_min, y_min, x_max, y_max"),
        ({"extent": [float("nan")] * 4}, "not x_min, y_min, x_max, y_max"),
        ({"classes": None, "probabilities": None}, "No output is wanted; choose classes, confidence"),
    ],
)
def test_a_classification_that_can_not_be(classification, refused, change: dict, sentence: str) -> None:
    refused(replace(classification, **change), sentence)


def test_a_scene_that_is_no_raster_or_a_model_that_is_none(
    classification, refused, demo, spectral_model
) -> None:
    refused(replace(classification, scene=spectral_model), "can't be opened as a raster")
    refused(replace(classification, model=demo.raster), "is not a .safetensors file")


def test_another_number_of_bands(classification, refused, variant) -> None:
    path = variant("raster", lambda v: v[:9])
    refused(replace(classification, scene=path), "has 9 bands, the model was trained on 167")


def test_classifying_without_data(classification, refused, variant) -> None:
    path = variant("raster", lambda v: np.full_like(v, -32768))
    refused(replace(classification, scene=path), "holds no pixel with data .* choose another raster, extent")


def test_classifying_where_no_pixel_has_all_bands(classification, refused, variant) -> None:
    def disjoint(values: np.ndarray) -> np.ndarray:
        values[0, :28], values[1, 28:] = -32768, -32768
        return values

    refused(replace(classification, scene=variant("raster", disjoint)), "no pixel with data in all bands")


def test_a_scene_cut_short(classification, refused, demo, tmp_path) -> None:
    path = tmp_path / "short.tif"
    content = Path(demo.raster).read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    refused(replace(classification, scene=str(path)), "short.tif can't be")


def test_an_output_in_no_folder(training, classification, refused, tmp_path) -> None:
    nowhere = tmp_path / "a" / "b" / "c"
    refused(
        replace(training, model=str(nowhere / "m.safetensors")), "There is no folder .*/a/b/c for the out"
    )
    refused(
        replace(classification, classes=str(nowhere / "c.tif")), "There is no folder .*/a/b/c for the out"
    )
    assert not (tmp_path / "a").exists()


def test_an_output_below_a_file_or_that_is_a_folder(training, classification, refused, folder) -> None:
    below = str(folder / "other.txt" / "c.tif")
    refused(replace(classification, classes=below), "other.txt is not writable .* choose another folder")
    refused(replace(classification, classes=str(folder)), "is a folder; give the name of a file")
    refused(replace(training, report=str(folder)), "is a folder; give the name of a file")


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs a folder that nobody may write to")
def test_an_output_in_a_folder_that_is_not_writable(training, classification, refused) -> None:
    refused(replace(training, model="/proc/m.safetensors"), "The folder /proc is not writable .* choose ano")
    refused(replace(classification, classes="/proc/c.tif"), "The folder /proc is not writable .* choose ano")


def test_an_output_that_is_an_input(training, classification, refused, demo, spectral_model) -> None:
    before = Path(demo.raster).read_bytes()
    for job in (
        replace(training, model=demo.raster),
        replace(training, report=demo.label_raster),
        replace(classification, classes=demo.raster),
        replace(classification, classes=os.path.join(os.path.dirname(demo.raster), ".", "scene.tif")),
        replace(classification, probabilities=spectral_model),
    ):
        refused(job, "is an input of this job; choose another name")
    assert Path(demo.raster).read_bytes() == before


def test_outputs_of_one_name(classification, refused) -> None:
    refused(replace(classification, probabilities=classification.classes), "another output has the same name")


def test_an_output_or_input_where_the_run_record_goes(training, refused, demo, folder, tmp_path) -> None:
    refused(replace(training, report=str(folder / "report.json")), "another output has the same name")
    points = tmp_path / "m.json"
    points.write_bytes(Path(demo.points).read_bytes())
    job = replace(
        training, model=str(tmp_path / "m.safetensors"), label_raster=None, label_features=str(points)
    )
    refused(job, "m.json is an input of this job")
    assert points.read_bytes() == Path(demo.points).read_bytes()


def cancelling(when: Callable[[dict], bool]) -> SimpleNamespace:
    """Return a context that is cancelled by the first message that `when` is true of."""
    messages: list[dict] = []

    def send(message: dict) -> None:
        messages.append(message)
        if when(message):
            context.cancel()

    context = Context("test", send)
    return SimpleNamespace(context=context, messages=messages)


def test_a_cancel_in_the_middle_of_training(training) -> None:
    run = cancelling(lambda message: "epoch 1 of" in message["text"])
    with pytest.raises(Cancelled):
        train(replace(training, epochs=200), run.context)
    assert not any("Accuracy on the test" in message["text"] for message in run.messages)


def test_a_cancel_while_reading_labels(training) -> None:
    run = cancelling(lambda message: message["text"] == "Reading labels")
    with pytest.raises(Cancelled):
        train(training, run.context)


def test_a_cancel_in_the_middle_of_classifying(classification, folder, monkeypatch) -> None:
    monkeypatch.setattr("explanation_layers.workflows.context.PROGRESS_INTERVAL", 0.0)
    staged: list[str] = []

    def after_a_tile(message: dict) -> bool:
        if message["text"] == "Classifying tile 2 of 4":
            staged.extend(path.name for path in folder.iterdir() if path.name.startswith(".part-"))
        return bool(staged)

    run = cancelling(after_a_tile)
    with pytest.raises(Cancelled):
        classify(replace(classification, memory_mb=1), run.context)
    assert sorted(staged) == [".part-test-c.tif", ".part-test-p.tif"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("broken"), RuntimeError),
        (MemoryError(), MemoryError),
        (OSError(errno.ENOSPC, "No space left"), InputError),
    ],
)
def test_an_error_in_the_middle_of_classifying(classification, context, monkeypatch, error, told) -> None:
    writes = []
    write = RasterWriter.write

    def failing(self: RasterWriter, *arguments: object) -> None:
        writes.append(arguments)
        if len(writes) == 4:
            raise error
        write(self, *arguments)

    monkeypatch.setattr(RasterWriter, "write", failing)
    with pytest.raises(told):
        classify(replace(classification, memory_mb=1), context)
    assert len(writes) == 4


@pytest.mark.parametrize("step", ["_write_styles", "stage_records"])
def test_an_error_at_the_end_of_classifying(classification, context, monkeypatch, step: str) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(classify_module, step, fail)
    with pytest.raises(RuntimeError, match="broken"):
        classify(classification, context)


@pytest.mark.parametrize(
    ("module", "step"),
    [
        ("train_patches", "read_samples"), ("train_patches", "fit"), ("train_patches", "predict"),
        ("train_classifier", "training_report"), ("train_classifier", "stage_records"),
    ],
)  # fmt: skip
def test_an_error_in_training(training, context, monkeypatch, module: str, step: str) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(f"explanation_layers.workflows.{module}.{step}", fail)
    with pytest.raises(RuntimeError, match="broken"):
        train(training, context)


def test_a_folder_that_a_failed_job_made_is_gone(training, refused, tmp_path) -> None:
    job = replace(training, model=str(tmp_path / "new" / "m.safetensors"), label_raster="/nowhere/l.tif")
    refused(job, "There is no file /nowhere/l.tif")
    assert not (tmp_path / "new").exists()
