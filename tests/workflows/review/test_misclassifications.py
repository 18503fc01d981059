"""Errors against a reference: what was planted is found, whatever the tiles and the kind of reference."""

from __future__ import annotations

import json
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from rasterio.warp import calculate_default_transform, reproject

from explanation_layers.engine.jobs import ExplainPixelsJob, MisclassificationsJob
from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.explain_pixels import explain_pixels
from explanation_layers.workflows.misclassifications import find_errors

from .planted import FIELD, MIXTURE, burnt, plant, rows_of, scores


@pytest.fixture(scope="module")
def planted(demo, tmp_path_factory):
    """The demo scene with two wrong fields, twelve wrong pixels and twelve mixtures."""
    return plant(demo.raster, demo.all_classes, tmp_path_factory.mktemp("planted"), 3, 2, 12, 12)


@pytest.fixture
def review(spectral_model, planted):
    """Return a function that runs a review and returns its result with its errors by column."""

    def run(context=None, **options):
        given = {"scene": planted.scene, "model": spectral_model, "label_raster": planted.labels, **options}
        job = MisclassificationsJob(**given)
        value = find_errors(job, context or Context("review", lambda message: None))
        return SimpleNamespace(value=value, errors=rows_of(value["tables"]["ERRORS"]))

    return run


def test_planted_label_errors_are_suspected(review, planted):
    found = review(explained=0)
    table = found.value["tables"]["ERRORS"]
    result = scores(burnt(table, planted.labels), planted.kind)
    assert result["label_recall"] >= 0.8
    assert result["label_precision"] >= 0.7
    assert result["field_recall"] >= 0.8


def test_counts_and_confusion_are_those_of_the_rasters(
    review, planted, run_classify, spectral_model, tmp_path
):
    found = review(explained=0)
    predicted = run_classify(planted.scene, spectral_model, tmp_path).classes[0]
    with rasterio.open(planted.labels) as file:
        labels = file.read(1)
    known = (labels > 0) & (predicted > 0)
    wrong = known & (labels != predicted)
    numbers = found.value["numbers"]
    assert numbers["ERROR_PIXELS"] == wrong.sum() == sum(error["pixels"] for error in found.errors)
    assert numbers["ERROR_SHARE"] == pytest.approx(wrong.sum() / known.sum())
    table = burnt(found.value["tables"]["ERRORS"], planted.labels)
    np.testing.assert_array_equal(table != "", wrong)
    confusion = rows_of(found.value["tables"]["CONFUSION"])
    counts = [[row[f"predicted_{i}"] for i in range(1, 7)] for row in confusion]
    expected = [[(known & (labels == t) & (predicted == p)).sum() for p in range(1, 7)] for t in range(1, 7)]
    np.testing.assert_array_equal(counts, expected)
    assert [error["error_id"] for error in found.errors] == list(range(1, len(found.errors) + 1))
    instructive = [error["instructive"] for error in found.errors]
    assert instructive == sorted(instructive, reverse=True)
    assert all(0 <= value <= 1 for value in instructive)
    pixel = abs(rasterio.open(planted.labels).transform.determinant)
    for error in found.errors:
        assert error["area_m2"] == pytest.approx(error["pixels"] * pixel)


def test_the_same_in_small_tiles(review, monkeypatch):
    whole = review(explained=5).value["tables"]["ERRORS"]
    monkeypatch.setattr("explanation_layers.workflows.review_predictions.tile_side", lambda *_: 16)
    tiles = review(explained=5).value["tables"]["ERRORS"]
    assert tiles["geometries"] == whole["geometries"]
    for one, other in zip(rows_of(whole), rows_of(tiles)):
        for name in ("true_class", "predicted_class", "pixels", "suspicion"):
            assert one[name] == other[name]
        assert one["margin"] == pytest.approx(other["margin"], abs=1e-4)


def test_a_map_in_place_of_the_model(review, planted, run_classify, spectral_model, demo, tmp_path):
    run_classify(planted.scene, spectral_model, tmp_path)
    by_model, by_map = review(), review(model=None, classes=str(tmp_path / "classes.tif"))
    assert by_map.value["numbers"]["ERROR_PIXELS"] == by_model.value["numbers"]["ERROR_PIXELS"]
    assert sorted(by_map.value["tables"]["ERRORS"]["geometries"]) == sorted(
        by_model.value["tables"]["ERRORS"]["geometries"]
    )
    assert all(error["confidence"] is None and error["margin"] is None for error in by_map.errors)
    result = scores(burnt(by_map.value["tables"]["ERRORS"], planted.labels), planted.kind)
    assert result["field_recall"] >= 0.8
    # The strongest band is one in which predicted and true differ.
    assert all(" nm (" in error["evidence"] for error in by_map.errors)


