"""Classifying by sliding chips: what is written is the weighted mean of what the network says of each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch
from rasterio.windows import Window

from explanation_layers.engine.jobs import ClassifyJob
from explanation_layers.models.card import SCENE_CLASSIFICATION
from explanation_layers.models.files import Model, load_model
from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.workflows.classify import classify
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.merge import merge_weights
from explanation_layers.workflows.slide import starts

SIDE = 16


def read(path: str) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


def of_chip(model: Model, chip: np.ndarray) -> np.ndarray:
    """Return the probabilities (class,) of one chip (band, y, x), its holes filled with the training mean."""
    holes = ~np.isfinite(chip).all(0)
    filled = np.where(holes, model.spectra.mean.numpy()[:, None, None], chip).astype(np.float32)
    with torch.no_grad():
        return model.network(torch.from_numpy(filled)[None]).softmax(1)[0, :, 0, 0].numpy()


def double_loop(model: Model, values: np.ndarray, stride: int, weights: np.ndarray) -> np.ndarray:
    """Return the mean probabilities (class, y, x) of a scene, NaN where there is none."""
    height, width = values.shape[1:]
    valid = np.isfinite(values).all(0)
    total, weight = np.zeros((3, height, width)), np.zeros((height, width))
    for row in starts(height, SIDE, stride):
        for col in starts(width, SIDE, stride):
            place = (slice(row, row + SIDE), slice(col, col + SIDE))
            if valid[place].mean() < 0.5:
                continue
            total[:, *place] += of_chip(model, values[:, *place])[:, None, None] * weights
            weight[place] += weights
    weight[~valid] = 0
    return np.where(weight > 0, total / np.where(weight > 0, weight, 1), np.nan)


@pytest.mark.parametrize(("merge", "stride"), [("uniform", 5), ("centre", 0)])
def test_probabilities_are_those_of_a_plain_double_loop(
    radar, chip_model, run_classify, tmp_path, merge, stride
) -> None:
    result = run_classify(radar, chip_model, tmp_path, merge=merge, chip_stride=stride)
    model = load_model(chip_model, SCENE_CLASSIFICATION)
    expected = double_loop(model, read(radar), stride or SIDE // 2, merge_weights(merge, SIDE))
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)
    here = np.isfinite(expected[0])
    assert np.array_equal(result.classes[0] > 0, here) and not here.all()
    assert np.array_equal(result.classes[0][here], result.probabilities[:, here].argmax(0) + 1)
    assert np.array_equal(result.confidence[0][here], result.probabilities[:, here].max(0))
    assert len(np.unique(result.classes[0][here])) > 1
    record = result.value["record"]
    assert record["chip_stride"] == (stride or 8) and record["chip_side"] == SIDE
    assert result.value["numbers"]["PIXELS"] == here.sum()


def test_extents_are_pieces_of_the_whole(radar, chip_model, run_classify, tmp_path) -> None:
    whole = run_classify(radar, chip_model, tmp_path).probabilities
    with rasterio.open(radar) as dataset:
        transform = dataset.transform
    for left, top, width, height in ((0, 0, 30, 20), (30, 0, 40, 20), (0, 20, 70, 33), (33, 17, 1, 1)):
        (x_min, y_max), (x_max, y_min) = transform * (left, top), transform * (left + width, top + height)
        part = run_classify(radar, chip_model, tmp_path, extent=[x_min, y_min, x_max, y_max]).probabilities
        expected = whole[:, *Window(left, top, width, height).toslices()]
        np.testing.assert_allclose(part, expected, atol=1e-6)


def test_a_scene_of_one_chip_is_what_the_network_says(radar, chip_model, copy_raster, run_classify, tmp_path):
    values = read(radar)[:, 20 : 20 + SIDE, 30 : 30 + SIDE]
    path = copy_raster(radar, tmp_path / "one.tif", values, width=SIDE, height=SIDE)
    result = run_classify(path, chip_model, tmp_path)
    expected = of_chip(load_model(chip_model, SCENE_CLASSIFICATION), values)
    np.testing.assert_allclose(
        result.probabilities, np.broadcast_to(expected[:, None, None], (3, 16, 16)), atol=1e-6
    )


def test_chips_without_data_on_more_than_half_have_no_say(radar, chip_model, copy_raster, tmp_path, context):
    values = read(radar)
    values[1, :, 8:] = np.nan  # of the chips at column 0 half is left, of those from 8 on nothing
    path = copy_raster(radar, tmp_path / "half.tif", values)
    result = classify(ClassifyJob(path, chip_model, classes=str(tmp_path / "c.tif")), context)
    classes = read(str(tmp_path / "c.tif"))[0]
    assert (classes[16:, :8] > 0).all() and not classes[:, 8:].any()
    assert "chips have no data on more than half of their pixels and were left out." in result["warnings"][0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"chip_stride": 40}, r"The chip stride can't be 40 with chips of 16 x 16 pixels; choose 1 to 16"),
        ({"chip_stride": -1}, r"The chip stride can't be -1"),
        ({"merge": "max"}, r"There is no merge 'max'; choose one of uniform, centre\."),
        ({"classes": None}, r"No output is wanted"),
    ],
)
def test_a_slide_that_can_not_be(radar, chip_model, tmp_path, context, change, sentence) -> None:
    job = replace(ClassifyJob(radar, chip_model, classes=str(tmp_path / "c.tif")), **change)
    with pytest.raises(InputError, match=sentence):
        classify(job, context)
    assert not list(tmp_path.iterdir())


def test_scenes_that_do_not_fit(radar, chip_model, save_chip_model, copy_raster, tmp_path, context) -> None:
    def refused(scene: str, model: str, sentence: str) -> None:
        with pytest.raises(InputError, match=sentence):
            classify(ClassifyJob(scene, model, classes=str(tmp_path / "c.tif")), context)

    values = read(radar)
    small = copy_raster(radar, tmp_path / "small.tif", values[:, :12], height=12)
    refused(small, chip_model, r"small.tif has 70 x 12 pixels, which is smaller than a chip of the model")
    single = copy_raster(radar, tmp_path / "single.tif", values[:1])
    refused(single, chip_model, r"single.tif has 1 bands, the model was trained on 2")
    empty = copy_raster(radar, tmp_path / "empty.tif", np.full_like(values, np.nan))
    refused(empty, chip_model, r"empty.tif holds no pixel with data")
    with rasterio.open(single, "r+") as dataset:
        dataset.descriptions = ("VH",)
    refused(single, save_chip_model(("VV",), (0,)), r"Band 1 of .*single.tif is VH, the model's is VV")


def test_options_of_chips_are_said_to_be_idle_with_pixels(demo, spectral_model, tmp_path, context) -> None:
    job = ClassifyJob(demo.raster, spectral_model, classes=str(tmp_path / "c.tif"), merge="uniform",
                      chip_stride=3)  # fmt: skip
    warnings = classify(job, context)["warnings"]
    assert warnings == [f"{name} is not used: the model classifies pixels, not chips."
                        for name in ("CHIP_STRIDE", "MERGE")]  # fmt: skip


def test_a_cancel_stops_between_layers(radar, chip_model, tmp_path) -> None:
    context = Context("stop", lambda message: None)
    job = ClassifyJob(radar, chip_model, classes=str(tmp_path / "c.tif"))
    checks = []

    def check() -> None:
        checks.append(1)
        if len(checks) == 12:
            context.cancel()
        Context.check(context)

    context.check = check
    with pytest.raises(Cancelled):
        classify(job, context)
    assert not list(tmp_path.iterdir())
