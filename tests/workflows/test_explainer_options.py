"""What is said of the explainers' settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import rasterio
from rasterio.windows import Window

from explanation_layers.engine.jobs import AttributionJob, EvaluateExplainersJob
from explanation_layers.workflows.attribution import explain
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.evaluate_explainers import evaluate

SENTENCE = (
    "Grad-CAM at {} has one value for a whole chip of {side} x {side} pixels; choose an earlier "
    "GRAD_CAM_LAYER."
)


@pytest.fixture
def patches(radar: str, copy_raster: Callable[..., str], tmp_path: Path) -> str:
    """A folder of two chips of 33 x 33 pixels."""
    folder = tmp_path / "chips"
    folder.mkdir()
    for col in (0, 37):
        with rasterio.open(radar) as scene:
            values = scene.read(window=Window(col, 20, 33, 33))
        copy_raster(radar, folder / f"{col}.tif", values, width=33, height=33)
    return str(folder)


@pytest.mark.parametrize(
    ("explainer", "layer", "side", "warned"),
    [("grad_cam", "layer4", 16, True), ("grad_cam", "layer4", 32, True), ("grad_cam", "layer4", 33, False),
     ("guided_grad_cam", "layer3", 16, True), ("guided_grad_cam", "layer2", 16, False),
     ("saliency", "layer4", 16, False)],
)  # fmt: skip
def test_a_layer_of_one_cell_is_warned_of_wherever_it_explains(
    patches: str, save_chip_model: Callable[..., str], context: Context, explainer, layer, side, warned
) -> None:
    model = save_chip_model(patch_size=side)
    expected = [SENTENCE.format(layer, side=side)] if warned else []
    explain(AttributionJob(None, model, patches=patches, explainer=explainer, layer=layer), context)
    assert [text for text in context.warnings if "Grad-CAM at" in text] == expected
    context = Context("test", lambda message: None)
    evaluate(
        EvaluateExplainersJob(
            [model, save_chip_model(patch_size=side)], sorted({"saliency", explainer}),
            patches=patches, samples=1, randomised_chips=0, speckle_looks=0, layer=layer,
        ),
        context,
    )  # fmt: skip
    assert [text for text in context.warnings if "Grad-CAM at" in text] == expected
