"""Evaluating explainers of U-Nets: crops that agree with the map, sums, planted evidence."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from rasterio.windows import Window

from explanation_layers.engine.jobs import EvaluateExplainersJob, TrainClassifierJob
from explanation_layers.explainers.base import Attribution, Options
from explanation_layers.explainers.dense import SecantContributions
from explanation_layers.explainers.registry import SINGLE_PIXEL_EXPLAINERS
from explanation_layers.explainers.several import Several
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import Model, load_model
from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.rasters.scene import open_scene
from explanation_layers.rasters.writers import RasterWriter
from explanation_layers.workflows.canvas import canvas_window, crop_window
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.evaluate_explainers import evaluate
from explanation_layers.workflows.evaluation_inputs import Inputs
from explanation_layers.workflows.evaluation_sample import Samples
from explanation_layers.workflows.train_classifier import train

ALL = list(SINGLE_PIXEL_EXPLAINERS)
FEW = ["saliency", "secant_contributions"]
CLASSES = ("road", "sky", "tree")


def context_of() -> Context:
    return Context("test", lambda message: None)


def table(value: dict) -> dict[str, dict]:
    names = [column["name"] for column in value["tables"]["METRICS"]["columns"]]
    rows = [dict(zip(names, row, strict=True)) for row in value["tables"]["METRICS"]["rows"]]
    return {row["explainer"]: row for row in rows}


def write_classes(path: Path, like: str, classes: np.ndarray, names: tuple[str, ...]) -> str:
    """Write classes (y, x), from 1, of the pixels of the raster `like`."""
    grid = open_scene(like).grid
    with RasterWriter(str(path), grid, 1, "uint8", 0, class_names=names) as writer:
        writer.write(grid.whole, classes.astype(np.uint8)[None])
    return str(path)


@pytest.fixture(scope="module")
def labels(street: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Classes of all pixels of `street`."""
    grid = open_scene(street).grid
    classes = np.indices((grid.height, grid.width))[1] // 7 % 3 + 1
    return write_classes(tmp_path_factory.mktemp("labels") / "labels.tif", street, classes, CLASSES)


@pytest.fixture
def job(unet: str, street: str, labels: str) -> EvaluateExplainersJob:
    """A small evaluation of two fast explainers of an untrained U-Net."""
    return EvaluateExplainersJob(
        [unet], FEW, scene=street, label_raster=labels, chips=4, samples=2, steps=4, randomised_chips=2
    )


def inputs_of(job: EvaluateExplainersJob) -> tuple[Model, Inputs, list[tuple[int, int]]]:
    """Return the model, the inputs of its sample, and the sample's pixels (row, column)."""
    model = load_model(job.models[0], PIXEL_CLASSIFICATION)
    sample = Samples(job, context_of()).of(model, job.models[0])
    baseline = torch.zeros_like
    pixels = [tuple(int(word) for word in re.findall(r"\d+", name)) for name in sample.names]
    return model, Inputs(model.network, sample, baseline, "cpu"), pixels


@pytest.mark.parametrize(
    "options",
    [{}, {"depth": 1}, {"depth": 3}, {"normalisation": "per_pixel", "brightness": True, "strength": 0.5}],
    ids=["plain", "flat", "deeper than the raster", "per pixel"],
)
def test_logits_of_crops_are_those_of_the_map(
    options: dict, job: EvaluateExplainersJob, save_unet: Callable, run_classify: Callable, tmp_path: Path
) -> None:
    # Enough pixels for every edge and corner of the raster, and for its nodata.
    job = replace(job, models=[save_unet(**options)], chips=400)
    _, inputs, pixels = inputs_of(job)
    mapped = run_classify(job.scene, job.models[0], tmp_path).probabilities
    members = torch.arange(len(pixels))
    with torch.no_grad():
        found = torch.cat([
            inputs.logits(inputs.read([number])[0], members[number : number + 1]).softmax(1)
            for number in range(len(pixels))
        ])  # fmt: skip
    rows, cols = np.array(pixels).T
    height, width = mapped.shape[1:]
    assert rows.min() < 3 and cols.min() < 3 and rows.max() > height - 4 and cols.max() > width - 4
    np.testing.assert_allclose(found.numpy(), mapped[:, rows, cols].T, rtol=0, atol=2e-6)


