"""Whether a model and a scene fit, before any work."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.scene import open_scene
from explanation_layers.workflows import fitting
from explanation_layers.workflows.fitting import check_has_data, open_pair


def test_a_scene_and_its_model_open(demo, spectral_model: str) -> None:
    scene, model = open_pair(demo.raster, spectral_model, PIXEL_CLASSIFICATION)
    assert len(scene.bands) == len(model.card.bands) == model.network.bands


def test_a_scene_of_fewer_bands_is_refused(demo, spectral_model: str, copy_raster, tmp_path) -> None:
    with rasterio.open(demo.raster) as dataset:
        values = dataset.read()
    path = copy_raster(demo.raster, tmp_path / "few.tif", values[:100])
    with pytest.raises(InputError, match=r"few.tif has 100 bands, the model was trained on 167; choose"):
        open_pair(path, spectral_model, PIXEL_CLASSIFICATION)


def test_bands_in_another_order_are_refused(demo, spectral_model: str, tmp_path) -> None:
    path = tmp_path / "turned.tif"
    with rasterio.open(demo.raster) as dataset, rasterio.open(path, "w", **dataset.profile) as turned:
        turned.write(dataset.read()[::-1])
        for number in dataset.indexes:
            turned.update_tags(dataset.count + 1 - number, **dataset.tags(number))
    with pytest.raises(InputError, match=r"Band 1 of .*turned.tif is at .* nm, the model's at .* order"):
        open_pair(str(path), spectral_model, PIXEL_CLASSIFICATION)


def test_data_are_looked_for_in_the_window_alone(demo) -> None:
    scene = open_scene(demo.raster)
    size = scene.grid.width
    check_has_data(scene, scene.grid.whole, 0)
    with pytest.raises(InputError, match=r"scene.tif holds no pixel with data .* choose another raster"):
        check_has_data(scene, Window(size - 2, size - 2, 2, 2), 0)


def test_a_large_window_is_not_read_before_the_work(demo, monkeypatch) -> None:
    scene = open_scene(demo.raster)
    monkeypatch.setattr(fitting, "_SMALL", 3)
    size = scene.grid.width
    check_has_data(scene, Window(size - 2, size - 2, 2, 2), 0)
    assert np.isnan(scene.read(Window(size - 2, size - 2, 2, 2))).all()
