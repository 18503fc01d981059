"""Networks: a tile read at once gives what its patches give one by one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.functional import unfold

from explanation_layers.models.networks import NORMALISATIONS, SMALLEST_PATCH, build

NETWORKS = [
    ("spectral_cnn", 1, 200, 30),
    ("spectral_cnn", 1, 12, 30),
    ("spectral_cnn", 1, 4, 30),
    ("spectral_cnn", 1, 1, 30),
    ("spatial_cnn", 1, 4, 30),
    ("spatial_cnn", 3, 12, 30),
    ("spatial_cnn", 5, 12, 30),
    ("spatial_cnn", 11, 40, 30),
    ("hybrid_cnn", 9, 40, 30),
    ("hybrid_cnn", 11, 12, 30),  # more components than bands
    ("hybrid_cnn", 13, 4, 3),
    ("hybrid_cnn", 9, 12, 1),
]


def per_patch(network, tile: torch.Tensor) -> torch.Tensor:
    """Return logits (n, class, y, x) of every patch of a tile (n, band, y, x), each evaluated by itself."""
    side = network.patch_size
    count, bands, height, width = tile.shape
    patches = unfold(tile, side).transpose(1, 2).reshape(-1, bands, side, side)
    logits = network(patches)
    assert logits.shape == (len(patches), network.classes, 1, 1)
    height, width = height - side + 1, width - side + 1
    return logits.reshape(count, height, width, -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize(("architecture", "side", "bands", "components"), NETWORKS)
def test_a_tile_gives_what_its_patches_give(
    make_network, architecture, side, bands, components, normalisation
) -> None:
    network = make_network(
        architecture, bands, patch_size=side, normalisation=normalisation, components=components
    )
    tile = torch.rand(2, bands, side + 4, side + 6)
    dense, single = network(tile), per_patch(network, tile)
    assert dense.shape == (2, 4, 5, 7)
    assert single.std() > 1e-3, "logits that are all alike show nothing"
    torch.testing.assert_close(dense, single, atol=1e-5, rtol=1e-5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_tile_gives_what_its_patches_give(make_network, data) -> None:
    architecture = data.draw(st.sampled_from(sorted(SMALLEST_PATCH)))
    least = SMALLEST_PATCH[architecture]
    side = 1 if architecture == "spectral_cnn" else least + 2 * data.draw(st.integers(0, 2))
    bands, classes = data.draw(st.integers(1, 24)), data.draw(st.integers(2, 6))
    components, normalisation = data.draw(st.integers(1, 30)), data.draw(st.sampled_from(NORMALISATIONS))
    network = make_network(architecture, bands, classes, side, normalisation, components)
    height, width = side + data.draw(st.integers(0, 5)), side + data.draw(st.integers(0, 5))
    tile = torch.rand(1, bands, height, width)
    torch.testing.assert_close(network(tile), per_patch(network, tile), atol=1e-5, rtol=1e-5)


def test_only_the_patch_around_a_pixel_counts(make_network) -> None:
    network = make_network("hybrid_cnn", patch_size=11)
    tile = torch.rand(1, 20, 11, 24)
    changed = tile.clone()
    changed[..., 11:] = 7.0
    before, after = network(tile), network(changed)
    assert torch.equal(before[..., 0], after[..., 0])
    assert not torch.equal(before[..., 1], after[..., 1])


def test_front_is_affine(make_network) -> None:
    for architecture, side in (("spectral_cnn", 1), ("spatial_cnn", 5), ("hybrid_cnn", 9)):
        network = make_network(architecture, patch_size=side)
        a, b = torch.rand(2, 1, 20, side, side)
        mixed = network.front(0.3 * a + 0.7 * b)
        torch.testing.assert_close(
            mixed, 0.3 * network.front(a) + 0.7 * network.front(b), atol=1e-5, rtol=1e-4
        )


def test_per_pixel_normalisation_forgets_brightness_and_survives_darkness(make_network) -> None:
    network = make_network("spectral_cnn", bands=12, normalisation="per_pixel")
    spectrum = torch.rand(1, 12, 1, 1) + 0.1
    torch.testing.assert_close(network(spectrum), network(5 * spectrum), atol=1e-5, rtol=1e-5)
    prepared = network.prepare(torch.zeros(1, 12, 2, 2))
    assert torch.equal(prepared, torch.full_like(prepared, 1 / 12))
    assert network.prepare(spectrum).sum().item() == pytest.approx(1)


def test_other_normalisations_leave_spectra_alone(make_network) -> None:
    x = torch.rand(1, 20, 3, 3)
    for normalisation in ("none", "standard"):
        assert torch.equal(make_network("spectral_cnn", normalisation=normalisation).prepare(x), x)


def test_dropout_is_off_in_evaluation_and_on_in_training(make_network) -> None:
    network = make_network("hybrid_cnn")
    patch = torch.rand(1, 20, 9, 9)
    assert torch.equal(network(patch), network(patch))
    network.train()
    torch.manual_seed(0)
    assert not torch.equal(network(patch), network(patch))


def test_hybrid_has_the_layers_of_the_paper() -> None:
    network = build(
        "hybrid_cnn", bands=200, classes=16, patch_size=25, normalisation="standard", components=30
    )
    shapes = [tuple(p.shape) for p in network.parameters() if p.dim() > 1]
    assert shapes[:4] == [(8, 1, 7, 3, 3), (16, 8, 5, 3, 3), (32, 16, 3, 3, 3), (64, 576, 3, 3)]
    # A dense layer over the 17 x 17 maps of the paper, as a convolution that slides.
    assert shapes[4:] == [(256, 64, 17, 17), (128, 256, 1, 1), (16, 128, 1, 1)]
    assert sum(p.numel() for p in network.parameters()) == 5_122_176


def test_unknown_architecture_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        build("transformer", bands=4)


def test_equal_seeds_build_equal_networks(make_network) -> None:
    first, second = make_network("spatial_cnn"), make_network("spatial_cnn")
    x = torch.ones(1, 20, 9, 9)
    assert torch.equal(first(x), second(x))
