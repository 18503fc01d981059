"""U-Nets through the algorithms: what they hand to the engine, points in a layer, and all of it for real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import processing
import pytest
from osgeo import gdal, ogr
from qgis.core import QgsProcessing, QgsProcessingException, QgsVectorLayer

gdal.UseExceptions()

TABLES = ("AUDIT", "CHANNELS", "EVIDENCE_TABLE", "WORST_PIXELS")
WORST = {
    "columns": [
        {"name": "method", "type": "string", "alias": "Method"},
        {"name": "residual", "type": "double", "alias": "Residual"},
    ],
    "rows": [["secant_contributions", 1e-7], ["grad_cam", 2.5]],
    "places": [[300_015.0, 5_799_985.0], [300_045.0, 5_799_955.0]],
}


@pytest.fixture
def audit(engine, feedback, scene, model):
    """A function that runs segmentationcontributions and returns its results and the engine's job."""
    plain = {key: value for key, value in WORST.items() if key != "places"}
    engine.answer = lambda job: engine.result(tables={**dict.fromkeys(TABLES, plain), "WORST_PIXELS": WORST})

    def run(**parameters):
        parameters = {"INPUT": scene, "MODEL": model, **parameters}
        results = processing.run("explain:segmentationcontributions", parameters, feedback=feedback)
        return results, engine.jobs[-1]

    return run


def test_worst_pixels_are_points_in_the_scenes_crs(audit):
    results, job = audit(WORST_PIXELS=QgsProcessing.TEMPORARY_OUTPUT)
    layer = results["WORST_PIXELS"]
    assert isinstance(layer, QgsVectorLayer) and layer.crs().authid() == "EPSG:32633"
    found = [(f.geometry().asPoint().x(), f.geometry().asPoint().y()) for f in layer.getFeatures()]
    assert found == [tuple(place) for place in WORST["places"]]
    assert job.label_raster is None and job.label_features is None


def test_every_setting_reaches_the_engine(audit, scene, model, feedback, tmp_path):
    _, job = audit(
        TARGET="contrast", CLASS="road", CONTRAST_CLASS="sky", METHODS="band_shapley,integrated_gradients",
        OTHER_MODEL=model, CAM_LAYER="features", AUDIT_PIXELS=9, STEPS=7, SAMPLES=3, BASELINE="class_mean",
        BASELINE_CLASS="sky", SEED=4, MEMORY=512, DEVICE="cpu", CAMS=str(tmp_path / "cams.tif"),
    )  # fmt: skip
    assert (job.target, job.class_name, job.contrast_class) == ("contrast", "road", "sky")
    assert job.methods == ("band_shapley", "integrated_gradients") and job.other_model == model
    assert (job.cam_layer, job.audit_pixels, job.steps, job.samples) == ("features", 9, 7, 3)
    assert (job.baseline, job.baseline_class, job.seed, job.memory_mb) == ("class_mean", "sky", 4, 512)
    assert feedback.warnings == []


def test_what_is_not_used_is_said(audit, feedback):
    audit(STEPS=9, SAMPLES=2, AUDIT_ERRORS=3, LABEL_FIELD="class")
    for name in ("STEPS", "SAMPLES", "AUDIT_ERRORS", "LABEL_FIELD"):
        assert any(warning.startswith(f"{name} is not used with") for warning in feedback.warnings), name


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"PARTS": "regions"}, "REGIONS is missing"),
        ({"PARTS": "rings", "RING_LIMITS": "0,three"}, "RING_LIMITS is '0,three'"),
    ],
)
def test_parts_that_can_not_be(engine, feedback, scene, model, parameters, sentence):
    with pytest.raises(QgsProcessingException, match=sentence):
        processing.run(
            "explain:attribution",
            {"INPUT": scene, "MODEL": model, "EXPLAINER": "secant_contributions", **parameters},
            feedback=feedback,
        )
    assert engine.jobs == []


