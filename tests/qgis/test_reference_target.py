"""TARGET reference through attribution: what the engine gets, what is refused, and all of it for real."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import processing
import pytest
from osgeo import gdal
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsFeature,
    QgsGeometry,
    QgsProcessing,
    QgsProcessingException,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
)

gdal.UseExceptions()

POINT = (300_105.0, 5_799_895.0)


@pytest.fixture
def explain(engine, feedback, context, scene, model):
    """A function that runs attribution and returns the engine's job."""

    def run(**parameters):
        usual = {"INPUT": scene, "MODEL": model, "BAND_TABLE": QgsProcessing.TEMPORARY_OUTPUT}
        processing.run("explain:attribution", {**usual, **parameters}, feedback=feedback, context=context)
        return engine.jobs[-1]

    return run


def polygons(crs: str, rectangles: list[tuple[QgsRectangle, str]]) -> QgsVectorLayer:
    """A layer of rectangles in EPSG:32633, brought to another CRS, with their class."""
    layer = QgsVectorLayer(f"Polygon?crs={crs}&field=crop:string", "survey", "memory")
    there = QgsCoordinateTransform(
        QgsCoordinateReferenceSystem("EPSG:32633"), QgsCoordinateReferenceSystem(crs), QgsProject.instance()
    )
    for rectangle, name in rectangles:
        feature = QgsFeature(layer.fields())
        geometry = QgsGeometry.fromRect(rectangle)
        geometry.transform(there)
        feature.setGeometry(geometry)
        feature["crop"] = name
        layer.dataProvider().addFeature(feature)
    return layer


def test_points_go_to_the_engine_in_the_scenes_crs(explain, points, feedback):
    path = points([(*POINT, "water")])
    job = explain(TARGET="reference", REFERENCE=path, REFERENCE_FIELD="kind")
    (feature,) = json.loads(Path(job.reference_features).read_text())["features"]
    assert feature["properties"] == {"class": "water"}
    assert feature["geometry"]["coordinates"] == pytest.approx(POINT)
    assert (job.target, job.reference_raster, job.class_name) == ("reference", None, None)
    assert feedback.warnings == []


def test_polygons_of_another_crs_do_too(explain, feedback):
    box = QgsRectangle(300_000, 5_799_800, 300_060, 5_799_900)
    layer = polygons("EPSG:4326", [(box, "beet")])
    job = explain(TARGET="reference", REFERENCE=layer, REFERENCE_FIELD="crop", UNLABELLED_VALUE=4)
    (feature,) = json.loads(Path(job.reference_features).read_text())["features"]
    corners = np.array(feature["geometry"]["coordinates"][0])
    assert corners.min(0) == pytest.approx([300_000, 5_799_800], abs=0.01)
    assert corners.max(0) == pytest.approx([300_060, 5_799_900], abs=0.01)
    assert feedback.warnings == ["UNLABELLED_VALUE is not used with a vector as REFERENCE."]


def test_a_class_raster_goes_as_it_is(explain, scene_without_crs, feedback):
    job = explain(TARGET="reference", REFERENCE=scene_without_crs, UNLABELLED_VALUE=9)
    assert (job.reference_raster, job.reference_features) == (scene_without_crs, None)
    assert job.unlabelled_value == 9 and feedback.warnings == []


def test_of_a_series_the_first_raster_places_it(explain, scene, points):
    path = points([(*POINT, "water")])
    given = {"TARGET": "reference", "REFERENCE": path, "REFERENCE_FIELD": "kind"}
    job = explain(INPUT=None, SERIES=[scene], DATES="2020-05-01,2020-06-01,2020-07-01", **given)
    assert job.scene is None and job.series.paths == (scene,) and job.reference_features


