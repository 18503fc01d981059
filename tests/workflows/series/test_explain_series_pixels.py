"""Clicks on a series: bands are dates, and what is explained is a dimension of the embedding."""

from __future__ import annotations

import numpy as np
import pytest

from explanation_layers.engine.jobs import ExplainPixelsJob
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.scene import open_scene
from explanation_layers.workflows.explain_pixels import explain_pixels


def test_a_pixel_of_a_series_comes_date_by_date(scene, model, context):
    x, y = open_scene(scene.raster).grid.transform * (20.5, 11.5)
    job = ExplainPixelsJob(series=scene.source, model=model, points=((x, y),), target="class", class_name="1")
    value = explain_pixels(job, context)
    item, axis = value["pixels"][0], value["axis"]
    dates, channels = scene.power.shape[:2]
    assert axis["kind"] == "date"
    assert axis["unit"] == "dB"
    assert axis["channels"] == ["VV", "VH"]
    assert axis["values"] == sorted(axis["values"])
    decibels = 10 * np.log10(scene.power[:, :, 11, 20]).reshape(dates * channels)
    np.testing.assert_allclose(item["values"], decibels, atol=1e-3)
    assert item["predicted"] is None
    total = sum(item["attribution"])
    assert abs(item["residual"]) <= 0.02 * max(abs(total), sum(map(abs, item["attribution"])))


def test_an_autoencoder_predicts_no_class(scene, model, context):
    with pytest.raises(InputError, match="predicts no class"):
        explain_pixels(ExplainPixelsJob(series=scene.source, model=model, points=((0.0, 0.0),)), context)
