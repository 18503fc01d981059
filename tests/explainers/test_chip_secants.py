"""Secants of scene networks: complete at any number of segments, and with many the integrated gradients."""

from __future__ import annotations

from functools import cache

import captum.attr as captum
import pytest
import torch
from torch import Tensor, nn

from explanation_layers.explainers.base import Options
from explanation_layers.explainers.chip_gradients import ChipIntegratedGradients
from explanation_layers.explainers.registry import make_explainer
from explanation_layers.models.relus import Record, Rule, RuledMaxPool, recording
from explanation_layers.models.scene_networks import SceneNetwork, build_scene_network

SIDE, CLASSES = 33, 4


@cache
def network_of(architecture: str, speckle_filter: str = "none") -> SceneNetwork:
    """A network in float64 with batch norms that are not those of the start."""
    torch.manual_seed(3)
    network = build_scene_network(
        architecture, bands=1, classes=CLASSES, patch_size=SIDE, speckle_filter=speckle_filter, looks=100.0
    ).double()
    network.low.fill_(-10)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0, 0.2)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.3, 0.8)
            nn.init.normal_(layer.bias, 0, 0.1)
    return network.eval().requires_grad_(False).explainable()


def explainer_of(network: SceneNetwork, **options: object) -> ChipIntegratedGradients:
    explainer = make_explainer("integrated_gradients", network, Options(**options))
    assert isinstance(explainer, ChipIntegratedGradients)
    return explainer


def chips() -> tuple[Tensor, Tensor, Tensor]:
    """Two random chips, one of one value, one of few values and so of ties; baselines and weights."""
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(4, 1, SIDE, SIDE, generator=generator, dtype=torch.float64)
    x[2] = 0.7
    x[3] = (3 * x[3]).round() / 3
    weights = torch.randn(4, CLASSES, generator=generator, dtype=torch.float64)
    return x, torch.zeros_like(x), weights


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
@pytest.mark.parametrize("speckle_filter", ["none", "boxcar"])
def test_two_segments_add_up(architecture: str, speckle_filter: str) -> None:
    explainer = explainer_of(network_of(architecture, speckle_filter))
    x, baseline, weights = chips()
    values = explainer.level(x, baseline, weights, 2)
    difference = explainer.output(x, weights) - explainer.output(baseline, weights)
    assert ((difference - values.sum((1, 2, 3))).abs() <= 1e-10 * difference.abs()).all()


def test_nothing_comes_of_no_path() -> None:
    explainer = explainer_of(network_of("resnet18"))
    x, _, weights = chips()
    found = explainer.attribute(x, x.clone(), weights)
    assert (found.values == 0).all() and found.settled.all()


def test_many_segments_are_the_integral() -> None:
    network = network_of("resnet18")
    x, baseline, weights = (each[:1] for each in chips())
    found = explainer_of(network).level(x, baseline, weights, 96)
    exact = captum.IntegratedGradients(lambda x: (network.logits(x).flatten(1) * weights).sum(1)).attribute(
        x, baseline, n_steps=300, internal_batch_size=60
    )
    assert (found - exact).abs().sum() < 0.02 * exact.abs().sum()


def test_the_residual_of_the_lee_filter_shrinks() -> None:
    explainer = explainer_of(network_of("resnet18", "lee"))
    x, baseline, weights = (each[:2] for each in chips())
    difference = explainer.output(x, weights) - explainer.output(baseline, weights)

    def residual(segments: int) -> float:
        values = explainer.level(x, baseline, weights, segments)
        return float((difference - values.sum((1, 2, 3))).abs().max() / values.abs().sum((1, 2, 3)).max())

    assert 1e-12 < residual(64) < residual(2) / 8


def test_without_a_tolerance_all_segments_are_run_at_once_and_nothing_settles() -> None:
    x, baseline, weights = chips()
    explainer = explainer_of(network_of("resnet18"), max_steps=12, tolerance=0)
    found = explainer.attribute(x, baseline, weights)
    torch.testing.assert_close(found.values, explainer.level(x, baseline, weights, 12))
    assert (found.evaluations == 12).all() and not found.settled.any()


@pytest.mark.parametrize("memory", [2**20, 2**30], ids=["pieces", "whole"])
def test_a_chip_alone_gives_what_it_gives_among_others(memory: int) -> None:
    network = network_of("resnet18")
    x, baseline, weights = chips()
    together = explainer_of(network, max_steps=16).attribute(x, baseline, weights)
    assert (together.evaluations == 24).all()
    alone = explainer_of(network, max_steps=16, memory=memory).attribute(x[1:2], baseline[1:2], weights[1:2])
    torch.testing.assert_close(together.values[1:2], alone.values, rtol=1e-9, atol=1e-12)


def test_maxima_share_as_a_loop_over_windows_does() -> None:
    generator = torch.Generator().manual_seed(2)
    # Few values: ties within windows and places that stay.
    path = torch.randint(0, 5, (3, 2, 7, 6), generator=generator).double() + 0.0
    gradient = torch.randn(3, 2, 4, 3, generator=generator, dtype=torch.float64)
    gradient[-1] = 0
    x = path.clone().requires_grad_(True)
    with torch.enable_grad(), recording(Record(Rule("secant"))):
        output = RuledMaxPool(3, 2, 1)(x)
    found = torch.autograd.grad(output, x, gradient)[0]
    torch.testing.assert_close(found, _by_loop(path, gradient))
    steps = ((path[1:] - path[:-1]) * found[:-1]).sum((1, 2, 3))
    torch.testing.assert_close(steps, ((output[1:] - output[:-1]) * gradient[:-1]).sum((1, 2, 3)))


def _by_loop(path: Tensor, gradient: Tensor) -> Tensor:
    result = torch.zeros_like(path)
    for point, band, row, col in torch.cartesian_prod(*map(torch.arange, gradient[:-1].shape)).tolist():
        cells = [
            (y, x)
            for y in range(max(0, 2 * row - 1), min(path.shape[2], 2 * row + 2))
            for x in range(max(0, 2 * col - 1), min(path.shape[3], 2 * col + 2))
        ]
        before, after = path[point, band], path[point + 1, band]
        k, k0 = max(cells, key=lambda cell: after[cell]), max(cells, key=lambda cell: before[cell])
        change, change0 = after[k] - before[k], after[k0] - before[k0]
        moved = after[k] - before[k0]
        share = 1.0 if change == change0 else float((moved - change0) / (change - change0))
        result[point, band][k] += share * gradient[point, band, row, col]
        result[point, band][k0] += (1 - share) * gradient[point, band, row, col]
    return result
