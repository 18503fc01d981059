"""ID-Net's parts: the simplex, both streams, sums that add up, and what hard pixels give."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Dirichlet, Normal, kl_divergence

from explanation_layers.models.fcls import fcls
from explanation_layers.models.idnet import IdNet, idnet
from explanation_layers.models.idnet_start import start
from explanation_layers.models.idnet_training import elbo_terms, gaussian_divergence, gaussian_log_density
from explanation_layers.models.simplex import nearest_in_simplex

BANDS, MATERIALS = 40, 3


def endmembers(materials: int = MATERIALS, bands: int = BANDS) -> np.ndarray:
    waves = np.linspace(0, 1, bands)
    return np.array([0.4 + 0.3 * np.sin(3 * waves * (k + 1) + 2 * k) for k in range(materials)])


def scene(
    count: int = 600, noise: float = 0.005, bilinear: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Pixels (n, band), abundances (n, material), and a bundle of pure pixels of each material."""
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.ones(MATERIALS), count)
    m = endmembers()
    pixels = shares @ m
    for i, j in ((0, 1), (0, 2), (1, 2)):
        pixels += bilinear * (shares[:, i] * shares[:, j])[:, None] * m[i] * m[j]
    pure = [each + noise * generator.standard_normal((30, BANDS)) for each in m]
    return pixels + noise * generator.standard_normal(pixels.shape), shares, pure


def started(pixels: np.ndarray, pure: list[np.ndarray], seed: int = 0, **options: bool) -> IdNet:
    network = idnet(BANDS, len(pure), seed=seed, **options)
    start(network, pixels, pure)
    return network.eval()