def test_a_crop_holds_what_the_tile_of_its_pixel_does(unet: str, street: str) -> None:
    network, grid = load_model(unet, PIXEL_CLASSIFICATION).network, open_scene(street).grid
    shapes = set()
    for row in range(grid.height):
        for col in range(0, grid.width, 3):
            crop = crop_window(grid, network, row, col)
            around = canvas_window(grid, network, Window(col, row, 1, 1))
            assert crop.row_off <= around.row_off and crop.col_off <= around.col_off
            assert crop.row_off + crop.height >= around.row_off + around.height
            assert crop.col_off + crop.width >= around.col_off + around.width
            assert crop.row_off % 4 == crop.col_off % 4 == 0 <= min(crop.row_off, crop.col_off)
            shapes.add((crop.height, crop.width))
    assert shapes == {(2 * network.reach + 4,) * 2} == {(52, 52)}


def test_scores_of_all_that_serve_a_unet(job: EvaluateExplainersJob, tmp_path: Path) -> None:
    context = context_of()
    job = replace(
        job, explainers=ALL, steps=32, baseline="mean", montage=str(tmp_path / "m.png"),
        report=str(tmp_path / "r.html"),
    )  # fmt: skip
    rows = table(evaluate(job, context))
    assert list(rows) == ALL
    placeless = {"band_ablation", "band_shapley"}
    for name, row in rows.items():
        assert row["max_sensitivity"] > 0 and 0 <= row["randomised_similarity"] <= 1
        assert row["infidelity_scaled"] >= 0 and 0 < row["deletion"] < 1 and 0 < row["insertion"] < 1
        assert row["seconds_per_chip"] > 0 and row["chips"] == 4 and row["zero_maps"] == 0
        assert (row["png_kb"] is None) == (row["gini"] is None) == (name in placeless)
        stages = [name for name in row if name.startswith("similarity_")]
        assert stages == [f"similarity_{stage}" for stage in
                          ("head", "up_0", "up_1", "bottom", "down_1", "down_0")]  # fmt: skip
        assert all(-1 <= row[stage] <= 1 for stage in stages)
    for name in ("secant_contributions", "tangent_contributions", "band_shapley"):
        assert rows[name]["residual"] < 1e-4
    assert rows["integrated_gradients"]["residual"] < 0.1 and rows["saliency"]["residual"] is None
    assert sum("no place in it, for 4 of 4 pixels" in text for text in context.warnings) == 2
    text = Path(job.report or "").read_text()
    assert "unet" in text and "Beside the study" not in text
    with Image.open(job.montage or "") as picture:
        assert picture.size[0] > 1000
    assert json.loads((tmp_path / "m.json").read_text())["models"][0]["architecture"] == "unet"


def test_maps_are_of_the_pixel_in_question(job: EvaluateExplainersJob) -> None:
    """What is exact adds up to the change of that pixel's logit; a band's ablation is that of the band."""
    model, inputs, _ = inputs_of(replace(job, chips=12))
    inputs.predict([range(12)])
    several = Several(ALL, model.network, Options(steps=16, samples=8, crop=52))
    x, baseline, weights = inputs.arguments(range(12))
    found = several.attribute(x, baseline, weights)
    of = torch.arange(12)
    change = inputs.output(x, of) - inputs.output(baseline, of)
    for name in ("secant_contributions", "band_shapley"):
        torch.testing.assert_close(found[name].values.sum((1, 2, 3)), change, rtol=1e-3, atol=1e-4)
    tangents = found["tangent_contributions"]
    torch.testing.assert_close(tangents.values.sum((1, 2, 3)) + tangents.reference, inputs.output(x, of))
    torch.testing.assert_close(tangents.values, found["input_x_gradient"].values, rtol=1e-3, atol=1e-5)
    hidden = x.clone()
    hidden[:, 1] = baseline[:, 1]
    torch.testing.assert_close(
        found["band_ablation"].values[:, 1].sum((1, 2)), inputs.output(x, of) - inputs.output(hidden, of),
        rtol=1e-3, atol=1e-5,
    )  # fmt: skip


@pytest.fixture(scope="module")
def planted(
    tmp_path_factory: pytest.TempPathFactory, copy_raster: Callable, street: str
) -> tuple[str, str, str]:
    """A scene of noise in 6 bands, in which band 4 alone tells the class, with labels and a U-Net of it."""
    folder = tmp_path_factory.mktemp("planted")
    generator = np.random.default_rng(3)
    with rasterio.open(street) as dataset:
        shape = dataset.shape
    cells = generator.integers(0, 2, (8, 10)).repeat(8, 0).repeat(8, 1)[: shape[0], : shape[1]]
    values = generator.normal(1, 0.2, (6, *shape))
    values[3] += 0.8 * cells
    scene = copy_raster(street, folder / "scene.tif", values.astype("float32"))
    labels = write_classes(folder / "labels.tif", street, cells + 1, ("low", "high"))
    model = str(folder / "unet.safetensors")
    job = TrainClassifierJob(
        scene, model, label_raster=labels, epochs=25, compare_splits=False, architecture="unet", depth=1,
        filters=4, tile_size=16, split="random",
    )  # fmt: skip
    assert train(job, context_of())["numbers"]["OVERALL_ACCURACY"] > 0.9
    return scene, labels, model


