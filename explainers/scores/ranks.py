"""Ranks with ties shared, and what is made of them."""

from __future__ import annotations

import torch
from torch import Tensor


def average_ranks(values: Tensor) -> Tensor:
    """Return the ranks (n, m), from 1, of each row of values (n, m); equal ones share their mean rank."""
    ordered, order = values.sort(1)
    ranks = torch.empty(values.shape, dtype=torch.float64, device=values.device)
    for row, among, places in zip(ranks, ordered, order):
        _, equal = among.unique_consecutive(return_counts=True)
        mean = equal.cumsum(0).double() - (equal - 1) / 2
        row[places] = mean.repeat_interleave(equal)
    return ranks


def spearman(one: Tensor, other: Tensor) -> Tensor:
    """Return Spearman's correlation (n,) of the rows of two (n, m); NaN where a row is constant."""
    centred = [ranks - ranks.mean(1, keepdim=True) for ranks in map(average_ranks, (one, other))]
    spread = centred[0].norm(dim=1) * centred[1].norm(dim=1)
    return (centred[0] * centred[1]).sum(1) / torch.where(spread == 0, torch.nan, spread)