def test_parts_reach_the_engine(engine, feedback, scene, model):
    parameters = {"INPUT": scene, "MODEL": model, "EXPLAINER": "secant_contributions", "PARTS": "rings"}
    processing.run("explain:attribution", {**parameters, "RING_LIMITS": "0, 2,5"}, feedback=feedback)
    assert (engine.jobs[-1].parts, engine.jobs[-1].ring_limits) == ("rings", (0, 2, 5))
    processing.run("explain:attribution", {**parameters, "EXPLAINER": "deeplift"}, feedback=feedback)
    assert engine.jobs[-1].parts == "bands"
    assert any(warning.startswith("PARTS is not used") for warning in feedback.warnings)


def test_a_street_is_learnt_explained_and_audited_for_real(run, tmp_path):
    street = run("demodata", SCENE="segmentation", SIZE=64, SEED=1, FOLDER=str(tmp_path / "street"))
    out = {name: str(tmp_path / name) for name in ("unet.safetensors", "a.tif", "s.tif", "b.csv", "r.tif")}
    trained = run(
        "trainclassifier", INPUT=street["RASTER"], LABELS=street["LABEL_RASTER"], ARCHITECTURE="unet",
        DEPTH=2, FILTERS=4, TILE_SIZE=32, EPOCHS=3, COMPARE_SPLITS=False, SPLIT="random",
        MODEL=out["unet.safetensors"],
    )  # fmt: skip
    assert 0 <= trained["WEIGHTED_IOU"] <= 1
    model = {"INPUT": street["TEST_RASTER"], "MODEL": out["unet.safetensors"]}
    explained = run(
        "attribution", **model, EXPLAINER="secant_contributions", ATTRIBUTION=out["a.tif"],
        SALIENCY=out["s.tif"], BAND_TABLE=out["b.csv"],
    )  # fmt: skip
    assert explained["MEAN_RESIDUAL"] < 1e-5 and explained["PIXELS"] == 64 * 64
    dataset = gdal.Open(out["a.tif"])
    assert dataset.RasterCount == 25 and dataset.GetRasterBand(1).GetMetadataItem("wavelength") == "600"
    saliency = gdal.Open(out["s.tif"]).ReadAsArray()
    np.testing.assert_allclose(dataset.ReadAsArray().sum(0), saliency[1], atol=1e-5)
    regions = run(
        "attribution", **model, EXPLAINER="tangent_contributions", PARTS="regions",
        REGIONS=street["TEST_LABEL_RASTER"], ATTRIBUTION=out["r.tif"],
    )  # fmt: skip
    assert gdal.Open(regions["ATTRIBUTION"]).GetRasterBand(1).GetDescription() == "Road"
    worst = str(tmp_path / "worst.gpkg")
    audited = run(
        "segmentationcontributions", **model, LABELS=street["TEST_LABEL_RASTER"],
        AUDIT=str(tmp_path / "audit.csv"), WORST_PIXELS=worst, CONTRIBUTIONS=str(tmp_path / "c.tif"),
    )  # fmt: skip
    assert audited["MAX_RESIDUAL"] < 1e-4 and 0 < audited["SPURIOUS_SHARE"] < 1
    table = ogr.Open(str(tmp_path / "audit.csv"))
    rows = [row.items() for row in table.GetLayer()]
    grades = {row["method"]: row["grade"] for row in rows}
    assert grades["secant_contributions"] == grades["last_layer"] == "A" and grades["seg_grad_cam"] == "C"
    scored = run(
        "evaluateexplainers", **model, LABELS=street["TEST_LABEL_RASTER"], CHIPS=2, SAMPLES=1,
        EXPLAINERS="saliency,secant_contributions", RANDOMISED_CHIPS=0, METRICS=str(tmp_path / "m.csv"),
    )  # fmt: skip
    table = ogr.Open(scored["METRICS"])
    scores = [row.items() for row in table.GetLayer()]
    assert [row["explainer"] for row in scores] == ["saliency", "secant_contributions"]
    assert float(scores[1]["residual"]) < 1e-4
    assert ogr.Open(worst).GetLayer().GetFeatureCount() == 40
    assert Path(worst).with_suffix(".json").exists()
