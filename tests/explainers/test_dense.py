"""Explaining all pixels of a tile at once: complete, in one piece or in parts, for U-Nets and patches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from explanation_layers.explainers.base import Options, TileAttribution
from explanation_layers.explainers.costs import layer_bytes
from explanation_layers.explainers.dense import SecantContributions
from explanation_layers.explainers.registry import (
    SEGMENTATION_EXPLAINERS,
    check_serves,
    explainers_of,
    make_explainer,
)
from explanation_layers.explainers.shapley import orders, shapley_values
from explanation_layers.models.scene_networks import build_scene_network
from explanation_layers.models.segmentation_networks import build_segmentation_network
from explanation_layers.rasters.errors import InputError

LIMITS = {torch.float32: 1e-4, torch.float64: 1e-10}
DTYPES = pytest.mark.parametrize("dtype", LIMITS, ids=str)
EXACT = ("secant_contributions", "tangent_contributions", "band_shapley")


class Scene:
    """A network with an image, a mean spectrum, and for each pixel the target's weights."""

    def __init__(self, network, image: Tensor) -> None:
        self.network, self.image = network, image
        self.baseline = image.mean((1, 2))
        logits = network.logits(image[None])[0]
        self.weights = torch.zeros_like(logits).scatter(0, logits.argmax(0, keepdim=True), 1.0)
        self.output = (logits * self.weights).sum(0)
        self.wanted = torch.ones(logits.shape[1:], dtype=torch.bool)

    def explain(self, name: str, real: Tensor | None = None, tick: Callable = lambda _: None, **options):
        explainer = make_explainer(name, self.network, Options(**{"samples": 6, **options}))
        with torch.no_grad():
            return explainer.attribute_tile(
                self.image, self.baseline, self.weights, self.wanted, tick, *([] if real is None else [real])
            )

    def residual(self, found: TileAttribution) -> float:
        parts = found.values.sum(0) + found.reference
        parts = parts if found.padding is None else parts + found.padding
        return float((self.output - parts)[self.wanted].abs().max() / self.output.abs().max())


@pytest.fixture
def scene(unet: Callable, stripes: Callable) -> Callable[..., Scene]:
    def make(dtype: torch.dtype = torch.float32, trained: bool = True) -> Scene:
        return Scene(unet(trained, dtype), stripes()[0][0].to(dtype))

    return make


@pytest.mark.parametrize("name", EXACT)
@DTYPES
@pytest.mark.parametrize("trained", [False, True], ids=["random", "trained"])
def test_bands_reference_and_padding_are_the_output(
    scene: Callable, name: str, dtype: torch.dtype, trained: bool
) -> None:
    image = scene(dtype, trained)
    real = torch.ones(24, 32, dtype=torch.bool)
    real[20:], real[:, 30:] = False, False
    whole, parted = image.explain(name), image.explain(name, real)
    assert whole.padding is None and parted.padding is not None
    for found in (whole, parted):
        assert image.residual(found) <= LIMITS[dtype]
        assert found.values.dtype == dtype and found.values.shape == (5, 24, 32)
    assert float(parted.padding.abs().max()) > 0
    nothing = image.explain(name, torch.ones_like(real))
    assert float(nothing.padding.abs().max()) == 0


@pytest.mark.parametrize("name", SEGMENTATION_EXPLAINERS)
def test_what_is_not_wanted_is_not_a_number_and_ticks_count_the_rest(scene: Callable, name: str) -> None:
    image = scene()
    every = image.explain(name)
    image.wanted = torch.rand(24, 32, generator=torch.Generator().manual_seed(2)) < 0.4
    ticks: list[int] = []
    some = image.explain(name, torch.ones(24, 32, dtype=torch.bool), ticks.append)
    assert sum(ticks) == int(image.wanted.sum())
    assert some.values.isnan().all(0).equal(~image.wanted) and some.reference.isnan().equal(~image.wanted)
    assert name == "band_shapley" or torch.allclose(
        some.values[:, image.wanted], every.values[:, image.wanted], atol=1e-5
    )
    image.wanted[:] = False
    assert image.explain(name).values.isnan().all()


