"""Scene classifiers through Processing: what is handed over, what is refused, a run in the real engine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import processing
import pytest
from osgeo import gdal, osr
from qgis.core import (
    QgsFeature,
    QgsGeometry,
    QgsProcessing,
    QgsProcessingException,
    QgsRectangle,
    QgsVectorLayer,
)

TEMPORARY = QgsProcessing.TEMPORARY_OUTPUT


def explain(inputs, feedback, context=None):
    return processing.run("explain:attribution", inputs, feedback=feedback, context=context)


@pytest.fixture
def patches(tmp_path) -> str:
    """A folder of 2 x 8 georeferenced chips of 24 x 24 pixels, those of the one class brighter."""
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(32633)
    generator = np.random.default_rng(2)
    for number in range(16):
        kind = ("field", "town")[number % 2]
        folder = tmp_path / "patches" / kind
        folder.mkdir(parents=True, exist_ok=True)
        file = gdal.GetDriverByName("GTiff").Create(
            str(folder / f"{number}.tif"), 24, 24, 1, gdal.GDT_Float32
        )
        file.SetGeoTransform((3e5 + 240 * (number % 4), 10, 0, 5.8e6 - 240 * (number // 4), 0, -10))
        file.SetProjection(reference.ExportToWkt())
        file.GetRasterBand(1).SetDescription("VV")
        file.GetRasterBand(1).WriteArray(generator.gamma(4, 0.25 if kind == "field" else 2, (24, 24)))
        file = None
    return str(tmp_path / "patches")


def test_a_folder_is_handed_over(engine, model, patches, feedback, tmp_path):
    explain(
        {"PATCHES": patches, "MODEL": model, "EXPLAINER": "grad_cam", "GRAD_CAM_LAYER": "layer2",
         "MERGE": "uniform", "SKIP_UNREADABLE": True, "CHIP_FOLDER": str(tmp_path / "out")},
        feedback,
    )  # fmt: skip
    (job,) = engine.jobs
    assert (job.scene, job.patches, job.skip_unreadable) == (None, patches, True)
    assert (job.explainer, job.layer, job.merge, job.chip_stride) == ("grad_cam", "layer2", "uniform", 0)
    assert job.chip_folder == str(tmp_path / "out") and feedback.warnings == []


def test_a_slide_is_handed_over(engine, model, scene, feedback, tmp_path):
    chips = {"CHIP_STRIDE": 7, "MERGE": "uniform"}
    explain({"INPUT": scene, "MODEL": model, "BASELINE": "speckle", **chips}, feedback)
    classes = str(tmp_path / "c.tif")
    processing.run(
        "explain:classify", {"INPUT": scene, "MODEL": model, "CLASSES": classes, **chips}, feedback=feedback
    )
    assert engine.jobs[0].baseline == "speckle" and engine.jobs[0].patches is None
    assert [(job.chip_stride, job.merge) for job in engine.jobs] == [(7, "uniform")] * 2
    assert feedback.warnings == []


def test_polygons_take_their_class_along(engine, model, scene, feedback):
    layer = QgsVectorLayer("Polygon?crs=EPSG:32633&field=class:string", "areas", "memory")
    for name in ("town", None):
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(300_030, 5_799_800, 300_090, 5_799_900)))
        feature["class"] = name
        layer.dataProvider().addFeature(feature)
    explain({"INPUT": scene, "MODEL": model, "MASK": layer}, feedback)
    features = json.loads(Path(engine.jobs[0].mask_features).read_text())["features"]
    assert [feature["properties"] for feature in features] == [{"class": "town"}, {"class": None}]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "Give one of INPUT, a raster to explain, SERIES, rasters with dates, or PATCHES"),
        ({"INPUT": True, "PATCHES": True}, "Give one of INPUT, a raster to explain, SERIES"),
        ({"INPUT": True, "CHIP_FOLDER": TEMPORARY}, "CHIP_FOLDER takes a raster per chip of PATCHES; leave"),
        ({"PATCHES": True, "GRAD_CAM_LAYER": "layer9"}, "GRAD_CAM_LAYER is 'layer9'; it must be one of"),
        ({"INPUT": True, "MERGE": "max"}, "MERGE is 'max'; it must be one of: uniform, centre"),
    ],
)
def test_what_can_not_be_is_a_sentence(engine, model, scene, patches, feedback, given, sentence):
    places = {"INPUT": scene, "PATCHES": patches}
    given = {name: places.get(name, value) for name, value in given.items()}
    with pytest.raises(QgsProcessingException) as caught:
        explain({"MODEL": model, **given}, feedback)
    assert sentence in str(caught.value) and engine.jobs == []


def test_what_has_no_effect_is_said(engine, model, scene, patches, feedback):
    explain({"PATCHES": patches, "MODEL": model, "EXTENT": "1,2,3,4", "GRAD_CAM_LAYER": "layer1"}, feedback)
    explain({"INPUT": scene, "MODEL": model, "SKIP_UNREADABLE": True}, feedback)
    assert feedback.warnings == [
        "GRAD_CAM_LAYER is not used with EXPLAINER=integrated_gradients.",
        "EXTENT is not used with PATCHES.",
        "SKIP_UNREADABLE is not used with INPUT.",
    ]


def test_outputs_that_were_not_made_are_not_loaded(engine, model, patches, feedback, context, tmp_path):
    engine.answer = lambda job: {**engine.result(), "files": {}}
    paths = {name: str(tmp_path / f"{name}.tif") for name in ("ATTRIBUTION", "SALIENCY")}
    results = explain(
        {"PATCHES": patches, "MODEL": model, "CHIP_TABLE": TEMPORARY, **paths}, feedback, context
    )
    assert not set(results) & {"ATTRIBUTION", "SALIENCY", "CHIP_TABLE"}
    assert not set(context.layersToLoadOnCompletion()) & set(paths.values())
    assert feedback.warnings == ["CHIP_TABLE is not made: this kind of model has none."]


def test_chips_are_trained_explained_and_classified(provider, real_engine, patches, feedback, tmp_path):
    model = str(tmp_path / "chips.safetensors")
    training = {"PATCHES": patches, "PATCH_SIZE": 20, "VALUES": "power", "EPOCHS": 1, "MODEL": model}
    processing.run("explain:trainsceneclassifier", training, feedback=feedback)
    paths = {name: str(tmp_path / f"{name}.tif") for name in ("ATTRIBUTION", "SALIENCY")}
    results = explain(
        {"PATCHES": patches, "MODEL": model, "EXPLAINER": "input_x_gradient", "CHIP_TABLE": TEMPORARY,
         "BAND_TABLE": TEMPORARY, "CHIP_FOLDER": str(tmp_path / "out"), **paths},
        feedback,
    )  # fmt: skip
    assert results["CHIPS"] == 16
    saliency = gdal.Open(results["SALIENCY"])
    assert (saliency.RasterXSize, saliency.RasterYSize, saliency.RasterCount) == (92, 92, 3)
    assert saliency.GetGeoTransform() == (3e5 + 20, 10, 0, 5.8e6 - 20, 0, -10)
    chip = gdal.Open(str(tmp_path / "out" / "town" / "1.tif"))
    assert chip.GetGeoTransform()[0] == 3e5 + 260 and chip.GetRasterBand(1).GetDescription() == "B1 VV"
    table = results["CHIP_TABLE"]
    layer = table if isinstance(table, QgsVectorLayer) else QgsVectorLayer(table, "t", "ogr")
    rows = {feature["chip"]: feature for feature in layer.getFeatures()}
    assert len(rows) == 16 and rows["town/1.tif"]["class"] == "town"
    assert rows["town/1.tif"]["x"] == 3e5 + 260 + 100
    classes = str(tmp_path / "classes.tif")
    given = {"INPUT": results["ATTRIBUTION"], "MODEL": model, "CLASSES": classes, "CHIP_STRIDE": 12}
    processing.run("explain:classify", given, feedback=feedback)
    assert (gdal.Open(classes).ReadAsArray()[:20, :20] > 0).all()
