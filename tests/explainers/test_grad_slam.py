"""Grad-SLAM: closed forms, what Captum gives, what no choice of signs, units or order may change."""

from __future__ import annotations

from collections.abc import Callable

import captum.attr as captum
import pytest
import torch
from torch import Tensor, nn

from explanation_layers.explainers.grad_slam import (
    SCALINGS,
    VARIANTS,
    GradSlam,
    importance,
    receptive,
    to_dates,
)
from explanation_layers.models.autoencoder import Autoencoder, autoencoder
from explanation_layers.models.networks import BandScaling, SeriesAsRows
from explanation_layers.models.relus import RuledReLU

DATES, CHANNELS = 13, 2
UNIT = torch.eye(2)


def encoder(dtype: torch.dtype = torch.float64, seed: int = 0, **options: object) -> Autoencoder:
    """An autoencoder with random weights, biases that count, and a scaling of decibels."""
    torch.manual_seed(seed)
    network = autoencoder(DATES, CHANNELS, **options).to(dtype).eval().requires_grad_(False)
    for name, weight in network.named_parameters():
        if name.endswith("bias"):
            weight.uniform_(-0.3, 0.3)
    network.scaling.offset.copy_(torch.tensor([-12.0, -18.0]).repeat(DATES))
    network.scaling.scale.copy_(torch.tensor([3.0, 2.0]).repeat(DATES))
    return network


