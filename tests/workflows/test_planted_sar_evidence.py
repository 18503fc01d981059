"""Explainers of scene classifiers find what was planted in a chip, where the network has learnt it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from explanation_layers.engine.jobs import DemoDataJob, EvaluateExplainersJob, TrainSceneClassifierJob
from explanation_layers.models.card import SCENE_CLASSIFICATION
from explanation_layers.models.files import load_model, save_model
from explanation_layers.models.scene_networks import build_scene_network
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.demo_data import simulate
from explanation_layers.workflows.evaluate_explainers import evaluate
from explanation_layers.workflows.train_scene_classifier import train

# These are learnt within a few epochs.
CLASSES = ("dark_strip", "double_bounce", "texture_edge")
EXPLAINERS = ("saliency", "guided_backpropagation", "guided_grad_cam")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chips of three classes, and a model of them that tells them apart."""
    folder = tmp_path_factory.mktemp("planted") / "sar"
    simulate(DemoDataJob("sar_scenes", str(folder), size=128, seed=1), quiet())
    for part in ("train", "test"):
        for path in (folder / part).iterdir():
            if path.name not in CLASSES:
                shutil.rmtree(path)
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count())
    value = train(
        TrainSceneClassifierJob(
            str(folder / "trained.safetensors"), patches=str(folder / "train"), values="power", band="VV",
            test_patches=str(folder / "test"), epochs=14,
        ),
        quiet(),
    )  # fmt: skip
    torch.set_num_threads(threads)
    assert value["numbers"]["OVERALL_ACCURACY"] > 0.85
    return folder


def quiet() -> Context:
    return Context("planted", lambda message: None)


def found_in_masks(folder: Path, model: Path) -> dict[str, float]:
    """The AUC in the masks by explainer, 0.5 by chance."""
    value = evaluate(
        EvaluateExplainersJob(
            [str(model)], list(EXPLAINERS), patches=str(folder / "test"),
            masks=str(folder / "masks" / "test"), chips=24, samples=1, randomised_chips=0, speckle_looks=0,
        ),
        quiet(),
    )  # fmt: skip
    names = [column["name"] for column in value["tables"]["METRICS"]["columns"]]
    rows = [dict(zip(names, row)) for row in value["tables"]["METRICS"]["rows"]]
    return {row["explainer"]: row["auc_in_mask"] for row in rows}


def randomised(folder: Path) -> Path:
    """The same model with fresh weights, its batch norms set by chips' values."""
    model = load_model(str(folder / "trained.safetensors"), SCENE_CLASSIFICATION)
    torch.manual_seed(5)
    network = build_scene_network(model.card.architecture, **model.card.options)
    network.low.copy_(model.network.low)
    network.high.copy_(model.network.high)
    network.train()
    with torch.no_grad():
        for _ in range(8):
            network.logits(0.2 + 0.4 * torch.rand(16, 1, 64, 64))
    save_model(str(folder / "random.safetensors"), network.eval(), model.spectra, model.card)
    return folder / "random.safetensors"


def test_what_was_planted_is_found_where_it_was_learnt(folder: Path) -> None:
    learnt = found_in_masks(folder, folder / "trained.safetensors")
    chance = found_in_masks(folder, randomised(folder))
    print(learnt, chance)
    assert learnt["guided_backpropagation"] > 0.75 and learnt["saliency"] > 0.6
    for name in EXPLAINERS:
        assert learnt[name] > chance[name] + 0.04, name
