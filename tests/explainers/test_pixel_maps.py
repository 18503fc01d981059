"""Maps of single pixels: they add up, agree with what is carried forward, and lie where pixels can matter."""

from __future__ import annotations

from collections.abc import Callable

import captum.attr as captum
import pytest
import torch

from explanation_layers.explainers.pixel_maps import PixelMaps, crops, leakage, region_sums, ring_sums
from explanation_layers.explainers.propagation import Propagation

LIMITS = {torch.float32: 1e-4, torch.float64: 1e-10}
DTYPES = pytest.mark.parametrize("dtype", LIMITS, ids=str)
PIXELS = [(2, 3), (40, 50), (41, 51), (71, 95)]


@pytest.fixture
def maps(unet: Callable, stripes: Callable) -> Callable[..., PixelMaps]:
    def make(dtype: torch.dtype, trained: bool = True) -> PixelMaps:
        image = stripes(72, 96)[0][0].to(dtype)
        return PixelMaps(unet(trained, dtype), image, image.mean((1, 2)))

    return make


@pytest.mark.parametrize("rule", ["secant", "tangent"])
@pytest.mark.parametrize("trained", [False, True], ids=["random", "trained"])
@DTYPES
def test_maps_add_up_and_are_what_is_carried_forward(
    maps: Callable, dtype: torch.dtype, trained: bool, rule: str
) -> None:
    made = maps(dtype, trained)
    weights = torch.eye(4)[[0, 1, 2, 3]] - torch.eye(4)[[1, 2, 3, 0]]
    with torch.no_grad():
        carried = Propagation(made.network, made.image[None], made.baseline, rule)
        bands = carried.bands()[:, 0]
    found = dict(made.propagated(PIXELS, weights, rule))
    assert sorted(found) == [0, 1, 2, 3]
    for number, (row, col) in enumerate(PIXELS):
        own, one = weights[number].to(dtype), found[number]
        scale = float(one.values.abs().sum())
        assert abs(float(one.output - one.reference - one.values.sum())) <= LIMITS[dtype] * scale
        assert abs(float(one.output - carried.logits[0, :, row, col] @ own)) <= LIMITS[dtype] * scale
        forward = torch.einsum("bc,c->b", bands[:, :, row, col], own)
        assert float((one.values.sum((1, 2)) - forward).abs().max()) <= LIMITS[dtype] * scale
        rings = ring_sums(one)
        assert rings.shape == (5, 4)
        assert float((rings.sum(1) - forward).abs().max()) <= LIMITS[dtype] * scale
        regions = torch.stack([torch.arange(96) < 50, torch.arange(96) >= 50])[:, None].expand(-1, 72, -1)
        assert float((region_sums(one, regions).sum(1) - forward).abs().max()) <= LIMITS[dtype] * scale
        assert leakage(one, (made.network.reach, made.network.reach)) == 0
        assert not one.values.requires_grad


def test_crops_hold_all_that_matters_and_are_shared(unet: Callable) -> None:
    network = unet(False)
    found = crops(network, (72, 96), PIXELS)
    assert [crop.pixels for crop in found] == [[0], [1, 2], [3]]
    for crop in found:
        for span, size in ((crop.rows, 72), (crop.cols, 96)):
            assert span.start % 4 == 0 and 0 <= span.start < span.stop <= size


def test_rings_are_chebyshev_distances(maps: Callable) -> None:
    made = maps(torch.float64)
    one = next(found for _, found in made.propagated([(30, 40)], torch.eye(4)))
    top, left = 30 - one.corner[0], 40 - one.corner[1]
    rings = ring_sums(one, (0, 3))
    assert torch.allclose(rings[:, 0], one.values[:, top, left])
    near = one.values[:, top - 3 : top + 4, left - 3 : left + 4].sum((1, 2))
    assert torch.allclose(rings[:, 1], near - rings[:, 0])
    assert leakage(one, (0, 0)) > 0


def test_integrated_gradients_of_a_pixel_are_captums(maps: Callable) -> None:
    made = maps(torch.float64)
    ((_, ours),) = made.integrated([(30, 40)], torch.eye(4)[2:], 7)
    x = made.image[None]
    theirs = captum.IntegratedGradients(lambda z: made.network.logits(z)[:, 2, 30, 40, None]).attribute(
        x, made.baseline.expand_as(x), target=0, n_steps=7
    )
    top, left = ours.corner
    height, width = ours.values.shape[1:]
    whole = torch.zeros_like(x[0])
    whole[:, top : top + height, left : left + width] = ours.values
    # Captum's nodes are float32.
    assert float((whole - theirs[0]).abs().max()) <= 1e-5 * float(theirs.abs().max())
    ((_, product),) = made.input_x_gradient([(30, 40)], torch.eye(4)[2:])
    theirs = captum.InputXGradient(lambda z: made.network.logits(z)[:, 2, 30, 40, None]).attribute(
        x.clone().requires_grad_(True), target=0
    )[0]
    assert torch.allclose(product.values.sum((1, 2)), theirs.sum((1, 2)))


def test_networks_of_patches_have_maps_of_their_patches(make_case: Callable) -> None:
    case = make_case("spatial_cnn", 5)
    image = case.x[0, :, :1, :1] + 0.05 * torch.randn(26, 9, 11)
    made = PixelMaps(case.network, image, case.baseline[0, :, 0, 0])
    weights = torch.eye(4)[:2]
    for number, one in made.propagated([(0, 0), (4, 6)], weights):
        row, col = [(0, 0), (4, 6)][number]
        assert (one.row, one.col) == (row + 2, col + 2) and one.corner == (row, col)
        logit = case.network.logits(image[None])[0, number, row, col]
        assert abs(float(logit - one.values.sum() - one.reference)) <= 1e-5
        assert leakage(one, (2, 2)) == 0


def test_a_check_that_raises_stops_the_work(maps: Callable) -> None:
    def stop() -> None:
        raise InterruptedError

    made = maps(torch.float32)
    stopped = PixelMaps(made.network, made.image, made.baseline, check=stop)
    for found in (
        stopped.propagated(PIXELS, torch.eye(4)),
        stopped.integrated(PIXELS, torch.eye(4)),
        stopped.input_x_gradient(PIXELS, torch.eye(4)),
    ):
        with pytest.raises(InterruptedError):
            next(found)
