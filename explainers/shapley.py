"""Shapley values of bands, from forward passes alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from .base import Attribution, TileAttribution, as_large_as
from .costs import layer_bytes
from .dense import Dense, Tick

# Larger batches of forward passes gained nothing on the CPU.
_MOST_AT_ONCE = 64


class Values(NamedTuple):
    """Shapley values (player, ...) and their standard errors (same shape), NaN where not known."""

    values: Tensor
    errors: Tensor


def orders(players: int, samples: int, seed: int) -> Iterator[list[list[int]]]:
    """Yield orders of the players in pairs, each with its reverse: `samples`, rounded up to pairs.

    Antithetic sampling (Mitchell et al. 2022, JMLR 23:43). Where there are no more than `samples` orders,
    each comes once.
    """
    if _all_orders(players, samples):
        for order in map(list, itertools.permutations(range(players))):
            if order < order[::-1]:
                yield [order, order[::-1]]
            elif players == 1:
                yield [order]
        return
    generator = torch.Generator().manual_seed(seed)
    for _ in range(-(-samples // 2)):
        drawn = torch.randperm(players, generator=generator).tolist()
        yield [drawn, drawn[::-1]]


def _all_orders(players: int, samples: int) -> bool:
    return players <= 12 and math.factorial(players) <= samples


def shapley_values(
    output: Callable[[Tensor], Iterator[Tensor]], players: int, samples: int, seed: int,
    step: Tick = lambda orders: None,
) -> Values:  # fmt: skip
    """Return the Shapley values (player, ...) of a game, from sampled orders in which its players join.

    `output` yields the values (k, ...) of coalitions bool (coalition, player), batch by batch. The values
    add up to the difference between all players and none, whatever the orders (Castro, Gomez & Tejada 2009,
    DOI 10.1016/j.cor.2008.04.004). Errors are those of the mean over pairs of orders.
    """
    ends = torch.stack([torch.zeros(players), torch.ones(players)]).bool()
    nobody, everybody = torch.cat(list(output(ends)))
    mean = torch.zeros(players, *nobody.shape, dtype=torch.float64, device=nobody.device)
    scatter = torch.zeros_like(mean)
    count = 0
    for pair in orders(players, samples, seed):
        found = torch.zeros_like(mean)
        for order in pair:
            joined = torch.ones(players, players).tril()[:, torch.tensor(order).argsort()].bool()
            before, member = nobody, iter(order)
            for batch in output(joined[:-1]) if players > 1 else ():
                for after in batch:
                    found[next(member)] += after.double() - before
                    before = after
            found[next(member)] += everybody.double() - before
            step(1)
        count += 1
        found /= len(pair)
        change = found - mean
        mean += change / count
        scatter += change * (found - mean)
    if _all_orders(players, samples):
        errors = torch.zeros_like(scatter)
    else:
        errors = (scatter / max(count - 1, 0) / count).sqrt() if count > 1 else scatter + torch.nan
    return Values(mean.to(nobody.dtype), errors.to(nobody.dtype))


class BandShapley(Dense):
    """Mean change of the output when a band joins, over `samples` orders in which bands join the baseline.

    Shapley 1953, with whole bands as players: no gradient is asked for. Complete at any number of orders;
    their sampling leaves an `error`, unless there are no more orders than samples. A patch's or a chip's band
    is one number, spread evenly over its pixels.
    """

    exact: ClassVar[bool] = True
    sampled: ClassVar[bool] = True

    def steps(self, parts: int) -> int:
        return self._orders(parts)

    def _orders(self, players: int) -> int:
        samples = self.options.samples
        return math.factorial(players) if _all_orders(players, samples) else samples + samples % 2

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        def output(coalitions: Tensor) -> Iterator[Tensor]:
            for some in coalitions.to(x.device).split(max(1, most // len(x))):
                mixed = torch.where(some[:, None, :, None, None], x, baseline)
                logits = self.network.logits(mixed.flatten(0, 1)).flatten(1).unflatten(0, (len(some), -1))
                yield (logits * weights).sum(2)

        players = x.shape[1]
        # Crops for single pixels of a segmentation are large.
        most = min(_MOST_AT_ONCE, self.batch_size()) if self.options.crop > 1 else _MOST_AT_ONCE
        found = shapley_values(output, players, self.options.samples, self.options.seed).values
        values = found.T[:, :, None, None].expand_as(x) / x[0, 0].numel()
        count = self._orders(players) * (players - 1) + 2
        return self.plain(values, self.output(baseline, weights), count)

    def explain_all(
        self, tile: Tensor, baseline: Tensor, weights: Tensor, step: Tick, check: Callable[[], None],
        real: Tensor | None,
    ) -> TileAttribution:  # fmt: skip
        start = as_large_as(tile, baseline)
        bands, size = len(tile), self._at_once(weights[0].numel())

        def output(coalitions: Tensor) -> Iterator[Tensor]:
            for some in coalitions.to(tile.device).split(size):
                check()
                joined = some[:, :bands, None, None]
                if real is not None:
                    # The pixels that are not the scene's are one more player.
                    joined = torch.where(real, joined, some[:, bands:, None, None])
                yield (self.network.logits(torch.where(joined, tile, start)) * weights).sum(1)

        players = bands + (real is not None)
        found = shapley_values(output, players, self.options.samples, self.options.seed, step)
        reference = (self.network.logits(start[None])[0] * weights).sum(0)
        count = (self._orders(players) * (players - 1) + 2) * reference.numel()
        return TileAttribution(
            found.values[:bands], reference, torch.ones_like(reference, dtype=torch.bool), count,
            None if real is None else found.values[bands], found.errors[:bands],
        )  # fmt: skip

    def _at_once(self, pixels: int) -> int:
        side = 1 if pixels < 256 else 16
        each = layer_bytes(self.network, side) * pixels // side**2
        return min(_MOST_AT_ONCE, max(1, self.options.memory // max(1, each)))
