"""From parameters to the engine's job and back, with an engine that answers at once."""

from __future__ import annotations

import json
from pathlib import Path

import processing
import pytest
from qgis.core import (
    NULL,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsPointXY,
    QgsProcessing,
    QgsProcessingException,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)

from explanation_layers.engine.client import EngineError

POINT = (300_105.0, 5_799_895.0)


def run(name, parameters, feedback, context=None):
    return processing.run(f"explain:{name}", parameters, feedback=feedback, context=context)


def attribution(scene, model, **more):
    return {"INPUT": scene, "MODEL": model, "BAND_TABLE": QgsProcessing.TEMPORARY_OUTPUT, **more}


def test_missing_engine_is_one_sentence(no_engine, scene, model, feedback):
    with pytest.raises(QgsProcessingException, match=r"No engine is set up: run 'Set up the engine'"):
        run("attribution", attribution(scene, model), feedback)


def test_attribution_hands_over_its_parameters(engine, scene, model, feedback, tmp_path):
    engine.answer = lambda job: engine.result(numbers={"MEAN_RESIDUAL": 0.5, "PIXELS": 200, "OTHER": 1})
    results = run(
        "attribution",
        attribution(
            scene, model, EXPLAINER="deeplift", TARGET="contrast", CLASS="water", BASELINE="spectrum",
            BASELINE_SPECTRUM="0.1, 0.2,0.3", EXTENT="300000,300300,5799800,5799900 [EPSG:32633]", SEED=5,
            MEMORY=512, DEVICE="cpu", SALIENCY=str(tmp_path / "s.tif"),
        ),
        feedback,
    )  # fmt: skip
    (job,) = engine.jobs
    assert (job.scene, job.model) == (scene, model)
    assert (job.explainer, job.target, job.class_name, job.contrast_class) == (
        "deeplift",
        "contrast",
        "water",
        None,
    )
    assert (job.baseline, job.baseline_spectrum) == ("spectrum", [0.1, 0.2, 0.3])
    assert job.extent == [300000, 5799800, 300300, 5799900]
    assert (job.seed, job.memory_mb, job.device) == (5, 512, "cpu")
    assert (job.attribution, job.saliency, job.table_only) == (None, str(tmp_path / "s.tif"), False)
    assert results["MEAN_RESIDUAL"] == 0.5 and results["PIXELS"] == 200 and "OTHER" not in results
    assert feedback.warnings == []


def test_wavelengths_are_read_from_a_file(engine, scene, model, feedback, tmp_path):
    path = tmp_path / "wavelengths.csv"
    path.write_text("wavelength\n0.5\n0.61\n2.2\n")
    run("attribution", attribution(scene, model, BASELINE="continuum", WAVELENGTHS=str(path)), feedback)
    assert (engine.jobs[0].baseline, engine.jobs[0].wavelengths) == ("continuum", [0.5, 0.61, 2.2])
    assert feedback.warnings == []


def test_extent_in_another_crs_is_transformed(engine, scene, model, feedback):
    run("attribution", attribution(scene, model, EXTENT="12.0,12.2,52.2,52.4 [EPSG:4326]"), feedback)
    extent = engine.jobs[0].extent
    assert extent[0] == pytest.approx(295_000, abs=15_000) and extent[1] == pytest.approx(
        5_790_000, abs=15_000
    )


def test_without_rasters_only_the_table_is_computed(engine, scene, model, feedback):
    run("attribution", attribution(scene, model), feedback)
    assert engine.jobs[0].table_only


def test_temporary_rasters_are_given_paths(engine, scene, model, feedback):
    temporary = QgsProcessing.TEMPORARY_OUTPUT
    run("classify", {"INPUT": scene, "MODEL": model, "CLASSES": temporary, "CONFIDENCE": temporary}, feedback)
    job = engine.jobs[0]
    assert job.classes.endswith(".tif") and job.confidence.endswith(".tif") and job.probabilities is None


def test_table_has_types_aliases_and_a_run_record(engine, scene, model, feedback, tmp_path):
    path = tmp_path / "bands.gpkg"
    results = run("attribution", attribution(scene, model, BAND_TABLE=str(path)), feedback)
    table = QgsVectorLayer(results["BAND_TABLE"], "t", "ogr")
    rows = [feature.attributes()[1:] for feature in table.getFeatures()]
    assert rows[0] == ["water", 1, 0.25] and rows[1][:2] == ["forest", 2] and not rows[1][2]
    assert not table.isSpatial()
    assert json.loads((tmp_path / "bands.json").read_text())["model_digest"] == "abc123"


def test_a_failed_job_overwrites_nothing(engine, scene, model, feedback, tmp_path):
    path = tmp_path / "bands.csv"
    path.write_text("kept")

    def fail(job):
        raise EngineError("input", "The model file is truncated.")

    engine.answer = fail
    with pytest.raises(QgsProcessingException, match="^The model file is truncated.$"):
        run("attribution", attribution(scene, model, BAND_TABLE=str(path)), feedback)
    assert path.read_text() == "kept"


