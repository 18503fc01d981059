"""Stepping through errors, and verdicts that are on disk at once, whatever happens to layer and file."""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from qgis.core import QgsFeature, QgsField, QgsVectorLayer
from qgis.PyQt.QtCore import QMetaType

from explanation_layers.plugin.review.records import Filter
from explanation_layers.plugin.review.store import ReviewError, ReviewStore, is_error_layer


@pytest.fixture
def store(errors):
    store = ReviewStore(errors)
    assert store.load()
    store.said = []
    store.trouble.connect(store.said.append)
    yield store
    store.close()


def ids(store: ReviewStore) -> list[int]:
    return [store.records[fid].error_id for fid in store.order]


def fid_of(store: ReviewStore, error_id: int) -> int:
    return next(record.fid for record in store.records.values() if record.error_id == error_id)


def row_on_disk(path: str, error_id: int) -> tuple:
    """Read the reviewer's columns as another program would."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        query = "SELECT verdict, corrected_class, comment, reviewed_at FROM errors WHERE error_id = ?"
        return connection.execute(query, (error_id,)).fetchone()


def test_errors_are_read_with_their_sources(store, scene, model, data):
    assert ids(store) == [1, 2, 3, 4, 5]
    third = store.records[fid_of(store, 3)]
    assert third.pair == ("forest", "water") and third.confidence != third.confidence
    assert (third.verdict, third.pixels) == ("", 3)
    assert (store.sources.scene, store.sources.model) == (scene, model)
    assert dict(store.sources.classes) == data.CLASSES
    assert store.classes() == ["water", "forest", "crop"] and store.progress() == (0, 5)


def test_counts_of_pairs(store):
    counts = {pair: (c.errors, c.pixels, c.reviewed) for pair, c in store.counts.items()}
    assert counts == {
        ("water", "forest"): (3, 7, 0), ("forest", "water"): (1, 3, 0), ("crop", "water"): (1, 1, 0),
    }  # fmt: skip


def test_stepping_filters_and_order(store):
    first = store.order[0]
    assert store.neighbour(first, -1) is None and store.neighbour(None, 1) == first
    assert store.records[store.neighbour(first, 1)].error_id == 2
    store.set_filter(Filter(pair=("water", "forest")))
    assert ids(store) == [1, 2, 5]
    store.sort("pixels")
    assert ids(store) == [1, 5, 2]
    store.set_filter(Filter(suspicion="edge"))
    assert ids(store) == [5]
    store.set_filter(Filter())
    store.sort("confidence")  # the one without a confidence comes last
    assert ids(store) == [4, 1, 2, 5, 3]
    store.record(fid_of(store, 4), verdict="unsure")
    store.set_filter(Filter(open_only=True))
    assert ids(store) == [1, 2, 5, 3]


def test_a_verdict_is_in_the_file_at_once_and_after_reopening(store, errors_file, data):
    fid = fid_of(store, 2)
    assert store.record(fid, verdict="label error", corrected_class="forest")
    assert store.record(fid, comment="Straße, 'quoted'")
    verdict, corrected, comment, when = row_on_disk(errors_file, 2)
    assert (verdict, corrected, comment) == ("label error", "forest", "Straße, 'quoted'")
    assert when.startswith("20") and when.endswith("Z")
    again = ReviewStore(data.open_errors(errors_file))
    again.load()
    assert again.records[fid].verdict == "label error" and again.progress() == (1, 5)
    again.close()


def test_a_verdict_that_is_taken_back_leaves_an_empty_cell(store, errors_file):
    fid = fid_of(store, 1)
    store.record(fid, verdict="unsure", comment="?")
    store.record(fid, verdict="", comment="")
    assert row_on_disk(errors_file, 1)[:3] == (None, None, None)


def test_a_verdict_survives_a_crash(errors_file, root):
    """The process is killed right after the verdict: no layer is closed, nothing is flushed."""
    program = f"""
import importlib.util, os, signal
spec = importlib.util.spec_from_file_location("launcher", {str(root / "engine" / "launcher.py")!r})
launcher = importlib.util.module_from_spec(spec); spec.loader.exec_module(launcher)
from pathlib import Path
launcher.register(Path({str(root)!r}))
from qgis.core import QgsApplication, QgsVectorLayer
application = QgsApplication([], False); application.initQgis()
from explanation_layers.plugin.review.store import ReviewStore
store = ReviewStore(QgsVectorLayer({errors_file!r}, "errors", "ogr")); store.load()
assert store.record(store.order[2], verdict="both plausible", comment="before the crash")
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == -9, done.stderr
    assert row_on_disk(errors_file, 3)[0] == "both plausible"


def test_edits_that_wait_in_the_layer_are_left_alone(store, errors, errors_file):
    errors.startEditing()
    fid = fid_of(store, 1)
    errors.changeAttributeValue(fid, errors.fields().lookupField("rule"), "edited by hand")
    assert store.record(fid, verdict="unsure")
    assert row_on_disk(errors_file, 1)[0] == "unsure"
    assert errors.isModified() and errors.getFeature(fid)["rule"] == "edited by hand"
    errors.rollBack()


def test_a_layer_set_read_only_keeps_verdicts_in_memory(store, errors, errors_file):
    errors.setReadOnly(True)
    fid = fid_of(store, 1)
    assert not store.record(fid, verdict="unsure")
    assert "The layer 'errors' is read-only. Reviews not saved: 1; they stay here" in store.said[0]
    assert store.records[fid].verdict == "unsure" and row_on_disk(errors_file, 1)[0] is None
    errors.setReadOnly(False)
    assert store.record(fid_of(store, 2), verdict="unsure")  # and the first one with it
    assert row_on_disk(errors_file, 1)[0] == row_on_disk(errors_file, 2)[0] == "unsure"


