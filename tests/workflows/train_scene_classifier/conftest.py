"""What tests of scene training share: chips of three classes, a scene with points, a short job."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from explanation_layers.engine.jobs import TrainSceneClassifierJob
from explanation_layers.models.card import SCENE_CLASSIFICATION
from explanation_layers.models.files import Model, load_model

SIDE, CHIPS = 20, 14
CLASSES = ("ship", "field", "town")


def speckle(generator: np.random.Generator, kind: int, side: int = SIDE) -> np.ndarray:
    """Power (band, y, x) of a chip: dark, bright, or with a bright spot in the first band only."""
    values = generator.gamma(4, 0.25, (2, side, side)) * (0.02, 0.3, 0.02)[kind]
    if kind == 2:
        values[0, 6:14, 6:14] += 2
    return values.astype(np.float32)


def write(path: Path, values: np.ndarray, **profile: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2]}
    with rasterio.open(path, "w", driver="GTiff", dtype=values.dtype, **shape, **profile) as dataset:
        dataset.write(values)
        for number, name in zip(dataset.indexes, ("S1 VV", "S1 VH")):
            dataset.set_band_description(number, name)


@pytest.fixture
def chips(tmp_path: Path) -> Path:
    """A folder of three classes of 14 chips each, power in VV and VH."""
    generator = np.random.default_rng(2)
    for kind, name in enumerate(CLASSES):
        for number in range(CHIPS):
            write(tmp_path / "chips" / name / f"{number:02}.tif", speckle(generator, kind))
    return tmp_path / "chips"


@pytest.fixture
def job(chips: Path, tmp_path: Path) -> TrainSceneClassifierJob:
    """A short training on that folder."""
    return TrainSceneClassifierJob(
        str(tmp_path / "m.safetensors"), patches=str(chips), values="power", epochs=1, batch_size=8,
        learning_rate=0.005,
    )  # fmt: skip


@pytest.fixture
def scene(tmp_path: Path) -> str:
    """A scene of 200 x 200 pixels whose left half is dark and right half bright."""
    values = np.random.default_rng(0).gamma(4, 0.25, (2, 200, 200)).astype(np.float32)
    values[:, :, :100] *= 0.02
    write(tmp_path / "scene.tif", values, crs="EPSG:32633", transform=Affine(10, 0, 5e5, 0, -10, 5e6))
    return str(tmp_path / "scene.tif")


@pytest.fixture
def points(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes points at pixels (row, col, class) of the scene."""

    def write_points(*places: tuple[int, int, str]) -> str:
        features = [
            {
                "type": "Feature",
                "properties": {"class": name},
                "geometry": {"type": "Point", "coordinates": [5e5 + 10 * col + 5, 5e6 - 10 * row - 5]},
            }
            for row, col, name in places
        ]
        path = tmp_path / "points.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return str(path)

    return write_points


def model_of(path: str) -> Model:
    return load_model(path, SCENE_CLASSIFICATION)
