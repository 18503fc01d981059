"""Unmixing through the algorithm: what it hands to the engine, and all of it for real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import processing
import pytest
from osgeo import gdal, ogr
from qgis.core import QgsFeature, QgsProcessingException, QgsVectorLayer

gdal.UseExceptions()


def test_every_setting_reaches_the_engine(engine, feedback, scene, tmp_path):
    processing.run(
        "explain:unmix",
        {
            "INPUT": scene, "METHOD": "idnet", "ENDMEMBERS": 3, "EPOCHS": 7, "SAMPLE": 500, "BUNDLE_SIZE": 9,
            "SCALE": 255.0, "PARTS_OF": "bands", "SEED": 5, "DEVICE": "cpu", "MEMORY": 512,
            "EXTENT": "300030,300090,5799900,5799970", "ANY_BRIGHTNESS": True,
            "PARTS": str(tmp_path / "parts.tif"),
            "MODEL": str(tmp_path / "m.safetensors"),
        },
        feedback=feedback,
    )  # fmt: skip
    job = engine.jobs[-1]
    assert (job.scene, job.method, job.endmembers, job.epochs, job.sample) == (scene, "idnet", 3, 7, 500)
    assert (job.bundle_size, job.scale, job.parts_of, job.seed, job.memory_mb) == (9, 255.0, "bands", 5, 512)
    assert job.extent == [300_030, 5_799_900, 300_090, 5_799_970]
    assert job.wanted() == {"parts": str(tmp_path / "parts.tif"), "model": str(tmp_path / "m.safetensors")}
    assert job.spectra is None and job.trained_model is None and job.any_brightness
    assert feedback.warnings == []


def test_a_table_of_spectra_becomes_csv(engine, feedback, scene, tmp_path):
    table = tmp_path / "library.csv"
    table.write_text("wavelength_nm,soil,tree\n450,0.1,0.2\n550,0.3,\n")
    processing.run("explain:unmix", {"INPUT": scene, "SPECTRA": str(table)}, feedback=feedback)
    written = Path(engine.jobs[-1].spectra).read_text().splitlines()
    assert written[0] == "wavelength_nm,soil,tree"
    assert [float(cell) for cell in written[1].split(",")] == [450, 0.1, 0.2]
    assert written[2].endswith(",")
    layer = QgsVectorLayer("None?field=material:string&field=450:double&field=550:double", "t", "memory")
    feature = QgsFeature(layer.fields())
    feature.setAttributes(["soil", 0.1, 0.3])
    layer.dataProvider().addFeature(feature)
    processing.run("explain:unmix", {"INPUT": scene, "SPECTRA": layer}, feedback=feedback)
    assert Path(engine.jobs[-1].spectra).read_text() == "material,450,550\nsoil,0.1,0.3\n"


def test_what_is_not_used_is_said(engine, feedback, scene, model):
    parameters = {"INPUT": scene, "METHOD": "fcls", "TRAINED_MODEL": model, "ENDMEMBERS": 4, "EPOCHS": 3}
    processing.run("explain:unmix", parameters, feedback=feedback)
    assert engine.jobs[-1].trained_model == model
    assert {warning.split(".")[0] for warning in feedback.warnings} == {
        "ENDMEMBERS is not used with TRAINED_MODEL",
        "EPOCHS is not used with TRAINED_MODEL",
        "EPOCHS is not used with METHOD=fcls",
    }


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"METHOD": "nmf"}, "METHOD is 'nmf'"),
        ({"ENDMEMBERS": 99}, "ENDMEMBERS is 99; it must be between 0 and 62"),
        ({"SPECTRA": "/nowhere/a.csv"}, "Could not load source layer for SPECTRA"),
        ({"MODEL": "/tmp/model.txt"}, "MODEL must be a file that ends in .safetensors"),
    ],
)
def test_what_can_not_be_is_said(engine, feedback, scene, parameters, sentence):
    with pytest.raises(QgsProcessingException, match=sentence):
        processing.run("explain:unmix", {"INPUT": scene, **parameters}, feedback=feedback)
    assert engine.jobs == []


def test_a_scene_is_unmixed_and_its_model_unmixes_another_for_real(run, tmp_path):
    demo = run("demodata", SCENE="mixed_pixels", SIZE=48, SEED=1, FOLDER=str(tmp_path / "demo"))
    out = {name: str(tmp_path / f"{name}.tif") for name in ("ABUNDANCES", "RECONSTRUCTION_ERROR", "PARTS")}
    table = str(tmp_path / "endmembers.csv")
    found = run(
        "unmix", INPUT=demo["RASTER"], METHOD="fcls", SPECTRA=demo["SPECTRA"], **out, ENDMEMBERS_TABLE=table
    )
    assert found["MATERIALS"] == 4 and found["PIXELS"] == 48 * 48
    abundances = gdal.Open(out["ABUNDANCES"])
    assert [abundances.GetRasterBand(band).GetDescription() for band in range(1, 5)] == [
        "vegetation", "soil", "water", "roof",
    ]  # fmt: skip
    values, truth = abundances.ReadAsArray(), gdal.Open(demo["ABUNDANCES"]).ReadAsArray()
    assert np.abs(values.sum(0) - 1).max() < 1e-6
    linear = gdal.Open(demo["MIXING"]).ReadAsArray() == 1
    assert np.sqrt(np.square(values - truth)[:, linear].mean()) < 0.08
    rows = ogr.Open(table)
    assert {row["material"] for row in rows.GetLayer()} == {"vegetation", "soil", "water", "roof"}
    model, nonlinear = str(tmp_path / "model.safetensors"), str(tmp_path / "nonlinearity.tif")
    learnt = run(
        "unmix", INPUT=demo["RASTER"], ENDMEMBERS=4, EPOCHS=2, SEED=1, MODEL=model, NONLINEARITY=nonlinear
    )
    assert 0 < learnt["MEAN_NONLINEARITY"] < 0.5
    other = run("demodata", SCENE="mixed_pixels", SIZE=32, SEED=2, FOLDER=str(tmp_path / "other"))
    again = str(tmp_path / "again.tif")
    run("unmix", INPUT=other["RASTER"], TRAINED_MODEL=model, ABUNDANCES=again)
    assert np.abs(gdal.Open(again).ReadAsArray().sum(0) - 1).max() < 1e-6
