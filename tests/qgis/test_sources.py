"""Rasters and spectra from unusual sources."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsProcessing,
    QgsProcessingAlgRunnerTask,
    QgsProcessingException,
    QgsProject,
    QgsRasterLayer,
)
from qgis.PyQt.QtCore import QCoreApplication

from explanation_layers.algorithms._rasters import RasterSource
from explanation_layers.algorithms._spectrum import read_spectrum


def path_of(source, context, feedback, crs=None):
    layer = QgsRasterLayer(source, "layer")
    assert layer.isValid()
    if crs:
        layer.setCrs(QgsCoordinateReferenceSystem(crs))
    return RasterSource.of(layer).path(context, feedback)


def test_a_file_is_used_as_it_is(provider, scene, context, feedback):
    assert path_of(scene, context, feedback) == scene


def test_a_sub_dataset_is_used_as_it_is(provider, scene, context, feedback):
    assert path_of(f"GTIFF_DIR:1:{scene}", context, feedback) == f"GTIFF_DIR:1:{scene}"


def test_open_options_become_a_virtual_raster(provider, scene, context, feedback):
    path = path_of(f"{scene}|option:NUM_THREADS=2", context, feedback)
    assert path.endswith(".vrt") and gdal.Open(path).RasterCount == 3


def test_a_raster_in_memory_is_exported(provider, scene, context, feedback):
    gdal.GetDriverByName("GTiff").CreateCopy("/vsimem/in_memory.tif", gdal.Open(scene))
    path = path_of("/vsimem/in_memory.tif", context, feedback)
    exported, original = gdal.Open(path), gdal.Open(scene)
    assert (exported.ReadAsArray() == original.ReadAsArray()).all()
    assert exported.GetGeoTransform() == original.GetGeoTransform()
    gdal.Unlink("/vsimem/in_memory.tif")


def test_a_layer_of_pictures_is_refused(provider, context, feedback):
    pictures = SimpleNamespace(name=lambda: "wms", capabilities=lambda: 0)
    source = RasterSource("streets", "url=…", QgsCoordinateReferenceSystem(), pictures)
    with pytest.raises(QgsProcessingException, match="The raster 'streets' comes from the provider 'wms'"):
        source.path(context, feedback)


def test_runs_on_a_thread_of_its_own(engine, scene, model, points, context, feedback, tmp_path):
    project = QgsProject.instance()
    layer = QgsRasterLayer(scene, "in the project")
    project.addMapLayer(layer)
    algorithm = QgsApplication.processingRegistry().createAlgorithmById("explain:attribution")
    parameters = {"INPUT": layer.id(), "MODEL": model, "BAND_TABLE": QgsProcessing.TEMPORARY_OUTPUT}
    finished = []
    task = QgsProcessingAlgRunnerTask(algorithm, parameters, context, feedback)
    task.executed.connect(lambda ok, results: finished.append((ok, results)))
    QgsApplication.taskManager().addTask(task)
    deadline = time.monotonic() + 20
    while not finished and time.monotonic() < deadline:
        QCoreApplication.processEvents()
    assert finished and finished[0][0], feedback.errors
    assert engine.jobs[0].scene == scene
    project.clear()


@pytest.mark.parametrize(
    "text",
    ["0.1, 0.2, 0.3", "0.1 0.2 0.3", "0.1;0.2;0.3\n", "reflectance\n0.1\n0.2\n0.3\n", "0.1\n\n0.2\n0.3"],
)
def test_spectrum_from_a_file(tmp_path, text):
    path = tmp_path / "spectrum.csv"
    path.write_text(text)
    assert read_spectrum(str(path)) == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1\n2,3\n", "line 2 of .* holds 2 values; give one value per band"),
        ("1\nx\n", "line 2 of .* is 'x', which is no number"),
        ("", "is empty"),
        ("1\nnan\n", "line 2 of .* is 'nan'"),
    ],
)
def test_spectrum_errors(tmp_path, text, sentence):
    path = tmp_path / "spectrum.csv"
    path.write_text(text)
    with pytest.raises(QgsProcessingException, match=sentence):
        read_spectrum(str(path))


def test_a_spectrum_file_that_is_not_there(tmp_path):
    with pytest.raises(QgsProcessingException, match="which is no number"):
        read_spectrum(str(tmp_path / "missing.csv"))