def test_points_stay_points(review, planted, write_points, tmp_path):
    with rasterio.open(planted.labels) as file:
        labels, profile = file.read(1), file.profile
    chosen = np.random.default_rng(5).random(labels.shape) < 0.3
    few = str(tmp_path / "few.tif")
    with rasterio.open(few, "w", **profile) as file:
        file.write(np.where(chosen, labels, 0), 1)
    names = {1: "chlorophyll", 2: "ferric iron", 3: "leaf water", 4: "plastic", 5: "clay", 6: "carbonate"}
    path = write_points(tmp_path / "points.geojson", few)
    document = json.loads((tmp_path / "points.geojson").read_text())
    for feature in document["features"]:
        feature["properties"]["class"] = names[int(feature["properties"]["class"])]
    (tmp_path / "points.geojson").write_text(json.dumps(document))
    found = review(label_raster=None, label_features=path)
    table = found.value["tables"]["ERRORS"]
    assert table["geometry"] == "Point"
    assert all(error["pixels"] == 1 for error in found.errors)
    assert found.value["numbers"]["ERROR_COUNT"] == found.value["numbers"]["ERROR_PIXELS"]
    assert table["geometries"][0] == f"POINT({found.errors[0]['x']!r} {found.errors[0]['y']!r})"
    wrong_field = chosen & (planted.kind == FIELD)
    suspected = sum(error["suspicion"] == "label error" for error in found.errors)
    assert suspected >= 0.7 * wrong_field.sum()


def test_polygons_and_what_lies_outside(review, planted, tmp_path):
    with rasterio.open(planted.scene) as file:
        transform = file.transform

    def square(name, row, col, side=4):
        ring = [transform * place for place in (
            (col, row), (col + side, row), (col + side, row + side), (col, row + side), (col, row),
        )]  # fmt: skip
        geometry = {"type": "Polygon", "coordinates": [ring]}
        return {"type": "Feature", "properties": {"class": name}, "geometry": geometry}

    row, col = np.argwhere(planted.kind == FIELD)[0]
    names = ["chlorophyll", "ferric iron", "leaf water", "plastic", "clay", "carbonate"]
    true = names[planted.clean[row, col] - 1]
    right = [square(names[planted.clean[r, c] - 1], r, c, 1) for r, c in np.argwhere(planted.clean)[::9]]
    wrong = square("clay" if true != "clay" else "plastic", row, col, 1)
    path = tmp_path / "polygons.geojson"
    features = [*right, wrong, square("clay", 500, 500)]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = review(label_raster=None, label_features=str(path))
    assert found.value["tables"]["ERRORS"]["geometry"] == "MultiPolygon"
    assert any("outside the scene" in warning for warning in found.value["warnings"])
    x, y = transform * (col + 0.5, row + 0.5)
    here = [error for error in found.errors if (error["x"], error["y"]) == pytest.approx((x, y))]
    # Labelled twice, and differently, it is no reference; else it is an error.
    assert here or any("more than one class" in warning for warning in found.value["warnings"])


def test_a_reference_in_another_coordinate_system(review, planted, tmp_path):
    path = str(tmp_path / "other.tif")
    with rasterio.open(planted.labels) as file:
        transform, width, height = calculate_default_transform(
            file.crs, "EPSG:4326", file.width, file.height, *file.bounds, dst_width=200, dst_height=200
        )
        warped = np.zeros((height, width), dtype=np.uint8)
        reproject(file.read(1), warped, src_transform=file.transform, src_crs=file.crs,
                  dst_transform=transform, dst_crs="EPSG:4326")  # fmt: skip
        profile = {**file.profile, "crs": "EPSG:4326", "transform": transform, "width": width,
                   "height": height}  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(warped, 1)
    shutil.copy(planted.labels + ".aux.xml", path + ".aux.xml")
    here, there = review(explained=0), review(explained=0, label_raster=path)
    assert any("another grid" in warning for warning in there.value["warnings"])
    assert there.value["numbers"]["ERROR_SHARE"] == pytest.approx(
        here.value["numbers"]["ERROR_SHARE"], abs=0.02
    )


