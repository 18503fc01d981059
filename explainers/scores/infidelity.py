"""Whether a map foretells how the output changes when part of the input is removed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .copies import Copies, Output, in_batches, outputs, random_of


class Infidelity(NamedTuple):
    """Infidelity of n maps, each (n,): as they are, with the optimal `scale`, and that scale."""

    plain: Tensor
    scaled: Tensor
    scale: Tensor


def infidelity(
    output: Output, x: Tensor, baseline: Tensor, maps: Mapping[str, Tensor], gradients: Collection[str],
    removals: Copies, batch: int, check: Callable[[], None] = lambda: None,
) -> dict[str, Infidelity]:  # fmt: skip
    """Return E[(sum(I * Phi) - (f(x) - f(x - I)))^2] over removals; Yeh et al. 2019, arXiv:1901.09392.

    `removals` gives bool masks (m, band or 1, y or 1, x or 1) of an input: where it is set to `baseline`.
    The left sum is that of the values removed (I is 1 there); for `gradients`, maps in units of output per
    input, I is x - x': what `multiply_by_inputs` tells `captum.metrics.infidelity`. A map of one band is
    shared equally between the bands. The optimal scale, E[a b] / E[a^2] for a = sum(I * Phi) and b the
    change of the output, makes maps of different units comparable; it is 0 for a map that is zero.
    """
    before = outputs(output, x, batch, check)
    shared = {name: values / (x.shape[1] // values.shape[1]) for name, values in maps.items()}
    sums = {name: torch.zeros(4, len(x), dtype=torch.float64, device=x.device) for name in maps}
    draws = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for mask, of in in_batches(len(x), removals, batch, check):
        there = x[of]
        hidden = torch.where(mask, baseline[of], there)
        change = (before[of] - output(hidden, of)).double()
        draws.index_add_(0, of, torch.ones_like(change))
        for name, values in shared.items():
            removed = there - hidden if name in gradients else mask.expand_as(there)
            told = (removed * values[of]).flatten(1).double().sum(1)
            moments = torch.stack([(told - change) ** 2, told**2, told * change, change**2])
            sums[name].index_add_(1, of, moments)
    return {name: _infidelity(total / draws) for name, total in sums.items()}


def _infidelity(moments: Tensor) -> Infidelity:
    plain, told, both, change = moments
    scale = torch.where(told == 0, 0.0, both / torch.where(told == 0, 1.0, told))
    return Infidelity(plain, (change - scale * both).clamp_min(0), scale)


def square_removals(
    side: int, samples: int, seed: int, keys: Sequence[int], smallest: int = 5, device: str = "cpu"
) -> Copies:
    """Return masks (m, 1, side, side) of one square each, from `smallest` to half the side wide, anywhere."""

    def removals(number: int) -> tuple[Tensor]:
        generator = random_of(seed, keys[number])
        least = min(smallest, side)
        width = generator.integers(least, max(least, side // 2), samples, endpoint=True)
        top, left = (generator.integers(0, side - width, endpoint=True) for _ in range(2))
        place = torch.arange(side, device=device)

        def inside(start: object, size: object) -> Tensor:
            low = torch.as_tensor(start, device=device)[:, None]
            return (place >= low) & (place < low + torch.as_tensor(size, device=device)[:, None])

        return ((inside(top, width)[:, :, None] & inside(left, width)[:, None, :])[:, None],)

    return removals


def band_removals(bands: int, samples: int, seed: int, keys: Sequence[int], device: str = "cpu") -> Copies:
    """Return masks (m, bands, 1, 1) of neighbouring bands, from one to half of them, anywhere."""

    def removals(number: int) -> tuple[Tensor]:
        generator = random_of(seed, keys[number])
        width = generator.integers(1, max(1, bands // 2), samples, endpoint=True)
        first = generator.integers(0, bands - width, endpoint=True)
        low, high = (torch.as_tensor(edge, device=device)[:, None] for edge in (first, first + width))
        place = torch.arange(bands, device=device)
        return (((place >= low) & (place < high))[:, :, None, None],)

    return removals
