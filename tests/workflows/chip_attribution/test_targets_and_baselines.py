"""Targets of chips choose the output, and baselines of chips are what they are called."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from explanation_layers.models.card import SCENE_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.workflows.chip_baselines import chip_baseline

from .conftest import SIDE, read


def test_targets_of_one_class_and_of_two(radar, copy_raster, run, tmp_path) -> None:
    values = read(radar)[:, 20 : 20 + SIDE, 30 : 30 + SIDE]
    path = copy_raster(radar, tmp_path / "one.tif", values, width=SIDE, height=SIDE)
    found = {}
    for key, fields in {
        "field": {"target": "class", "class_name": "field"},
        "town": {"target": "class", "class_name": "3"},
        "both": {"target": "contrast", "class_name": "field", "contrast_class": "town"},
    }.items():
        found[key] = run(tmp_path, scene=path, explainer="input_x_gradient", **fields)
    difference = found["field"].attribution - found["town"].attribution
    np.testing.assert_allclose(found["both"].attribution, difference, atol=1e-5)


def test_baselines_of_chips(radar, chip_model) -> None:
    model = load_model(chip_model, SCENE_CLASSIFICATION)
    x = torch.from_numpy(read(radar)[None, :, 20:36, 20:36])
    x = torch.cat([model.network.prepare(x), torch.zeros(1, 2, SIDE, SIDE)])
    made = {name: chip_baseline(name, "town", model, [-10.0, -20.0], 1)(x)
            for name in ("zero", "mean", "class_mean", "spectrum", "chip_mean", "speckle")}  # fmt: skip
    assert all(values.shape == x.shape for values in made.values())
    assert (made["zero"] == 0).all()
    for name, level in (("mean", [-9, -16]), ("class_mean", [-7, -14]), ("spectrum", [-10, -20])):
        expected = (torch.tensor(level) + 25) / 30
        torch.testing.assert_close(made[name][0, :, 3, 7], expected)
    power = 10 ** ((30 * x - 25) / 10)
    mean = (10 * power.mean((2, 3)).log10() + 25) / 30
    torch.testing.assert_close(made["chip_mean"][:, :, 0, 0], mean)
    speckle = 10 ** ((30 * made["speckle"][0] - 25) / 10) / power[0].mean((1, 2))[:, None, None]
    assert float(speckle.mean()) == pytest.approx(1, abs=0.1)
    assert float(1 / speckle.var()) == pytest.approx(4.4, rel=0.3)
    assert torch.equal(made["speckle"], chip_baseline("speckle", None, model, seed=1)(x))
    assert not torch.equal(made["speckle"], chip_baseline("speckle", None, model, seed=2)(x))
