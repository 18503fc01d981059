"""The search for mistakes through the algorithm: what it hands to the engine, what it refuses."""

from __future__ import annotations

import processing
import pytest
from qgis.core import QgsProcessingException


def search(scene: str, feedback, **changes) -> dict:
    parameters = {"INPUT": scene, "CLASSES": scene, "REFERENCE": scene} | changes
    return processing.run("explain:misclassifications", parameters, feedback=feedback)


def test_every_setting_reaches_the_engine(engine, feedback, scene, model, points):
    labels = points([(300_010.0, 5_799_990.0, "water")])
    search(
        scene, feedback, CLASSES=None, MODEL=model, REFERENCE=labels, REFERENCE_FIELD="kind", TRAINING=scene,
        EXPLAINER="saliency", SAMPLE=50, EXPLAINED=7, UNLABELLED_VALUE=9, SEED=4,
    )  # fmt: skip
    job = engine.jobs[-1]
    assert (job.scene, job.series, job.model, job.classes) == (scene, None, model, None)
    assert (job.label_name, job.train_raster, job.train_features) == ("kind", scene, None)
    assert job.label_features.endswith(".geojson") and job.label_raster is None
    assert (job.explainer, job.sample, job.explained, job.unlabelled_value) == ("saliency", 50, 7, 9)
    assert job.reference.startswith(labels) and job.seed == 4
    assert feedback.warnings == []


def test_what_is_idle_is_said(engine, feedback, scene):
    search(scene, feedback, EXPLAINER="saliency", REFERENCE_FIELD="a", TRAINING_FIELD="b", DATE_PATTERN="%Y")
    job = engine.jobs[-1]
    assert (job.model, job.classes, job.label_raster, job.label_name) == (None, scene, scene, "scene")
    assert set(feedback.warnings) == {
        "EXPLAINER is not used with CLASSES.", "REFERENCE_FIELD is not used with a class raster.",
        "TRAINING_FIELD is not used with TRAINING left empty.", "DATE_PATTERN is not used with INPUT.",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"CLASSES": None}, "Give one of MODEL, a classifier, and CLASSES"),
        ({"SERIES": True}, "Give either INPUT, a raster, or the rasters of a series"),
        ({"INPUT": None}, "Give either INPUT, a raster, or the rasters of a series"),
    ],
)
def test_what_does_not_fit_is_refused(engine, feedback, scene, changes, sentence):
    changes = {name: [scene] if value is True else value for name, value in changes.items()}
    with pytest.raises(QgsProcessingException, match=sentence):
        search(scene, feedback, **changes)
    assert engine.jobs == []


def test_a_series_takes_the_place_of_the_scene(engine, feedback, scene):
    search(scene, feedback, INPUT=None, SERIES=[scene], DATES="2020-01-01")
    assert engine.jobs[-1].scene is None and engine.jobs[-1].series.paths == (scene,)
