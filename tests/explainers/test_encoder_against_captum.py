"""The explainers of pixels explain an embedding as Captum does, and tiles of series as pixels."""

from __future__ import annotations

import copy
from collections.abc import Callable

import captum.attr as captum
import pytest
import torch
from torch import Tensor, nn

from explanation_layers.explainers.base import Options
from explanation_layers.explainers.registry import PIXEL_EXPLAINERS, make_explainer
from explanation_layers.models.autoencoder import Autoencoder, autoencoder

DATES, CHANNELS, COUNT, LIMIT = 11, 2, 5, 1e-5
STRIDES = [1, 2, 5]

pytestmark = pytest.mark.filterwarnings(
    "ignore:Input Tensor 0 did not", "ignore:Setting forward, backward hooks", "ignore:Setting backward hooks"
)


def encoder(stride: int, dtype: torch.dtype) -> Autoencoder:
    # A stride of 5 leaves one date, on which kernels and padding still lie.
    torch.manual_seed(stride)
    network = autoencoder(DATES, CHANNELS, filters=(8, 12, 8), stride=stride).to(dtype)
    network.scaling.offset.copy_(torch.tensor([-12.0, -18.0]).repeat(DATES))
    network.scaling.scale.copy_(torch.tensor([3.0, 2.0]).repeat(DATES))
    return network.eval().requires_grad_(False)


class Target(nn.Module):
    """A direction's coordinate as a module, with ReLUs of the class that Captum knows."""

    def __init__(self, network: Autoencoder) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        for place, layer in enumerate(self.network.body):
            if isinstance(layer, nn.ReLU):
                self.network.body[place] = nn.ReLU()

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return (self.network.logits(x).flatten(1) * weights).sum(1)


class Case:
    def __init__(self, stride: int, dtype: torch.dtype = torch.float64) -> None:
        self.network = encoder(stride, dtype)
        generator = torch.Generator().manual_seed(4)
        self.x = 4 * torch.randn(COUNT, DATES * CHANNELS, 1, 1, generator=generator).to(dtype) - 15
        self.baseline = self.network.scaling.offset[:, None, None].expand_as(self.x).contiguous()
        self.weights = torch.tensor([1.0, 0.0]).to(dtype).expand(COUNT, -1).clone()
        self.weights[0] = torch.tensor([0.6, -0.8])

    def ours(self, name: str, **options: object) -> Tensor:
        explainer = make_explainer(name, self.network, Options(**options))
        return explainer.attribute(self.x, self.baseline, self.weights).values


@pytest.fixture(params=STRIDES, ids=lambda stride: f"stride {stride}")
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_integrated_gradients(case: Case, relative_difference: Callable) -> None:
    theirs = captum.IntegratedGradients(Target(case.network)).attribute(
        case.x, case.baseline, additional_forward_args=case.weights, n_steps=20
    )
    assert relative_difference(case.ours("integrated_gradients", steps=20), theirs) <= LIMIT


def test_settled_integrated_gradients(relative_difference: Callable) -> None:
    case = Case(2)
    theirs = captum.IntegratedGradients(Target(case.network)).attribute(
        case.x[:2], case.baseline[:2], additional_forward_args=case.weights[:2], n_steps=250
    )
    ours = case.ours("integrated_gradients", tolerance=1e-3, max_steps=512)
    assert relative_difference(ours[:2], theirs) <= 1e-2


def test_deeplift_is_one_secant_forward_or_back(case: Case, relative_difference: Callable) -> None:
    theirs = captum.DeepLift(Target(case.network)).attribute(
        case.x.clone().requires_grad_(), case.baseline, additional_forward_args=case.weights
    )
    for name in ("deeplift", "secant_contributions"):
        assert relative_difference(case.ours(name), theirs.detach()) <= LIMIT


def test_gradients(case: Case, relative_difference: Callable) -> None:
    target = Target(case.network)
    for name, method in (
        ("saliency", captum.Saliency), ("input_x_gradient", captum.InputXGradient),
        ("tangent_contributions", captum.InputXGradient),
        ("guided_backpropagation", captum.GuidedBackprop), ("deconvolution", captum.Deconvolution),
    ):  # fmt: skip
        theirs = method(target).attribute(
            case.x.clone().requires_grad_(), additional_forward_args=case.weights
        )
        assert relative_difference(case.ours(name), theirs.detach()) <= LIMIT, name


@pytest.mark.parametrize("dates", [1, 3])
def test_occlusion_of_dates(case: Case, dates: int, relative_difference: Callable) -> None:
    window = (dates * CHANNELS, 1, 1)
    theirs = captum.Occlusion(Target(case.network)).attribute(
        case.x, window, window, case.baseline, additional_forward_args=case.weights
    )
    ours = case.ours("occlusion", occlusion_bands=dates * CHANNELS)
    assert relative_difference(ours * dates * CHANNELS, theirs) <= LIMIT


def test_ablation_of_bands(case: Case, relative_difference: Callable) -> None:
    theirs = captum.FeatureAblation(Target(case.network)).attribute(
        case.x, case.baseline, additional_forward_args=case.weights
    )
    assert relative_difference(case.ours("band_ablation"), theirs) <= LIMIT


@pytest.mark.parametrize("name", PIXEL_EXPLAINERS)
def test_a_tile_of_series_is_explained_as_its_pixels(name: str, relative_difference: Callable) -> None:
    case = Case(2, torch.float32)
    rows, cols = torch.arange(4), torch.tensor([0, 2, 1, 2])
    tile = case.x[:1, :, 0, 0].T[:, :, None].repeat(1, 4, 3)
    tile += torch.randn(tile.shape, generator=torch.Generator().manual_seed(6))
    weights = case.weights[:1].T[:, :, None].expand(-1, 4, 3)
    background = case.x[:, :, 0, 0]
    # Sampling draws the same for every pixel.
    explainer = make_explainer(name, case.network, Options(samples=4, background=background, tolerance=1e-3))
    wanted = torch.ones(4, 3, dtype=torch.bool)
    whole = explainer.attribute_tile(tile, case.baseline[0, :, 0, 0], weights, wanted, lambda count: None)
    x = tile[:, rows, cols].T[:, :, None, None].contiguous()
    start = case.baseline[:1].expand_as(x).contiguous()
    single = explainer.attribute(x, start, case.weights[:1].expand(4, -1).contiguous())
    found = whole.values[:, rows, cols].T
    assert relative_difference(found, single.values[:, :, 0, 0]) <= 1e-4