def series(count: int = 6, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (4 * torch.randn(count, DATES * CHANNELS, generator=generator) - 15).to(dtype)


def one_layer(head: Tensor, bias: Tensor, pointwise: Tensor | None = None) -> Autoencoder:
    """A convolution of one date, the identity unless given, and a linear head (dimension, filter, date)."""
    filters, dates = head.shape[1:]
    first = nn.Conv2d(CHANNELS, filters, 1, bias=False)
    last = nn.Conv2d(filters, len(head), (1, dates))
    first.weight.data = torch.eye(filters)[:, :, None, None] if pointwise is None else pointwise
    last.weight.data, last.bias.data = head[:, :, None], bias
    front = nn.Sequential(BandScaling(dates * CHANNELS), SeriesAsRows(CHANNELS), first)
    network = Autoencoder(
        dates, CHANNELS, len(head), front, nn.Sequential(RuledReLU(), last), nn.Sequential(), 1
    )
    return network.double().eval().requires_grad_(False)


def with_embedding(network: Autoencoder, factor: float) -> Autoencoder:
    """The same with every coordinate times a factor, which its decoder takes back."""
    last, first = network.body[-1], network.decoder[0]
    last.weight.data, last.bias.data = last.weight * factor, last.bias * factor
    first.weight.data = first.weight / factor
    return network


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_linear_encoder_has_the_map_of_its_weights(variant: str) -> None:
    generator = torch.Generator().manual_seed(2)
    head, bias = torch.randn(2, CHANNELS, DATES, generator=generator).double(), torch.tensor([0.7, -2.0])
    network, x = one_layer(head, bias), series().abs()
    embedding, maps = GradSlam(network, variant).maps(x, UNIT)
    values = x.unflatten(1, (DATES, CHANNELS))
    weights = head if variant == "element_wise" else head.mean(2, keepdim=True).expand_as(head)
    torch.testing.assert_close(maps[0], torch.einsum("ntc,dct->dnt", values, weights))
    if variant == "element_wise":
        torch.testing.assert_close(maps[0].sum(2).T, embedding - bias, rtol=1e-12, atol=1e-12)


def test_behind_a_global_average_both_variants_are_the_same_and_complete() -> None:
    generator = torch.Generator().manual_seed(3)
    weights, bias = torch.randn(2, 5, 1, generator=generator).double(), torch.tensor([0.3, -0.4])
    pointwise = torch.randn(5, CHANNELS, 1, 1, generator=generator)
    network, x = one_layer(weights.expand(-1, -1, DATES) / DATES, bias, pointwise), series()
    pooled, element_wise = (GradSlam(network, variant).maps(x, UNIT) for variant in VARIANTS)
    torch.testing.assert_close(pooled.maps, element_wise.maps, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pooled.maps[0].sum(2).T, pooled.embedding - bias, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_with_what_later_biases_give_the_map_is_the_embedding(
    stride: int, dtype: torch.dtype, limit: float
) -> None:
    network, x = encoder(dtype, stride=stride), series(dtype=dtype)
    convolutions = [part for part in (*network.front, *network.body) if isinstance(part, nn.Conv2d)]
    # Each bias counts with the gradient by what it is added to.
    behind: list[Tensor] = []
    hooks = [layer.register_forward_hook(lambda *given: behind.append(given[2])) for layer in convolutions]
    activations, embedding = network.activations(x.clone().requires_grad_(True))
    for hook in hooks:
        hook.remove()
    for direction in UNIT.to(dtype):
        output = embedding @ direction
        slopes = torch.autograd.grad(output.sum(), [*activations, *behind], retain_graph=True)
        given = [
            torch.einsum("nkyx,k->n", slope, layer.bias)
            for layer, slope in zip(convolutions, slopes[len(activations) :])
        ]
        for number, activation in enumerate(activations):
            total = (slopes[number] * activation).sum((1, 2)) + sum(given[number + 1 :])
            assert (total - output).abs().max() <= limit * output.abs().max()
            found = GradSlam(network, "element_wise", [number + 1]).maps(x, direction[None])
            expected = to_dates((slopes[number] * activation).sum(1), DATES)
            assert (found.maps[0, 0] - expected).abs().max() <= limit * expected.abs().max()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("factor", [-1.0, 3.7, -0.2])
def test_sign_and_unit_of_an_embedding_are_arbitrary(variant: str, factor: float) -> None:
    network, changed, x = encoder(), with_embedding(encoder(), factor), series()
    torch.testing.assert_close(changed.decode(changed.encode(x)), network.decode(network.encode(x)))
    before, after = (GradSlam(each, variant).maps(x, UNIT).maps for each in (network, changed))
    torch.testing.assert_close(after, factor * before)
    for scaling in SCALINGS[1:]:
        one, other = importance(before, scaling), importance(after, scaling)
        if factor > 0 or scaling in ("l1_share", "absolute_minmax"):
            torch.testing.assert_close(other, one)
        elif scaling in ("maxabs", "zscore"):
            torch.testing.assert_close(other, -one)
        else:
            torch.testing.assert_close(other, 1 - one)


@pytest.mark.parametrize("variant", VARIANTS)
def test_dates_in_another_order_have_maps_in_that_order(variant: str) -> None:
    generator = torch.Generator().manual_seed(5)
    pointwise = torch.randn(5, CHANNELS, 1, 1, generator=generator)
    head = torch.randn(2, 5, 1, generator=generator).expand(-1, -1, DATES) / DATES
    network, x = one_layer(head, torch.zeros(2), pointwise), series()
    order = torch.randperm(DATES, generator=generator)
    mixed = x.unflatten(1, (DATES, CHANNELS))[:, order].flatten(1)
    one, other = (GradSlam(network, variant).maps(each, UNIT) for each in (x, mixed))
    torch.testing.assert_close(other.maps, one.maps[..., order])


@pytest.mark.parametrize("variant", VARIANTS)
def test_batches_make_no_difference(variant: str) -> None:
    network, x = encoder(), series(9)
    ticks: list[int] = []
    whole = GradSlam(network, variant).maps(x, UNIT)
    small = GradSlam(network, variant, memory=1)
    assert small.batch_size == 1
    for one, other in zip(whole, small.maps(x, UNIT, ticks.append)):
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)
    assert sum(ticks) == 9 and set(ticks) == {0, 1}
    none = GradSlam(network, variant).maps(x[:0], UNIT)
    assert [tuple(part.shape) for part in none] == [(0, 2), (3, 2, 0, DATES)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_more_directions_than_dimensions_are_mixed_from_the_dimensions(variant: str) -> None:
    network, x = encoder(), series()
    directions = torch.tensor([[1.0, 0], [0.6, -0.8], [0, 1], [2, 5]])
    together = GradSlam(network, variant).maps(x, directions)
    for number, direction in enumerate(directions):
        alone = GradSlam(network, variant).maps(x, direction[None])
        torch.testing.assert_close(together.maps[:, number], alone.maps[:, 0])


def test_stopping_from_within_a_batch() -> None:
    class Stopped(Exception):
        pass

    def stop(count: int) -> None:
        assert count == 0
        raise Stopped

    with pytest.raises(Stopped):
        GradSlam(encoder()).maps(series(), UNIT, stop)


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")
@pytest.mark.parametrize("stride", [1, 2])
def test_against_captum(stride: int, relative_difference: Callable) -> None:
    network, x = encoder(torch.float32, stride=stride), series(dtype=torch.float32)
    relus = [layer for layer in network.body if isinstance(layer, RuledReLU)][:3]

    class Embedding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            return self.network.encode(x)

    pooled, element_wise = (GradSlam(network, variant).maps(x, UNIT).maps for variant in VARIANTS)
    for number, layer in enumerate(relus):
        for dimension in range(2):
            theirs = captum.LayerGradCam(Embedding(), layer).attribute(
                x.clone().requires_grad_(), dimension, relu_attributions=False
            )
            ours = pooled[number, dimension]
            # Captum's mean over the dates of the layer; its interpolation takes the same two lines.
            assert relative_difference(ours, to_dates(theirs[:, 0, 0].detach(), DATES)) <= 1e-5
            theirs = captum.LayerGradientXActivation(Embedding(), layer).attribute(
                x.clone().requires_grad_(), dimension
            )
            ours = element_wise[number, dimension]
            assert relative_difference(ours, to_dates(theirs.sum((1, 2)).detach(), DATES)) <= 1e-5


def test_scalings_of_known_maps() -> None:
    maps = torch.tensor([[[[-4.0, 0.0, 2.0, 2.0]]], [[[0.0, 0.0, 0.0, 8.0]]]])
    expected = {
        "none": [-2.0, 0, 1, 5],
        "signed_minmax": [0.0, 1 / 3, 0.5, 1],
        "maxabs": [-0.5, 0, 0.25, 0.75],
        "l1_share": [0.25, 0, 0.125, 0.625],
        "absolute_minmax": [0.5, 0, 0.25, 0.75],
    }
    for scaling, values in expected.items():
        torch.testing.assert_close(importance(maps, scaling), torch.tensor([[values]]), rtol=1e-6, atol=1e-6)
    scaled = importance(maps[:1], "zscore")
    assert float(scaled.mean()) == pytest.approx(0, abs=1e-6)
    assert float(scaled.std(correction=0)) == pytest.approx(1)
    torch.testing.assert_close(scaled[0, 0, 1:2], torch.tensor([0.0]))


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("value", [0.0, 0.1, -3.3])
def test_a_constant_map_has_importance_without_nan(scaling: str, value: float) -> None:
    # Brought to the dates from another length, which rounds.
    constant = to_dates(torch.full((2, 3, 4, 5), value), DATES)
    found = importance(constant, scaling)
    assert found.shape == (3, 4, DATES) and found.isfinite().all()
    if scaling in ("signed_minmax", "zscore", "absolute_minmax"):
        assert (found == 0).all()
    if scaling == "l1_share" and value:
        torch.testing.assert_close(found, torch.full_like(found, 1 / DATES))


def test_maps_of_other_lengths_are_lines_between_the_middles_of_their_cells() -> None:
    maps = torch.randn(2, 3, DATES)
    assert to_dates(maps, DATES) is maps
    # Two cells over six dates: middles at dates 1 and 4, as they were beyond.
    torch.testing.assert_close(
        to_dates(torch.tensor([[0.0, 3.0]]), 6), torch.tensor([[0.0, 0.0, 1.0, 2.0, 3.0, 3.0]])
    )


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_what_an_entry_sees_is_what_changes_it(stride: int) -> None:
    network, x = encoder(stride=stride), series(1)
    # Without ReLUs nothing that is seen can be hidden.
    network.body = nn.Sequential(*(nn.Softplus() if isinstance(p, nn.ReLU) else p for p in network.body))
    z, layer = x.clone().requires_grad_(True), 0
    output = network.front(z[:, :, None, None])
    for part in network.body:
        output = part(output)
        if isinstance(part, nn.Softplus) and layer < 3:
            layer += 1
            window = receptive(network, layer)
            assert len(window) == output.shape[-1]
            for entry, (first, last) in enumerate(window.tolist()):
                slope = torch.autograd.grad(output[..., entry].sum(), z, retain_graph=True)[0]
                seen = torch.nonzero(slope.unflatten(1, (DATES, CHANNELS)).abs().sum((0, 2)))[:, 0]
                assert (int(seen.min()), int(seen.max())) == (first, last)


@pytest.mark.parametrize(("variant", "layers"), [("mean", ()), ("pooled", (0,)), ("pooled", (1, 4))])
def test_what_there_is_not_is_refused(variant: str, layers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="There is no"):
        GradSlam(encoder(), variant, layers)
    with pytest.raises(ValueError, match="'mean' is none of none, signed_minmax"):
        importance(torch.zeros(1, 1, 1, 3), "mean")
