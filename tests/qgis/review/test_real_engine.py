"""The dock on the real engine: a review, an engine that is killed in the middle of it, and clicks."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import QgsGeometry, QgsPointXY, QgsRasterLayer
from qgis.PyQt.QtCore import QCoreApplication, QEvent

from explanation_layers.algorithms import _settings
from explanation_layers.algorithms._run import required_python
from explanation_layers.engine.client import engine_for
from explanation_layers.engine.jobs import TrainClassifierJob
from explanation_layers.plugin.review.dock import ReviewDock

_SECONDS = 120.0  # for an engine that starts on a busy machine


@pytest.fixture
def engine(real_engine, qgis_app):
    """The engine that the dock will find."""
    return engine_for(required_python(), _settings.profile_folder())


@pytest.fixture
def trained(engine, data, scene, tmp_path) -> str:
    """A small network that tells three ramps of the scene apart."""
    labels = str(tmp_path / "labels.tif")
    source = gdal.Open(scene)
    target = gdal.GetDriverByName("GTiff").Create(labels, 20, 10, 1, gdal.GDT_Byte)
    target.SetGeoTransform(source.GetGeoTransform())
    target.SetProjection(source.GetProjection())
    target.GetRasterBand(1).WriteArray(np.repeat(1 + np.arange(10) // 4, 20).reshape(10, 20).astype("uint8"))
    target = None
    model = str(tmp_path / "trained.safetensors")
    engine.run(
        TrainClassifierJob(scene=scene, label_raster=labels, model=model, epochs=2, split="random", seed=1)
    )
    return model


@pytest.fixture
def real_dock(project, iface, engine):
    dock = ReviewDock(iface, lambda *arguments: None)
    yield dock
    dock.shut()
    dock.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def test_a_review_and_clicks_outlive_an_engine_that_is_killed(
    real_dock, engine, trained, data, scene, tmp_path, project, iface, wait
):
    classes = {"class 1": "class 2", "class 2": "class 1"}
    errors = [{**row, "true_class": true, "predicted_class": other}
              for row, (true, other) in zip(data.rows(), list(classes.items()) * 2)]  # fmt: skip
    path = data.write_errors(tmp_path / "errors.gpkg", errors, {"scene": scene, "model": trained})
    layer = data.open_errors(path)
    project.addMapLayer(layer)
    page = real_dock.mistakes
    real_dock.open(layer)
    wait(lambda: page.view.bars.rows, _SECONDS)
    assert {row[0] for row in page.view.bars.rows} == {"class 1", "class 2", "class 3"}
    assert page.view.chip._chip.width() == 64 and not iface.bar.texts

    os.kill(engine.pid, signal.SIGKILL)
    page.judge("unsure")  # goes on to the next error, which is asked about
    wait(lambda: iface.bar.texts or page.view.bars.rows, _SECONDS)
    if iface.bar.texts:  # else the death was noticed before the request, and a fresh engine took it
        assert "the next run starts a fresh engine" in iface.bar.texts[0]
        page.step(1)
        wait(lambda: page.view.bars.rows, _SECONDS)
    assert page.store.progress() == (1, 4) and not page.store.unsaved

    raster = QgsRasterLayer(scene, "scene")
    project.addMapLayer(raster)
    pixels = real_dock.pixels
    pixels.raster.setLayer(raster)
    pixels.model.setFilePath(trained)
    pixels.add(QgsGeometry.fromPointXY(QgsPointXY(300_105, 5_799_895)), raster.crs())
    pixels.add(data.pixel_box(2, 3, 4, 5), raster.crs(), beside=True)
    wait(lambda: len(pixels.chosen) == 2 and all(each.pixel for each in pixels.chosen), _SECONDS)
    point, mean = (each.pixel for each in pixels.chosen)
    assert (point.x, point.y, point.pixels) == (300_105, 5_799_895, 1)
    assert point.values == (63.0, 64.0, 65.0)  # row 3, column 3 of the ramp of 20 columns
    rows, columns = np.meshgrid(np.arange(2, 6), np.arange(3, 8), indexing="ij")
    assert mean.pixels == 20 and mean.values[0] == pytest.approx((rows * 20 + columns).mean())
    assert mean.target in classes or mean.target == "class 3"
    assert sum(mean.probabilities) == pytest.approx(1, abs=1e-5)
