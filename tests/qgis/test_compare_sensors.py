"""comparesensors through QGIS: its parameters as a job, and a real run on two rasters by qgis_process."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import processing
import pytest
from osgeo import gdal
from qgis.core import QgsProcessingException, QgsRasterLayer


def compare(parameters, feedback):
    return processing.run("explain:comparesensors", parameters, feedback=feedback)


def test_parameters_become_a_job(engine, scene, model, feedback, tmp_path):
    engine.answer = lambda job: engine.result(tables={}, numbers={"CHANGES": 2})
    folder = str(tmp_path / "models")
    results = compare(
        {
            "INPUT": scene, "SENSOR_BANDS": " A:1; B:2-3 ", "LABELS": scene, "SEEDS": 5, "SAMPLE": 7,
            "EPOCHS": 3, "ARCHITECTURE": "spatial_cnn", "PATCH_SIZE": 5, "NORMALISATION": "none", "SEED": 4,
            "TEST_SHARE": 0.4, "EXTENT": "300000,300300,5799800,5799900 [EPSG:32633]",
            "MODEL_FOLDER": folder, "UNLABELLED_VALUE": 9,
        },
        feedback,
    )  # fmt: skip
    (job,) = engine.jobs
    assert (job.scenes, job.sensor_bands, job.models) == ((scene,), "A:1; B:2-3", ())
    assert (job.label_raster, job.label_features, job.unlabelled_value) == (scene, None, 9)
    assert (job.seeds, job.sample, job.epochs, job.seed) == (5, 7, 3, 4)
    assert (job.architecture, job.patch_size, job.normalisation) == ("spatial_cnn", 5, "none")
    assert (job.test_share, job.extent) == (0.4, [300000, 5799800, 300300, 5799900])
    assert (job.model_folder, job.shares_raster) == (folder, None)
    assert results["CHANGES"] == 2 and results["MODEL_FOLDER"] == folder
    assert feedback.warnings == []


def test_several_rasters_are_handed_over_in_their_order(engine, scene, scene_without_crs, model, feedback):
    engine.answer = lambda job: engine.result(tables={})
    layer = QgsRasterLayer(scene_without_crs, "second")
    compare(
        {"INPUT": [scene, layer], "MODELS": [model, model], "RESAMPLING": "average", "GRID": "first"},
        feedback,
    )
    (job,) = engine.jobs
    assert job.scenes == (scene, scene_without_crs) and job.models == (model, model)
    assert (job.resampling, job.grid) == ("average", "first")
    assert feedback.warnings == []


def test_what_has_no_effect_is_named(engine, scene, model, feedback):
    engine.answer = lambda job: engine.result(tables={})
    compare(
        {"INPUT": scene, "SENSOR_BANDS": "A:1;B:2", "MODELS": [model, model], "SEEDS": 2, "EPOCHS": 9,
         "GRID": "first", "UNLABELLED_VALUE": 3},
        feedback,
    )  # fmt: skip
    assert feedback.warnings == [
        "EPOCHS is not used with MODELS.", "SEEDS is not used with MODELS.",
        "UNLABELLED_VALUE is not used with no LABELS.", "GRID is not used with one raster.",
    ]  # fmt: skip


def test_neither_labels_nor_models_is_refused(engine, scene, feedback):
    with pytest.raises(QgsProcessingException, match="Give LABELS to train networks with, or MODELS"):
        compare({"INPUT": scene, "SENSOR_BANDS": "A:1;B:2"}, feedback)
    assert engine.jobs == []


def test_two_rasters_by_qgis_process(run, tmp_path):
    """Points in longitude and latitude label the stack of two rasters; all outputs are there and agree."""
    demo = run("demodata", SCENE="dual_sensor", SIZE=64, SEED=1, FOLDER=str(tmp_path / "demo"))
    truth = json.loads(Path(demo["TRUTH"]).read_text())
    names = {
        "SHARES": "shares.csv", "SHARES_RASTER": "shares.tif", "ACCURACY": "accuracy.csv",
        "CORRELATION": "profiles.csv", "REPORT": "report.html", "MODEL_FOLDER": "models",
    }  # fmt: skip
    outputs = {name: str(tmp_path / file) for name, file in names.items()}
    results = run(
        "comparesensors", INPUT=[demo["VNIR"], demo["SWIR"]], LABELS=demo["LABELS"], LABEL_FIELD="class",
        EPOCHS=12, SEEDS=1, SAMPLE=20, SEED=1, **outputs,
    )  # fmt: skip
    assert results["OVERALL_ACCURACY"] > 0.7 > results["BEST_SINGLE_ACCURACY"]
    assert results["ACCURACY_GAIN"] == results["OVERALL_ACCURACY"] - results["BEST_SINGLE_ACCURACY"]
    assert results["PIXELS"] == 160 and results["CHANGES"] == 0
    with open(outputs["SHARES"], newline="") as file:
        shares = {(row["class"], row["sensor"]): float(row["share"]) for row in csv.DictReader(file)}
    for entry in truth["classes"]:
        for sensor in ("vnir", "swir"):
            if [sensor.upper()] == entry["sensors"]:
                assert shares[entry["name"], sensor] > 0.5
    raster = gdal.Open(outputs["SHARES_RASTER"])
    assert (raster.RasterCount, raster.RasterXSize) == (2, 64)
    assert raster.GetRasterBand(1).GetDescription() == "share of vnir"
    for name in ("ACCURACY", "CORRELATION", "REPORT"):
        assert Path(results[name]).stat().st_size > 0
    assert {path.name for path in Path(outputs["MODEL_FOLDER"]).iterdir()} == {
        "vnir_1.safetensors", "swir_1.safetensors", "vnir_swir_1.safetensors",
    }  # fmt: skip
    record = json.loads((tmp_path / "shares.json").read_text())
    assert record["job"]["kind"] == "compare_sensors" and record["sensors"][1]["resampling"] == "nearest"
