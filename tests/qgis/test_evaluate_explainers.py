"""explain:evaluateexplainers: what it hands to the engine, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import processing
import pytest
from qgis.core import QgsProcessing, QgsProcessingException, QgsVectorLayer

from explanation_layers.algorithms.evaluate_explainers import DEFAULT_EXPLAINERS

POINT = (300_105.0, 5_799_895.0)
TABLE = {
    "columns": [
        {"name": "explainer", "type": "string", "alias": "Explainer"},
        {"name": "max_sensitivity", "type": "double", "alias": "Max-Sensitivity"},
    ],
    "rows": [["saliency", 0.25], ["occlusion", None]],
}


@pytest.fixture
def run(engine, feedback, model):
    """A function that runs the algorithm and returns its results and the engine's job."""
    engine.answer = lambda job: engine.result(tables={"METRICS": TABLE})

    def run(**parameters):
        parameters = {"MODEL": model, "METRICS": QgsProcessing.TEMPORARY_OUTPUT, **parameters}
        results = processing.run("explain:evaluateexplainers", parameters, feedback=feedback)
        return results, engine.jobs[-1]

    return run


def test_defaults_are_the_eight_of_the_study_on_a_folder(run, model, feedback, tmp_path):
    results, job = run(PATCHES=str(tmp_path))
    assert job.models == [model] and job.explainers == list(DEFAULT_EXPLAINERS) and len(job.explainers) == 8
    assert (job.patches, job.scene, job.masks, job.mask_features) == (str(tmp_path), None, None, None)
    assert (job.chips, job.radius, job.samples, job.steps) == (50, 0.02, 10, 50)
    assert (job.baseline, job.layer, job.montage, job.report) == ("zero", "layer4", None, None)
    assert feedback.warnings == []
    assert isinstance(results["METRICS"], QgsVectorLayer)
    assert [feature.attributes()[0] for feature in results["METRICS"].getFeatures()] == [
        "saliency",
        "occlusion",
    ]


def test_several_models_and_every_setting(run, model, feedback, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    (tmp_path / "other.safetensors").touch()
    results, job = run(
        PATCHES=str(tmp_path), MASKS=str(masks), MODEL=[model, str(tmp_path / "other.safetensors")],
        EXPLAINERS="grad_cam,occlusion", CHIPS=7, RADIUS=0.1, SAMPLES=3, SPECKLE_LOOKS=4.4, STEPS=9,
        BASELINE="chip_mean", GRAD_CAM_LAYER="layer1", OCCLUSION_WINDOW=8, OCCLUSION_STRIDE=4,
        BRIGHT_SHARE=0.1, RANDOMISED_CHIPS=2, SKIP_UNREADABLE=True, SEED=5, MEMORY=512, DEVICE="cpu",
        MONTAGE=str(tmp_path / "m.png"), REPORT=str(tmp_path / "r.html"),
    )  # fmt: skip
    assert job.models == [model, str(tmp_path / "other.safetensors")]
    assert job.explainers == ["grad_cam", "occlusion"] and job.masks == str(masks)
    assert (job.chips, job.radius, job.samples, job.speckle_looks, job.steps) == (7, 0.1, 3, 4.4, 9)
    assert (job.baseline, job.layer, job.occlusion_window, job.occlusion_stride) == (
        "chip_mean",
        "layer1",
        8,
        4,
    )
    assert (job.bright_share, job.randomised_chips, job.skip_unreadable) == (0.1, 2, True)
    assert (job.seed, job.memory_mb, job.device) == (5, 512, "cpu")
    assert results["MONTAGE"] == str(tmp_path / "m.png") and results["REPORT"] == str(tmp_path / "r.html")
    assert feedback.warnings == ["STEPS is not used with these EXPLAINERS."]


def test_labels_on_a_scene_with_and_without_a_class(run, scene, points, feedback):
    labels = points([(*POINT, "a")])
    _, job = run(INPUT=scene, LABELS=labels, LABEL_FIELD="kind", EXPLAINERS=["saliency"])
    assert job.scene == scene and '"class": "a"' in Path(job.label_features).read_text()
    assert job.label_name == "kind" and job.patches is None
    _, job = run(INPUT=scene, LABELS=labels, EXPLAINERS=["saliency"])
    assert '"class"' not in Path(job.label_features).read_text()


def test_a_class_raster(run, scene):
    _, job = run(INPUT=scene, LABELS=scene, UNLABELLED_VALUE=-1)
    assert (job.label_raster, job.unlabelled_value) == (scene, -1)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({}, "Give either PATCHES, a folder of chips, or INPUT"),
        ({"INPUT": "scene", "PATCHES": "folder"}, "Give either PATCHES"),
        ({"INPUT": "scene"}, "LABELS is missing"),
        (
            {"PATCHES": "folder", "EXPLAINERS": "saliency,lime"},
            "EXPLAINERS is 'lime'; it must be one of",
        ),
        ({"PATCHES": "folder", "EXPLAINERS": ["lime"]}, "EXPLAINERS is 'lime'"),
        ({"PATCHES": "folder", "BRIGHT_SHARE": 2}, "BRIGHT_SHARE is 2"),
    ],
)
def test_bad_input_is_one_sentence(run, scene, tmp_path, parameters, sentence):
    given = {"scene": scene, "folder": str(tmp_path)}
    with pytest.raises(QgsProcessingException, match=sentence):
        run(**{name: given.get(v, v) if isinstance(v, str) else v for name, v in parameters.items()})


def test_what_has_no_effect_is_named(run, points, feedback, tmp_path):
    run(PATCHES=str(tmp_path), LABEL_FIELD="kind", EXPLAINERS="saliency", OCCLUSION_WINDOW=9)
    assert feedback.warnings == [
        "OCCLUSION_WINDOW is not used with these EXPLAINERS.",
        "LABEL_FIELD is not used with PATCHES.",
    ]
