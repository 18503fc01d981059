"""Brightness as a network: the same as by least squares, with its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from explanation_layers.models.brightness import Brightness, in_full_light
from explanation_layers.models.idnet import idnet
from explanation_layers.models.unmixers import AbundanceNetwork, Fcls, build_unmixer, options_of


@pytest.fixture
def endmembers() -> np.ndarray:
    return np.cumsum(np.random.default_rng(0).random((3, 24)), 1) / 12


@pytest.fixture
def pixels(endmembers) -> np.ndarray:
    """Mixtures of three materials in light from 0.05 to 3, with noise."""
    generator = np.random.default_rng(1)
    light = generator.uniform(0.05, 3, (40, 1))
    return light * (generator.dirichlet(np.ones(3), 40) @ endmembers) + 0.003 * generator.standard_normal(24)


def test_light_is_found(endmembers):
    generator = np.random.default_rng(2)
    light = generator.uniform(0.05, 3, 30)
    mixtures = generator.dirichlet(np.ones(3), 30) @ endmembers
    brightness = Brightness.against(endmembers)
    np.testing.assert_allclose(brightness.of(light[:, None] * mixtures), light, rtol=1e-5)
    np.testing.assert_allclose(brightness.of(np.zeros((1, 24))), 0.02)


def test_the_network_divides_by_what_least_squares_find(endmembers, pixels):
    brightness = Brightness.against(endmembers)
    found = brightness(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(found * brightness.of(pixels)[:, None], pixels, rtol=1e-4)


def test_endmembers_from_the_shade_come_to_light(endmembers):
    generator = np.random.default_rng(4)
    shares = np.repeat(np.eye(3), 50, 0)
    light = generator.uniform(0.2, 1.2, (150, 1))
    found = in_full_light(light * (shares @ endmembers), endmembers * [[0.25], [1.2], [0.8]])
    full = np.percentile(light.reshape(3, 50), 90, axis=1)
    np.testing.assert_allclose(found, endmembers * full[:, None], rtol=0.03)


def test_its_gradient_is_that_of_finite_differences(endmembers, pixels):
    brightness = Brightness.against(endmembers)
    assert torch.autograd.gradcheck(
        brightness, torch.from_numpy(pixels[:6]).requires_grad_(), eps=1e-6, atol=1e-4, rtol=1e-3
    )


@pytest.mark.parametrize("method", ["fcls", "idnet"])
def test_abundances_do_not_depend_on_the_light(endmembers, pixels, method):
    unmixer = Fcls(24, 3) if method == "fcls" else idnet(24, 3)
    if method == "fcls":
        unmixer.endmembers.copy_(torch.from_numpy(endmembers))
    network = AbundanceNetwork(unmixer, Brightness.against(endmembers)).eval()
    x = torch.from_numpy(pixels).float()[:, :, None, None].requires_grad_()
    abundances = network(x)
    torch.testing.assert_close(network(1.7 * x), abundances, atol=1e-4, rtol=0)
    # Of degree 0, so that no gradient points along the pixel itself.
    (slopes,) = torch.autograd.grad(abundances[:, 0].sum(), x)
    along = (slopes * x).sum((1, 2, 3)).abs()
    lengths = (slopes.norm(dim=1) * x.norm(dim=1)).flatten()
    assert (along <= 0.02 * lengths).all() and (lengths > 0).sum() > 20


def test_its_options_build_the_same_network():
    network = AbundanceNetwork(Fcls(24, 3), Brightness(24, 3))
    again = build_unmixer("fcls", **options_of(network))
    assert again.brightness is not None
    assert again.state_dict().keys() == network.state_dict().keys()
    assert build_unmixer("fcls", bands=24, materials=3).brightness is None  # of a file from before
