"""Whole reviews of scenes as they come: EnMAP over Potsdam, MODIS over Mato Grosso."""

from __future__ import annotations

import csv
import json
from collections import Counter

import numpy as np
import pytest
import rasterio
from rasterio.merge import merge
from rasterio.warp import transform

from explanation_layers.engine.jobs import MisclassificationsJob, SeriesSource, TrainClassifierJob
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.misclassifications import find_errors
from explanation_layers.workflows.train_classifier import train

from .planted import rows_of

pytestmark = pytest.mark.slow


def quiet() -> Context:
    return Context("reviews", lambda message: None)


def mosaic(folder, path) -> str:
    """Write the tiles of a folder as one raster."""
    tiles = sorted(str(tile) for tile in folder.glob("*.tif"))
    values, placed = merge(tiles)
    with rasterio.open(tiles[0]) as tile:
        profile = tile.profile | {"height": values.shape[1], "width": values.shape[2], "transform": placed}
        bands = [tile.tags(band) for band in range(1, tile.count + 1)]
    with rasterio.open(path, "w", **profile) as file:
        file.write(values)
        for number, tags in enumerate(bands, 1):
            file.update_tags(number, **tags)
    return str(path)


def adds_up(value: dict) -> list[dict]:
    """Check that the layer, the confusion table and the numbers say the same; return the errors."""
    errors, numbers = rows_of(value["tables"]["ERRORS"]), value["numbers"]
    table = value["tables"]["CONFUSION"]["rows"]
    counts = np.array([row[1 : 1 + len(table)] for row in table], dtype=int)
    assert counts.sum() == numbers["PIXELS"]
    assert counts.sum() - np.trace(counts) == numbers["ERROR_PIXELS"] == sum(e["pixels"] for e in errors)
    names = [row[0] for row in table]
    pairs: Counter = Counter()
    for error in errors:
        pairs[names.index(error["true_class"]), names.index(error["predicted_class"])] += error["pixels"]
    assert {pair: counts[pair] for pair in zip(*np.nonzero(counts)) if pair[0] != pair[1]} == pairs
    worth = [error["instructive"] for error in errors]
    assert worth == sorted(worth, reverse=True) and all(error["rule"] for error in errors)
    return errors


def test_errors_in_potsdam_are_mostly_mixtures(shared, tmp_path):
    folder = shared / "data" / "enmap_potsdam"
    scene, labels = (mosaic(folder / name, tmp_path / f"{name}.tif") for name in ("images", "labels"))
    model, report = str(tmp_path / "model.safetensors"), tmp_path / "report.html"
    training = TrainClassifierJob(
        scene, model, label_raster=labels, architecture="spectral_cnn", epochs=8, compare_splits=False
    )
    train(training, quiet())
    job = MisclassificationsJob(
        scene=scene, model=model, label_raster=labels, report=str(report), explained=30
    )
    value = find_errors(job, quiet())
    errors = adds_up(value)
    print(value["numbers"])
    assert value["numbers"]["PIXELS"] == 5672 and value["numbers"]["OVERALL_ACCURACY"] > 0.5
    # Houses, gardens and roads within 30 m.
    assert value["numbers"]["MIXED_PIXEL_COUNT"] > 0.3 * len(errors)
    assert sum(" nm (" in (error["evidence"] or "") for error in errors) == 30
    assert report.stat().st_size > 100_000


def test_errors_in_mato_grosso_are_told_by_date(shared, tmp_path):
    folder = shared / "data" / "modis_mato_grosso_cube"
    with rasterio.open(folder / "red.tif") as dataset:
        crs = dataset.crs
    with open(folder / "samples.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    xs, ys = transform(
        "EPSG:4326", crs, [float(r["longitude"]) for r in rows], [float(r["latitude"]) for r in rows]
    )
    features = [
        {"type": "Feature", "properties": {"class": row["label"]},
         "geometry": {"type": "Point", "coordinates": [x, y]}}
        for row, x, y in zip(rows, xs, ys)
    ]  # fmt: skip
    labels = tmp_path / "labels.geojson"
    labels.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    paths = tuple(str(folder / f"{name}.tif") for name in ("blue", "red", "nir", "mir", "evi", "ndvi"))
    source = SeriesSource(paths, dates=tuple((folder / "timeline").read_text().split()))
    model, report = str(tmp_path / "model.safetensors"), tmp_path / "report.html"
    training = TrainClassifierJob(
        None, model, series=source, label_features=str(labels), split="parcels",
        compare_splits=False,
    )  # fmt: skip
    train(training, quiet())
    job = MisclassificationsJob(series=source, model=model, label_features=str(labels), report=str(report))
    value = find_errors(job, quiet())
    errors = adds_up(value)
    print(value["numbers"])
    # 603 points lie on 336 pixels, of which 77 have another class in another season.
    assert value["numbers"]["PIXELS"] == 259 and value["numbers"]["OVERALL_ACCURACY"] > 0.85
    assert all(error["pixels"] == 1 for error in errors)
    assert value["numbers"]["SHADOW_OR_CLOUD_COUNT"] == 0
    dates = {date for error in errors for date in error["evidence"].split() if date.startswith("20")}
    assert errors and dates and min(dates) >= "2007-09-14" and max(dates) <= "2013-08-29"
