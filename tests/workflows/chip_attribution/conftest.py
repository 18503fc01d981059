"""What tests of explained chips share: a run of the job, what the explainer itself says, places of chips."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

from explanation_layers.engine.jobs import AttributionJob
from explanation_layers.explainers.base import Options
from explanation_layers.explainers.registry import make_explainer
from explanation_layers.models.card import SCENE_CLASSIFICATION
from explanation_layers.models.files import Model, load_model
from explanation_layers.workflows.attribution import explain
from explanation_layers.workflows.chip_baselines import chip_baseline
from explanation_layers.workflows.context import Context

SIDE = 16
OUTPUTS = ("attribution", "saliency")


def read(path: str) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


@pytest.fixture
def run(chip_model: str, context: Context) -> Callable[..., SimpleNamespace]:
    """Return a function that explains into a folder and reads back the merged rasters."""

    def go(folder: Path, **fields: object) -> SimpleNamespace:
        paths = {name: str(folder / f"{name}.tif") for name in OUTPUTS}
        job = AttributionJob(**{"scene": None, "model": chip_model, "steps": 8, **paths, **fields})
        value = explain(job, context)
        made = {name: read(getattr(job, name)) for name in OUTPUTS if name in value["files"]}
        columns = [column["name"] for column in value["tables"]["CHIP_TABLE"]["columns"]]
        chips = [dict(zip(columns, row)) for row in value["tables"]["CHIP_TABLE"]["rows"]]
        return SimpleNamespace(job=job, value=value, chips=chips, warnings=value["warnings"], **made)

    return go


@lru_cache
def loaded(path: str) -> Model:
    return load_model(path, SCENE_CLASSIFICATION)


def of_chip(model_path: str, chip: np.ndarray, name: str, baseline: str = "mean") -> SimpleNamespace:
    """Return what the explainer itself says of a chip (band, y, x): values, outputs, prediction."""
    model = loaded(model_path)
    holes = ~np.isfinite(chip).all(0)
    filled = np.where(holes, model.spectra.mean.numpy()[:, None, None], chip).astype(np.float32)
    with torch.no_grad():
        x = model.network.prepare(torch.from_numpy(filled)[None])
        start = chip_baseline(baseline, None, model)(x)
        logits = model.network.logits(x).flatten(1)
        weights = torch.nn.functional.one_hot(logits.argmax(1), 3).float()
        found = make_explainer(name, model.network, Options(steps=8)).attribute(x, start, weights)
        reference = float((model.network.logits(start).flatten(1) * weights).sum())
    return SimpleNamespace(
        values=found.values[0].numpy(), output=float((logits * weights).sum()), reference=reference,
        predicted=int(logits.argmax()), confidence=float(logits.softmax(1).max()), holes=holes,
    )  # fmt: skip


def polygon(left: float, top: float, right: float, bottom: float, name: str | None) -> dict:
    (x0, y0), (x1, y1) = ((5e5 + 10 * col, 5.8e6 - 10 * row) for col, row in ((left, top), (right, bottom)))
    ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    properties = {} if name is None else {"class": name}
    return {"type": "Feature", "properties": properties,
            "geometry": {"type": "Polygon", "coordinates": [ring]}}  # fmt: skip


def mask(folder: Path, *polygons: dict) -> str:
    path = folder / "mask.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(polygons)}))
    return str(path)


@pytest.fixture
def folder_of_chips(radar, tmp_path) -> Callable[..., str]:
    """Return a function that cuts chips of 20 x 18 pixels out of the scene into class folders."""

    def make(places: dict[str, tuple[int, int]], pixel: float = 10, georeference: bool = True, **more) -> str:
        folder = tmp_path / "patches"
        values = read(radar)
        for name, (row, col) in places.items():
            path = folder / f"{name}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            place = {"crs": "EPSG:32633",
                     "transform": Affine(pixel, 0, 5e5 + 10 * col, 0, -pixel, 5.8e6 - 10 * row)}  # fmt: skip
            profile = {"driver": "GTiff", "count": 2, "width": 20, "height": 18, "dtype": "float32"}
            with rasterio.open(path, "w", **profile, **(place if georeference else {})) as file:
                file.write(values[:, row : row + 18, col : col + 20])
                file.descriptions = ("VV", "VH")
        return str(folder)

    return make


PLACES = {"field/a": (20, 30), "field/b": (24, 36), "town/a": (33, 5)}
