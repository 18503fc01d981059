"""Whether a map lies where the evidence is known to be, or where a chip is bright."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .ranks import average_ranks


class Localisation(NamedTuple):
    """How the maps of n inputs lie in their masks, each (n,), NaN where a mask is empty or full.

    `mass`: share of the absolute values inside. `rank`: share of the k highest pixels inside, k the
    mask's size; both Arras, Osman & Samek 2022, arXiv:2003.07258. `pointing`: 1 where the highest pixel is
    inside; Zhang et al. 2018, arXiv:1608.00507. `auc`: chance that a pixel inside is higher than one outside.
    """

    mass: Tensor
    rank: Tensor
    pointing: Tensor
    auc: Tensor


def localisation(values: Tensor, masks: Tensor) -> Localisation:
    """Judge maps (n, band, y, x), by their absolute values summed over bands, in bool masks (n, y, x)."""
    heights = values.abs().double().sum(1).flatten(1)
    inside = masks.flatten(1)
    size, pixels = inside.sum(1), inside.shape[1]
    judged = (size > 0) & (size < pixels) & (heights.sum(1) > 0)
    order = heights.argsort(dim=1, descending=True, stable=True)
    hits = inside.gather(1, order).double()
    among = torch.arange(pixels, device=values.device) < size[:, None]
    above = (average_ranks(heights) * inside).sum(1) - size * (size + 1) / 2
    scores = (
        share_inside(values, masks),
        (hits * among).sum(1) / size,
        hits[:, 0],
        above / (size * (pixels - size)),
    )
    return Localisation(*(torch.where(judged, score, torch.nan) for score in scores))


def share_inside(values: Tensor, masks: Tensor) -> Tensor:
    """Return the share (n,) of the absolute values (n, band, y, x) that lies in bool masks (n, y, x)."""
    heights = values.abs().double().sum(1)
    return (heights * masks).sum((1, 2)) / heights.sum((1, 2))


def bright_return(x: Tensor, share: float) -> Tensor:
    """Return bool masks (n, y, x): the brightest `share` of the first band's pixels of x (n, band, y, x).

    The band is first averaged over 3 x 3 pixels, so that single speckles do not count.
    """
    first = torch.nn.functional.pad(x[:, :1], (1, 1, 1, 1), mode="replicate")
    smooth = torch.nn.functional.avg_pool2d(first, 3, stride=1)[:, 0]
    flat = smooth.flatten(1)
    count = max(1, round(share * flat.shape[1]))
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    return chosen.scatter_(1, flat.topk(count, 1).indices, True).reshape(smooth.shape)
