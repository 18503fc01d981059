"""A raster with a band per date plays in time: as its style says, seen in pictures of two moments."""

from __future__ import annotations

import numpy as np
import pytest
from osgeo import gdal, osr
from qgis.core import (
    Qgis,
    QgsDateTimeRange,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsRasterLayer,
)
from qgis.PyQt.QtCore import QDate, QDateTime, QSize, Qt, QTime

from explanation_layers.rasters.date_styles import (
    write_date_classes_qml,
    write_date_series_qml,
    write_signed_date_series_qml,
)

DATES = ["2017-01-03", "2017-01-15", "2017-02-20"]
RANGES = ["2016-12-28T12", "2017-01-09T12", "2017-02-02T12", "2017-03-10T12"]
DARK, BRIGHT = (68, 1, 84), (253, 231, 37)


@pytest.fixture
def raster(tmp_path):
    """Two bands per date: in the first a bright third, the next one each date; the second is 9 throughout."""
    path = str(tmp_path / "dates.tif")
    file = gdal.GetDriverByName("GTiff").Create(path, 90, 60, 6, gdal.GDT_Float32)
    file.SetGeoTransform((300_000, 10, 0, 5_800_000, 0, -10))
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(32633)
    file.SetProjection(reference.ExportToWkt())
    for index in range(3):
        values = np.zeros((60, 90), np.float32)
        values[:, 30 * index : 30 * index + 30] = 1
        file.GetRasterBand(2 * index + 1).WriteArray(values)
        file.GetRasterBand(2 * index + 2).WriteArray(np.full_like(values, 9))
    file = None
    return path


def moment(text):
    day, hour = text.split("T") if "T" in text else (text, "12")
    return QDateTime(QDate.fromString(day, Qt.DateFormat.ISODate), QTime(int(hour), 0), Qt.TimeSpec.UTC)


def styled(raster):
    """The layer with the style beside it, applied as to results.

    QGIS loads the style with the file too, but then sets time as its provider knows it: to inactive.
    """
    layer = QgsRasterLayer(raster, "dates")
    assert layer.loadNamedStyle(raster.replace(".tif", ".qml"))[1]
    return layer


def picture(layer, begin, end):
    """The map of the layer from `begin` to `end`, as the Temporal Controller asks for it."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(90, 60))
    settings.setIsTemporal(True)
    settings.setTemporalRange(QgsDateTimeRange(moment(begin), moment(end), True, False))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    return job.renderedImage()


def thirds(image):
    """The colours in the middle of the picture's left, middle and right third."""
    return [image.pixelColor(x, 30).getRgb()[:3] for x in (15, 45, 75)]


def test_the_style_gives_each_date_its_range(raster):
    write_date_series_qml(raster.replace(".tif", ".qml"), DATES, 0, 1, bands_per_date=2)
    layer = styled(raster)
    temporal = layer.temporalProperties()
    assert temporal.isActive() and temporal.mode() == Qgis.RasterTemporalMode.FixedRangePerBand
    ranges = temporal.fixedRangePerBand()
    assert sorted(ranges) == [1, 3, 5]
    for band, begin, end in zip((1, 3, 5), RANGES, RANGES[1:]):
        assert ranges[band] == QgsDateTimeRange(moment(begin), moment(end), True, False)


def test_the_layer_plays(raster):
    write_date_series_qml(raster.replace(".tif", ".qml"), DATES, 0, 1, bands_per_date=2)
    layer = styled(raster)
    days = [
        ("2017-01-03T0", "2017-01-04T0"),
        ("2017-01-10T0", "2017-01-11T0"),
        ("2017-03-01T0", "2017-03-02T0"),
    ]
    seen = [thirds(picture(layer, *day)) for day in days]
    assert seen == [[BRIGHT, DARK, DARK], [DARK, BRIGHT, DARK], [DARK, DARK, BRIGHT]]
    # Half a gap beyond the last date there is nothing to show.
    assert thirds(picture(layer, "2017-03-11T0", "2017-03-12T0")) == [(255, 255, 255)] * 3


def test_signed_values_play_too(raster):
    write_signed_date_series_qml(raster.replace(".tif", ".qml"), DATES, 1, bands_per_date=2)
    red, white = (103, 0, 31), (247, 247, 247)
    assert thirds(picture(styled(raster), "2017-02-20T0", "2017-02-21T0")) == [white, white, red]


def test_a_raster_of_dates_is_labelled_with_them(raster):
    write_date_classes_qml(raster.replace(".tif", ".qml"), DATES)
    layer = styled(raster)
    renderer = layer.renderer()
    assert [(entry.value, entry.label) for entry in renderer.classes()] == list(zip((1, 2, 3), DATES))
