"""Contributions carried forward are exact, whatever the network, and equal gradients where they must."""

from __future__ import annotations

from collections.abc import Callable

import captum.attr as captum
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from explanation_layers.explainers.propagation import Propagation
from explanation_layers.models.networks import BandScaling, PatchNetwork
from explanation_layers.models.segmentation_networks import build_segmentation_network
from explanation_layers.rasters.errors import InputError

LIMITS = {torch.float32: 1e-4, torch.float64: 1e-10}
DTYPES = pytest.mark.parametrize("dtype", LIMITS, ids=str)
TRAINED = pytest.mark.parametrize("trained", [False, True], ids=["random", "trained"])
EXPLAINABLE = pytest.mark.parametrize("explainable", [False, True], ids=["plain", "folded"])
RULES = pytest.mark.parametrize("rule", ["secant", "tangent"])


class Network(nn.Module):
    """A body of one's own behind a band scaling, as a segmentation network has it."""

    def __init__(self, body: nn.Module, bands: int = 3) -> None:
        super().__init__()
        self.front, self.body = nn.Sequential(BandScaling(bands)), body
        self.front[0].offset += 0.2
        self.eval().requires_grad_(False)

    def logits(self, x: Tensor) -> Tensor:
        return self.body(self.front(x))


class Mixed(nn.Module):
    """Operations written as functions, layers and methods; a gate, and an activation that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.norm, self.act, self.leaky = nn.BatchNorm2d(6), nn.GELU(), nn.LeakyReLU(0.2, inplace=True)
        self.gate, self.pool = nn.Conv2d(6, 6, 1), nn.MaxPool2d(3, 2, 1)
        self.up = nn.ConvTranspose2d(6, 6, 2, 2)
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 6, 1), nn.Sigmoid())
        self.head = nn.Conv2d(18, 4, 1)
        self.norm.bias.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        y = self.leaky(self.norm(self.second(x))) + 0.5 * x
        low = functional.relu(self.up(self.pool(y)))
        rough = functional.interpolate(functional.avg_pool2d(y, 2), scale_factor=2, mode="bilinear")
        attended = torch.tanh(y) * torch.sigmoid(self.gate(x)) * self.squeeze(y)
        return self.head(torch.cat([low - 0.1, rough / 2, attended], dim=1))


def largest(values: Tensor) -> float:
    return float(values.detach().abs().max())


def exact(found: Propagation, output: Tensor, limit: float) -> bool:
    residual = output - found.reference - found.bands().sum(0)
    return largest(found.logits - output) <= limit and largest(residual) <= limit * largest(output)


@DTYPES
@TRAINED
@EXPLAINABLE
@RULES
@torch.no_grad()
def test_parts_and_reference_are_the_logits(
    unet: Callable, stripes: Callable, dtype: torch.dtype, trained: bool, explainable: bool, rule: str
) -> None:
    network, x = unet(trained, dtype, explainable), stripes(count=2)[0].to(dtype)
    found = Propagation(network, x, x.mean((0, 2, 3)), rule)
    assert found.bands().shape == (5, 2, 4, 24, 32)
    assert exact(found, network.logits(x), LIMITS[dtype])
    start = network.logits(x.mean((0, 2, 3))[None, :, None, None].expand_as(x))
    assert rule == "tangent" or largest(found.reference - start) <= LIMITS[dtype]


@DTYPES
@RULES
@torch.no_grad()
def test_constant_images_are_exact_too(unet: Callable, dtype: torch.dtype, rule: str) -> None:
    network = unet(True, dtype)
    x = torch.full((1, 5, 16, 16), 0.7, dtype=dtype)
    assert exact(Propagation(network, x, torch.zeros(5, dtype=dtype), rule), network.logits(x), LIMITS[dtype])


@DTYPES
@RULES
@torch.no_grad()
def test_all_operations_with_a_rule_are_exact(dtype: torch.dtype, rule: str) -> None:
    torch.manual_seed(3)
    network = Network(Mixed()).to(dtype)
    x = torch.randn(2, 3, 8, 12, dtype=dtype)
    assert exact(Propagation(network, x, torch.zeros(3, dtype=dtype), rule), network.logits(x), LIMITS[dtype])


@pytest.mark.parametrize("shape", [("spectral_cnn", 1), ("spatial_cnn", 5), ("hybrid_cnn", 9)])
@DTYPES
@RULES
@torch.no_grad()
def test_networks_of_patches_are_exact_over_a_tile(
    make_case: Callable, shape: tuple, dtype: torch.dtype, rule: str
) -> None:
    case = make_case(*shape).double() if dtype == torch.float64 else make_case(*shape)
    x = case.x[0, :, :1, :1] + 0.1 * torch.randn(26, 11, 12).to(dtype)
    found = Propagation(case.network, x[None], case.baseline[0, :, 0, 0], rule)
    assert exact(found, case.network.logits(x[None]), LIMITS[dtype])


@DTYPES
@TRAINED
@RULES
@torch.no_grad()
def test_at_a_pixel_the_way_forward_is_the_way_back(
    unet: Callable, stripes: Callable, dtype: torch.dtype, trained: bool, rule: str
) -> None:
    network, x = unet(trained, dtype), stripes()[0].to(dtype)
    found = Propagation(network, x, x.mean((0, 2, 3)), rule)
    weights = torch.zeros_like(found.logits)
    weights[0, 1, 9, 20], weights[0, 3, 9, 20] = 1, -1
    back = next(found.multipliers([weights])) * found.differences
    ahead = found.bands(weights)[:, 0, 9, 20]
    assert largest(back.sum((0, 2, 3)) - ahead) <= LIMITS[dtype] * largest(ahead)


@DTYPES
def test_tangents_of_a_pixel_are_captums_input_x_gradient(
    unet: Callable, stripes: Callable, dtype: torch.dtype
) -> None:
    network, x = unet(True, dtype), stripes()[0].to(dtype)
    theirs = captum.InputXGradient(lambda z: network.logits(z)[:, 2, 13, 7, None]).attribute(
        x.clone().requires_grad_(True), target=0
    )
    with torch.no_grad():
        ours = Propagation(network, x, rule="tangent").bands()[:, 0, 2, 13, 7]
    assert largest(ours - theirs.sum((0, 2, 3))) <= LIMITS[dtype] * largest(ours)


@DTYPES
def test_what_tangents_start_from_is_biases_times_their_gradients(
    unet: Callable, stripes: Callable, dtype: torch.dtype
) -> None:
    network, x = unet(True, dtype), stripes()[0].to(dtype)
    biases = [layer.bias for layer in network.modules() if getattr(layer, "bias", None) is not None]
    for bias in biases:
        bias.requires_grad_(True)
    offset = network.scaling.offset.requires_grad_(True)
    slopes = torch.autograd.grad(network.logits(x)[0, 1, 4, 5], [*biases, offset])
    for each in (*biases, offset):
        each.requires_grad_(False)
    expected = sum((each * slope).sum() for each, slope in zip((*biases, offset), slopes))
    ours = Propagation(network, x, rule="tangent").reference[0, 1, 4, 5]
    assert abs(float(ours - expected)) <= LIMITS[dtype] * abs(float(expected))


@DTYPES
@torch.no_grad()
def test_without_biases_the_tangents_alone_are_the_logits(dtype: torch.dtype) -> None:
    torch.manual_seed(4)
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 1, bias=False)
    )
    network = Network(body).to(dtype)
    network.front[0].offset.zero_()
    x = torch.randn(1, 3, 8, 8, dtype=dtype)
    found = Propagation(network, x, rule="tangent")
    assert largest(found.reference) == 0
    assert largest(found.bands().sum(0) - network.logits(x)) <= LIMITS[dtype]


@DTYPES
@torch.no_grad()
def test_in_a_linear_network_secants_are_tangents_and_integrated_gradients(dtype: torch.dtype) -> None:
    torch.manual_seed(5)
    body = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.AvgPool2d(2), nn.ConvTranspose2d(5, 4, 2, 2))
    network = Network(body).to(dtype)
    x, start = torch.randn(1, 3, 8, 8, dtype=dtype), torch.randn(3, dtype=dtype)
    secants = Propagation(network, x, start).bands()
    both = [
        Propagation(network, each, rule="tangent").bands()
        for each in (x, secants.new_zeros(x.shape) + start[:, None, None])
    ]
    assert largest(secants - (both[0] - both[1])) <= LIMITS[dtype]
    with torch.enable_grad():
        theirs = captum.IntegratedGradients(lambda z: network.logits(z)[:, 1, 3, 4, None]).attribute(
            x, start[None, :, None, None].expand_as(x), target=0, n_steps=3
        )
    # Captum's nodes are float32.
    assert largest(secants[:, 0, 1, 3, 4] - theirs.sum((0, 2, 3))) <= 1e-5


@DTYPES
@torch.no_grad()
def test_an_image_that_is_its_own_baseline_has_no_parts(unet: Callable, dtype: torch.dtype) -> None:
    network, spectrum = unet(True, dtype), torch.rand(5).to(dtype)
    x = spectrum[None, :, None, None].expand(1, -1, 16, 16)
    found = Propagation(network, x, spectrum)
    assert largest(found.bands()) == 0 and torch.equal(found.reference, found.logits)


@DTYPES
@RULES
@torch.no_grad()
def test_parts_of_parts_add_up(unet: Callable, stripes: Callable, dtype: torch.dtype, rule: str) -> None:
    network, x = unet(True, dtype), stripes()[0].to(dtype)
    found = Propagation(network, x, x.mean((0, 2, 3)), rule)
    masks = torch.arange(24 * 32).reshape(24, 32) % 7 == torch.arange(7)[:, None, None]
    bands, regions = found.bands(), found.regions(masks)
    assert largest(bands.sum(0) - regions.sum(0)) <= LIMITS[dtype] * largest(bands)
    inside = sum(found.bands(inside=mask) for mask in masks)
    assert largest(inside - bands) <= LIMITS[dtype] * largest(bands)
    weights = torch.rand(found.logits.shape).to(dtype)
    assert torch.allclose(found.bands(weights), (bands * weights).sum(2))


@DTYPES
@torch.no_grad()
def test_images_of_a_batch_and_parts_in_any_number_at_once_give_the_same(
    unet: Callable, stripes: Callable, dtype: torch.dtype
) -> None:
    network, x = unet(True, dtype), stripes(count=2)[0].to(dtype)
    together = Propagation(network, x, x.mean((0, 2, 3)), memory=1)
    assert together.at_once == 1
    for image, parts in zip(x, together.bands().unbind(1)):
        alone = Propagation(network, image[None], x.mean((0, 2, 3)))
        assert alone.at_once > 1
        assert largest(alone.bands()[:, 0] - parts) <= LIMITS[dtype] * largest(parts)


@torch.no_grad()
def test_brightness_changes_nothing_where_spectra_are_normalised() -> None:
    torch.manual_seed(6)
    network = build_segmentation_network(
        "unet", bands=5, classes=3, normalisation="per_pixel", depth=1, filters=4
    ).double().eval().explainable()  # fmt: skip
    raw = torch.rand(1, 5, 8, 8).double() + 0.1
    flat = torch.full((5,), 0.2).double()
    one, other = (Propagation(network, network.prepare(scale * raw), flat) for scale in (1, 0.3))
    assert largest(one.logits - other.logits) <= 1e-12 and largest(one.bands() - other.bands()) <= 1e-12
    with torch.enable_grad():
        raw.requires_grad_(True)
        slope = torch.autograd.grad(network(raw)[0, 1, 2, 3], raw)[0]
    assert largest((slope * raw).sum(1)) <= 1e-12


def test_layers_in_training_mode_are_refused() -> None:
    network = build_segmentation_network(
        "unet", bands=3, classes=2, normalisation="none", depth=1, filters=4
    ).train()
    x = torch.rand(1, 3, 8, 8)
    with pytest.raises(InputError, match=r"batch norm\) is in training mode.*call eval\(\)"):
        Propagation(network, x, torch.zeros(3))
    dropout = Network(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout(0.5)))
    dropout.body[1].train()
    with pytest.raises(InputError, match=r"dropout\) is in training mode"):
        Propagation(dropout, x, torch.zeros(3))


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)), "GroupNorm"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Softmax(1)), "Softmax"),
    ],
)
def test_operations_without_a_rule_are_named_with_what_can_be_used(body: nn.Module, name: str) -> None:
    with pytest.raises(InputError, match=rf"'{name}'.*use band_shapley"):
        Propagation(Network(body), torch.rand(1, 3, 4, 4), torch.zeros(3))


def test_ways_that_depend_on_values_are_refused() -> None:
    class Choosing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(InputError, match=r"Choosing can't be followed.*use band_shapley"):
        Propagation(Network(Choosing()), torch.rand(1, 3, 4, 4), torch.zeros(3))


def test_a_check_that_raises_stops_both_ways(unet: Callable, stripes: Callable) -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > limit:
            raise InterruptedError

    for limit in (3, 60):
        calls = 0
        with pytest.raises(InterruptedError):
            Propagation(unet(False), stripes()[0], torch.zeros(5), memory=1, check=check).bands()
        assert calls == limit + 1


def test_a_patch_network_of_another_kind_is_followed() -> None:
    torch.manual_seed(8)
    front = nn.Sequential(BandScaling(3), nn.Conv2d(3, 4, 1))
    body = nn.Sequential(nn.Tanh(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    network = PatchNetwork(3, 2, 3, "none", front, body).eval().requires_grad_(False)
    x = torch.randn(1, 3, 7, 6)
    assert exact(Propagation(network, x, torch.zeros(3)), network.logits(x), 1e-5)
