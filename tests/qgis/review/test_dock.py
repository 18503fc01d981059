"""The dock as a reviewer uses it: stepping, keys, verdicts, matrix, map, and what may go wrong."""

from __future__ import annotations

import gc
import sqlite3
import time
import weakref
from itertools import pairwise
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from qgis.core import QgsApplication, QgsCoordinateReferenceSystem, QgsRasterLayer, QgsVectorLayer
from qgis.PyQt.QtCore import QCoreApplication, QEvent, QPoint, Qt, QTimer
from qgis.PyQt.QtTest import QTest

from explanation_layers.engine.client import EngineError
from explanation_layers.plugin.main import ExplanationLayersPlugin

ANSWER_SECONDS = 0.1  # that the engine takes


def current(dock):
    return dock.mistakes.store.records[dock.mistakes.current]


def verdict_on_disk(path: str, error_id: int) -> str | None:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        return connection.execute("SELECT verdict FROM errors WHERE error_id = ?", (error_id,)).fetchone()[0]


def press(widget, key) -> None:
    QTest.keyClick(widget, key)
    QCoreApplication.processEvents()


def waited_for_a_core() -> float:
    """Return the seconds that this thread was ready but other processes had the cores, where Linux tells."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


@pytest.fixture
def shown(reviewing, iface):
    """The dock in a window that is shown, for keys and focus."""
    iface.window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, reviewing)
    iface.window.show()
    iface.window.activateWindow()
    reviewing.mistakes.next.setFocus()
    QCoreApplication.processEvents()
    return reviewing


def test_the_first_error_is_shown_and_asked_about(reviewing, pixel_engine, scene, model):
    page = reviewing.mistakes
    assert current(reviewing).error_id == 1 and page.place.text() == "1 of 5"
    (job,) = pixel_engine.jobs
    assert (job.scene, job.model, job.target) == (scene, model, "contrast")
    assert (job.class_name, job.contrast_class) == ("forest", "water")
    assert job.points == ((page.store.records[page.current].x, page.store.records[page.current].y),)
    assert "water</b> seen as <b>forest" in page.facts.text() and "label error" in page.facts.text()
    assert next(row[0] for row in page.view.bars.rows) == "forest"


def test_an_error_that_was_seen_is_not_asked_about_again(reviewing, pixel_engine, wait):
    reviewing.mistakes.step(1)
    wait(lambda: not reviewing.requests.busy)
    reviewing.mistakes.step(-1)
    wait(lambda: not reviewing.requests.busy)
    assert len(pixel_engine.jobs) == 2


def test_keys_step_judge_and_comment(shown, errors_file):
    page = shown.mistakes
    press(page.next, Qt.Key.Key_N)
    assert current(shown).error_id == 2
    press(page.next, Qt.Key.Key_P)
    assert current(shown).error_id == 1
    press(page.next, Qt.Key.Key_2)
    assert verdict_on_disk(errors_file, 1) == "label error" and current(shown).error_id == 2
    press(page.next, Qt.Key.Key_C)
    assert page.verdicts.comment.hasFocus()
    QTest.keyClicks(page.verdicts.comment, "N1 see map")  # these keys are text here
    press(page.verdicts.comment, Qt.Key.Key_Return)
    assert current(shown).error_id == 2 and current(shown).comment == "N1 see map"
    press(page.next, Qt.Key.Key_4)
    assert verdict_on_disk(errors_file, 2) == "unsure" and page.done.value() == 2


def test_a_comment_is_kept_when_one_steps_on(shown):
    page = shown.mistakes
    page.verdicts.comment.setFocus()
    QTest.keyClicks(page.verdicts.comment, "half a")
    QTest.mouseClick(page.next, Qt.MouseButton.LeftButton)
    assert page.store.records[page.store.order[0]].comment == "half a" and current(shown).error_id == 2


def test_a_label_error_takes_the_predicted_class_until_another_is_chosen(reviewing):
    page = reviewing.mistakes
    page.go_on.setChecked(False)
    page.judge("label error")
    assert current(reviewing).corrected_class == "forest"
    page.verdicts.classes.setCurrentIndex(page.verdicts.classes.findData("crop"))
    page.verdicts.classes.activated.emit(page.verdicts.classes.currentIndex())
    assert current(reviewing).corrected_class == "crop"
    page.verdicts.buttons["label error"].click()  # taken back
    assert (current(reviewing).verdict, current(reviewing).corrected_class) == ("", "crop")
    assert not page.verdicts.buttons["label error"].isChecked()


def test_reopened_the_verdict_is_there_and_the_review_goes_on_where_it_was(
    reviewing, data, errors, errors_file, project, wait
):
    reviewing.mistakes.judge("both plausible")
    reviewing.mistakes.close_store()
    project.removeMapLayer(errors.id())
    again = data.open_errors(errors_file)
    project.addMapLayer(again)
    reviewing.open(again)
    wait(lambda: reviewing.mistakes.current is not None)
    assert current(reviewing).error_id == 2
    reviewing.mistakes.step(-1)
    assert reviewing.mistakes.verdicts.buttons["both plausible"].isChecked()


def test_a_cell_of_the_matrix_filters_and_selects_on_the_map(reviewing, errors):
    page = reviewing.mistakes
    assert page.matrix.classes == ("water", "forest", "crop")
    cell = page.matrix.cell(0, 1).center()  # water seen as forest
    QTest.mouseClick(page.matrix, Qt.MouseButton.LeftButton, pos=cell)
    assert {page.store.records[fid].error_id for fid in errors.selectedFeatureIds()} == {1, 2, 5}
    assert len(page.store.order) == 3 and page.place.text() == "1 of 3"
    assert "3 errors of 7 pixels, 0 with a verdict" in page.pair.text()
    QTest.mouseClick(page.matrix, Qt.MouseButton.LeftButton, pos=cell)
    assert errors.selectedFeatureCount() == 0 and len(page.store.order) == 5


def test_the_matrix_by_keyboard(shown, errors):
    page = shown.mistakes
    press(page.next, Qt.Key.Key_M)
    assert shown.pages.currentIndex() == 1
    for key in (Qt.Key.Key_Down, Qt.Key.Key_Down, Qt.Key.Key_Left, Qt.Key.Key_Return):
        press(page.matrix, key)  # the cell of crop seen as water
    assert [page.store.records[fid].error_id for fid in errors.selectedFeatureIds()] == [4]
    assert current(shown).error_id == 4
    page.see.click()
    assert shown.pages.currentIndex() == 0


def test_a_cell_without_errors_chooses_nothing(reviewing):
    page = reviewing.mistakes
    QTest.mouseClick(page.matrix, Qt.MouseButton.LeftButton, pos=page.matrix.cell(2, 2).center())
    assert len(page.store.order) == 5


def test_filters_and_order_of_the_page(reviewing):
    page, filters = reviewing.mistakes, reviewing.mistakes.filters
    filters.suspicions.setCurrentIndex(filters.suspicions.findData("edge"))
    filters.suspicions.activated.emit(filters.suspicions.currentIndex())
    assert current(reviewing).error_id == 5 and page.place.text() == "1 of 1"
    filters.suspicions.setCurrentIndex(filters.suspicions.findData("shadow or cloud"))
    filters.suspicions.activated.emit(filters.suspicions.currentIndex())
    assert page.current is None and not page.verdicts.isEnabled()
    filters.reset()
    filters.choose_pair(None)
    filters.columns.setCurrentIndex(filters.columns.findData("pixels"))
    filters.columns.activated.emit(filters.columns.currentIndex())
    assert [page.store.records[fid].error_id for fid in page.store.order] == [1, 3, 5, 2, 4]


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3857"])
def test_the_map_comes_to_the_error_in_any_crs(reviewing, iface, crs):
    iface.canvas.setDestinationCrs(QgsCoordinateReferenceSystem(crs))
    reviewing.mistakes.zoom()
    store = reviewing.mistakes.store
    middle = iface.canvas.extent().center()
    back = reviewing.mistakes._on_map.transform(store.crs)
    shape = store.geometry(reviewing.mistakes.current)
    shape.transform(back)
    assert shape.contains(middle)
    box = shape.boundingBox()
    assert max(box.width(), box.height()) * 8 <= 1.01 * iface.canvas.extent().width()
    reviewing.mistakes.flash()


def test_the_layer_removed_in_mid_review(reviewing, project, errors, errors_file, iface, wait):
    project.removeMapLayer(errors.id())
    assert "the review goes on in its file" in iface.bar.texts[-1]
    reviewing.mistakes.judge("model error")
    assert verdict_on_disk(errors_file, 1) == "model error" and current(reviewing).error_id == 2


def test_a_read_only_layer_stays_at_the_error_and_says_so(reviewing, errors, errors_file, iface):
    errors.setReadOnly(True)
    reviewing.mistakes.judge("unsure")
    assert "is read-only. Reviews not saved: 1" in iface.bar.texts[-1]
    assert current(reviewing).error_id == 1 and reviewing.mistakes.verdicts.buttons["unsure"].isChecked()
    errors.setReadOnly(False)
    reviewing.corrections.save_again()
    assert verdict_on_disk(errors_file, 1) == "unsure"
    assert "All verdicts are saved" in iface.bar.texts[-1]


def test_the_engine_gone_in_mid_review_is_a_sentence_and_the_next_request_works(
    reviewing, pixel_engine, data, iface, wait
):
    def gone(job):
        raise EngineError("engine", "The engine ended unexpectedly. The next run starts a fresh engine.")

    pixel_engine.answer = gone
    reviewing.mistakes.step(1)
    wait(lambda: iface.bar.texts)
    assert iface.bar.texts == ["The engine ended unexpectedly. The next run starts a fresh engine."]
    reviewing.mistakes.judge("unsure")  # nothing else is lost
    pixel_engine.answer = data.answer
    reviewing.mistakes.step(-1)
    wait(lambda: reviewing.mistakes.view.bars.rows)


def test_without_a_model_there_is_a_sentence_and_no_request(
    dock, data, tmp_path, project, scene, wait, pixel_engine
):
    path = data.write_errors(tmp_path / "bare.gpkg", data.rows(), {"scene": scene})
    layer = data.open_errors(path)
    project.addMapLayer(layer)
    dock.open(layer)
    wait(lambda: dock.mistakes.current is not None)
    assert pixel_engine.jobs == []
    assert "there is no model to explain" in dock.mistakes.view.chart.accessibleDescription()


def test_a_model_file_that_is_gone_is_named(dock, data, tmp_path, project, scene, wait):
    sources = {"scene": scene, "model": str(tmp_path / "gone.safetensors")}
    layer = data.open_errors(data.write_errors(tmp_path / "old.gpkg", data.rows(), sources))
    project.addMapLayer(layer)
    dock.open(layer)
    wait(lambda: dock.mistakes.current is not None)
    assert "gone.safetensors is no longer there" in dock.mistakes.view.chart.accessibleDescription()


def test_a_layer_that_is_no_error_layer_is_refused(dock, points, iface):
    dock.open(QgsVectorLayer(points([(300_100, 5_799_900, "a")]), "points", "ogr"))
    assert "'points' is not one of errors" in iface.bar.texts[-1] and dock.mistakes.store is None


def test_only_error_layers_are_offered(reviewing, project, points, errors):
    project.addMapLayer(QgsVectorLayer(points([(300_100, 5_799_900, "a")]), "points", "ogr"))
    combo = reviewing.mistakes.layers
    assert [combo.layer(i) for i in range(combo.count()) if combo.layer(i)] == [errors]


def test_the_window_is_never_blocked(dock, data, tmp_path, project, scene, model, pixel_engine, wait):
    """2000 errors are opened, stepped through and judged while an answer takes `ANSWER_SECONDS`."""
    many = [data.error(n, "water", "forest", data.pixel_box(n % 10, n // 10 % 20)) for n in range(1, 2001)]
    path = data.write_errors(tmp_path / "many.gpkg", many, {"scene": scene, "model": model})
    layer = data.open_errors(path)
    project.addMapLayer(layer)

    def slow(job):
        time.sleep(ANSWER_SECONDS)
        return data.answer(job)

    pixel_engine.answer = slow
    dock.show()
    QCoreApplication.processEvents()
    beats: list[float] = []
    heart = QTimer()
    heart.timeout.connect(lambda: beats.append(time.perf_counter() - waited_for_a_core()))
    heart.start(1)
    dock.open(layer)
    wait(lambda: dock.mistakes.current is not None)
    for number in range(40):
        dock.mistakes.judge("unsure") if number % 4 == 0 else dock.mistakes.step(1)
        end = time.perf_counter() + 0.02
        while time.perf_counter() < end:
            QCoreApplication.processEvents()
    wait(lambda: not dock.requests.busy)
    heart.stop()
    gaps = sorted(later - earlier for earlier, later in pairwise(beats))
    print(f"longest {gaps[-1] * 1e3:.0f} ms, 99th {gaps[len(gaps) * 99 // 100] * 1e3:.0f} ms of {len(gaps)}")
    # A window that waited for the engine would stall as long as that takes, again and again.
    assert len(gaps) > 100 and sum(gap >= ANSWER_SECONDS for gap in gaps) <= 1


def test_the_plugin_adds_the_dock_once_and_takes_it_back(processing, iface, project):
    asked = MagicMock(wraps=None)
    asked.mainWindow.return_value = iface.window
    asked.mapCanvas.return_value = iface.canvas
    asked.messageBar.return_value = iface.bar
    asked.activeLayer.return_value = None
    for _ in range(2):  # loaded, unloaded, and loaded again
        plugin = ExplanationLayersPlugin(asked)
        plugin.initGui()
        dock = plugin.dock()
        assert plugin.dock() is dock
        texts = [action.text() for action in plugin.toolbar_actions]
        assert texts == ["Review mistakes", "Explain at a click"]
        plugin.toolbar_actions[1].trigger()
        assert iface.canvas.mapTool() is dock.tool
        alive = weakref.ref(dock)
        del dock
        plugin.unload()
        assert plugin.review_dock is None and iface.canvas.mapTool() is None
        asked.reset_mock()
        for _ in range(2):  # what PyQt deletes in a slot's stead goes one round later
            QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
            QCoreApplication.processEvents()
        gc.collect()
        assert alive() is None
    assert QgsApplication.processingRegistry().providerById("explain") is None


def test_clicks_on_the_map_become_pixels(dock, iface, project, data, scene, model, pixel_engine, wait):
    layer = QgsRasterLayer(scene, "scene")
    project.addMapLayer(layer)
    dock.pixels.raster.setLayer(layer)
    dock.pixels.model.setFilePath(model)
    iface.window.show()
    dock.explain_clicks()
    view = iface.canvas.viewport()
    QTest.mouseClick(view, Qt.MouseButton.LeftButton, pos=QPoint(200, 200))
    wait(lambda: dock.pixels.chosen and dock.pixels.chosen[0].pixel)
    QTest.mouseClick(view, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ShiftModifier, pos=QPoint(220, 210))
    wait(lambda: len(dock.pixels.chosen) == 2 and dock.pixels.chosen[1].pixel)
    first, second = (job for job in pixel_engine.jobs if job.KIND == "explain_pixels")
    assert len(first.points) == len(second.points) == 1  # the first is not asked about again
    x, y = first.points[0]
    place = iface.canvas.getCoordinateTransform().toMapCoordinates(200, 200)
    assert (x, y) == pytest.approx((place.x(), place.y()))