@pytest.mark.parametrize("name", SEGMENTATION_EXPLAINERS)
def test_a_tick_that_raises_stops_the_work(scene: Callable, name: str) -> None:
    def stop(pixels: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        scene().explain(name, tick=stop)


def test_input_x_gradient_leaves_the_biases_in_the_residual(scene: Callable) -> None:
    image = scene(torch.float64)
    tangents, products = image.explain("tangent_contributions"), image.explain("input_x_gradient")
    assert torch.equal(tangents.values, products.values) and float(products.reference.abs().max()) == 0


@torch.no_grad()
def test_ablation_is_the_change_when_a_band_is_hidden(scene: Callable) -> None:
    image = scene()
    found = image.explain("band_ablation")
    hidden = image.image.clone()
    hidden[3] = image.baseline[3]
    change = image.output - (image.network.logits(hidden[None])[0] * image.weights).sum(0)
    assert torch.allclose(found.values[3], change, atol=1e-5)


@pytest.mark.parametrize("shape", [("spectral_cnn", 1), ("spatial_cnn", 5), ("hybrid_cnn", 9)])
def test_secants_of_patches_are_deeplift(make_case: Callable, shape: tuple) -> None:
    case = make_case(*shape)
    ours, theirs = (
        make_explainer(name, case.network, Options()).attribute(case.x, case.baseline, case.weights)
        for name in ("secant_contributions", "deeplift")
    )
    assert torch.allclose(ours.values, theirs.values, atol=1e-5)
    assert torch.allclose(ours.reference, theirs.reference, atol=1e-5)


def test_a_tile_with_padding_is_complete_for_networks_of_patches(make_case: Callable) -> None:
    case = make_case("spatial_cnn", 5)
    image = Scene(case.network, case.x[0, :, :1, :1] + 0.05 * torch.randn(26, 12, 13))
    real = torch.ones(12, 13, dtype=torch.bool)
    real[9:] = False
    for memory in (1, 2**26):
        found = image.explain("secant_contributions", real, memory=memory)
        assert image.residual(found) <= 1e-4 and found.padding[-1].abs().min() > 0


def exact_shapley(output: Callable[[Tensor], Tensor], players: int) -> Tensor:
    """Shapley's formula over all coalitions."""
    values = torch.zeros(players, *output(torch.zeros(players, dtype=torch.bool)).shape).double()
    for player in range(players):
        rest = [other for other in range(players) if other != player]
        for size in range(players):
            share = math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)
            for members in itertools.combinations(rest, size):
                joined = torch.zeros(players, dtype=torch.bool)
                joined[list(members)] = True
                before = output(joined)
                joined[player] = True
                values[player] += share * (output(joined) - before)
    return values


@pytest.mark.parametrize("bands", [3, 4])
@DTYPES
@torch.no_grad()
def test_shapley_values_of_few_bands_are_exact(bands: int, dtype: torch.dtype) -> None:
    torch.manual_seed(bands)
    network = build_segmentation_network(
        "unet", bands=bands, classes=3, normalisation="none", depth=1, filters=4
    )
    image = Scene(network.to(dtype).eval().explainable(), torch.randn(bands, 8, 8, dtype=dtype))
    found = image.explain("band_shapley", samples=24)

    def output(joined: Tensor) -> Tensor:
        mixed = torch.where(joined[:, None, None], image.image, image.baseline[:, None, None])
        return (image.network.logits(mixed[None])[0] * image.weights).sum(0)

    expected = exact_shapley(output, bands)
    assert float((found.values - expected).abs().max()) <= LIMITS[dtype] * float(expected.abs().max())
    assert found.error.abs().max() == 0 and image.residual(found) <= LIMITS[dtype]


def test_the_sampling_error_is_that_of_repeated_runs() -> None:
    worth = torch.randn(2**6, generator=torch.Generator().manual_seed(1))

    def output(coalitions: Tensor) -> Iterator[Tensor]:
        yield worth[(coalitions * 2 ** torch.arange(6)).sum(1)]

    runs = [shapley_values(output, 6, 20, seed) for seed in range(200)]
    spread = torch.stack([run.values for run in runs]).std(0)
    stated = torch.stack([run.errors for run in runs]).square().mean(0).sqrt()
    assert ((stated / spread - 1).abs() < 0.25).all()
    assert all(abs(float(run.values.sum() - worth[-1] + worth[0])) < 1e-5 for run in runs)


def test_orders_come_in_pairs_and_depend_on_the_seed() -> None:
    drawn = list(orders(9, 5, seed=4))
    assert len(drawn) == 3 and all(order == reverse[::-1] for order, reverse in drawn)
    assert drawn == list(orders(9, 5, seed=4)) != list(orders(9, 5, seed=5))
    assert sorted(itertools.chain(*orders(3, 6, 0))) == sorted(map(list, itertools.permutations(range(3))))
    assert list(orders(1, 6, 0)) == [[[0]]]


def test_chips_have_shapley_values() -> None:
    torch.manual_seed(0)
    network = build_scene_network(
        "resnet18", bands=3, classes=2, patch_size=32
    ).eval()  # fmt: skip
    x, weights = torch.rand(2, 3, 32, 32), torch.eye(2)
    explainer = make_explainer("band_shapley", network, Options(samples=6))
    with torch.no_grad():
        found = explainer.attribute(x, torch.zeros_like(x), weights)
        change = explainer.output(x, weights) - found.reference
    assert torch.allclose(found.values.sum((1, 2, 3)), change, atol=1e-5)


def test_networks_are_served_by_name(unet: Callable) -> None:
    network = unet(False)
    assert explainers_of(network) is SEGMENTATION_EXPLAINERS
    assert isinstance(make_explainer("secant_contributions", network, Options()), SecantContributions)
    with pytest.raises(
        InputError, match=r"'grad_cam' can't explain a segmentation network; choose one of secant"
    ):
        check_serves("grad_cam", network)
    with pytest.raises(InputError, match="no explainer 'lime'"):
        check_serves("lime", network)


def test_a_segmentation_networks_maps_are_counted_at_multiples_of_its_alignment(unet: Callable) -> None:
    network = unet(False)
    assert layer_bytes(network, 5) == layer_bytes(network, 8) == layer_bytes(network, 16) // 4
