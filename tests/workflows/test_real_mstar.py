"""Training of scene classifiers on real radar chips: MSTAR vehicles, Sentinel-1 land cover."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import rasterio
import torch

from explanation_layers.engine.jobs import TrainSceneClassifierJob
from explanation_layers.models.card import SCENE_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.rasters.chip_labels import chips_of_class_raster
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.scene import open_scene
from explanation_layers.workflows.train_scene_classifier import train


@pytest.fixture
def job(shared: Path, tmp_path: Path) -> TrainSceneClassifierJob:
    """The vehicles with all defaults, from the middle 64 x 64."""
    folder = shared / "data" / "mstar_soc_subset"
    return TrainSceneClassifierJob(
        str(tmp_path / "m.safetensors"), patches=str(folder / "TRAIN"), test_patches=str(folder / "TEST"),
        patch_size=64,
    )  # fmt: skip


@pytest.fixture
def land_cover(shared: Path, tmp_path: Path) -> Path:
    """A folder of chips of 32 x 32 with one land cover on 70 % and more; their bands named VV and VH."""
    folder = shared / "data" / "terramind_s1_s2_lulc"
    for path in sorted((folder / "S1RTC").iterdir()):
        chips = chips_of_class_raster(open_scene(str(path)), str(folder / "LULC" / path.name), 32)
        for index, (chip, values) in enumerate(zip(chips.chips, chips.read(range(len(chips))))):
            target = tmp_path / "chips" / chips.names[chip.class_index] / f"{path.stem}-{index}.tif"
            target.parent.mkdir(parents=True, exist_ok=True)
            grid = chips.grid(index)
            with rasterio.open(
                target, "w", driver="GTiff", width=32, height=32, count=2, dtype="float32", crs=grid.crs,
                transform=grid.transform,
            ) as dataset:  # fmt: skip
                dataset.write(values)
                dataset.set_band_description(1, "VV")
                dataset.set_band_description(2, "VH")
    return tmp_path / "chips"


def test_sizes_that_give_the_class_away_are_refused_and_told(job, context) -> None:
    with pytest.raises(InputError, match=r"not all of one square size.*set PATCH_SIZE to 128 or less"):
        train(TrainSceneClassifierJob(job.model, patches=job.patches), context)


@pytest.mark.slow
def test_defaults_tell_ten_vehicles_apart_in_minutes(job, context) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        started = time.monotonic()
        value = train(job, context)
        assert time.monotonic() - started < 600
    finally:
        torch.set_num_threads(threads)
    assert value["numbers"]["OVERALL_ACCURACY"] >= 0.8
    (warning,) = value["warnings"]
    assert "2S1 about 158 x 158, BMP2 about 128 x 128" in warning


def test_polarisations_of_land_cover_train_side_by_side(land_cover, context, tmp_path) -> None:
    job = TrainSceneClassifierJob(
        str(tmp_path / "m.safetensors"), patches=str(land_cover), values="db", band="each", epochs=3,
        report=str(tmp_path / "report.html"),
    )  # fmt: skip
    value = train(job, context)
    models = value["strings"]["MODELS"].split(";")
    assert [Path(model).name for model in models] == ["m_VV.safetensors", "m_VH.safetensors"]
    networks = [load_model(model, SCENE_CLASSIFICATION).network for model in models]
    # VH is some 7 dB below VV.
    assert 3 < float(networks[0].low - networks[1].low) < 12
    cards = [load_model(model, SCENE_CLASSIFICATION).card for model in models]
    counts = {**cards[0].training["train_chips"]}
    for name, count in cards[0].training["test_chips"].items():
        counts[name] += count
    assert sum(counts.values()) == 197 and cards[0].training["test_chips"] == cards[1].training["test_chips"]
    assert any("fewer than 10 training chips (class 5 2)" in text for text in value["warnings"])
    assert all(card.training["overall_accuracy"] > 1 / 6 for card in cards)
