"""Which raster, or series of rasters, a model file reads at a click."""

from __future__ import annotations

import shutil

import pytest
from qgis.core import QgsRasterLayer

from explanation_layers.plugin.review.pixels_form import PixelsForm
from explanation_layers.plugin.review.rasters import ClickedRasters, RasterCache

OF_DATES = {"bands": [{"name": f"2017-0{month} VV", "date": f"2017-0{month}-01"} for month in range(1, 7)]}
OF_A_SCENE = {"bands": [{"name": "B1"}, {"name": "B2"}, {"name": "B3"}]}


@pytest.fixture
def layers(project, scene, tmp_path):
    """Two rasters of three bands in a group, the later one first, and one outside of it."""
    group = project.layerTreeRoot().insertGroup(0, "series")
    found = {}
    for name in ("b_2017-04", "a_2017-01", "outside"):
        path = str(tmp_path / f"{name}.tif")
        shutil.copy(scene, path)
        found[name] = QgsRasterLayer(path, name)
        project.addMapLayer(found[name], name == "outside")
        if name != "outside":
            group.addLayer(found[name])
    return found


def test_a_model_of_bands_reads_one_scene(layers, tmp_path):
    rasters = ClickedRasters(layers["a_2017-01"], OF_A_SCENE)
    assert rasters.job_fields() == {"scene": str(tmp_path / "a_2017-01.tif")} and rasters.count == 1


def test_a_model_of_dates_reads_the_group_by_name(layers, tmp_path):
    rasters = ClickedRasters(layers["b_2017-04"], OF_DATES)
    paths = rasters.job_fields()["series"].paths
    assert paths == tuple(str(tmp_path / f"{name}.tif") for name in ("a_2017-01", "b_2017-04"))


def test_a_raster_with_all_the_bands_is_the_series_alone(layers, tmp_path):
    card = {"bands": OF_DATES["bands"][:3]}
    assert ClickedRasters(layers["b_2017-04"], card).job_fields()["series"].paths == (
        str(tmp_path / "b_2017-04.tif"),
    )


def test_one_raster_is_opened_once_and_anew_for_another_model(layers):
    cache, read = RasterCache(), []

    def card():
        read.append(1)
        return OF_A_SCENE

    first = cache.get(layers["outside"], "m", card)
    assert cache.get(layers["outside"], "m", card) is first
    assert cache.get(layers["outside"], "other", card) is not first and len(read) == 2


def test_an_autoencoder_offers_its_dimensions_only(qgis_app):
    form = PixelsForm()
    classes = [{"name": "dimension 1"}, {"name": "dimension 2"}]
    form.show_targets({"task": "series_autoencoder", "classes": classes})
    assert [form.target.itemText(i) for i in range(form.target.count())] == ["dimension 1", "dimension 2"]
    form.show_targets({"task": "pixel_classification", "classes": classes})
    assert form.target.currentData() == ("class", "dimension 1") and form.target.count() == 4