def test_a_table_that_cannot_be_written_stops_before_any_work(engine, scene, model, feedback, tmp_path):
    path = str(tmp_path / "missing" / "bands.csv")
    with pytest.raises(QgsProcessingException, match="BAND_TABLE cannot be written: the folder"):
        run("attribution", attribution(scene, model, BAND_TABLE=path), feedback)
    assert engine.jobs == []


@pytest.mark.parametrize(
    ("given", "warning"),
    [
        ({"EXPLAINER": "saliency", "BASELINE": "zero"}, "BASELINE is not used with EXPLAINER=saliency."),
        (
            {"EXPLAINER": "gradient_shap", "BASELINE": "zero"},
            "BASELINE is not used with EXPLAINER=gradient_shap.",
        ),
        ({"EXPLAINER": "saliency", "STEPS": 20}, "STEPS is not used with EXPLAINER=saliency."),
        ({"CLASS": "water"}, "CLASS is not used with TARGET=predicted."),
        (
            {"TARGET": "class", "CLASS": "a", "CONTRAST_CLASS": "b"},
            "CONTRAST_CLASS is not used with TARGET=class.",
        ),
        ({"BASELINE_CLASS": "water"}, "BASELINE_CLASS is not used with BASELINE=auto."),
        ({"STEPS": 20, "TOLERANCE": 0.1}, "TOLERANCE is not used with a fixed number of STEPS."),
        ({"SAMPLES": 3}, "SAMPLES is not used with EXPLAINER=integrated_gradients."),
        (
            {"BASELINE": "mean", "WAVELENGTHS": "500,600"},
            "WAVELENGTHS is not used with BASELINE=mean.",
        ),
    ],
)
def test_what_has_no_effect_is_said(engine, scene, model, feedback, given, warning):
    run("attribution", attribution(scene, model, **given), feedback)
    assert feedback.warnings == [warning]


def test_empty_values_of_a_dialog_count_as_not_given(engine, scene, model, feedback):
    empty = {"CLASS": NULL, "BASELINE_SPECTRUM": "", "EXTENT": None, "MASK": NULL, "MEMORY": None}
    run("attribution", attribution(scene, model, **empty), feedback)
    assert feedback.warnings == []
    assert (engine.jobs[0].class_name, engine.jobs[0].extent, engine.jobs[0].mask_features) == (
        None,
        None,
        None,
    )
    with pytest.raises(QgsProcessingException, match="CLASS is missing"):
        run("attribution", attribution(scene, model, TARGET="class", CLASS=NULL), feedback)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"TARGET": "class"}, "CLASS is missing: TARGET=class needs it."),
        ({"BASELINE": "class_mean"}, "BASELINE_CLASS is missing: BASELINE=class_mean needs it."),
        ({"BASELINE": "spectrum"}, "BASELINE_SPECTRUM is missing: BASELINE=spectrum needs it."),
        ({"EXPLAINER": "lime"}, "EXPLAINER is 'lime'; it must be one of: saliency, input_x_gradient,"),
        ({"SAMPLES": 0}, "SAMPLES is 0; it must be between 1 and 100000"),
        (
            {"BASELINE": "spectrum", "BASELINE_SPECTRUM": "1,x,2"},
            "BASELINE_SPECTRUM: value 2 of '1,x,2' is 'x'",
        ),
        ({"BASELINE": "continuum", "WAVELENGTHS": "500,b3"}, "WAVELENGTHS: value 2 of '500,b3' is 'b3'"),
        ({"INPUT": "/nowhere.tif"}, "INPUT"),
        ({"EXTENT": "1,2,3"}, "EXTENT"),
        (
            {"SALIENCY": "/tmp/s.img"},
            "SALIENCY is written as GeoTIFF; end its name in .tif instead of '/tmp/s.img'.",
        ),
    ],
)
def test_bad_input_is_a_sentence_and_no_work(engine, scene, model, feedback, given, sentence):
    with pytest.raises(QgsProcessingException) as caught:
        run("attribution", {**attribution(scene, model), **given}, feedback)
    assert sentence in str(caught.value)
    assert engine.jobs == []


def test_labels_are_reprojected_into_the_raster(engine, scene, points, feedback, context, tmp_path):
    to_degrees = QgsCoordinateTransform(
        QgsCoordinateReferenceSystem("EPSG:32633"),
        QgsCoordinateReferenceSystem("EPSG:4326"),
        QgsProject.instance(),
    )
    there = to_degrees.transform(QgsPointXY(*POINT))
    rows = [(there.x(), there.y(), "water"), (there.x(), there.y(), None), (None, None, "water")]
    run("trainclassifier", training(scene, points(rows, "EPSG:4326"), "kind", tmp_path), feedback, context)
    (job,) = engine.jobs
    collection = json.loads(Path(job.label_features).read_text())
    (feature,) = collection["features"]
    assert feature["properties"] == {"class": "water"}
    assert feature["geometry"]["coordinates"] == pytest.approx(POINT, abs=0.001)
    assert job.label_name == "kind" and job.label_raster is None
    assert feedback.warnings == [
        "1 features of 'points' left out: no class.",
        "1 features of 'points' left out: no geometry.",
    ]


