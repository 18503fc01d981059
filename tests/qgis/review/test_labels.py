"""Corrected labels: the reference with the reviewed errors put right; a copy of the errors."""

from __future__ import annotations

import os

import pytest
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsFeature,
    QgsGeometry,
    QgsProject,
    QgsVectorLayer,
)

from explanation_layers.plugin.review.copies import ErrorCopy
from explanation_layers.plugin.review.corrections import training
from explanation_layers.plugin.review.labels import LabelExport, reviewed_class, takes_away
from explanation_layers.plugin.review.sources import ReviewSources
from explanation_layers.plugin.review.store import ReviewError, ReviewStore

PIXEL_AREA = 900.0


@pytest.fixture
def store(errors):
    store = ReviewStore(errors)
    store.load()
    yield store
    store.close()


def reference(data, crs: str = "EPSG:32633") -> QgsVectorLayer:
    """Fields of water (left half, 100 pixels) and forest (right half, 100 pixels)."""
    layer = QgsVectorLayer(f"Polygon?crs={crs}&field=kind:string", "reference", "memory")
    for name, shape in (("water", data.pixel_box(0, 0, 10, 10)), ("forest", data.pixel_box(0, 10, 10, 10))):
        feature = QgsFeature(layer.fields())
        feature.setAttributes([name])
        feature.setGeometry(shape)
        layer.dataProvider().addFeature(feature)
    return layer


def fid_of(store, error_id):
    return next(record.fid for record in store.records.values() if record.error_id == error_id)


def areas(path: str) -> dict[tuple[str, str], float]:
    """Return the pixels of each class and source."""
    found: dict[tuple[str, str], float] = {}
    for feature in QgsVectorLayer(path, "labels", "ogr").getFeatures():
        key = feature["class"], feature["source"]
        found[key] = found.get(key, 0.0) + feature.geometry().area() / PIXEL_AREA
    return {key: round(area, 6) for key, area in found.items()}


def test_corrected_pixels_change_their_class_and_doubtful_ones_are_left_out(store, data, tmp_path):
    store.record(fid_of(store, 1), verdict="label error", corrected_class="forest")  # 4 pixels of water
    store.record(fid_of(store, 2), verdict="both plausible")  # 1 pixel of water
    store.record(fid_of(store, 3), verdict="model error")  # 3 pixels of forest stay
    path = str(tmp_path / "labels.gpkg")
    done = LabelExport(store, reference(data), "kind").run(path)
    assert areas(path) == {("forest", "review"): 4, ("water", "reference"): 95, ("forest", "reference"): 100}
    assert (done.reviewed, done.reference, done.left_out) == (1, 2, 1)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".part")]


def test_a_reference_in_another_crs_is_brought_to_the_scene(store, data, tmp_path):
    store.record(fid_of(store, 1), verdict="label error", corrected_class="forest")
    layer = QgsVectorLayer("Polygon?crs=EPSG:4326&field=kind:string", "reference", "memory")
    there = QgsCoordinateTransform(
        store.crs, QgsCoordinateReferenceSystem("EPSG:4326"), QgsProject.instance()
    )
    feature, shape = QgsFeature(layer.fields()), data.pixel_box(0, 0, 10, 10)
    shape.transform(there)
    feature.setAttributes(["water"])
    feature.setGeometry(shape)
    layer.dataProvider().addFeature(feature)
    path = str(tmp_path / "labels.gpkg")
    LabelExport(store, layer, "kind").run(path)
    found = areas(path)
    assert found[("forest", "review")] == 4
    assert found[("water", "reference")] == pytest.approx(96, abs=0.01)


def test_without_a_vector_reference_only_what_was_reviewed_is_written(store, tmp_path):
    store.record(fid_of(store, 1), verdict="label error", corrected_class="crop")
    store.record(fid_of(store, 3), verdict="model error")
    store.record(fid_of(store, 4), verdict="unsure")
    path = str(tmp_path / "labels.gpkg")
    LabelExport(store, None, None).run(path)
    assert areas(path) == {("crop", "review"): 4, ("forest", "review"): 3}


