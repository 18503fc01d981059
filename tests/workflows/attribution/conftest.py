"""What tests of attribution share: a scene with two models that know it, and a run that is read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch

from explanation_layers.engine.jobs import AttributionJob, DemoDataJob, TrainClassifierJob
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.rasters.scene import open_scene
from explanation_layers.rasters.writers import RasterWriter
from explanation_layers.workflows.attribution import explain
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.demo_data import simulate
from explanation_layers.workflows.train_classifier import train

SIZE = 48
UNREAD = 20  # a band without data, which no model reads
HOLE = (6, 9)  # row and column of a pixel without data in one band
LIMIT = 1e-5
# What is computed by hand here starts from the mean; tests of the continuum have a file of their own.
FAST = {"samples": 6, "baseline": "mean"}


def quiet() -> Context:
    return Context("id", lambda message: None)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A scene of every fourth band with a band and a pixel without data, and two models that know it."""
    folder = tmp_path_factory.mktemp("attribution")
    files = simulate(DemoDataJob("hyperspectral", str(folder / "demo"), SIZE, seed=2), quiet())["files"]
    scene = open_scene(files["raster"])
    with rasterio.open(files["raster"]) as dataset:
        values = dataset.read()[::4]
    values[UNREAD] = -32768
    values[(3, *HOLE)] = -32768
    path = str(folder / "scene.tif")
    with RasterWriter(path, scene.grid, len(values), "int16", -32768, scene.bands[::4]) as writer:
        writer.write(scene.grid.whole, values)

    def trained(architecture: str, **options: object) -> str:
        model = str(folder / f"{architecture}.safetensors")
        job = TrainClassifierJob(
            path, model, label_raster=files["label_raster"], architecture=architecture, split="random",
            compare_splits=False, **options,
        )  # fmt: skip
        torch.set_num_threads(1)
        train(job, quiet())
        return model

    models = {
        "spectral_cnn": trained("spectral_cnn", epochs=6),
        "hybrid_cnn": trained("hybrid_cnn", epochs=2, patch_size=9, components=8),
    }
    return SimpleNamespace(
        folder=folder, scene=path, values=values, models=models, bands=len(values), grid=scene.grid
    )


@pytest.fixture
def run(site: SimpleNamespace, tmp_path: Path) -> Callable[..., SimpleNamespace]:
    """Return a function that explains and reads back what was written."""

    def go(name: str = "run", architecture: str = "spectral_cnn", **options: object) -> SimpleNamespace:
        paths = {key: str(tmp_path / f"{name}-{key}.tif") for key in ("attribution", "saliency")}
        job = AttributionJob(site.scene, site.models[architecture], **{**FAST, **paths, **options})
        context = quiet()
        result = explain(job, context)
        read, profile = {}, {}
        for key in paths:
            if getattr(job, key):
                with rasterio.open(getattr(job, key)) as dataset:
                    read[key], profile[key] = dataset.read(), dataset.profile
        return SimpleNamespace(job=job, result=result, profile=profile, context=context, **read)

    return go


def extent_of(site: SimpleNamespace, col: int, row: int, width: int, height: int) -> list[float]:
    """The extent of a window of pixels."""
    left, top = site.grid.transform * (col, row)
    right, bottom = site.grid.transform * (col + width, row + height)
    return [left, bottom, right, top]


def mask_of(path: Path, extent: list[float]) -> str:
    """A mask of one rectangle."""
    left, bottom, right, top = extent
    ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return str(path)


def same(ours: np.ndarray, theirs: np.ndarray, limit: float = LIMIT) -> bool:
    """Equal where nodata, elsewhere to `limit` of the largest value."""
    empty = np.isnan(theirs)
    if ours.shape != theirs.shape or not np.array_equal(np.isnan(ours), empty) or empty.all():
        return False
    return np.abs(ours - theirs)[~empty].max() <= limit * np.abs(theirs[~empty]).max()


def records(table: dict) -> list[dict]:
    """The rows of a table as dictionaries."""
    names = [column["name"] for column in table["columns"]]
    return [dict(zip(names, row, strict=True)) for row in table["rows"]]


def logits_at(site: SimpleNamespace, architecture: str) -> np.ndarray:
    """Logits (class, y, x) of the whole scene, patch by patch."""
    model = load_model(site.models[architecture], PIXEL_CLASSIFICATION)
    scene, side = open_scene(site.scene), model.network.patch_size
    values = torch.from_numpy(scene.read(scene.grid.whole, side // 2, model.card.used_bands))
    empty = ~values.isfinite().all(0)
    values = torch.where(empty, model.spectra.mean[:, None, None], values)
    rows = []
    for row in range(scene.grid.height):
        strip = values[:, row : row + side]
        patches = strip.unfold(2, side, 1).movedim(2, 0)
        with torch.no_grad():
            rows.append(model.network(patches).flatten(1))
    return torch.stack(rows, 1).permute(2, 1, 0).numpy()
