"""The last layer is divided exactly, sums over tiles are those over the whole, CAMs are what theory says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from explanation_layers.explainers.last_layer import (
    ChannelCorrelation,
    ChannelSums,
    class_weights,
    contributions,
    evidence,
    features_of,
)
from explanation_layers.explainers.seg_cams import LAYERS, SegmentationCams

LIMITS = {torch.float32: 1e-5, torch.float64: 1e-12}
DTYPES = pytest.mark.parametrize("dtype", LIMITS, ids=str)
TRAINED = pytest.mark.parametrize("trained", [False, True], ids=["random", "trained"])


@DTYPES
@TRAINED
@torch.no_grad()
def test_channels_and_bias_are_the_logits(
    unet: Callable, stripes: Callable, dtype: torch.dtype, trained: bool
) -> None:
    network, x = unet(trained, dtype), stripes(count=2)[0].to(dtype)
    found = features_of(network, x)
    assert torch.equal(found.logits, network.logits(x)) and found.features.shape == (2, 6, 24, 32)
    one_hot = torch.eye(4, dtype=dtype)
    predicted = one_hot[found.logits.argmax(1)].movedim(-1, 1)
    contrast = predicted - one_hot[0][None, :, None, None]
    for weights in (predicted, contrast):
        channels, bias = contributions(network.head, found.features, weights)
        residual = (found.logits * weights).sum(1) - channels.sum(1) - bias
        assert float(residual.abs().max()) <= LIMITS[dtype] * float(found.logits.abs().max())


@torch.no_grad()
def test_evidence_is_the_sum_of_positive_contributions(unet: Callable, stripes: Callable) -> None:
    network = unet(True)
    found = features_of(network, stripes()[0])
    weight, _ = class_weights(network.head)
    expected = (weight[None, :, :, None, None] * found.features[:, None]).clamp_min(0).sum(2)
    assert torch.allclose(evidence(network.head, found.features), expected, atol=1e-5)


@torch.no_grad()
def test_means_over_tiles_are_those_over_the_whole(unet: Callable, stripes: Callable) -> None:
    network = unet(True)
    x, classes = stripes()
    features = features_of(network, x).features[0]
    groups = classes[0].masked_fill(classes[0] == 3, -1)
    sums = ChannelSums(6, 4)
    for rows in (slice(0, 9), slice(9, 24)):
        sums.add(features[:, rows], groups[rows])
    for group in range(3):
        assert torch.allclose(sums.means[group], features[:, groups == group].double().mean(1))
    assert sums.means[3].isnan().all() and sums.pixels.tolist()[3] == 0
    weight, bias = class_weights(network.head)
    assert torch.allclose(sums.contributions(network.head)[1, 2], sums.means[1] * weight[2])
    contrast, rest = sums.contrast(network.head, 2, 0)
    assert torch.allclose(contrast[1], sums.means[1] * (weight[2] - weight[0]).double())
    assert rest == pytest.approx(float(bias[2] - bias[0]))
    logits = features_of(network, x).logits[0][:, groups == 1].double().mean(1)
    total = float(contrast[1].sum()) + rest
    assert total == pytest.approx(float(logits[2] - logits[0]), abs=1e-5)


def test_correlations_over_tiles_are_numpys_and_constant_channels_have_none() -> None:
    generator = torch.Generator().manual_seed(1)
    one = torch.randn(3, 20, 30, generator=generator) + 100
    noise = torch.randn(20, 30, generator=generator)
    other = torch.stack([noise, -2 * one[2] + 0.1 * noise, torch.full_like(noise, 5), one[0] + noise])
    counted = torch.rand(20, 30, generator=generator) < 0.7
    correlation = ChannelCorrelation(3, 4)
    for rows in (slice(0, 1), slice(1, 12), slice(12, 20)):
        correlation.add(one[:, rows], other[:, rows], counted[rows])
    found = correlation.match()
    both = torch.cat([one, other])[:, counted].double().numpy()
    with np.errstate(invalid="ignore"):
        expected = np.corrcoef(both)[:3, 3:]
    defined = [0, 1, 3]
    assert np.allclose(found.correlations[:, defined], expected[:, defined], atol=1e-6)
    assert found.correlations[:, 2].isnan().all()
    assert found.other_constant.tolist() == [False, False, True, False]
    assert not found.constant.any()
    assert found.pairs[:2].tolist() == [[2, 1], [0, 3]]
    assert found.unique.tolist() == [False, True, False]
    assert not found.other_unique[2]


def test_a_model_matches_itself_channel_by_channel(unet: Callable, stripes: Callable) -> None:
    features = features_of(unet(True), stripes()[0]).features[0]
    correlation = ChannelCorrelation(6, 6)
    correlation.add(features, features.flip(0), torch.ones(24, 32, dtype=torch.bool))
    found = correlation.match()
    varying = ~found.constant
    assert all(a + b == 5 for a, b in found.pairs.tolist()) and len(found.pairs) == int(varying.sum())
    assert not found.unique.any()


def test_nothing_counted_leaves_all_channels_undefined() -> None:
    correlation = ChannelCorrelation(2, 2)
    correlation.add(torch.rand(2, 4, 4), torch.rand(2, 4, 4), torch.zeros(4, 4, dtype=torch.bool))
    found = correlation.match()
    assert found.constant.all() and found.correlations.isnan().all() and not len(found.pairs)


def one_pixel(logits: Tensor, label: int, row: int, col: int) -> Tensor:
    weights = torch.zeros_like(logits)
    weights[label, row, col] = 1
    return weights


@DTYPES
def test_seg_grad_cam_of_a_pixel_sums_to_the_mean_logit_of_the_image(
    unet: Callable, stripes: Callable, dtype: torch.dtype
) -> None:
    network, x = unet(True, dtype), stripes()[0][0].to(dtype)
    found = SegmentationCams(network, x)
    bias = network.head.bias
    targets = [one_pixel(found.logits, label, 5, 6) for label in range(4)]
    for label, cam in enumerate(found.cams(targets)):
        expected = (found.logits[label] - bias[label]).mean()
        assert float(cam.raw.sum() - expected) == pytest.approx(0, abs=1e-6)
        assert torch.allclose(cam.shown, cam.raw.clamp_min(0))
    # HiResCAM stays in the pixel, where it is exact.
    cell = next(found.cams([targets[2]], each_cell=True)).raw
    assert float(cell[5, 6]) == pytest.approx(float(found.logits[2, 5, 6] - bias[2]), abs=1e-5)
    assert float(cell.abs().sum()) == pytest.approx(abs(float(cell[5, 6])), abs=1e-6)


@pytest.mark.parametrize("layer", LAYERS)
def test_cams_are_maps_weighed_by_mean_gradients(unet: Callable, stripes: Callable, layer: str) -> None:
    network, x = unet(True), stripes()[0][0]
    found = SegmentationCams(network, x, layer)
    cam = next(found.cams([one_pixel(found.logits, 1, 9, 20)]))
    assert torch.allclose(found.logits, network.logits(x[None])[0], atol=1e-5)
    assert cam.raw.shape == ((24, 32) if layer == "features" else (6, 8)) and cam.shown.shape == (24, 32)
    assert float(cam.shown.min()) >= 0 and not cam.raw.requires_grad


def test_maps_of_the_bottom_are_those_of_a_hooked_network(unet: Callable, stripes: Callable) -> None:
    network, plain, x = unet(True), unet(True, explainable=False), stripes()[0][0]
    kept: list[Tensor] = []
    handle = plain.body.bottom.register_forward_hook(lambda _layer, _inputs, output: kept.append(output))
    logits = plain.logits(x[None].requires_grad_(True))[0]
    handle.remove()
    slopes = torch.autograd.grad(logits[1].sum(), kept[0])[0]
    expected = (slopes.mean((2, 3), keepdim=True) * kept[0]).sum(1)[0].detach()
    found = SegmentationCams(network, x, "bottom")
    region = torch.zeros_like(found.logits)
    region[1] = 1
    raw = next(found.cams([region])).raw
    assert float((raw - expected).abs().max()) <= 1e-4 * float(expected.abs().max())
