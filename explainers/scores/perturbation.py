"""How fast the output falls, or rises, when the input is removed, or added, in the order of a map."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .copies import Output, outputs


class Curves(NamedTuple):
    """Areas (n,) under the curves of deletion (low is good) and insertion (high is good)."""

    deletion: Tensor
    insertion: Tensor


def blocks(side: int, block: int = 5) -> Tensor:
    """Return the units (1, side, side) of square blocks of pixels, in all bands at once."""
    number = torch.arange(side) // block
    return (number[:, None] * (int(number[-1]) + 1) + number)[None]


def bands(count: int) -> Tensor:
    """Return the units (count, 1, 1) of single bands, in all pixels at once."""
    return torch.arange(count)[:, None, None]


def deletion_insertion(
    output: Output, x: Tensor, baseline: Tensor, maps: Mapping[str, Tensor], gradients: Collection[str],
    units: Tensor, batch: int, steps: int = 20, check: Callable[[], None] = lambda: None,
) -> dict[str, Curves]:  # fmt: skip
    """Return the areas under the curves of `output` over the share of units changed.

    Petsiuk et al. 2018, arXiv:1806.07421. Deletion sets units of x to `baseline`, insertion sets units of
    the baseline to x, the highest first. A unit's height is the sum of its values, or for `gradients`,
    whose sign is no evidence, of the absolute values; equal ones go in reading order. `output` is the
    softmax probability of the target wherever this project reports the areas. The curves have `steps` steps
    (fewer where there are fewer units), straight between them; batches hold copies of all explainers.
    """
    units = units.to(x.device)
    names = list(maps)
    count = int(units.max()) + 1
    changed = torch.linspace(0, count, min(steps, count) + 1, device=x.device).round().long()
    first = torch.stack([_places(maps[name], units, count, name not in gradients) for name in names], 1)

    between = changed[1:-1]
    # Every chip by every explainer, deleted and inserted, at every step between the ends.
    shape = (len(x), len(names), 2, len(between))
    found = []
    for piece in torch.arange(math.prod(shape), device=x.device).split(batch):
        check()
        of, explainer, inserts, step = torch.unravel_index(piece, shape)
        gone = first[of, explainer] < between[step, None]
        mask = (gone ^ inserts.bool()[:, None])[:, units]
        found.append(output(torch.where(mask, baseline[of], x[of]), of))
    middle = torch.cat(found) if found else x.new_empty(0)
    middle = middle.reshape(shape)
    ends = [outputs(output, values, batch, check)[:, None, None] for values in (x, baseline)]
    whole, empty = (end.expand(-1, len(names), 1) for end in ends)
    share = changed / count
    deletion = torch.trapezoid(torch.cat([whole, middle[:, :, 0], empty], 2), share)
    insertion = torch.trapezoid(torch.cat([empty, middle[:, :, 1], whole], 2), share)
    return {name: Curves(deletion[:, i], insertion[:, i]) for i, name in enumerate(names)}


def _places(values: Tensor, units: Tensor, count: int, signed: bool) -> Tensor:
    """Return the place (n, unit) of each unit in the order of its height."""
    values = values if signed else values.abs()
    values = values.expand(-1, max(values.shape[1], units.shape[0]), -1, -1)
    number = units.expand(values.shape[1:])
    heights = torch.zeros(len(values), count, dtype=values.dtype, device=values.device)
    heights.index_add_(1, number.flatten(), values.flatten(1))
    return heights.argsort(dim=1, descending=True, stable=True).argsort(1)
