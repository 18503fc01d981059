"""Training of scene classifiers on real radar chips: MSTAR vehicles, Sentinel-1 land cover."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from explanation_layers.engine.jobs import EvaluateExplainersJob, TrainSceneClassifierJob
from explanation_layers.models.card import SCENE_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.rasters.errors import InputError
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.evaluate_explainers import evaluate
from explanation_layers.workflows.train_scene_classifier import train

EIGHT = (
    "saliency", "input_x_gradient", "integrated_gradients", "guided_backpropagation", "deconvolution",
    "grad_cam", "guided_grad_cam", "occlusion",
)  # fmt: skip


def job_in(shared: Path, folder_of_model: Path) -> TrainSceneClassifierJob:
    """The vehicles with all defaults, from the middle 64 x 64."""
    folder = shared / "data" / "mstar_soc_subset"
    return TrainSceneClassifierJob(
        str(folder_of_model / "m.safetensors"), patches=str(folder / "TRAIN"),
        test_patches=str(folder / "TEST"), patch_size=64,
    )  # fmt: skip


def test_sizes_that_give_the_class_away_are_refused_and_told(shared, tmp_path, context) -> None:
    job = job_in(shared, tmp_path)
    with pytest.raises(InputError, match=r"not all of one square size.*set PATCH_SIZE to 128 or less"):
        train(TrainSceneClassifierJob(job.model, patches=job.patches), context)


@pytest.fixture(scope="module")
def vehicles(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, TrainSceneClassifierJob]:
    """What a training with all defaults came to."""
    job = job_in(shared, tmp_path_factory.mktemp("vehicles"))
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count())
    try:
        return train(job, Context("train", lambda message: None)), job
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
def test_defaults_tell_ten_vehicles_apart(vehicles) -> None:
    value, _ = vehicles
    assert value["numbers"]["OVERALL_ACCURACY"] >= 0.8
    (warning,) = value["warnings"]
    assert "2S1 about 158 x 158, BMP2 about 128 x 128" in warning


@pytest.mark.slow
def test_eight_explainers_of_fifty_vehicles(vehicles, context, tmp_path) -> None:
    _, trained = vehicles
    value = evaluate(
        EvaluateExplainersJob(
            [trained.model], list(EIGHT), patches=trained.test_patches, chips=50, samples=1,
            randomised_chips=2, montage=str(tmp_path / "montage.png"), report=str(tmp_path / "report.html"),
        ),
        context,
    )  # fmt: skip
    names = [column["name"] for column in value["tables"]["METRICS"]["columns"]]
    rows = {
        row["explainer"]: row for row in (dict(zip(names, r)) for r in value["tables"]["METRICS"]["rows"])
    }
    assert tuple(rows) == EIGHT
    assert all(row["chips"] == 50 and row["zero_maps"] == 0 for row in rows.values())
    # What contributes lies on the vehicle; a map of noise would have a twentieth there.
    assert rows["integrated_gradients"]["bright_share"] > 0.15
    assert rows["integrated_gradients"]["residual"] < 0.1
    # Hiding what a faithful map ranks first takes the class away sooner than Grad-CAM's four cells do.
    assert rows["integrated_gradients"]["deletion"] < 0.5 * rows["grad_cam"]["deletion"]
    assert rows["guided_backpropagation"]["randomised_similarity"] > 0.6


def test_polarisations_of_land_cover_train_side_by_side(land_cover_chips, context, tmp_path) -> None:
    job = TrainSceneClassifierJob(
        str(tmp_path / "m.safetensors"), patches=str(land_cover_chips), values="db", band="each", epochs=3,
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
    assert any("fewer than 10 training chips (built 2)" in text for text in value["warnings"])
    assert all(card.training["overall_accuracy"] > 1 / 6 for card in cards)
