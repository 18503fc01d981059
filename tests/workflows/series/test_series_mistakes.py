"""A map of a series' classes against its parcels: errors are found, and dates are the evidence."""

from __future__ import annotations

import numpy as np
import pytest

from explanation_layers.engine.jobs import MisclassificationsJob
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.scene import open_scene
from explanation_layers.rasters.writers import RasterWriter
from explanation_layers.workflows.misclassifications import find_errors

from .conftest import PARCEL, PLANTED


def test_a_parcel_that_the_map_has_wrong_is_told_by_its_dates(scene, context, tmp_path):
    names, grid = tuple(PLANTED), open_scene(scene.raster).grid
    numbers = scene.classes + 1
    # The map is right; the parcels of one place are labelled otherwise, by the map that says so.
    rows = cols = slice(12, 12 + PARCEL)
    numbers[rows, cols] = numbers[12, 12] % len(names) + 1
    path = str(tmp_path / "classes.tif")
    with RasterWriter(path, grid, 1, "uint8", 0, class_names=names) as writer:
        writer.write(grid.whole, numbers.astype(np.uint8))
    job = MisclassificationsJob(series=scene.source, classes=path, label_features=scene.parcels)
    value = find_errors(job, context)
    columns = [column["name"] for column in value["tables"]["ERRORS"]["columns"]]
    (error,) = [dict(zip(columns, row)) for row in value["tables"]["ERRORS"]["rows"]]
    assert error["pixels"] == PARCEL**2
    assert error["true_class"] == names[scene.classes[12, 12]]
    # Here the map is wrong and the label right: nothing speaks for a wrong label.
    assert error["suspicion"] != "label error"
    assert error["nearest_class"] == error["true_class"]
    assert "2017-" in error["evidence"]


def test_an_autoencoder_is_no_classifier(scene, model, context):
    job = MisclassificationsJob(series=scene.source, model=model, label_features=scene.parcels)
    with pytest.raises(InputError, match="autoencoder"):
        find_errors(job, context)
