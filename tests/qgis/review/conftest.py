"""A dock in a window with a map, an error layer, and an engine that answers as it is told."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from qgis.core import QgsCoordinateReferenceSystem, QgsProject, QgsRectangle
from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QCoreApplication, QEvent, QSize
from qgis.PyQt.QtWidgets import QMainWindow

from explanation_layers.plugin.review import requests
from explanation_layers.plugin.review.dock import ReviewDock

_WAIT_SECONDS = 20.0


@pytest.fixture(scope="session")
def data() -> ModuleType:
    """The module `review_data` beside this file."""
    spec = importlib.util.spec_from_file_location("review_data", Path(__file__).with_name("review_data.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Bar:
    """A message bar that keeps its sentences."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def pushMessage(self, title: str, text: str, level: object, seconds: int) -> None:
        self.texts.append(text)


class Interface:
    """The part of QGIS's interface that the dock uses."""

    def __init__(self) -> None:
        self.window, self.bar, self.layer = QMainWindow(), Bar(), None
        self.canvas = QgsMapCanvas(self.window)
        self.canvas.setMinimumSize(QSize(400, 400))
        self.window.setCentralWidget(self.canvas)
        self.canvas.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:32633"))
        self.canvas.setExtent(QgsRectangle(300_000, 5_799_700, 300_600, 5_800_000))

    def mainWindow(self) -> QMainWindow:
        return self.window

    def mapCanvas(self) -> QgsMapCanvas:
        return self.canvas

    def messageBar(self) -> Bar:
        return self.bar

    def activeLayer(self):
        return self.layer


class PixelEngine:
    """Answers `explain_pixels`; `answer` may raise, or wait."""

    def __init__(self, answer: Callable) -> None:
        self.jobs: list = []
        self.answer = answer

    def run(self, job, is_cancelled=lambda: False) -> dict:
        self.jobs.append(job)
        return self.answer(job) if job.KIND == "explain_pixels" else {}


@pytest.fixture
def wait():
    """A function that lets events through until a condition holds."""

    def wait(condition: Callable[[], object], seconds: float = _WAIT_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it never came about"
            QCoreApplication.processEvents()
            time.sleep(0.002)

    return wait


@pytest.fixture
def project():
    """The project, empty before and after."""
    project = QgsProject.instance()
    project.clear()
    yield project
    project.clear()


@pytest.fixture
def iface(qgis_app):
    """A window with a map."""
    interface = Interface()
    yield interface
    interface.window.close()
    interface.window.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@pytest.fixture
def pixel_engine(data, monkeypatch) -> PixelEngine:
    """An engine that is found and answers at once."""
    engine = PixelEngine(data.answer)
    monkeypatch.setattr(requests, "required_python", lambda: "/fake/python")
    monkeypatch.setattr(requests, "engine_for", lambda *arguments: engine)
    return engine


@pytest.fixture
def dock(project, iface, pixel_engine):
    """The dock, and the dialogs that it opened in `dialogs`."""
    dialogs: list[tuple[str, dict]] = []
    dock = ReviewDock(iface, lambda name, parameters: dialogs.append((name, parameters)))
    dock.dialogs = dialogs
    yield dock
    dock.shut()
    dock.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@pytest.fixture
def errors_file(data, scene, model, tmp_path) -> str:
    """An error layer of five errors, made with the model file on the scene."""
    return data.write_errors(tmp_path / "errors.gpkg", data.rows(), {"scene": scene, "model": model})


@pytest.fixture
def errors(data, project, errors_file):
    """The same, in the project."""
    layer = data.open_errors(errors_file)
    project.addMapLayer(layer)
    return layer


@pytest.fixture
def reviewing(dock, errors, wait):
    """The dock, with the errors open and the first one shown."""
    dock.open(errors)
    wait(lambda: dock.mistakes.current is not None and not dock.requests.busy)
    QCoreApplication.processEvents()
    return dock


@pytest.fixture
def pictures() -> Path | None:
    """A folder to look at what was drawn, where REVIEW_PICTURES names one."""
    folder = os.environ.get("REVIEW_PICTURES")
    return Path(folder) if folder else None
