"""How reconstructed dates depend on dates, and what an unusual series is made of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from explanation_layers.explainers.date_dependence import anomaly, date_dependence
from explanation_layers.models.autoencoder import Autoencoder, autoencoder

DATES, CHANNELS = 9, 2


@pytest.fixture
def network() -> Autoencoder:
    torch.manual_seed(8)
    network = autoencoder(DATES, CHANNELS, 3, filters=(8, 8), kernels=(3, 3), stride=2).double()
    network.scaling.offset.copy_(torch.tensor([-12.0, -18.0]).repeat(DATES))
    network.scaling.scale.copy_(torch.tensor([3.0, 2.0]).repeat(DATES))
    return network.eval().requires_grad_(False)


def series(count: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 4 * torch.randn(count, DATES * CHANNELS, generator=generator).double() - 15


def test_dependence_is_the_jacobian_of_the_reconstruction(network: Autoencoder) -> None:
    x = series()
    jacobian = torch.stack([
        torch.autograd.functional.jacobian(lambda each: network.decode(network.encode(each[None]))[0], each)
        for each in x
    ])  # fmt: skip
    blocks = jacobian.unflatten(1, (DATES, CHANNELS)).unflatten(3, (DATES, CHANNELS))
    expected = blocks.square().sum((2, 4)).sqrt().mean(0)
    torch.testing.assert_close(date_dependence(network, x), expected)
    assert date_dependence(network, x[:0]).shape == (DATES, DATES)


def test_dependence_asks_whether_it_is_wanted(network: Autoencoder) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        date_dependence(network, series(), stop)
    with pytest.raises(KeyboardInterrupt):
        anomaly(network, series(), series()[0], check=stop)


@pytest.mark.parametrize("steps", [1, 7])
def test_parts_of_an_anomaly_add_up_at_any_number_of_steps(network: Autoencoder, steps: int) -> None:
    x, start = series(), series().mean(0)
    score, values, residual = anomaly(network, x, start, steps)
    errors = (network.decode(network.encode(x)) - x) / network.scaling.scale
    torch.testing.assert_close(score, errors.square().mean(1))
    start_score = anomaly(network, start[None], start, steps).score
    torch.testing.assert_close(values.sum(1), score - start_score, rtol=1e-12, atol=1e-12)
    assert residual.abs().max() <= 1e-12 * score.max()


def test_parts_of_an_anomaly_are_integrated_gradients(network: Autoencoder) -> None:
    x, start, nodes = series(), series().mean(0), 4000
    total = torch.zeros_like(x)
    for position in ((torch.arange(nodes) + 0.5) / nodes).split(500):
        path = torch.lerp(start.expand_as(x)[None], x[None], position.double()[:, None, None])
        path = path.flatten(0, 1).requires_grad_(True)
        error = network.decoder(network.encode(path)) - network.scaled(path)
        slope = torch.autograd.grad(error.square().mean(1).sum(), path)[0]
        total += slope.unflatten(0, (len(position), -1)).sum(0)
    expected = total / nodes * (x - start)
    found = anomaly(network, x, start, 256).values
    assert (found - expected).abs().max() <= 2e-3 * expected.abs().max()


def test_values_that_were_filled_in_do_not_count_in_the_error(network: Autoencoder) -> None:
    x, start = series(), series().mean(0)
    observed = torch.rand(x.shape, generator=torch.Generator().manual_seed(3)) < 0.7
    score, _, residual = anomaly(network, x, start, 3, observed)
    errors = ((network.decode(network.encode(x)) - x) / network.scaling.scale).square()
    torch.testing.assert_close(score, (errors * observed).sum(1) / observed.sum(1))
    assert residual.abs().max() <= 1e-12 * score.max()
    assert anomaly(network, x[:0], start).values.shape == (0, DATES * CHANNELS)


def test_a_date_that_no_training_series_had_is_found() -> None:
    # A decoder that gives the mean: the error of a series is its own square.
    network = autoencoder(DATES, CHANNELS).eval().requires_grad_(False)
    for weight in network.decoder[-1].parameters():
        weight.zero_()
    x = torch.zeros(1, DATES * CHANNELS)
    x[0, 5] = 6.0
    score, values, _ = anomaly(network, x, torch.zeros(DATES * CHANNELS))
    assert float(score) == pytest.approx(36 / (DATES * CHANNELS))
    torch.testing.assert_close(values, x**2 / (DATES * CHANNELS))
