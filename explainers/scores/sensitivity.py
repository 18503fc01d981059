"""How much an explanation changes where its input hardly does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .copies import Copies, Explain, in_batches, pieces, random_of


class Sensitivity(NamedTuple):
    """Relative changes of the maps of n inputs, each (n,).

    `zero`: the map of the unchanged input is zero everywhere; the others are absolute changes there, as in
    Captum, and say nothing. `constant`: no draw changed the map, which is stable but explains no input.
    """

    maximum: Tensor
    average: Tensor
    zero: Tensor
    constant: Tensor


def sensitivity(
    explain: Explain, maps: Mapping[str, Tensor], copies: Copies, batch: int,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Sensitivity]:  # fmt: skip
    """Return how far the maps of perturbed copies lie from `maps`, those of the n inputs themselves.

    Max-Sensitivity, Yeh et al. 2019, arXiv:1901.09392, in its relative form: the largest
    ||Phi(x') - Phi(x)|| / ||Phi(x)|| over the draws, Frobenius norm, as `captum.metrics.sensitivity_max`
    has it; and the mean over the draws. `explain` gets copies of several inputs at once and explains them
    with all methods, for the class of the unchanged input.
    """
    first = next(iter(maps.values()))
    count = len(first)
    norms = {name: values.flatten(1).norm(dim=1) for name, values in maps.items()}
    largest = {name: torch.zeros_like(norm) for name, norm in norms.items()}
    totals = {name: torch.zeros_like(norm) for name, norm in norms.items()}
    draws = torch.zeros(count, device=first.device)
    for perturbed, of in in_batches(count, copies, batch, check):
        explained = explain(perturbed, of)
        draws.index_add_(0, of, torch.ones_like(of, dtype=draws.dtype))
        for name, values in maps.items():
            change = (explained[name] - values[of]).flatten(1).norm(dim=1)
            relative = change / torch.where(norms[name] == 0, 1.0, norms[name])[of]
            largest[name].scatter_reduce_(0, of, relative, "amax")
            totals[name].index_add_(0, of, relative)
    return {
        name: Sensitivity(largest[name], totals[name] / draws, norm == 0, largest[name] == 0)
        for name, norm in norms.items()
    }


def uniform_copies(x: Tensor, radius: float | Tensor, samples: int, seed: int, keys: Sequence[int]) -> Copies:
    """Return the copies x + U[-radius, radius] of each input (n, band, y, x): draws from an L-infinity ball.

    `radius` is one number or one per band. What leaves the range of the inputs is not clipped, which would
    change the ball. `keys` are what tells the inputs' random numbers apart.
    """
    width = torch.as_tensor(radius, dtype=x.dtype, device=x.device).reshape(-1, 1, 1)

    def copies(number: int) -> Iterator[Tensor]:
        generator = random_of(seed, keys[number])
        for size in pieces(samples, x[number].numel()):
            noise = generator.uniform(-1, 1, (size, *x.shape[1:]))
            yield x[number] + width * torch.as_tensor(noise, dtype=x.dtype, device=x.device)

    return copies


def speckled_copies(
    raw: Tensor, values: str, prepare: Callable[[Tensor], Tensor], looks: float, samples: int, seed: int,
    keys: Sequence[int],
) -> Copies:  # fmt: skip
    """Return copies of stored values (n, band, y, x) under more speckle, prepared for the network.

    Speckle multiplies power by gamma draws of mean 1 and variance 1 / `looks`, independent per pixel and
    band: `values` "power" by it, "db" shifted by 10 log10 of it, amplitude, and "as_is" taken as
    amplitude, by its root.
    """

    def copies(number: int) -> Iterator[Tensor]:
        generator = random_of(seed, keys[number])
        for size in pieces(samples, raw[number].numel()):
            drawn = generator.gamma(looks, 1 / looks, (size, *raw.shape[1:]))
            speckle = torch.as_tensor(np.maximum(drawn, 1e-12), dtype=raw.dtype, device=raw.device)
            if values == "db":
                yield prepare(raw[number] + 10 * speckle.log10())
            else:
                yield prepare(raw[number] * (speckle if values == "power" else speckle.sqrt()))

    return copies