def test_points_of_the_reference_are_replaced(qgis_app, data, points, tmp_path):
    places = [(300_105.0, 5_799_895.0), (300_195.0, 5_799_805.0), (300_285.0, 5_799_715.0)]
    shapes = [QgsGeometry.fromWkt(f"POINT({x} {y})") for x, y in places]
    rows = [data.error(n, "water", "forest", shape, pixels=1) for n, shape in enumerate(shapes[:2], 1)]
    store = ReviewStore(data.open_errors(data.write_errors(tmp_path / "errors.gpkg", rows)))
    store.load()
    store.record(fid_of(store, 1), verdict="label error", corrected_class="forest")
    store.record(fid_of(store, 2), verdict="unsure")
    layer = QgsVectorLayer(points([(x, y, "water") for x, y in places]), "points", "ogr")
    path = str(tmp_path / "labels.gpkg")
    LabelExport(store, layer, "kind").run(path)
    rows = [(f["class"], f["source"], f["error_id"]) for f in QgsVectorLayer(path, "l", "ogr").getFeatures()]
    assert [row[:2] for row in rows] == [("forest", "review"), ("water", "reference")] and rows[0][2] == 1
    store.close()


@pytest.mark.parametrize(
    ("verdict", "corrected", "left", "away"),
    [
        ("", "", None, False), ("model error", "", "water", False), ("label error", "forest", "forest", True),
        ("both plausible", "", None, True), ("unsure", "", None, True), ("unsure", "crop", "crop", True),
        ("", "crop", "crop", True), ("model error", "water", "water", False),
        ("label error", "", None, False),
    ],
)  # fmt: skip
def test_what_a_verdict_means_for_the_label(store, verdict, corrected, left, away):
    record = store.records[fid_of(store, 1)]
    record.verdict, record.corrected_class = verdict, corrected
    assert (reviewed_class(record), takes_away(record)) == (left, away)


def test_nothing_reviewed_is_a_sentence(store, data, tmp_path):
    with pytest.raises(ReviewError, match="Nothing is reviewed yet"):
        LabelExport(store, reference(data), "kind").run(str(tmp_path / "labels.gpkg"))
    with pytest.raises(ReviewError, match="'reference' has no field 'klass'"):
        LabelExport(store, reference(data), "klass")


def test_export_from_the_menu_adds_a_layer_and_training_is_prefilled(
    reviewing, data, project, scene, tmp_path, iface, wait, monkeypatch
):
    project.addMapLayer(layer := reference(data))
    store = reviewing.mistakes.store
    sources = {"reference": layer.source(), "reference_field": "kind"}
    store.sources = ReviewSources(**{**vars(store.sources), **sources})
    reviewing.mistakes.judge("label error")
    path = str(tmp_path / "labels.gpkg")
    reviewing.corrections.retrain(path)
    wait(lambda: reviewing.dialogs)
    name, parameters = reviewing.dialogs[0]
    assert name == "trainclassifier"
    assert parameters == {"INPUT": scene, "LABELS": path, "LABEL_FIELD": "class"}
    assert project.mapLayersByName("Corrected labels")
    assert iface.bar.texts[-1].startswith("1 labels from the review and 2 of the reference are in")


def test_training_takes_the_settings_of_the_models_card(monkeypatch):
    from explanation_layers.plugin.review import corrections

    card = {"task": "pixel_classification", "architecture": "hybrid_cnn",
            "options": {"patch_size": 9, "normalisation": "standard", "components": 30}}  # fmt: skip
    monkeypatch.setattr(corrections, "model_card", lambda path: card)
    _, parameters = training(ReviewSources(scene="s.tif", model="m.safetensors"), "l.gpkg")
    assert parameters["ARCHITECTURE"] == "hybrid_cnn" and parameters["PATCH_SIZE"] == 9
    assert parameters["COMPONENTS"] == 30 and parameters["NORMALISATION"] == "standard"


def test_a_copy_has_every_verdict_also_unsaved_ones(store, errors, tmp_path, data):
    errors.setReadOnly(True)
    store.record(fid_of(store, 2), verdict="unsure", comment="can't be saved")
    path = ErrorCopy(store).run(str(tmp_path / "copy.gpkg"))
    again = ReviewStore(data.open_errors(path))
    again.load()
    records = {record.error_id: record for record in again.records.values()}
    assert (records[2].verdict, records[2].comment) == ("unsure", "can't be saved")
    assert again.geometry(records[1].fid).area() == pytest.approx(4 * PIXEL_AREA)
    assert again.sources == store.sources and len(records) == 5
    third = records[3]
    assert third.confidence != third.confidence and third.pixels == 3
    again.close()


def test_a_copy_of_a_file_that_is_gone_has_points(store, errors_file, project, errors, tmp_path, data):
    os.remove(errors_file)
    project.removeMapLayer(errors.id())
    store.record(fid_of(store, 1), verdict="model error")
    path = ErrorCopy(store).run(str(tmp_path / "copy.gpkg"))
    layer = data.open_errors(path)
    verdicts = {feature["error_id"]: feature["verdict"] for feature in layer.getFeatures()}
    assert verdicts[1] == "model error" and layer.featureCount() == 5
