"""The scene of the races: Indian Pines as an ENVI file, and classifiers trained on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio

from ..engine.jobs import TrainClassifierJob
from ..models.files import Model, load_model
from ..workflows.context import Context
from ..workflows.train_classifier import train


def quiet_context() -> Context:
    """Return a context that tells nobody."""
    return Context("bench", lambda message: None)


def write_scene(source: Path, folder: Path) -> np.ndarray:
    """Write `scene.dat` and `labels.tif` into the folder; return the cube float32 (band, y, x)."""
    cube = np.load(source / "Indian_pines_corrected.npy").transpose(2, 0, 1)
    labels = np.load(source / "Indian_pines_gt.npy")
    bands, height, width = cube.shape
    size = {"width": width, "height": height}
    with rasterio.open(folder / "scene.dat", "w", driver="ENVI", count=bands, dtype="uint16", **size) as file:
        file.write(cube.astype("uint16"))
    with rasterio.open(folder / "labels.tif", "w", driver="GTiff", count=1, dtype="uint8", **size) as file:
        file.write(labels.astype("uint8"), 1)
    return cube.astype(np.float32)


def trained(folder: Path, architecture: str) -> Model:
    """Train on 10 % of the labelled pixels at random, as the tests do, and open the model."""
    path = folder / f"{architecture}.safetensors"
    train(
        TrainClassifierJob(
            scene=str(folder / "scene.dat"), label_raster=str(folder / "labels.tif"), model=str(path),
            architecture=architecture, test_share=0.9, split="random", compare_splits=False,
        ),
        quiet_context(),
    )  # fmt: skip
    return load_model(str(path), "pixel_classification")
