from itertools import permutations

import pytest
import torch

from explanation_layers.explainers.channel_shares import channel_contributions, shares_of
from explanation_layers.models.autoencoder import autoencoder

DATES = 9


@pytest.fixture(params=[1, 2, 3])
def case(request):
    torch.manual_seed(request.param)
    network = autoencoder(DATES, request.param, filters=(8, 8), kernels=(3, 3)).double().eval()
    return (
        network,
        torch.randn(5, DATES * request.param).double(),
        torch.randn(DATES * request.param).double(),
    )


def test_values_add_up_to_the_difference_of_the_embedding(case):
    network, x, start = case
    directions = torch.tensor([[1.0, 0.0], [0.6, -0.8]]).double()
    found = channel_contributions(network, x, start, directions)
    difference = directions @ (network.encode(x) - network.encode(start[None])).T
    torch.testing.assert_close(found.sum(2), difference)


def test_values_are_the_means_over_all_orders_of_the_channels(case):
    network, x, start = case
    count = network.channels
    total = torch.zeros(2, 5, count).double()
    orders = list(permutations(range(count)))
    for order in orders:
        mixed = start.expand_as(x).clone().unflatten(1, (DATES, count))
        before = network.encode(mixed.flatten(1))
        for channel in order:
            mixed[:, :, channel] = x.unflatten(1, (DATES, count))[:, :, channel]
            after = network.encode(mixed.flatten(1))
            total[..., channel] += (after - before).T / len(orders)
            before = after
    torch.testing.assert_close(channel_contributions(network, x, start, torch.eye(2).double()), total)


def test_a_channel_at_the_start_has_no_share():
    torch.manual_seed(0)
    network = autoencoder(DATES, 2).eval()
    x, start = torch.randn(4, DATES * 2), torch.randn(DATES * 2)
    x[:, 1::2] = start[1::2]
    shares = shares_of(channel_contributions(network, x, start, torch.eye(2)))
    torch.testing.assert_close(shares[..., 0], torch.ones(2, 4))


def test_nothing_at_all_is_shared_alike():
    torch.testing.assert_close(shares_of(torch.zeros(1, 2, 4)), torch.full((1, 2, 4), 0.25))


def test_too_many_channels_are_refused():
    network = autoencoder(5, 9, filters=(4,), kernels=(3,))
    with pytest.raises(ValueError, match="9 channels"):
        channel_contributions(network, torch.zeros(1, 45), torch.zeros(45), torch.eye(2))
