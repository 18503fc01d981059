"""How much each channel of a series made its embedding: Shapley values of channels (Shapley 1953)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import factorial

import torch
from torch import Tensor

from ..models.autoencoder import Autoencoder
from .costs import layer_bytes

# With more, coalitions are too many: 2 to the power of the channels.
MOST_CHANNELS = 8


@torch.no_grad()
def channel_contributions(
    network: Autoencoder, prepared: Tensor, start: Tensor, directions: Tensor,
    check: Callable[[], None] = lambda: None, memory: int = 64 * 2**20,
) -> Tensor:  # fmt: skip
    """Return the Shapley values (direction, n, channel) of channels in prepared series (n, date * channel).

    A channel that is absent has the values of the series `start` (date * channel,), such as the mean of each
    date, so that a season which all series share is nobody's. Exact, by all coalitions: a direction's values
    add up to its coordinate of the embedding less that of `start`. `check` may raise to stop.
    Raises ValueError for more than MOST_CHANNELS channels.
    """
    count = network.channels
    if count > MOST_CHANNELS:
        raise ValueError(f"{count} channels have too many coalitions; {MOST_CHANNELS} are the most.")
    size = max(1, memory // layer_bytes(network, 1))
    parts = [
        _contributions(network, part, start.to(part), directions, check) for part in prepared.split(size)
    ]
    return torch.cat(parts, 1) if parts else prepared.new_empty(len(directions), 0, count)


def shapley_of_coalitions(value: Callable[[Tensor], Tensor], count: int) -> Tensor:
    """Return the Shapley values (..., player) of a game of `count` players, from all its coalitions.

    `value` gives what players bool (player,) that are there make together, (...).
    """
    values: dict[frozenset[int], Tensor] = {}
    for size in range(count + 1):
        for chosen in combinations(range(count), size):
            present = torch.zeros(count, dtype=torch.bool)
            present[list(chosen)] = True
            values[frozenset(chosen)] = value(present)
    nobody = values[frozenset()]
    found = nobody.new_zeros(*nobody.shape, count)
    for coalition, together in values.items():
        size = len(coalition)
        for player in coalition:
            weight = factorial(size - 1) * factorial(count - size) / factorial(count)
            found[..., player] += weight * (together - values[coalition - {player}])
    return found


def shares_of(contributions: Tensor) -> Tensor:
    """Return each channel's share of the sum of sizes over the last axis, all alike where that is 0."""
    sizes = contributions.abs()
    total = sizes.sum(-1, keepdim=True)
    return torch.where(total > 0, sizes / total, 1 / sizes.shape[-1])


def _contributions(
    network: Autoencoder, part: Tensor, start: Tensor, directions: Tensor, check: Callable[[], None]
) -> Tensor:
    series = part.unflatten(1, (network.dates, network.channels))
    absent = start.reshape(network.dates, network.channels)

    def coordinates(present: Tensor) -> Tensor:
        check()
        mixed = torch.where(present.to(part.device), series, absent).flatten(1)
        return directions @ network.encode(mixed).T

    return shapley_of_coalitions(coordinates, network.channels)
