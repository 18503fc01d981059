"""A small series of radar power in which each class of parcels has dates of its own, and a model of it."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from explanation_layers.engine.jobs import SeriesSource, TrainAutoencoderJob
from explanation_layers.rasters.grid import Grid
from explanation_layers.rasters.wavelengths import Band
from explanation_layers.rasters.writers import RasterWriter
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.train_autoencoder import train

SIDE, PARCEL = 48, 6
DATES = (
    "2017-01-03", "2017-01-15", "2017-02-02", "2017-02-20", "2017-03-04", "2017-03-10", "2017-03-28",
    "2017-04-15", "2017-05-03", "2017-05-09", "2017-05-27", "2017-06-14", "2017-07-02", "2017-07-20",
)  # fmt: skip
CHANNELS = ("VV", "VH")
# Class and the dates (from 0) on which it is 6 dB brighter in VV.
PLANTED = {"beet": (2, 3), "maize": (6, 7), "wheat": (11, 12)}
GAP = (slice(0, 6), slice(0, 6), 5)  # rows, columns and date without data
EMPTY = (slice(42, 48), slice(42, 48))  # rows and columns without any date


@dataclass(frozen=True)
class Scene:
    """Where the series and its labels are, and its power (date, channel, y, x)."""

    raster: str
    parcels: str
    power: np.ndarray
    classes: np.ndarray

    @property
    def source(self) -> SeriesSource:
        return SeriesSource((self.raster,))


def make_series(folder, dates=DATES, channels=CHANNELS, name="series.tif", seed=5) -> Scene:
    """Write the series of parcels in a chequered order of classes, with speckle of 40 looks."""
    rng = np.random.default_rng(seed)
    names, count = list(PLANTED), SIDE // PARCEL
    classes = np.add.outer(np.arange(count), 2 * np.arange(count)) % len(names)
    classes = np.kron(classes, np.ones((PARCEL, PARCEL), dtype=int))
    season = -12 + 3 * np.sin(np.linspace(0, np.pi, len(dates)))
    decibels = np.broadcast_to(season[:, None, None, None], (len(dates), len(channels), SIDE, SIDE)).copy()
    decibels[:, 1:] -= 7
    for number, days in enumerate(PLANTED.values()):
        for day in days:
            decibels[day, 0][classes == number] += 6
    power = 10 ** (decibels / 10) * rng.gamma(40, 1 / 40, decibels.shape)
    rows, cols, day = GAP
    power[day, :, rows, cols] = np.nan
    power[:, :, EMPTY[0], EMPTY[1]] = np.nan
    grid = Grid(SIDE, SIDE, CRS.from_epsg(32633).to_wkt(), Affine(20, 0, 3e5, 0, -20, 58e5))
    bands = [Band(f"{date} {channel}", date=date) for date in dates for channel in channels]
    raster = str(folder / name)
    with RasterWriter(
        raster, grid, len(bands), bands=bands, descriptions=[band.name for band in bands]
    ) as writer:
        writer.write(grid.whole, power.reshape(len(bands), SIDE, SIDE).astype(np.float32))
    features = []
    for row in range(0, SIDE, PARCEL):
        for col in range(0, SIDE, PARCEL):
            x, y, step = 3e5 + 20 * col, 58e5 - 20 * row, 20 * PARCEL
            ring = [[x, y], [x + step, y], [x + step, y - step], [x, y - step], [x, y]]
            features.append({
                "type": "Feature", "properties": {"class": names[classes[row, col]]},
                "geometry": {"type": "Polygon", "coordinates": [ring]},
            })  # fmt: skip
    parcels = folder / "parcels.geojson"
    parcels.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return Scene(raster, str(parcels), power, classes)


@pytest.fixture(scope="session")
def scene(tmp_path_factory) -> Scene:
    return make_series(tmp_path_factory.mktemp("series"))


def training(scene: Scene, model, **settings) -> TrainAutoencoderJob:
    """A short training on the series."""
    usual = {"values": "power", "epochs": 25, "batch_size": 32, "learning_rate": 0.003}
    return TrainAutoencoderJob(
        series=scene.source, model=str(model), label_features=scene.parcels, **{**usual, **settings}
    )


@pytest.fixture(scope="session")
def trained(scene, tmp_path_factory) -> tuple[str, dict]:
    """An autoencoder of the series, and what its training gave."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    report = str(path.with_name("report.html"))
    return str(path), train(training(scene, path, report=report), Context("job", lambda message: None, 0))


@pytest.fixture(scope="session")
def model(trained) -> str:
    return trained[0]
