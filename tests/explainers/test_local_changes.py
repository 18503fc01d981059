"""Running early layers only where a change reaches gives what running them whole gives."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from explanation_layers.explainers import local_changes
from explanation_layers.explainers.base import Options
from explanation_layers.explainers.chip_occlusion import ChipBandAblation, ChipOcclusion
from explanation_layers.explainers.local_changes import LocalChanges, can_run_locally
from explanation_layers.models.relus import followed
from explanation_layers.models.scene_networks import SceneNetwork, build_scene_network

CLASSES = 3


@cache
def network_of(architecture: str, bands: int, side: int, speckle_filter: str = "none") -> SceneNetwork:
    """A network in float64 with batch norms that are not those of the start."""
    torch.manual_seed(3)
    network = build_scene_network(
        architecture, bands=bands, classes=CLASSES, patch_size=side, speckle_filter=speckle_filter
    ).double()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0, 0.2)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.1)
    return network.eval().requires_grad_(False).explainable()


def case_of(bands: int, side: int, chips: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(side)
    x, baseline = torch.rand(2, chips, bands, side, side, generator=generator, dtype=torch.float64)
    return x, baseline, torch.randn(chips, CLASSES, generator=generator, dtype=torch.float64)


def plainly(explainer: ChipOcclusion, case: tuple[Tensor, Tensor, Tensor], masks: Tensor) -> Tensor:
    x, _, weights = case
    return explainer.output(x, weights)[:, None] - explainer._hidden_outputs(*case, masks)


@pytest.mark.parametrize(
    ("architecture", "bands", "side", "wide", "stride"),
    [
        ("resnet18", 1, 64, 15, 10), ("resnet18", 3, 51, 7, 11), ("resnet18", 1, 37, 1, 9),
        ("resnet18", 2, 48, 5, 16), ("resnet18", 1, 40, 30, 7), ("resnet18", 1, 33, 33, 5),
        ("resnet50", 3, 45, 9, 13), ("resnet50", 1, 64, 4, 20),
    ],
)  # fmt: skip
@pytest.mark.parametrize("memory", [1, 2**27], ids=["one by one", "together"])
def test_windows_change_outputs_as_whole_runs_say(
    architecture: str, bands: int, side: int, wide: int, stride: int, memory: int
) -> None:
    options = Options(occlusion_window=wide, occlusion_stride=stride, memory=memory)
    explainer = ChipOcclusion(network_of(architecture, bands, side), options)
    case, masks = case_of(bands, side), explainer.masks(bands, side)
    torch.testing.assert_close(
        explainer._changes(*case, masks), plainly(explainer, case, masks), rtol=1e-9, atol=1e-11
    )


def test_single_precision() -> None:
    network = copy.deepcopy(network_of("resnet18", 1, 64)).float()
    explainer = ChipOcclusion(network, Options(occlusion_stride=9))
    case = tuple(each.float() for each in case_of(1, 64))
    masks = explainer.masks(1, 64)
    scale = float(explainer.output(case[0], case[2]).abs().max())
    difference = explainer._changes(*case, masks) - plainly(explainer, case, masks)
    assert float(difference.abs().max()) <= 1e-6 * scale


def test_bands_are_whole_maps() -> None:
    explainer = ChipBandAblation(network_of("resnet18", 3, 51), Options())
    case, masks = case_of(3, 51), explainer.masks(3, 51)
    torch.testing.assert_close(
        explainer._changes(*case, masks), plainly(explainer, case, masks), rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize("speckle_filter", ["boxcar", "lee"])
def test_filters_reach_further(speckle_filter: str) -> None:
    explainer = ChipOcclusion(network_of("resnet18", 1, 40, speckle_filter), Options(occlusion_stride=12))
    case, masks = case_of(1, 40), explainer.masks(1, 40)
    torch.testing.assert_close(
        explainer._changes(*case, masks), plainly(explainer, case, masks), rtol=1e-9, atol=1e-11
    )


class Odd(nn.Module):
    """What residual networks don't have: groups, dilation, strides that skip cells, other operations."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=2, dilation=2, groups=2)
        self.skipping = nn.Conv2d(4, 4, 1, stride=3)
        self.wide = nn.Conv2d(4, 4, (1, 5), stride=(2, 1), padding=(0, 2))
        self.mirrored = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
        self.same = nn.Conv2d(4, 4, 3, padding="same")
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.ceiling = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.last = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        parts = [
            self.skipping(x) + 1, self.wide(self.pool(x)).relu(), self.ceiling(self.mirrored(x)),
            torch.add(x, self.same(x), alpha=2).tanh(), self.pool(x + torch.relu(x - 1)),
        ]  # fmt: skip
        return self.last(sum(part.mean((2, 3)) for part in parts))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("wide", [1, 2, 6])
def test_any_operation_is_run_whole_where_it_has_no_local_way(
    share: float, wide: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_changes, "_MOST_OF_A_MAP", share)
    torch.manual_seed(1)
    network = followed(Odd().double())
    assert can_run_locally(network)
    x, baseline = torch.rand(2, 2, 2, 17, 20, dtype=torch.float64)
    corners = [(0, 0), (17 - wide, 20 - wide), (5, 7), (1, 13), (10, 0), (16 - wide, 4)]
    masks = torch.zeros(len(corners), 1, 17, 20, dtype=torch.bool)
    for mask, (row, col) in zip(masks, corners, strict=True):
        mask[0, row : row + wide, col : col + wide] = True
    local = LocalChanges(network, x)
    torch.testing.assert_close(local.output, network(x))
    whole = network(torch.where(masks[:, None], baseline, x).flatten(0, 1))
    torch.testing.assert_close(local.replaced(baseline, masks), whole, rtol=1e-10, atol=1e-12)


class InPlace(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.layer = way, nn.Conv2d(1, 1, 3)
        self.activation = nn.Hardtanh(inplace=way == "module")

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x).relu()
        if self.way == "method":
            return x.mul_(2)
        if self.way == "function":
            return nn.functional.hardtanh(x, inplace=True)
        return self.activation(x)


@pytest.mark.parametrize("way", ["method", "function", "module"])
def test_networks_that_change_maps_in_place_are_run_whole(way: str) -> None:
    assert not can_run_locally(followed(InPlace(way)))
    assert can_run_locally(followed(InPlace("")))
    assert not can_run_locally(InPlace(""))
