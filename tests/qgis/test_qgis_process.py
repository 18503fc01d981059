"""The whole way for real: qgis_process with JSON on stdin, the engine, files on disk."""

from __future__ import annotations

import json
import os
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from osgeo import gdal, ogr

gdal.UseExceptions()


@pytest.fixture(scope="module")
def run(root):
    """A function that runs one algorithm and returns its results; with `fails`, what it says on stderr."""
    if not (os.environ.get("EXPLANATION_LAYERS_PYTHON") or (root / ".venv" / "bin" / "python").exists()):
        pytest.skip("needs the engine: run `make env`")

    def run(name: str, fails: bool = False, **inputs):
        finished = subprocess.run(
            [str(root / "scripts" / "qgis-process"), "run", f"explain:{name}", "-"],
            input=json.dumps({"inputs": inputs}),
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert (finished.returncode != 0) == fails, finished.stdout + finished.stderr
        return finished.stdout + finished.stderr if fails else json.loads(finished.stdout)["results"]

    return run


@pytest.fixture(scope="module")
def demo(run, tmp_path_factory) -> dict:
    """A small simulated scene with labels."""
    return run(
        "demodata", SCENE="hyperspectral", SIZE=64, SEED=1, FOLDER=str(tmp_path_factory.mktemp("demo") / "d")
    )


@pytest.fixture(scope="module")
def trained(run, demo, tmp_path_factory) -> dict:
    """A classifier of that scene."""
    folder = tmp_path_factory.mktemp("trained")
    return run(
        "trainclassifier",
        INPUT=demo["RASTER"],
        LABELS=demo["LABELS"],
        LABEL_FIELD="class",
        EPOCHS=8,
        COMPARE_SPLITS=False,
        SEED=1,
        MODEL=str(folder / "model.safetensors"),
        CONFUSION=str(folder / "confusion.csv"),
        REPORT=str(folder / "report.html"),
    )


def grid(path: str):
    dataset = gdal.Open(path)
    return (
        dataset.RasterXSize,
        dataset.RasterYSize,
        dataset.GetGeoTransform(),
        dataset.GetSpatialRef().GetName(),
    )


def test_training(trained):
    assert Path(trained["MODEL"]).stat().st_size > 1000
    assert (
        0.2 < trained["OVERALL_ACCURACY"] <= 1
        and -1 <= trained["KAPPA"] <= 1
        and 0 <= trained["MEAN_IOU"] <= 1
    )
    assert ogr.Open(trained["CONFUSION"]).GetLayer().GetFeatureCount() == 6
    assert "<html" in Path(trained["REPORT"]).read_text(encoding="utf-8")
    record = json.loads(Path(trained["CONFUSION"]).with_suffix(".json").read_text(encoding="utf-8"))
    assert record["job"]["kind"] == "train_classifier"


def test_classes_line_up_and_have_names(run, demo, trained, tmp_path):
    names = {
        name: str(tmp_path / f"{name.lower()}.tif") for name in ("CLASSES", "CONFIDENCE", "PROBABILITIES")
    }
    assert run("classify", INPUT=demo["RASTER"], MODEL=trained["MODEL"], **names) == names
    for path in names.values():
        assert grid(path) == grid(demo["RASTER"])
        assert Path(path).with_suffix(".json").exists()
        ElementTree.parse(Path(path).with_suffix(".qml"))
    assert gdal.Open(names["PROBABILITIES"]).RasterCount == 6
    assert gdal.Open(names["CLASSES"]).GetRasterBand(1).GetColorTable() is not None


def test_attribution(run, demo, trained, tmp_path):
    names = {name: str(tmp_path / f"{name.lower()}.tif") for name in ("ATTRIBUTION", "SALIENCY")}
    table = str(tmp_path / "bands.gpkg")
    results = run("attribution", INPUT=demo["RASTER"], MODEL=trained["MODEL"], BAND_TABLE=table, **names)
    assert {name: results[name] for name in names} == names
    assert results["PIXELS"] > 3000 and results["MEAN_RESIDUAL"] < 0.02 and results["UNSETTLED"] >= 0
    bands = gdal.Open(demo["RASTER"]).RasterCount
    assert [gdal.Open(path).RasterCount for path in names.values()] == [bands, 3]
    assert grid(names["ATTRIBUTION"]) == grid(names["SALIENCY"]) == grid(demo["RASTER"])
    assert ogr.Open(table).GetLayer().GetFeatureCount() == 6 * bands


def test_crops_of_a_series_are_learnt_mapped_and_explained_by_date(run, tmp_path):
    demo = run("demodata", SCENE="sar_series", SIZE=64, SEED=1, FOLDER=str(tmp_path / "demo"))
    model, classes = str(tmp_path / "model.safetensors"), str(tmp_path / "classes.tif")
    learnt = run(
        "trainclassifier", SERIES=[demo["RASTER"]], VALUES="power", LABELS=demo["LABELS"],
        LABEL_FIELD="class", SPLIT="parcels", EPOCHS=8, COMPARE_SPLITS=False, MODEL=model,
    )  # fmt: skip
    assert learnt["OVERALL_ACCURACY"] > 0.95
    assert run("classify", SERIES=[demo["RASTER"]], MODEL=model, CLASSES=classes)["CLASSES"] == classes
    assert grid(classes) == grid(demo["RASTER"])
    table = str(tmp_path / "bands.gpkg")
    run("attribution", SERIES=[demo["RASTER"]], MODEL=model, STEPS=8, BAND_TABLE=table)
    bands = ogr.Open(table)
    rows = [row for row in bands.GetLayer() if row["class"] == "cotton"]
    assert len(rows) == gdal.Open(demo["RASTER"]).RasterCount
    # Cotton is brighter from 25 August to 12 September.
    first = max(rows, key=lambda row: row["mean"])["band_name"]
    assert "2017-08-25" <= first[:10] <= "2017-09-12"
    said = run("classify", fails=True, INPUT=demo["RASTER"], MODEL=model, CLASSES=str(tmp_path / "no.tif"))
    assert "give the rasters with their dates as SERIES" in said and "Traceback" not in said


def test_mistakes(run, demo, trained, tmp_path):
    paths = {name: str(tmp_path / file) for name, file in (
        ("ERRORS", "errors.gpkg"), ("CONFUSION", "confusion.csv"), ("REPORT", "report.html"),
    )}  # fmt: skip
    reference = str(tmp_path / "reference.tif")
    copied = gdal.Translate(reference, demo["LABEL_RASTER"])
    labels = copied.GetRasterBand(1).ReadAsArray()
    labels[20:26, 20:26] = labels[23, 23] % 6 + 1
    copied.GetRasterBand(1).WriteArray(labels)
    copied = None
    results = run(
        "misclassifications", INPUT=demo["RASTER"], MODEL=trained["MODEL"], REFERENCE=reference,
        EXPLAINED=5, **paths,
    )  # fmt: skip
    dataset = gdal.OpenEx(paths["ERRORS"])
    layer = dataset.GetLayer(0)
    assert layer.GetFeatureCount() == results["ERROR_COUNT"] > 0
    assert layer.GetSpatialRef().GetAuthorityCode(None)
    names = [field.GetName() for field in layer.schema]
    assert names[:3] == ["error_id", "true_class", "predicted_class"]
    assert names[-4:] == ["verdict", "corrected_class", "comment", "reviewed_at"]
    pixels = sum(feature["pixels"] for feature in layer)
    assert pixels == results["ERROR_PIXELS"]
    assert 0 < results["ERROR_SHARE"] < 0.5
    record = json.loads((tmp_path / "errors.json").read_text())["review"]
    assert record["model"] == trained["MODEL"] and len(record["class_names"]) == 6
    style = (tmp_path / "errors.qml").read_text()
    assert "explanation_layers/review" in style and "label error" in style


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"EXTENT": "0,10,0,10 [EPSG:32633]"}, "extent"),
        ({"EXPLAINER": "lime"}, "EXPLAINER is 'lime'; it must be one of: saliency"),
        ({"TARGET": "class", "CLASS": "unicorn"}, "unicorn"),
        ({"MODEL": "/nowhere/model.safetensors"}, "/nowhere/model.safetensors"),
    ],
)
def test_bad_input_is_a_sentence_and_writes_nothing(run, demo, trained, tmp_path, given, sentence):
    inputs = {"INPUT": demo["RASTER"], "MODEL": trained["MODEL"], **given}
    said = run("attribution", fails=True, **inputs, SALIENCY=str(tmp_path / "s.tif"))
    assert sentence in said and "Traceback" not in said
    assert os.listdir(tmp_path) == []


def test_without_an_engine(root, demo, tmp_path):
    fresh = [str(root / "scripts" / "in-qgis"), "env", f"QGIS_CUSTOM_CONFIG_PATH={tmp_path}", "qgis_process"]
    environment = {**os.environ, "EXPLANATION_LAYERS_PYTHON": ""}
    inputs = [
        f"INPUT={demo['RASTER']}",
        f"MODEL={tmp_path / 'm.safetensors'}",
        f"CLASSES={tmp_path / 'c.tif'}",
    ]
    subprocess.run([*fresh, "plugins", "enable", "explanation_layers"], env=environment, capture_output=True)
    command = [*fresh, "run", "explain:classify", *(f"--{given}" for given in inputs)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert finished.returncode != 0
    assert "No engine is set up: run 'Set up the engine' (explain:setupengine)" in finished.stderr
