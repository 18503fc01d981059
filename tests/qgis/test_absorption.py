"""Absorption features through the algorithm: what it hands to the engine, and all of it for real."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import processing
import pytest
from osgeo import gdal
from qgis.core import QgsProcessingException

gdal.UseExceptions()


def test_every_setting_reaches_the_engine(engine, feedback, scene, model, tmp_path):
    table = tmp_path / "own.csv"
    table.write_text("name\n")
    processing.run(
        "explain:absorptionfeatures",
        {
            "INPUT": scene, "CLASSES": scene, "MODEL": model, "EXPLAINER": "deeplift", "BASELINE": "mean",
            "WAVELENGTHS": "0.5,600,0.7", "FEATURES_TABLE": str(table), "SHIFTS": 50, "UNLABELLED_VALUE": 9,
            "SEED": 4, "DEVICE": "cpu", "MEMORY": 512, "EXTENT": "300030,300090,5799900,5799970",
            "PLOT": str(tmp_path / "p.png"), "DOMINANT": str(tmp_path / "d.tif"),
        },
        feedback=feedback,
    )  # fmt: skip
    job = engine.jobs[-1]
    assert (job.scene, job.class_raster, job.model, job.attribution) == (scene, scene, model, None)
    assert (job.explainer, job.baseline, job.shifts, job.unlabelled_value) == ("deeplift", "mean", 50, 9)
    assert job.wavelengths == [0.5, 600, 0.7] and job.features_table == str(table)
    assert job.extent == [300_030, 5_799_900, 300_090, 5_799_970] and job.mask_features is None
    assert (job.seed, job.memory_mb, job.device) == (4, 512, "cpu")
    assert job.plot == str(tmp_path / "p.png") and job.dominant == str(tmp_path / "d.tif")
    assert feedback.warnings == []


def test_what_attributions_that_are_there_leave_idle_is_said(engine, feedback, scene):
    parameters = {"INPUT": scene, "CLASSES": scene, "ATTRIBUTION": scene, "BASELINE": "mean"}
    processing.run("explain:absorptionfeatures", parameters, feedback=feedback)
    assert (engine.jobs[-1].attribution, engine.jobs[-1].model) == (scene, None)
    assert feedback.warnings == ["BASELINE is not used with ATTRIBUTION."]


def test_a_raster_that_is_none_is_told(engine, feedback, scene, tmp_path):
    path = tmp_path / "none.tif"
    path.write_text("no raster")
    with pytest.raises(QgsProcessingException, match="CLASSES"):
        processing.run(
            "explain:absorptionfeatures", {"INPUT": scene, "CLASSES": str(path)}, feedback=feedback
        )
    assert engine.jobs == []


def test_features_are_found_for_real(run, tmp_path):
    demo = run("demodata", SCENE="hyperspectral", SIZE=48, SEED=1, FOLDER=str(tmp_path / "demo"))
    model = str(tmp_path / "model.safetensors")
    run(
        "trainclassifier", INPUT=demo["RASTER"], LABELS=demo["LABELS"], LABEL_FIELD="class", EPOCHS=8,
        COMPARE_SPLITS=False, SEED=1, MODEL=model,
    )  # fmt: skip
    paths = {name: str(tmp_path / f"{name}.csv") for name in ("FEATURES", "OVERLAP")}
    paths |= {"PLOT": str(tmp_path / "plot.png"), "DOMINANT": str(tmp_path / "dominant.tif")}
    results = run(
        "absorptionfeatures", INPUT=demo["RASTER"], CLASSES=demo["LABEL_RASTER"], MODEL=model,
        EXPLAINER="deeplift", **paths,
    )  # fmt: skip
    assert results["PIXELS"] > 2000 and 0 < results["ABSORPTION_SHARE"] < 1
    with open(paths["FEATURES"], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    named = {
        row["class"]: {each["feature"] for each in rows if each["class"] == row["class"]} for row in rows
    }
    assert "Chlorophyll red" in named["chlorophyll"] and "Leaf water 975" in named["leaf water"]
    with open(paths["OVERLAP"], encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 6
    dominant = gdal.Open(paths["DOMINANT"])
    band = dominant.GetRasterBand(1)
    assert band.GetColorTable() is not None and "Chlorophyll red" in band.GetCategoryNames()
    assert Path(paths["DOMINANT"]).with_suffix(".qml").exists()
    record = json.loads(Path(paths["PLOT"]).with_suffix(".json").read_text(encoding="utf-8"))
    assert record["job"]["kind"] == "absorption_features" and record["baseline"] == "continuum"
