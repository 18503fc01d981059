"""Training of scene classifiers: from parameters to the job, and once the whole way for real."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import processing
import pytest
from osgeo import gdal, ogr
from qgis.core import QgsProcessingException

gdal.UseExceptions()
ID = "explain:trainsceneclassifier"
SIDE = 20


@pytest.fixture
def given(tmp_path) -> dict:
    """Parameters that would run, with a folder of chips."""
    (tmp_path / "chips").mkdir()
    return {"PATCHES": str(tmp_path / "chips"), "MODEL": str(tmp_path / "m.safetensors"), "MEMORY": 512}


def write_chips(folder: Path, classes: tuple[str, ...] = ("field", "ship"), count: int = 8) -> None:
    generator = np.random.default_rng(1)
    for kind, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            path = str(folder / name / f"{number}.tif")
            dataset = gdal.GetDriverByName("GTiff").Create(path, SIDE, SIDE, 2, gdal.GDT_Float32)
            for band, polarisation in enumerate(("VV", "VH"), start=1):
                values = generator.gamma(4, 0.02, (SIDE, SIDE))
                values[6:14, 6:14] += kind
                dataset.GetRasterBand(band).WriteArray(values)
                dataset.GetRasterBand(band).SetDescription(polarisation)
            dataset = None


def test_a_folder_becomes_a_job(engine, given, feedback, tmp_path):
    given |= {
        "TEST_PATCHES": str(tmp_path), "BAND": "VV", "ARCHITECTURE": "resnet50", "PATCH_SIZE": 64,
        "VALUES": "power", "CLIP": "-25, 5", "SPECKLE_FILTER": "lee", "LOOKS": 5, "AUGMENTATION": "shift",
        "EPOCHS": 3, "LEARNING_RATE": 0.02, "SCHEDULE": "step", "BATCH_SIZE": 8, "CLASS_WEIGHTS": False,
        "SKIP_UNREADABLE": True, "SEED": 4, "DEVICE": "cpu",
    }  # fmt: skip
    processing.run(ID, given, feedback=feedback)
    (job,) = engine.jobs
    assert (job.patches, job.test_patches, job.scene) == (given["PATCHES"], str(tmp_path), None)
    assert (job.band, job.architecture, job.patch_size) == ("VV", "resnet50", 64)
    assert (job.values, job.clip, job.speckle_filter, job.looks) == ("power", [-25, 5], "lee", 5)
    assert (job.augmentation, job.epochs, job.learning_rate, job.schedule) == ("shift", 3, 0.02, "step")
    assert (job.batch_size, job.class_weights, job.skip_unreadable) == (8, False, True)
    assert (job.seed, job.device, job.memory_mb) == (4, "cpu", 512)
    assert (job.model, job.report) == (given["MODEL"], None) and feedback.warnings == []


def test_points_on_a_scene_become_a_job(engine, scene, points, given, feedback):
    del given["PATCHES"]
    labels = points([(300_105.0, 5_799_895.0, "a"), (300_405.0, 5_799_795.0, "b")])
    given |= {"INPUT": scene, "LABELS": labels, "LABEL_FIELD": "kind", "PATCH_SIZE": 16}
    processing.run(ID, given, feedback=feedback)
    (job,) = engine.jobs
    assert (job.scene, job.patches, job.label_name) == (scene, None, "kind")
    classes = [f["properties"]["class"] for f in json.loads(Path(job.label_features).read_text())["features"]]
    assert classes == ["a", "b"]


def test_a_class_raster_becomes_a_job(engine, scene, given, feedback):
    del given["PATCHES"]
    given |= {"INPUT": scene, "LABELS": scene, "UNLABELLED_VALUE": 7, "PATCH_SIZE": 16}
    processing.run(ID, given, feedback=feedback)
    assert (engine.jobs[0].label_raster, engine.jobs[0].unlabelled_value) == (scene, 7)


def test_limits_of_several_bands(engine, given, feedback):
    processing.run(ID, {**given, "CLIP": "-25,5;-32,0"}, feedback=feedback)
    assert engine.jobs[0].clip == [-25, 5, -32, 0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"PATCHES": None}, "Give either PATCHES, a folder of chips, or INPUT with LABELS"),
        ({"INPUT": True}, "Give either PATCHES, a folder of chips, or INPUT with LABELS"),
        ({"PATCHES": None, "INPUT": True}, "LABELS is missing"),
        ({"CLIP": "-25"}, "CLIP is '-25'; write low,high"),
        ({"CLIP": "low,high"}, "CLIP is 'low,high'"),
        ({"MODEL": "/tmp/m.pth"}, r"ends in \.safetensors"),
        ({"EPOCHS": 0}, "EPOCHS is 0; it must be between 1"),
        ({"VALUES": "dn"}, "VALUES is 'dn'; it must be one of: as_is, power, amplitude, db"),
    ],
)
def test_bad_input_is_a_sentence(engine, scene, given, feedback, change, sentence):
    given |= {name: scene if value is True else value for name, value in change.items()}
    with pytest.raises(QgsProcessingException, match=sentence):
        processing.run(ID, given, feedback=feedback)
    assert engine.jobs == []


def test_what_has_no_effect_is_named(engine, scene, given, feedback):
    given |= {"TEST_PATCHES": given["PATCHES"], "TEST_SHARE": 0.5, "LOOKS": 3, "LABELS": scene}
    processing.run(ID, given, feedback=feedback)
    assert sorted(feedback.warnings) == [
        "LABELS is not used with PATCHES.",
        "LOOKS is not used with SPECKLE_FILTER=none.",
        "TEST_SHARE is not used with TEST_PATCHES.",
    ]


def test_models_of_each_band_through_qgis_process(root, tmp_path):
    if not (os.environ.get("EXPLANATION_LAYERS_PYTHON") or (root / ".venv" / "bin" / "python").exists()):
        pytest.skip("needs the engine: run `make env`")
    write_chips(tmp_path / "chips")
    inputs = {
        "PATCHES": str(tmp_path / "chips"), "BAND": "each", "VALUES": "power", "EPOCHS": 2, "BATCH_SIZE": 4,
        "MODEL": str(tmp_path / "m.safetensors"), "CONFUSION": str(tmp_path / "confusion.csv"),
        "REPORT": str(tmp_path / "report.html"),
    }  # fmt: skip
    finished = subprocess.run(
        [str(root / "scripts" / "qgis-process"), "run", ID, "-"],
        input=json.dumps({"inputs": inputs}), capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout + finished.stderr
    results = json.loads(finished.stdout)["results"]
    models = [str(tmp_path / f"m_{name}.safetensors") for name in ("VV", "VH")]
    assert results["MODEL"] == models[0] and results["MODELS"] == ";".join(models)
    assert all(Path(model).exists() and Path(model).with_suffix(".json").exists() for model in models)
    assert 0 <= results["OVERALL_ACCURACY"] <= 1
    assert ogr.Open(results["CONFUSION"]).GetLayer().GetFeatureCount() == 4
    assert "Model of VH" in Path(results["REPORT"]).read_text(encoding="utf-8")