@pytest.fixture
def readable_file(errors_file):
    """A copy that everybody may read and only root may write; the folders of pytest are private."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(errors_file, folder)
        os.chmod(copy, 0o444)
        os.chmod(folder, 0o755)
        home = Path(folder) / "home"
        home.mkdir()
        os.chmod(home, 0o777)
        yield str(copy)


def test_a_file_that_nobody_may_write_is_a_sentence(readable_file, root):
    """As a user who may only read: root may write everything."""
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("needs to start a process as another user")
    for needed in (readable_file, root / "engine" / "launcher.py"):
        if subprocess.run(["test", "-r", str(needed)], user=65534).returncode:
            pytest.skip(f"another user may not read {needed}")
    program = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("launcher", {str(root / "engine" / "launcher.py")!r})
launcher = importlib.util.module_from_spec(spec); spec.loader.exec_module(launcher)
from pathlib import Path
launcher.register(Path({str(root)!r}))
from qgis.core import QgsApplication, QgsVectorLayer
application = QgsApplication([], False); application.initQgis()
from explanation_layers.plugin.review.store import ReviewStore
store = ReviewStore(QgsVectorLayer({readable_file!r}, "errors", "ogr")); store.load()
store.trouble.connect(print)
assert not store.record(store.order[0], verdict="unsure")
assert store.unsaved and store.records[store.order[0]].verdict == "unsure"
"""
    home = str(Path(readable_file).parent / "home")
    own = dict.fromkeys(("HOME", "QGIS_CUSTOM_CONFIG_PATH", "XDG_RUNTIME_DIR", "TMPDIR"), home)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, user=65534,
        env={**os.environ, **own, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "is read-only. Reviews not saved: 1; they stay here" in done.stdout


def test_the_review_goes_on_when_the_layer_is_removed(store, project, errors, errors_file):
    fid = fid_of(store, 4)
    project.removeMapLayer(errors.id())
    gc.collect()
    assert "was removed from the project; the review goes on in its file" in store.said[0]
    assert store.record(fid, verdict="model error")
    assert row_on_disk(errors_file, 4)[0] == "model error"
    assert store.geometry(fid).area() == pytest.approx(900)


def test_a_layer_that_is_removed_while_it_is_read_is_read_to_its_end(project, errors):
    store = ReviewStore(errors)
    project.removeMapLayer(errors.id())
    assert store.load() and store.progress() == (0, 5)
    store.close()


def test_a_file_that_is_gone_keeps_verdicts_in_memory(store, project, errors, errors_file):
    fid = fid_of(store, 1)
    os.remove(errors_file)
    assert not store.record(fid, verdict="unsure")
    assert f"The file {errors_file} is gone. Reviews not saved: 1; they stay here" in store.said[0]
    project.removeMapLayer(errors.id())
    assert "its file" in store.said[1] and "is gone; new verdicts stay unsaved" in store.said[1]
    assert not store.record(fid_of(store, 2), verdict="unsure")
    assert set(store.unsaved) == {fid, fid_of(store, 2)}
    assert store.geometry(fid).asPoint().x() == store.records[fid].x


def test_a_file_that_was_replaced_is_not_written_to(store, errors_file, data, tmp_path):
    other = data.write_errors(tmp_path / "other.gpkg", data.rows()[:2])
    os.replace(other, errors_file)
    assert not store.record(fid_of(store, 1), verdict="unsure")
    assert "was replaced since the review began; open it again" in store.said[0]
    assert row_on_disk(errors_file, 1)[0] is None


def test_layers_that_are_no_errors_are_refused(qgis_app, points):
    layer = QgsVectorLayer(points([(300_100, 5_799_900, "a")]), "points", "ogr")
    with pytest.raises(ReviewError, match="'points' is not one of errors: it lacks the columns error_id"):
        ReviewStore(layer)
    assert not is_error_layer(layer) and not is_error_layer(None)


def test_a_layer_in_memory_is_refused(errors):
    copy = QgsVectorLayer("Polygon?crs=EPSG:32633", "temporary", "memory")
    kinds = {QMetaType.Type.LongLong, QMetaType.Type.Double, QMetaType.Type.QString}
    fields = [QgsField(field.name(), field.type()) for field in errors.fields() if field.type() in kinds]
    copy.dataProvider().addAttributes(fields)
    copy.updateFields()
    copy.dataProvider().addFeature(QgsFeature(copy.fields()))
    with pytest.raises(ReviewError, match="'temporary' is in memory only, and verdicts would be lost"):
        ReviewStore(copy)


def test_without_errors_there_is_nothing_to_step_through(qgis_app, data, tmp_path):
    store = ReviewStore(data.open_errors(data.write_errors(tmp_path / "none.gpkg", [])))
    assert store.load() and store.order == [] and store.neighbour(None, 1) is None
    assert store.progress() == (0, 0) and store.save()
    store.close()


def test_reading_many_errors_lets_the_window_live(qgis_app, data, tmp_path):
    many = [
        data.error(n, "water", "forest", data.pixel_box(n // 100, n % 100)) for n in range(1, 3001)
    ]  # fmt: skip
    store = ReviewStore(data.open_errors(data.write_errors(tmp_path / "many.gpkg", many)))
    calls = 1
    while not store.load(0.002):
        calls += 1
    assert calls > 3 and len(store.order) == 3000
    store.close()
