"""Segmentation networks: how far they see, what moves with the image, and what normalisation does."""

from __future__ import annotations

import pytest
import torch

from explanation_layers.models.segmentation_networks import SegmentationNetwork, build_segmentation_network

BANDS, CLASSES = 4, 3


def network_of(depth: int = 2, normalisation: str = "standard", **options: object) -> SegmentationNetwork:
    """A network in evaluation mode, float64, with batch norms and scaling of a real shape."""
    torch.manual_seed(7)
    network = build_segmentation_network(
        "unet", bands=BANDS, classes=CLASSES, normalisation=normalisation, depth=depth,
        **{"filters": 4, **options},
    ).double()  # fmt: skip
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_(0, 0.2)
    network.scaling.offset.uniform_(0, 0.3)
    network.scaling.scale.uniform_(0.2, 0.5)
    return network.eval().requires_grad_(False)


def image(height: int, width: int, bands: int = BANDS) -> torch.Tensor:
    return torch.rand(
        1, bands, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )


def seen_by(network: SegmentationNetwork, row: int, col: int, side: int) -> torch.Tensor:
    """Which pixels (y, x) the logits of a pixel depend on, by their gradients over some random images."""
    seen = torch.zeros(side, side, dtype=torch.bool)
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(1, network.prepared_bands, side, side, dtype=torch.float64, generator=generator)
        x.requires_grad_(True)
        (gradient,) = torch.autograd.grad(network.logits(x)[0, :, row, col].sum(), x)
        seen |= gradient[0].ne(0).any(0)
    return seen


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_pixel_beyond_the_reach_is_seen(depth):
    network = network_of(depth)
    cell, reach = network.alignment, network.reach
    assert reach % cell == 0
    side = 2 * reach + 2 * cell
    first = -(-reach // cell) * cell
    farthest = 0
    # Where in its cell a pixel lies decides how far it sees.
    for inside in {0, 1, cell - 1}:
        place = first + inside
        rows, cols = seen_by(network, place, place, side).nonzero().T
        farthest = max(farthest, *((each - place).abs().max().item() for each in (rows, cols)))
    assert reach - 2 * cell < farthest <= reach


def test_a_change_beyond_the_reach_changes_nothing():
    network = network_of(2)
    x = image(96, 96)
    changed = x.clone()
    changed[..., 48 + network.reach + 1 :] += 1
    before, after = network(x), network(changed)
    assert torch.equal(before[..., 48], after[..., 48])
    assert not torch.equal(before[..., 48 + network.reach :], after[..., 48 + network.reach :])


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_logits_move_with_the_image_by_whole_cells_alone(depth):
    network = network_of(depth)
    cell, reach = network.alignment, network.reach
    side = 2 * reach + 4 * cell
    x = image(side + cell, side)
    inner = slice(reach, side - reach)
    whole = network(x[:, :, :side])[:, :, :, inner]
    moved = network(x[:, :, cell:])[:, :, :, inner]
    torch.testing.assert_close(
        moved[:, :, reach : side - reach - cell], whole[:, :, reach + cell : side - reach], rtol=0, atol=1e-12
    )
    odd = network(x[:, :, 1 : side + 1])[:, :, :, inner]
    difference = odd[:, :, reach : side - reach - 1] - whole[:, :, reach + 1 : side - reach]
    assert difference.abs().max() > 1e-6


def test_sides_that_do_not_divide_are_refused():
    network = network_of(3)
    with pytest.raises(ValueError, match="20 x 24 pixels are no multiple of 8"):
        network(image(20, 24))
    assert network(image(16, 24)).shape == (1, CLASSES, 16, 24)


def test_two_images_give_the_same_as_one_by_one():
    network = network_of(2)
    both = torch.cat([image(16, 16), image(16, 16).flip(2)])
    together = network(both)
    for one, logits in zip(both, together):
        torch.testing.assert_close(network(one[None])[0], logits, rtol=0, atol=1e-12)


@pytest.mark.parametrize("factor", [0.3, 5.0])
def test_brightness_does_not_matter_after_per_pixel_normalisation(factor):
    network = network_of(normalisation="per_pixel")
    x = image(16, 16) + 0.1
    torch.testing.assert_close(network(factor * x), network(x), rtol=0, atol=1e-9)
    torch.testing.assert_close(network.prepare(x).sum(1), torch.ones(1, 16, 16, dtype=torch.float64))


def test_raw_input_times_gradient_sums_to_nothing_after_per_pixel_normalisation():
    # Euler's theorem: the normalised spectrum is homogeneous of degree 0 in the raw one.
    network = network_of(normalisation="per_pixel")
    x = (image(16, 16) + 0.1).requires_grad_(True)
    (gradient,) = torch.autograd.grad(network(x)[0, 1].sum(), x)
    assert gradient.abs().max() > 1e-3
    assert (gradient * x).sum(1).abs().max() < 1e-10


@pytest.mark.parametrize("brightness", [False, True])
def test_dark_spectra_are_flat(brightness):
    network = network_of(normalisation="per_pixel", brightness=brightness)
    x = image(8, 8)
    x[:, :, 2, 3] = 0
    x[:, :, 4, 4] = -1
    prepared = network.prepare(x)
    assert prepared.isfinite().all()
    for place in ((2, 3), (4, 4)):
        torch.testing.assert_close(
            prepared[0, :BANDS, *place], torch.full((BANDS,), 1 / BANDS, dtype=torch.float64)
        )
        if brightness:
            assert prepared[0, BANDS, *place] == pytest.approx(torch.tensor(1e-6).log().item())
    assert network(x).isfinite().all()


def test_brightness_is_the_logarithm_of_the_sum():
    network = network_of(normalisation="per_pixel", brightness=True)
    assert network.prepared_bands == BANDS + 1
    x = image(8, 8) + 0.1
    torch.testing.assert_close(network.prepare(x)[:, BANDS], x.sum(1).log())
    torch.testing.assert_close(
        network.prepare(0.3 * x)[:, BANDS], x.sum(1).log() + torch.tensor(0.3).double().log()
    )


@pytest.mark.parametrize("strength", [0.0, 0.25, 0.5, 1.0])
def test_strength_is_the_power_of_the_sum(strength):
    network = network_of(normalisation="per_pixel", strength=strength)
    x = image(8, 8) + 0.1
    torch.testing.assert_close(network.prepare(x), x / x.sum(1, keepdim=True) ** strength)
    torch.testing.assert_close(network.prepare(3 * x), 3 ** (1 - strength) * network.prepare(x))


@pytest.mark.parametrize("depth", [1, 3])
def test_the_explainable_copy_gives_the_same(depth):
    network = network_of(depth, normalisation="per_pixel", brightness=True)
    copy = network.explainable()
    x = image(32, 24)
    torch.testing.assert_close(copy(x), network(x), rtol=0, atol=1e-10)
    assert (copy.alignment, copy.reach, copy.prepared_bands) == (2**depth, network.reach, BANDS + 1)
    assert copy.head.weight.shape == (CLASSES, 4, 1, 1)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in copy.modules())


def test_the_network_of_the_paper_is_built():
    network = build_segmentation_network(
        "unet", bands=25, classes=6, normalisation="per_pixel", depth=5, filters=32
    )
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    # 22 of 3 x 3 and the last one of 1 x 1; 32 to 1024 filters; crops divisible by 32.
    assert [m.kernel_size for m in convolutions].count((3, 3)) == 22 and len(convolutions) == 23
    assert max(m.out_channels for m in convolutions) == 1024
    assert network.alignment == 32


def test_an_unknown_architecture_is_a_key_error():
    with pytest.raises(KeyError):
        build_segmentation_network("vnet", bands=2, classes=2, normalisation="none", depth=1, filters=2)
