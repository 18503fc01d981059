"""What tests of evaluations share: chips with masks, a small job on them, and its table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio

from explanation_layers.engine.jobs import EvaluateExplainersJob
from explanation_layers.workflows.context import Context

SIDE = 16
CLASSES = ("field", "forest", "town")
FEW = ["saliency", "input_x_gradient"]


def write_chip(path: Path, values: np.ndarray, **profile: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2]}
    with rasterio.open(path, "w", driver="GTiff", dtype=values.dtype, **shape, **profile) as dataset:
        dataset.write(values)
        dataset.descriptions = ("VV", "VH")[: len(values)]


@pytest.fixture(scope="session")
def chips(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A folder of 3 x 4 chips of 20 pixels in decibels with a bright square each, and masks of the square."""
    folder = tmp_path_factory.mktemp("chips")
    generator = np.random.default_rng(5)
    for kind, name in enumerate(CLASSES):
        for number in range(4):
            values = 10 * np.log10(generator.gamma(4, 0.25, (2, 20, 20))) - 12
            mask = np.zeros((1, 20, 20), np.uint8)
            mask[0, 6 + kind : 10 + kind, 5:11] = 1
            values += 9 * mask
            write_chip(folder / "chips" / name / f"{number}.tif", values.astype("float32"))
            write_chip(folder / "masks" / name / f"{number}.png.tif", mask)
            (folder / "masks" / name / f"{number}.png.tif").rename(folder / "masks" / name / f"{number}.img")
    return SimpleNamespace(patches=str(folder / "chips"), masks=str(folder / "masks"))


@pytest.fixture
def job(chips: SimpleNamespace, chip_model: str) -> EvaluateExplainersJob:
    """A small evaluation of two fast explainers."""
    return EvaluateExplainersJob(
        models=[chip_model], explainers=FEW, patches=chips.patches, chips=5, samples=2, steps=4,
        occlusion_window=6, occlusion_stride=5, randomised_chips=2, layer="layer1",
    )  # fmt: skip


def table(value: dict) -> list[dict]:
    names = [column["name"] for column in value["tables"]["METRICS"]["columns"]]
    assert len(set(names)) == len(names)
    return [dict(zip(names, row, strict=True)) for row in value["tables"]["METRICS"]["rows"]]


def context_of(messages: list | None = None) -> Context:
    return Context("test", (messages if messages is not None else []).append)
