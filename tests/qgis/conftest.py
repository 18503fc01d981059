"""The provider in a QGIS without a window, small files, and an engine that can be told what to answer."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys

import pytest

sys.path.append("/usr/share/qgis/python/plugins")  # Processing, where QGIS is packaged for Debian

import numpy as np
from osgeo import gdal, osr
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsFeature,
    QgsGeometry,
    QgsPointXY,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProject,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from explanation_layers.algorithms import _run, _settings
from explanation_layers.engine.client import shutdown_all
from explanation_layers.plugin.provider import ExplanationLayersProvider

gdal.UseExceptions()

WEST, NORTH, PIXEL = 300_000.0, 5_800_000.0, 30.0


class Feedback(QgsProcessingFeedback):
    """Keeps what is pushed to it."""

    def __init__(self) -> None:
        super().__init__(False)
        self.warnings: list[str] = []
        self.errors: list[str] = []
        self.texts: list[str] = []

    def pushWarning(self, text: str) -> None:
        self.warnings.append(text)

    def reportError(self, text: str, fatalError: bool = False) -> None:
        self.errors.append(text)

    def setProgressText(self, text: str) -> None:
        self.texts.append(text)


class FakeEngine:
    """Answers jobs with `answer(job)`, or raises what that raises; keeps the jobs."""

    def __init__(self) -> None:
        self.jobs: list = []
        self.answer = lambda job: self.result()

    def run(self, job, on_progress, on_log, is_cancelled) -> dict:
        self.jobs.append(job)
        wanted = {name: path for name in job.OUTPUTS if (path := getattr(job, name))}
        return {"files": wanted, **self.answer(job)}

    def result(
        self, tables: dict | None = None, numbers: dict | None = None, strings: dict | None = None
    ) -> dict:
        """Return an engine's result, with a band table and a confusion table of one row each."""
        table = {
            "columns": [
                {"name": "class_name", "type": "string", "alias": "Class"},
                {"name": "band", "type": "int", "alias": "Band number"},
                {"name": "mean", "type": "double", "alias": "Mean contribution"},
            ],
            "rows": [["water", 1, 0.25], ["forest", 2, None]],
        }
        return {
            "tables": {"BAND_TABLE": table, "CONFUSION": table} if tables is None else tables,
            "numbers": numbers or {},
            "strings": strings or {},
            "warnings": [],
            "record": {"job": {"kind": "attribution"}, "model_digest": "abc123", "seed": 7},
        }


@pytest.fixture(scope="session", autouse=True)
def nothing_outlives_qgis(qgis_app):
    """Let go of what a failed test holds: a layer freed after QGIS has ended crashes, and hides why."""
    yield
    for name in ("last_value", "last_traceback", "last_exc"):
        setattr(sys, name, None)
    gc.collect()


@pytest.fixture(scope="session")
def processing(qgis_app) -> None:
    """QGIS's own algorithms and settings."""
    from processing.core.Processing import Processing

    Processing.initialize()


@pytest.fixture
def provider(processing):
    """The provider, registered for one test."""
    provider = ExplanationLayersProvider()
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider("explain")


@pytest.fixture
def feedback() -> Feedback:
    return Feedback()


@pytest.fixture
def context() -> QgsProcessingContext:
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    return context


@pytest.fixture
def engine(provider, monkeypatch) -> FakeEngine:
    """An engine that is found and answers at once."""
    fake = FakeEngine()
    monkeypatch.setattr(_run, "found_python", lambda: "/fake/python")
    monkeypatch.setattr(_run, "engine_for", lambda *arguments: fake)
    return fake


@pytest.fixture
def real_engine(root, monkeypatch):
    """The engine of this checkout, ended after the test."""
    python = os.environ.get("EXPLANATION_LAYERS_PYTHON") or str(root / ".venv" / "bin" / "python")
    if not os.path.exists(python):
        pytest.skip("needs the engine: run `make env`")
    monkeypatch.setenv("EXPLANATION_LAYERS_PYTHON", python)
    yield
    shutdown_all()


@pytest.fixture(scope="module")
def run(root):
    """A function that runs an algorithm by qgis_process and returns its results."""
    if not (os.environ.get("EXPLANATION_LAYERS_PYTHON") or (root / ".venv" / "bin" / "python").exists()):
        pytest.skip("needs the engine: run `make env`")

    def run(name: str, **inputs):
        command = [str(root / "scripts" / "qgis-process"), "run", f"explain:{name}", "-"]
        finished = subprocess.run(
            command, input=json.dumps({"inputs": inputs}), capture_output=True, text=True, timeout=280
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return json.loads(finished.stdout)["results"]

    return run


@pytest.fixture
def no_engine(provider, monkeypatch, tmp_path) -> None:
    """No interpreter anywhere."""
    monkeypatch.delenv("EXPLANATION_LAYERS_PYTHON", raising=False)
    monkeypatch.setattr(_settings, "python", lambda: "")
    monkeypatch.setattr(_settings, "profile_folder", lambda: tmp_path / "nothing")


@pytest.fixture
def scene(tmp_path) -> str:
    """A GeoTIFF of 3 bands, 20 x 10 pixels, in EPSG:32633."""
    return _write_raster(tmp_path / "scene.tif", "EPSG:32633")


@pytest.fixture
def scene_without_crs(tmp_path) -> str:
    """The same scene without a CRS."""
    return _write_raster(tmp_path / "bare.tif", None)


@pytest.fixture
def points(tmp_path):
    """A function that writes points (x, y, class) to a GeoPackage and returns its path."""

    def write(rows, crs: str = "EPSG:32633", name: str = "points.gpkg") -> str:
        layer = QgsVectorLayer(
            f"Point?crs={crs}&field=kind:string&field=number:double&field=day:date", "points", "memory"
        )
        if not crs:
            layer.setCrs(QgsCoordinateReferenceSystem())
        for x, y, kind in rows:
            feature = QgsFeature(layer.fields())
            if x is not None:
                feature.setGeometry(QgsGeometry.fromPointXY(QgsPointXY(x, y)))
            feature["kind"] = kind
            feature["number"] = 3.0
            layer.dataProvider().addFeature(feature)
        options = QgsVectorFileWriter.SaveVectorOptions()
        path = str(tmp_path / name)
        QgsVectorFileWriter.writeAsVectorFormatV3(layer, path, QgsCoordinateTransformContext(), options)
        return path

    return write


@pytest.fixture
def model(tmp_path) -> str:
    """A path that looks like a model file."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    return str(path)


def _write_raster(path, crs: str | None) -> str:
    """Write the scene's values to `path`, with or without a CRS."""
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), 20, 10, 3, gdal.GDT_Float32)
    dataset.SetGeoTransform((WEST, PIXEL, 0, NORTH, 0, -PIXEL))
    if crs:
        reference = osr.SpatialReference()
        reference.SetFromUserInput(crs)
        dataset.SetProjection(reference.ExportToWkt())
    for band in range(3):
        dataset.GetRasterBand(band + 1).WriteArray(np.arange(200, dtype="float32").reshape(10, 20) + band)
    dataset = None
    return str(path)