def test_no_errors_at_all(review, planted, run_classify, spectral_model, tmp_path):
    run_classify(planted.scene, spectral_model, tmp_path)
    report = tmp_path / "report.html"
    found = review(label_raster=str(tmp_path / "classes.tif"), report=str(report))
    assert found.errors == []
    assert found.value["tables"]["ERRORS"]["geometry"] == "MultiPolygon"
    assert found.value["numbers"]["ERROR_SHARE"] == 0
    assert "no error" in report.read_text()
    assert any("layer of errors is empty" in warning for warning in found.value["warnings"])


def test_pixels_that_trained_are_told_from_others(review, demo):
    found = review(train_raster=demo.label_raster, explained=0)
    numbers = found.value["numbers"]
    assert 0.15 < numbers["TRAINED_SHARE"] < 0.25
    assert 0 < numbers["NEW_ERROR_SHARE"] < 0.5


def test_evidence_is_the_contrast_that_a_click_shows(review, planted, spectral_model, context):
    error = review().errors[0]
    job = ExplainPixelsJob(
        scene=planted.scene, model=spectral_model, points=((error["x"], error["y"]),), target="contrast",
        class_name=error["predicted_class"], contrast_class=error["true_class"],
    )  # fmt: skip
    item = explain_pixels(job, context)["pixels"][0]
    assert item["predicted"] == error["predicted_class"]
    strongest = int(np.nanargmax(np.abs(np.array(item["attribution"], dtype=float))))
    value = explain_pixels(job, context)["axis"]["values"][strongest]
    first = error["evidence"].split(", ")[0]
    assert first.startswith(f"{value:.0f} nm (")
    assert float(first.split("(")[1].rstrip(")")) == pytest.approx(item["attribution"][strongest], rel=0.05)


def test_report_and_record(review, tmp_path):
    report = tmp_path / "report.html"
    found = review(report=str(report), reference="/fields.gpkg")
    page = report.read_text()
    for text in ("Where they are", "data:image/png;base64", "label error", "Confusion"):
        assert text in page
    assert "<script" not in page
    record = json.loads(report.with_suffix(".json").read_text())
    assert record["review"]["reference"] == "/fields.gpkg"
    assert record["review"]["class_names"][0].keys() == {"name", "colour"}
    assert record["figures"]["ERROR_COUNT"] == len(found.errors)


def test_a_unet(street, unet, street_labels, tmp_path, context):
    job = MisclassificationsJob(scene=street, model=unet, label_raster=street_labels, explained=2)
    value = find_errors(job, context)
    errors = rows_of(value["tables"]["ERRORS"])
    assert sum(error["pixels"] for error in errors) == value["numbers"]["ERROR_PIXELS"] > 0
    assert sum(bool(error["evidence"]) for error in errors) == min(2, len(errors))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"model": None}, "give one of the two"),
        ({"label_raster": None}, "no REFERENCE"),
        ({"explainer": "grad_cam"}, "grad_cam"),
        ({"extent": [0.0, 0.0, 1.0, 1.0]}, "outside the raster"),
        ({"sample": 1}, "sample of a class"),
        ({"scene": None}, "give one of the two"),
    ],
)
def test_bad_input_is_a_sentence(review, options, text):
    with pytest.raises(InputError, match=text):
        review(**options)


def test_a_class_that_the_model_does_not_know(review, planted, write_points, tmp_path):
    path = write_points(tmp_path / "points.geojson", planted.labels, prefix="x")
    with pytest.raises(InputError, match="does not know the class 'x1'"):
        review(label_raster=None, label_features=path)


def test_cancel_is_heard_at_once(review):
    class Stopping(Context):
        since = 0.0

        def progress(self, fraction, text=""):
            if text.startswith("Judging") and not self.cancelled:
                self.since = time.monotonic()
                self.cancel()

    context = Stopping("stop", lambda message: None)
    with pytest.raises(Cancelled):
        review(context)
    assert time.monotonic() - context.since < 2


def test_mixtures_are_told_from_label_errors(review, planted):
    table = review(explained=0).value["tables"]["ERRORS"]
    found = burnt(table, planted.labels)[planted.kind == MIXTURE]
    assert (found == "label error").sum() <= 0.2 * (found != "").sum()