def test_whole_numbers_are_written_without_a_point(engine, scene, points, feedback, context, tmp_path):
    labels = points([(*POINT, "water")])
    run("trainclassifier", training(scene, labels, "number", tmp_path), feedback, context)
    assert '"class": 3}' in Path(engine.jobs[0].label_features).read_text()


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ("colour", "has no field 'colour'; its fields are: fid, kind, number, day."),
        ("", "LABEL_FIELD is missing"),
        ("day", "The label field 'day' holds"),
    ],
)
def test_label_field_errors(engine, scene, points, feedback, tmp_path, field, sentence):
    with pytest.raises(QgsProcessingException, match=sentence):
        run("trainclassifier", training(scene, points([(*POINT, "water")]), field, tmp_path), feedback)


def test_only_one_of_raster_and_labels_has_a_crs(
    engine, scene, scene_without_crs, points, feedback, tmp_path
):
    labels = points([(*POINT, "water")])
    with pytest.raises(
        QgsProcessingException, match="The raster 'bare' has no CRS but the layer 'points' has"
    ):
        run("trainclassifier", training(scene_without_crs, labels, "kind", tmp_path), feedback)
    bare = points([(*POINT, "water")], "", "bare.gpkg")
    with pytest.raises(
        QgsProcessingException, match="The layer 'bare' has no CRS but the raster 'scene' has"
    ):
        run("trainclassifier", training(scene, bare, "kind", tmp_path), feedback)
    run("trainclassifier", training(scene_without_crs, bare, "kind", tmp_path), feedback)
    assert len(engine.jobs) == 1


def test_class_raster_as_labels(engine, scene, scene_without_crs, feedback, tmp_path):
    run("trainclassifier", training(scene, scene_without_crs, "kind", tmp_path), feedback)
    assert engine.jobs[0].label_raster == scene_without_crs
    assert feedback.warnings == ["LABEL_FIELD is not used with a class raster."]


def test_a_crs_set_in_the_layer_is_passed_on(engine, scene_without_crs, model, feedback, context):
    layer = QgsRasterLayer(scene_without_crs, "mine")
    layer.setCrs(QgsCoordinateReferenceSystem("EPSG:32633"))
    run("attribution", attribution(layer, model), feedback, context)
    used = QgsRasterLayer(engine.jobs[0].scene, "used")
    assert used.crs().authid() == "EPSG:32633" and used.extent() == layer.extent()


def test_a_unet_takes_its_parameters_and_labels_that_only_test(
    engine, scene, scene_without_crs, feedback, tmp_path
):
    run(
        "trainclassifier",
        training(scene, scene_without_crs, None, tmp_path)
        | {
            "ARCHITECTURE": "unet", "DEPTH": 2, "FILTERS": 8, "TILE_SIZE": 32, "NORMALISATION": "per_pixel",
            "BRIGHTNESS": True, "NORMALISATION_STRENGTH": 0.5, "TEST_LABELS": scene_without_crs,
            "TEST_SHARE": 0.2, "PATCH_SIZE": 5,
        },
        feedback,
    )  # fmt: skip
    (job,) = engine.jobs
    assert (job.architecture, job.depth, job.filters, job.tile_size) == ("unet", 2, 8, 32)
    assert (job.normalisation, job.brightness, job.normalisation_strength) == ("per_pixel", True, 0.5)
    assert job.label_raster and job.test_label_raster == scene_without_crs
    assert job.test_label_features is None
    assert {
        "TEST_SHARE is not used with TEST_LABELS.",
        "PATCH_SIZE is not used with ARCHITECTURE=unet.",
    } <= set(feedback.warnings)


def test_what_only_a_unet_uses_is_said(engine, scene, scene_without_crs, feedback, tmp_path):
    given = {"DEPTH": 2, "BRIGHTNESS": True, "TEST_LABEL_FIELD": "kind"}
    run("trainclassifier", training(scene, scene_without_crs, None, tmp_path) | given, feedback)
    assert set(feedback.warnings) == {
        "DEPTH is not used with ARCHITECTURE=spectral_cnn.",
        "BRIGHTNESS is not used with ARCHITECTURE=spectral_cnn.",
        "TEST_LABEL_FIELD is not used with TEST_LABELS left empty.",
    }


def training(scene, labels, field, folder):
    return {
        "INPUT": scene,
        "LABELS": labels,
        "LABEL_FIELD": field,
        "MODEL": str(folder / "out.safetensors"),
        "COMPARE_SPLITS": False,
    }
