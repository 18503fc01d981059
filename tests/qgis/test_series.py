"""Series through the algorithms: what they hand to the engine, and all of it for real."""

from __future__ import annotations

import numpy as np
import processing
import pytest
from osgeo import gdal, ogr
from qgis.core import Qgis, QgsDateTimeRange, QgsProcessingException, QgsRasterLayer
from qgis.PyQt.QtCore import QDate, QDateTime, QTime

gdal.UseExceptions()


def layer_of(path: str, name: str = "scene") -> QgsRasterLayer:
    layer = QgsRasterLayer(path, name)
    assert layer.isValid()
    return layer


def day(text: str) -> QgsDateTimeRange:
    date = QDate.fromString(text, "yyyy-MM-dd")
    return QgsDateTimeRange(QDateTime(date, QTime(0, 0)), QDateTime(date, QTime(23, 59)))


@pytest.fixture
def dated(scene):
    """A function that gives layers of a raster with one date each, as QGIS's layer properties set it."""

    def make(*dates: str) -> list[QgsRasterLayer]:
        layers = []
        for date in dates:
            layer = layer_of(scene)
            properties = layer.temporalProperties()
            properties.setMode(Qgis.RasterTemporalMode.FixedTemporalRange)
            properties.setFixedTemporalRange(day(date))
            properties.setIsActive(True)
            layers.append(layer)
        return layers

    return make


def test_dates_of_layers_reach_the_engine(engine, feedback, dated, scene, tmp_path):
    layers = dated("2017-01-03", "2017-02-20")
    model = str(tmp_path / "m.safetensors")
    processing.run("explain:trainautoencoder", {"SERIES": layers, "MODEL": model}, feedback=feedback)
    series = engine.jobs[-1].series
    assert series.paths == (scene, scene)
    assert series.layer_dates == (("2017-01-03",), ("2017-02-20",)) and series.dates == ()


def test_ranges_per_band_are_dates_of_bands(engine, feedback, scene, tmp_path):
    layer = layer_of(scene)
    properties = layer.temporalProperties()
    properties.setMode(Qgis.RasterTemporalMode.FixedRangePerBand)
    dates = ("2017-01-03", "2017-01-15", "2017-02-02")
    properties.setFixedRangePerBand({band: day(date) for band, date in enumerate(dates, 1)})
    properties.setIsActive(True)
    model = str(tmp_path / "m.safetensors")
    processing.run("explain:trainautoencoder", {"SERIES": [layer], "MODEL": model}, feedback=feedback)
    assert engine.jobs[-1].series.layer_dates == (dates,)


def test_every_setting_of_a_training_reaches_the_engine(engine, feedback, scene, points, tmp_path):
    dates = tmp_path / "dates.txt"
    dates.write_text("2017-01-03\n2017-01-15\n2017-02-02\n")
    labels = points([(300_015, 5_799_985, "beet"), (300_045, 5_799_955, "maize")])
    processing.run(
        "explain:trainautoencoder",
        {
            "SERIES": [scene], "DATES": str(dates), "DATE_PATTERN": "%Y%j", "CHANNELS": "VV, VH",
            "START_DATE": "2017-01-01", "END_DATE": "2017-12-31", "VALUES": "amplitude", "CALIBRATION": -83,
            "EMBEDDING_DIMENSIONS": 3, "EPOCHS": 5, "LABELS": labels, "LABEL_FIELD": "kind", "SEED": 4,
            "TEST_SHARE": 0.4, "SAMPLE": 1000, "STRIDE": 2, "PATIENCE": 6, "LEARNING_RATE": 0.01,
            "BATCH_SIZE": 32, "DEVICE": "cpu", "MEMORY": 512, "MODEL": str(tmp_path / "m.safetensors"),
        },
        feedback=feedback,
    )  # fmt: skip
    job = engine.jobs[-1]
    assert job.series.dates == ("2017-01-03", "2017-01-15", "2017-02-02")
    assert (job.series.date_pattern, job.series.channels) == ("%Y%j", ("VV", "VH"))
    assert (job.series.start, job.series.end) == ("2017-01-01", "2017-12-31")
    assert (job.values, job.calibration, job.embedding_dimensions, job.epochs) == ("amplitude", -83, 3, 5)
    assert (job.test_share, job.sample, job.stride, job.patience) == (0.4, 1000, 2, 6)
    assert (job.learning_rate, job.batch_size, job.seed, job.memory_mb) == (0.01, 32, 4, 512)
    assert job.label_features and job.label_name == "kind"
    assert feedback.warnings == []