def disturbed(network: IdNet) -> IdNet:
    """The network with all parts at work."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in (network.h[-1], network.g.rest[-1], network.n, network.v):
            for values in part.parameters():
                values.copy_(0.3 * torch.randn(values.shape, generator=generator))
    return network


def tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32))


def test_the_nearest_point_of_the_simplex_is_that_of_fcls() -> None:
    generator = np.random.default_rng(0)
    for materials in (2, 4, 9):
        m = generator.random((materials, BANDS))
        y = generator.random((50, BANDS))
        gram = torch.from_numpy(m @ m.T).expand(50, -1, -1)
        found = nearest_in_simplex(gram, torch.from_numpy(y @ m.T))
        np.testing.assert_allclose(found.numpy(), fcls(y, m), atol=1e-6)


def test_gradients_go_through_the_simplex() -> None:
    generator = torch.Generator().manual_seed(0)
    m = torch.rand(3, 6, generator=generator, dtype=torch.float64)
    y = m.mean(0, keepdim=True) + 0.1 * torch.rand(1, 6, generator=generator, dtype=torch.float64)

    def nearest(spectra: Tensor) -> Tensor:
        return nearest_in_simplex((spectra @ spectra.T)[None], y @ spectra.T)

    assert torch.autograd.gradcheck(nearest, m.requires_grad_())


def test_in_the_linear_limit_it_is_fcls() -> None:
    pixels, shares, pure = scene(noise=0)
    network = started(pixels, pure, nonlinear=False, variability=False)
    means = np.stack([own.mean(0) for own in pure])
    linear = network.infer(tensor(pixels)).linear.detach().numpy()
    np.testing.assert_allclose(linear, fcls(pixels, means), atol=2e-5)
    found = network.unmix(tensor(pixels))
    assert np.abs(found.abundances.numpy() - shares).max() < 0.02
    assert not found.nonlinear.any() and not found.d_mix.any() and not found.spread.any()


@pytest.mark.parametrize("scale", [1.0, 10_000.0])
def test_all_sums_are_kept(scale: float) -> None:
    pixels, _, pure = scene(bilinear=1.0)
    network = disturbed(started(scale * pixels, [scale * own for own in pure]))
    y = tensor(scale * pixels)
    # Dark pixels, so that the ReLU has something to clip.
    y[:50] -= scale * 0.3
    found = network.unmix(y)
    assert (found.abundances >= 0).all()
    torch.testing.assert_close(found.abundances.sum(1), torch.ones(600), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.alpha_linear + found.alpha_nonlinear, found.alpha, atol=1e-4, rtol=1e-6)
    whole = found.linear.sum(2) + found.nonlinear + found.clipped
    torch.testing.assert_close(whole, found.reconstruction, atol=1e-6 * scale, rtol=0)
    assert (found.reconstruction >= -1e-6 * scale).all()
    parts = (found.abundances[..., None] * found.endmembers).transpose(1, 2)
    torch.testing.assert_close(found.linear, parts, atol=1e-6 * scale, rtol=1e-5)
    total = found.alpha.sum(1, keepdim=True)
    variances = Dirichlet(found.alpha).variance
    torch.testing.assert_close(found.abundances, found.alpha / total)
    torch.testing.assert_close(found.sd, variances.sqrt(), atol=1e-6, rtol=1e-3)
    for share in (found.d, found.d_mix):
        assert ((share >= 0) & (share <= 1)).all() and share.max() > 0


def test_the_steps_follow_the_models_derivatives() -> None:
    pixels, _, pure = scene()
    network = started(pixels, pure)
    generator = torch.Generator().manual_seed(2)
    state = tuple(torch.rand(4, size, generator=generator, dtype=torch.float64) for size in (3, 6, 2))
    gain = torch.tensor(0.7, dtype=torch.float64)
    _, slopes = network._weights(state, gain)
    each = torch.autograd.functional.jacobian(lambda *s: network._weights(s, gain)[0].sum(0), state)
    torch.testing.assert_close(slopes, torch.cat(each, 2).transpose(0, 1))


def test_with_all_known_the_bilinear_truth_is_found() -> None:
    pixels, shares, pure = scene(noise=1e-4, bilinear=0.4)
    network = started(pixels, pure, variability=False)
    with torch.no_grad():
        network.noise.fill_(np.log(1e-4))
        network.roughness.fill_(np.log(1e-5))
    found = network.infer(tensor(pixels))
    alpha = found.alpha / found.alpha.sum(1, keepdim=True)
    error = float((alpha.detach() - torch.from_numpy(shares)).square().mean().sqrt())
    linear = float((found.linear.detach() - torch.from_numpy(shares)).square().mean().sqrt())
    assert error < 0.003 < 0.01 < linear
    mixed = shares.min(1) > 0.1
    assert float(found.strength.detach()[mixed, 0].median()) == pytest.approx(0.4, abs=0.03)


def test_materials_in_another_order_come_out_in_that_order() -> None:
    pixels, _, pure = scene(bilinear=0.5)
    order = [2, 0, 1]
    one = started(pixels, pure).unmix(tensor(pixels))
    other = started(pixels, [pure[k] for k in order]).unmix(tensor(pixels))
    torch.testing.assert_close(other.abundances, one.abundances[:, order], atol=1e-4, rtol=0)
    torch.testing.assert_close(other.linear, one.linear[..., order], atol=1e-4, rtol=0)
    torch.testing.assert_close(other.nonlinear, one.nonlinear, atol=1e-4, rtol=0)


def test_pixels_do_not_mind_their_neighbours() -> None:
    pixels, _, pure = scene(bilinear=1.0)
    network = disturbed(started(pixels, pure))
    whole, part = network.unmix(tensor(pixels)), network.unmix(tensor(pixels[100:107]))
    for name in (field.name for field in fields(whole)):
        torch.testing.assert_close(getattr(part, name), getattr(whole, name)[100:107], atol=1e-4, rtol=1e-4)


def test_black_saturated_constant_and_negative_pixels_have_numbers() -> None:
    pixels, _, pure = scene()
    network = disturbed(started(pixels, pure))
    hard = np.stack([np.zeros(BANDS), np.full(BANDS, 50.0), np.full(BANDS, 0.3), np.full(BANDS, -2.0)])
    found = network.unmix(tensor(hard))
    for field in fields(found):
        assert torch.isfinite(getattr(found, field.name)).all(), field.name
    torch.testing.assert_close(found.abundances.sum(1), torch.ones(4), atol=1e-6, rtol=0)


def test_many_materials_and_few_bands_have_numbers() -> None:
    generator = np.random.default_rng(0)
    for materials, bands in ((12, 8), (2, 3), (30, 40)):
        pixels = generator.random((80, bands))
        network = idnet(bands, materials)
        start(network, pixels, [pixels[k : k + 1] for k in range(materials)])
        found = network.unmix(tensor(pixels))
        assert torch.isfinite(found.reconstruction).all()
        torch.testing.assert_close(found.abundances.sum(1), torch.ones(80), atol=1e-6, rtol=0)


def test_terms_of_the_elbo_are_those_of_the_library() -> None:
    generator = torch.Generator().manual_seed(0)
    x, mean = torch.rand(2, 5, 7, generator=generator, dtype=torch.float64)
    variance = torch.rand(5, generator=generator, dtype=torch.float64) + 0.1
    expected = Normal(mean, variance.sqrt()[:, None]).log_prob(x).sum(1)
    torch.testing.assert_close(gaussian_log_density((x - mean).square(), variance), expected)
    expected = kl_divergence(Normal(mean, x + 0.1), Normal(torch.zeros_like(mean), 0.4))
    torch.testing.assert_close(gaussian_divergence(mean, x + 0.1, 0.4), expected)
    pixels, _, pure = scene(count=50)
    network = started(pixels, pure)
    torch.manual_seed(4)
    elbo, likelihood, _ = elbo_terms(network, tensor(pixels))
    found = network.infer(tensor(pixels))
    divergence = (
        kl_divergence(Dirichlet(found.alpha), Dirichlet(torch.ones(3)))
        + kl_divergence(Normal(found.latent, found.latent_sd), Normal(0.0, 1.0)).sum((1, 2))
        + kl_divergence(Normal(found.strength, found.strength_sd), Normal(0.0, network.strength.exp())).sum(1)
    )
    torch.testing.assert_close(elbo, likelihood - divergence, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("alpha", [(0.5, 1.0, 3.0), (4.0, 20.0, 0.2)])
def test_the_divergence_of_a_dirichlet_is_that_of_its_samples(alpha: tuple[float, ...]) -> None:
    torch.manual_seed(0)
    ours, flat = Dirichlet(torch.tensor(alpha, dtype=torch.float64)), Dirichlet(torch.ones(3).double())
    a = ours.sample((200_000,)).clamp(1e-300)
    a = a / a.sum(1, keepdim=True)
    drawn = (ours.log_prob(a) - flat.log_prob(a)).mean()
    assert float(drawn) == pytest.approx(float(kl_divergence(ours, flat)), rel=0.02)


@pytest.mark.parametrize("alpha", [(2.0, 3.0, 5.0), (0.3, 1.0, 8.0)])
def test_gradients_through_samples_are_those_of_finite_differences(alpha: tuple[float, ...]) -> None:
    # E[a_k^2] = alpha_k (alpha_k + 1) / (s (s + 1)) with the sum s.
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)

    def exact(values: Tensor) -> Tensor:
        total = values.sum()
        return (weights * values * (values + 1)).sum() / (total * (total + 1))

    torch.manual_seed(0)
    values = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
    (weights * Dirichlet(values).rsample((100_000,)).square()).sum(1).mean().backward()
    steps = 1e-5 * torch.eye(3, dtype=torch.float64)
    differences = [(exact(values.detach() + s) - exact(values.detach() - s)) / 2e-5 for s in steps]
    largest = max(abs(float(d)) for d in differences)
    torch.testing.assert_close(values.grad, torch.stack(differences), atol=0.02 * largest, rtol=0.02)


def test_the_same_seed_makes_the_same_network_and_leaves_the_callers_numbers_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (idnet(BANDS, 3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    for name, values in one.state_dict().items():
        assert torch.equal(values, same.state_dict()[name])
    assert not torch.equal(one.h[0].weight, other.h[0].weight)