@pytest.mark.parametrize("given", [{}, {"TARGET": "contrast"}, {"TARGET": "class", "CLASS": "water"}])
def test_a_reference_is_idle_with_other_targets(explain, points, feedback, given):
    job = explain(REFERENCE=points([(*POINT, "water")]), REFERENCE_FIELD="kind", **given)
    assert job.reference_features is None and job.reference_raster is None
    target = given.get("TARGET", "predicted")
    assert feedback.warnings == [
        f"{name} is not used with TARGET={target}." for name in ("REFERENCE", "REFERENCE_FIELD")
    ]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "REFERENCE is missing: TARGET=reference needs it."),
        ({"REFERENCE": "points"}, "REFERENCE_FIELD is missing: name the field of"),
        ({"REFERENCE": "points", "REFERENCE_FIELD": "colour"}, "has no field 'colour'"),
        (
            {"REFERENCE": "points", "REFERENCE_FIELD": "kind", "INPUT": None, "PATCHES": "/tmp"},
            "TARGET reference is of pixels; with PATCHES choose predicted, class or contrast.",
        ),
    ],
)
def test_what_cannot_be_is_a_sentence_and_no_work(explain, engine, points, given, sentence):
    if "REFERENCE" in given:
        given = {**given, "REFERENCE": points([(*POINT, "water")])}
    with pytest.raises(QgsProcessingException) as caught:
        explain(TARGET="reference", **given)
    assert sentence in str(caught.value)
    assert engine.jobs == []


def test_other_algorithms_do_not_take_it(provider, scene, model, feedback):
    inputs = {"INPUT": scene, "MODEL": model, "TARGET": "reference"}
    with pytest.raises(QgsProcessingException, match="must be one of: predicted, class, contrast"):
        processing.run("explain:segmentationcontributions", inputs, feedback=feedback)


def test_for_real_each_pixel_is_explained_by_the_class_that_polygons_name(
    real_engine, provider, feedback, context, tmp_path
):
    """Polygons in another CRS: what the engine makes of them is what it makes of each class, cut out."""

    def run(name: str, **inputs):
        return processing.run(f"explain:{name}", inputs, feedback=feedback, context=context)

    demo = run("demodata", SCENE="hyperspectral", SIZE=48, FOLDER=str(tmp_path / "demo"))
    model = str(tmp_path / "model.safetensors")
    run(
        "trainclassifier", INPUT=demo["RASTER"], LABELS=demo["LABEL_RASTER"], EPOCHS=3, MODEL=model,
        COMPARE_SPLITS=False,
    )  # fmt: skip
    left, step, _, top, *_ = gdal.Open(demo["RASTER"]).GetGeoTransform()
    crs = gdal.Open(demo["RASTER"]).GetSpatialRef().GetAuthorityCode(None)
    assert crs == "32633"

    def box(col: int, row: int, width: int, height: int) -> QgsRectangle:
        # Not at pixels' edges, so that rounding on the way through another CRS moves none of their centres.
        return QgsRectangle(
            left + step * (col + 0.2), top - step * (row + height - 0.2), left + step * (col + width - 0.2),
            top - step * (row + 0.2),
        )  # fmt: skip

    places = {"clay": (3, 4, 10, 6), "carbonate": (20, 22, 8, 12)}
    survey = polygons("EPSG:3035", [(box(*place), name) for name, place in places.items()])
    common = {"INPUT": demo["RASTER"], "MODEL": model, "EXPLAINER": "deeplift", "BASELINE": "mean"}

    def explained(target: str, **more) -> np.ndarray:
        path = str(tmp_path / f"{target}.tif")
        results = run("attribution", **common, TARGET=target, ATTRIBUTION=path, **more)
        assert results["PIXELS"] > 0
        return gdal.Open(path).ReadAsArray()

    found = explained("reference", REFERENCE=survey, REFERENCE_FIELD="crop")
    wanted = np.full_like(found, np.nan)
    for name, (col, row, width, height) in places.items():
        inside = (slice(None), slice(row, row + height), slice(col, col + width))
        wanted[inside] = explained("class", CLASS=name)[inside]
    assert np.isfinite(found[0]).sum() == 156
    np.testing.assert_allclose(found, wanted, atol=1e-6 * np.nanmax(np.abs(wanted)))


def test_the_layer_is_named_after_the_target(provider):
    algorithm = provider.algorithm("attribution").create()
    algorithm.chosen = {"EXPLAINER": "deeplift", "TARGET": "reference"}
    assert algorithm.layer_title("ATTRIBUTION").endswith("(deeplift, reference)")