class Broken(SecantContributions):
    """Gives each band's contributions to the next band, and pixels theirs in an order that noise decides."""

    def attribute(self, x: torch.Tensor, baseline: torch.Tensor, weights: torch.Tensor) -> Attribution:
        found = super().attribute(x, baseline, weights)
        order = x.sum(1).flatten(1).argsort(1)[:, None].expand(-1, x.shape[1], -1)
        mixed = found.values.roll(1, 1).flatten(2).gather(2, order).view_as(x)
        return found._replace(values=mixed)


def test_a_broken_explainer_ranks_below(
    planted: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, labels, model = planted
    monkeypatch.setitem(SINGLE_PIXEL_EXPLAINERS, "deconvolution", Broken)
    job = EvaluateExplainersJob(
        [model], ["secant_contributions", "integrated_gradients", "deconvolution"], scene=scene,
        label_raster=labels, chips=12, samples=3, steps=16, baseline="mean", randomised_chips=3,
    )  # fmt: skip
    rows = table(evaluate(job, context_of()))
    broken = rows.pop("deconvolution")
    for row in rows.values():
        assert row["place"] < broken["place"] and row["points_low"] > broken["points_high"]
        assert row["max_sensitivity"] < broken["max_sensitivity"]
        assert row["infidelity_scaled"] < 0.2 * broken["infidelity_scaled"]
        assert row["deletion"] < broken["deletion"] and row["insertion"] > broken["insertion"]
        # The band that tells the class no longer stands out where the weights are mixed up.
        assert row["randomised_similarity"] < 0.8


def test_masks_are_those_of_the_crop(job: EvaluateExplainersJob, tmp_path: Path) -> None:
    with rasterio.open(job.scene or "") as dataset:
        corners = [(0, 0), (9, 0), (9, 80), (0, 80), (0, 0)]
        corners = [list(dataset.transform * corner) for corner in corners]
    geometry = {"type": "Polygon", "coordinates": [corners]}
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    mask = tmp_path / "mask.geojson"
    mask.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    job = replace(job, mask_features=str(mask), chips=30)
    model = load_model(job.models[0], PIXEL_CLASSIFICATION)
    sample = Samples(job, context_of()).of(model, job.models[0])
    assert sample.masks is not None and sample.places is not None
    for number, name in enumerate(sample.names):
        first = int(name.rpartition(" ")[2]) - int(sample.places[number, 1])
        across = torch.arange(first, first + 52)
        # Beyond column 73 the canvas is mirrored.
        across = torch.minimum(across, 146 - across)
        assert torch.equal(sample.masks[[number]][0], (across < 9).expand(52, -1))
    row = table(evaluate(replace(job, chips=6), context_of()))["secant_contributions"]
    assert 0 < row["mass_in_mask"] < 1 and 0 <= row["auc_in_mask"] <= 1


def test_samples_larger_than_the_memory_are_read_piece_by_piece(job: EvaluateExplainersJob) -> None:
    few, many = (replace(job, memory_mb=memory, chips=5) for memory in (16, 1024))
    ours, theirs = (table(evaluate(each, context_of())) for each in (few, many))
    for name in FEW:
        for score in ("max_sensitivity", "infidelity_scaled", "deletion", "png_kb", "randomised_similarity"):
            assert ours[name][score] == pytest.approx(theirs[name][score], rel=1e-4)


def test_what_can_not_be(job: EvaluateExplainersJob) -> None:
    with pytest.raises(InputError, match=r"'grad_cam' can't explain a segmentation network; choose one of"):
        evaluate(replace(job, explainers=["grad_cam"]), context_of())
    with pytest.raises(InputError, match=r"integrated_gradients of a segmentation network needs STEPS of 1"):
        evaluate(replace(job, explainers=["integrated_gradients"], steps=0), context_of())
    with pytest.raises(InputError, match=r"A crop of 52 x 52 pixels takes about .* than the 1 MB"):
        evaluate(replace(job, explainers=ALL, memory_mb=1), context_of())


def test_cancelling_stops_at_once(job: EvaluateExplainersJob) -> None:
    context = context_of()
    asked: list[float] = []

    def cancel() -> None:
        asked.append(time.monotonic())
        context.cancel()

    threading.Timer(1.5, cancel).start()
    with pytest.raises(Cancelled):
        evaluate(replace(job, explainers=ALL, chips=40, samples=20), context)
    assert time.monotonic() - asked[0] < 0.8