def test_every_setting_of_grad_slam_reaches_the_engine(engine, feedback, scene, model, tmp_path):
    processing.run(
        "explain:gradslam",
        {
            "SERIES_FOLDER": str(tmp_path), "MODEL": model, "TARGET": "contrast", "CLASS": "beet",
            "CONTRAST_CLASS": "maize", "LABELS": scene, "VARIANT": "element_wise", "SCALING": "maxabs",
            "LAYERS": "1, 3", "ANOMALY_STEPS": 5, "UNLABELLED_VALUE": 9,
            "EXTENT": "300030,300090,5799900,5799970", "SIGNED": str(tmp_path / "signed.tif"),
        },
        feedback=feedback,
    )  # fmt: skip
    job = engine.jobs[-1]
    assert job.series.paths == (str(tmp_path),)
    assert (job.target, job.class_name, job.contrast_class) == ("contrast", "beet", "maize")
    assert (job.variant, job.scaling, job.layers, job.anomaly_steps) == ("element_wise", "maxabs", (1, 3), 5)
    assert job.label_raster == scene and job.unlabelled_value == 9 and job.signed
    assert job.extent == [300_030, 5_799_900, 300_090, 5_799_970]
    parameters = {"SERIES": [scene], "MODEL": model, "DIMENSIONS": "2,1", "CLASS": "beet"}
    processing.run("explain:gradslam", parameters, feedback=feedback)
    assert engine.jobs[-1].dimensions == (2, 1) and engine.jobs[-1].class_name is None
    assert any(warning.startswith("CLASS is not used") for warning in feedback.warnings)


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        ("trainautoencoder", {}, "Give either SERIES"),
        ("trainautoencoder", {"SERIES": ["/nowhere/a.tif"]}, "there is no file /nowhere/a.tif"),
        ("gradslam", {"TARGET": "contrast"}, "CLASS is missing"),
        ("gradslam", {"TARGET": "contrast", "CLASS": "a", "CONTRAST_CLASS": "b"}, "LABELS is missing"),
        ("gradslam", {"DIMENSIONS": "one"}, "DIMENSIONS is 'one'"),
        ("attribution", {"TARGET": "class", "CLASS": "1"}, "Give one of INPUT"),
    ],
)
def test_what_can_not_be_is_said(engine, feedback, scene, model, tmp_path, name, parameters, sentence):
    given = {"MODEL": model if name != "trainautoencoder" else str(tmp_path / "m.safetensors"), **parameters}
    if name == "gradslam":
        given["SERIES"] = [scene]
    with pytest.raises(QgsProcessingException, match=sentence):
        processing.run(f"explain:{name}", given, feedback=feedback)
    assert engine.jobs == []


def test_attribution_takes_a_series(engine, feedback, scene, model):
    parameters = {"SERIES": [scene], "MODEL": model, "TARGET": "class", "CLASS": "2", "DATES": "2017-01-03"}
    processing.run("explain:attribution", parameters, feedback=feedback)
    job = engine.jobs[-1]
    assert job.scene is None and job.series.paths == (scene,) and job.series.dates == ("2017-01-03",)
    with pytest.raises(QgsProcessingException, match="Give one of INPUT"):
        processing.run("explain:attribution", {**parameters, "INPUT": scene}, feedback=feedback)


def test_a_classifier_learns_from_a_series(engine, feedback, scene, points, tmp_path):
    labels = points([(300_015, 5_799_985, "beet"), (300_045, 5_799_955, "maize")])
    parameters = {
        "SERIES": [scene], "DATES": "2017-01-03,2017-01-15,2017-02-02", "CHANNELS": "VV",
        "START_DATE": "2017-01-01", "END_DATE": "2017-12-31", "VALUES": "amplitude", "CALIBRATION": -83,
        "LABELS": labels, "LABEL_FIELD": "kind", "SPLIT": "parcels", "MODEL": str(tmp_path / "m.safetensors"),
    }  # fmt: skip
    processing.run("explain:trainclassifier", parameters, feedback=feedback)
    job = engine.jobs[-1]
    assert job.scene is None and job.series.paths == (scene,) and len(job.series.dates) == 3
    assert (job.series.channels, job.series.start, job.series.end) == (("VV",), "2017-01-01", "2017-12-31")
    assert (job.values, job.calibration, job.split) == ("amplitude", -83, "parcels")
    assert job.label_features and feedback.warnings == []
    del parameters["SERIES"]
    processing.run("explain:trainclassifier", {**parameters, "INPUT": scene}, feedback=feedback)
    job = engine.jobs[-1]
    assert (job.scene, job.series, job.values, job.calibration) == (scene, None, "as_is", 0)
    for name in ("DATES", "CHANNELS", "START_DATE", "END_DATE", "VALUES", "CALIBRATION"):
        assert f"{name} is not used with INPUT." in feedback.warnings


