"""The network of the study, ResNet-101 on chips of 1 x 100 x 100, through the whole evaluation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from explanation_layers.engine.jobs import EvaluateExplainersJob
from explanation_layers.models.card import SCENE_CLASSIFICATION, Card, CardBand, card_classes
from explanation_layers.models.files import Spectra, save_model
from explanation_layers.models.scene_networks import build_scene_network
from explanation_layers.workflows.evaluate_explainers import evaluate

CLASSES = tuple(f"urban {number}" for number in range(1, 11))
EIGHT = ["saliency", "input_x_gradient", "integrated_gradients", "guided_backpropagation", "deconvolution",
         "grad_cam", "guided_grad_cam", "occlusion"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_all_eight_and_their_sensitivity(context, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    for name in CLASSES[:2]:
        (tmp_path / "chips" / name).mkdir(parents=True)
        for number in range(2):
            with rasterio.open(
                tmp_path / "chips" / name / f"{number}.tif", "w", driver="GTiff", width=100, height=100,
                count=1, dtype="float32",
            ) as dataset:  # fmt: skip
                dataset.write(generator.gamma(4.4, 0.1 / 4.4, (1, 100, 100)).astype("float32"))
    torch.manual_seed(0)
    options = {"bands": 1, "classes": 10, "patch_size": 100, "values": "power"}
    network = build_scene_network("resnet101", **options)
    network.low.fill_(-25)
    network.high.fill_(5)
    # Batch norms of a start that has seen nothing would let the values grow from block to block.
    network.train()
    with torch.no_grad():
        for _ in range(4):
            network.logits(torch.rand(4, 1, 100, 100))
    model = str(tmp_path / "model.safetensors")
    card = Card(
        SCENE_CLASSIFICATION, "resnet101", options, (CardBand("VV", None, None, True),), card_classes(CLASSES)
    )
    save_model(model, network.eval(), Spectra(torch.ones(1), torch.ones(10, 1), torch.empty(0, 1)), card)
    value = evaluate(
        EvaluateExplainersJob(
            [model], EIGHT, patches=str(tmp_path / "chips"), chips=1, samples=1, randomised_chips=0
        ),
        context,
    )
    names = [column["name"] for column in value["tables"]["METRICS"]["columns"]]
    rows = [dict(zip(names, row)) for row in value["tables"]["METRICS"]["rows"]]
    assert [row["explainer"] for row in rows] == EIGHT
    for row in rows:
        assert 0 < row["max_sensitivity"] < 10 and math.isfinite(row["infidelity_scaled"]), row["explainer"]
        assert row["png_kb"] > 0.1 and row["zero_maps"] == 0
