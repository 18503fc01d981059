"""The two legs add up to the whole way, and each tells what only it can know."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from explanation_layers.explainers.base import Options, as_large_as
from explanation_layers.explainers.two_legs import TwoLegs, absorption_share
from explanation_layers.models.networks import PatchNetwork, build
from explanation_layers.rasters.continuum import upper_hull

AT = np.linspace(450, 1300, 26)
METHODS = {"integrated_gradients": 0.01, "deeplift": 1e-4, "secant_contributions": 1e-4, "band_shapley": 1e-4}


def hull_of(spectra: Tensor) -> Tensor:
    """The hulls of maps (band, y, x)."""
    hull = upper_hull(spectra.movedim(0, -1).numpy(), AT, [np.arange(len(AT))])
    return torch.from_numpy(hull).movedim(-1, 0)


def tile_of(case, height: int = 4, width: int = 5) -> Tensor:
    halo = case.network.patch_size - 1
    pixels = case.x.movedim(1, -1).reshape(-1, case.x.shape[1])
    chosen = torch.randint(
        len(pixels), (height + halo, width + halo), generator=torch.Generator().manual_seed(4)
    )
    return pixels[chosen].movedim(-1, 0).contiguous()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("network", [("spectral_cnn", 1), ("spatial_cnn", 5)])
def test_legs_sum_to_the_whole_difference(make_case: Callable, network: tuple, name: str) -> None:
    case = make_case(*network)
    x, mean = tile_of(case), case.baseline[0, :, 0, 0]
    hull = hull_of(x)
    legs = TwoLegs(name, case.network, Options(samples=4))
    with torch.no_grad():
        logits = [case.network.logits(maps[None])[0] for maps in (x, hull, as_large_as(x, mean))]
        weights = torch.zeros_like(logits[0]).scatter(0, logits[0].argmax(0, keepdim=True), 1.0)
        outputs = [(each * weights).sum(0) for each in logits]
        legs.learn(case.x, case.baseline + 0.01, case.baseline, case.weights)
        ticks: list[int] = []
        wanted = torch.ones_like(outputs[0], dtype=torch.bool)
        found = legs.attribute_tile(x, hull, mean, weights, wanted, ticks.append)
    assert sum(ticks) == 2 * wanted.numel()
    torch.testing.assert_close(found.absorption.reference, outputs[1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.continuum.reference, outputs[2], atol=1e-4, rtol=1e-4)
    for leg, (after, before) in zip(found, ((0, 1), (1, 2)), strict=True):
        difference = outputs[after] - outputs[before]
        residual = (difference - leg.values.sum(0)).abs()
        assert (residual <= METHODS[name] * difference.abs() + 1e-4 * outputs[0].abs().max()).all()
    whole = (outputs[0] - outputs[2]).abs()
    residual = (
        outputs[0] - outputs[2] - found.absorption.values.sum(0) - found.continuum.values.sum(0)
    ).abs()
    assert float(residual.sum() / whole.sum()) < 0.01


def test_patches_have_their_legs_too(make_case: Callable) -> None:
    case = make_case("spatial_cnn", 5)
    hull = torch.stack([hull_of(x) for x in case.x])
    legs = TwoLegs("deeplift", case.network, Options())
    with torch.no_grad():
        found = legs.attribute(case.x, hull, case.baseline, case.weights)
        whole = case.output(case.x, case.weights) - case.output(case.baseline, case.weights)
    sums = sum(leg.values.sum((1, 2, 3)) for leg in found)
    torch.testing.assert_close(sums, whole, atol=1e-3, rtol=1e-3)


def linear(weights: Tensor) -> PatchNetwork:
    """A network of single spectra whose first logit is, for spectra above 0, their weighted sum."""
    network = build("spatial_cnn", bands=26, classes=2, patch_size=1, normalisation="none", components=1)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.data.zero_()
            layer.bias.data.zero_()
            layer.weight.data[0, 0] = 1
    convolutions = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)]
    convolutions[0].weight.data[0] = weights[:, None, None]
    convolutions[0].bias.data[0] = 100
    return network.eval().requires_grad_(False)


def test_a_linear_network_has_its_weights_times_what_each_leg_changes() -> None:
    weights = torch.linspace(-1, 1, 26)
    along = torch.linspace(0, 1, 26)
    line = 0.3 + 0.2 * along
    x = (line * (1 - 0.4 * torch.exp(-(((along - 0.5) / 0.1) ** 2))))[:, None, None]
    mean = torch.full((26,), 0.2)
    legs = TwoLegs("integrated_gradients", linear(weights), Options())
    target = torch.tensor([1.0, 0.0])[:, None, None]
    with torch.no_grad():
        found = legs.attribute_tile(
            x, hull_of(x), mean, target, torch.ones(1, 1, dtype=torch.bool), lambda pixels: None
        )
    dip = weights * (x[:, 0, 0] - hull_of(x)[:, 0, 0])
    torch.testing.assert_close(found.absorption.values[:, 0, 0], dip, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        found.continuum.values[:, 0, 0], weights * (hull_of(x)[:, 0, 0] - 0.2), atol=1e-5, rtol=1e-4
    )
    # Without an absorption there is nothing on its leg.
    with torch.no_grad():
        flat = legs.attribute_tile(
            line[:, None, None], hull_of(line[:, None, None]), mean, target,
            torch.ones(1, 1, dtype=torch.bool), lambda pixels: None,
        )  # fmt: skip
    assert not flat.absorption.values.any()


def test_share_of_the_absorptions_by_hand() -> None:
    assert absorption_share(np.array([3.0, -1.0]), np.array([-2.0, 2.0])) == 0.5
    assert absorption_share(np.array([1.0, np.nan]), np.array([3.0, 9.0])) == 0.25
    assert absorption_share(np.zeros(3), np.ones(3)) == 0
    assert absorption_share(np.zeros(3), np.zeros(3)) is None


@pytest.mark.parametrize("name", ["saliency", "gradient_shap", "input_x_gradient"])
def test_what_starts_from_no_baseline_has_no_legs(make_case: Callable, name: str) -> None:
    with pytest.raises(ValueError, match="no contributions from a baseline"):
        TwoLegs(name, make_case("spectral_cnn", 1).network, Options())