@pytest.mark.parametrize("name", ["trainclassifier", "classify"])
def test_a_raster_or_a_series_but_not_both(engine, feedback, scene, model, tmp_path, name):
    given = {"MODEL": model, "CLASSES": str(tmp_path / "classes.tif")}
    if name == "trainclassifier":
        given = {"MODEL": str(tmp_path / "m.safetensors"), "LABELS": scene}
    for inputs in ({}, {"INPUT": scene, "SERIES": [scene]}, {"INPUT": scene, "SERIES_FOLDER": str(tmp_path)}):
        with pytest.raises(QgsProcessingException, match="Give either INPUT, a raster, or the rasters"):
            processing.run(f"explain:{name}", {**given, **inputs}, feedback=feedback)
    assert engine.jobs == []


def test_classify_takes_a_series(engine, feedback, scene, model, tmp_path):
    parameters = {
        "SERIES": [scene], "DATES": "2017-01-03", "MODEL": model, "CLASSES": str(tmp_path / "classes.tif"),
        "EXTENT": "300030,300090,5799900,5799970",
    }  # fmt: skip
    processing.run("explain:classify", parameters, feedback=feedback)
    job = engine.jobs[-1]
    assert job.scene is None and job.series.paths == (scene,) and job.series.dates == ("2017-01-03",)
    assert job.extent == [300_030, 5_799_900, 300_090, 5_799_970]


def test_a_series_is_learnt_clustered_and_explained_for_real(run, tmp_path):
    demo = run("demodata", SCENE="sar_series", SIZE=64, SEED=1, FOLDER=str(tmp_path / "demo"))
    series = {"SERIES": [demo["RASTER"]]}
    labels = {"LABELS": demo["LABELS"], "LABEL_FIELD": "class"}
    model = str(tmp_path / "model.safetensors")
    trained = run("trainautoencoder", **series, **labels, VALUES="power", EPOCHS=3, MODEL=model)
    assert trained["RECONSTRUCTION_ERROR"] > 0
    classes = str(tmp_path / "classes.tif")
    clustered = run(
        "clusterseries", **series, **labels, MODEL=model, CLASSES=classes,
        CONFUSION=str(tmp_path / "confusion.csv"),
    )  # fmt: skip
    assert 0 < clustered["OVERALL_ACCURACY"] <= 1
    labelled = ogr.Open(demo["LABELS"])  # a layer does not keep its dataset open
    names = {feature["class"] for feature in labelled.GetLayer()}
    first, second = sorted(names)[:2]
    out = {name: str(tmp_path / f"{name}.tif") for name in ("DATE_IMPORTANCE", "TOP_DATE", "SIGNED")}
    explained = run(
        "gradslam", **series, LABELS=classes, MODEL=model, TARGET="contrast", CLASS=first,
        CONTRAST_CLASS=second, **out, PROFILES=str(tmp_path / "profiles.csv"),
        PLOT=str(tmp_path / "plot.png"),
    )  # fmt: skip
    importance = gdal.Open(out["DATE_IMPORTANCE"])
    assert importance.RasterCount == trained["DATES"]
    assert importance.GetRasterBand(1).GetDescription().startswith("2017-")
    assert set(explained["TOP_DATES"].split(", ")) <= {
        importance.GetRasterBand(band).GetDescription() for band in range(1, importance.RasterCount + 1)
    }
    profiles = ogr.Open(str(tmp_path / "profiles.csv"))
    assert {row["channel"] for row in profiles.GetLayer()} == {"VV", "VH"}
    attribution = str(tmp_path / "attribution.tif")
    explained = run(
        "attribution", **series, MODEL=model, TARGET="class", CLASS="1", EXPLAINER="integrated_gradients",
        ATTRIBUTION=attribution, EXTENT=_corner(demo["RASTER"]),
    )  # fmt: skip
    assert explained["MEAN_RESIDUAL"] < 0.02
    assert gdal.Open(attribution).RasterCount == 2 * trained["DATES"]
    assert np.isfinite(gdal.Open(attribution).ReadAsArray()).any()


def _corner(path: str) -> str:
    left, step, _, top, _, down = gdal.Open(path).GetGeoTransform()
    return f"{left},{left + 20 * step},{top + 20 * down},{top}"
