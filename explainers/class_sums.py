"""Sums of attributions over classes of pixels, without the attributions of each pixel.

Run backward from the summed outputs of neighbouring pixels, their overlapping patches share the work. The
more so the larger the block of pixels; but a block works for all its pixels, of whatever class they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .base import patches_at
from .secant import pulled_back
from .tile_path import TilePath


def cover(mask: Tensor, costs: Sequence[float]) -> list[tuple[int, Tensor, Tensor]]:
    """Return the cheapest blocks of a quadtree that cover the pixels of a mask (y, x).

    `costs[k]` is that of a block with side 2**k. Each item is a side with the top rows and left columns of
    its blocks; a block at the lower or right edge may reach beyond it.
    """
    depth = len(costs) - 1
    height, width = mask.shape
    padded = functional.pad(mask, (0, -width % 2**depth, 0, -height % 2**depth))
    present, total = [padded], [padded * costs[0]]
    whole = [padded]
    for cost in costs[1:]:
        present.append(functional.max_pool2d(present[-1][None].float(), 2)[0].bool())
        children = 4 * functional.avg_pool2d(total[-1][None], 2)[0]
        whole.append(present[-1] & (cost <= children))
        total.append(torch.where(whole[-1], torch.tensor(float(cost)), children))
    blocks = []
    unresolved = present[-1]
    for level in range(depth, -1, -1):
        chosen = unresolved & whole[level]
        if chosen.any():
            rows, cols = torch.nonzero(chosen, as_tuple=True)
            blocks.append((2**level, rows * 2**level, cols * 2**level))
        if level:
            left = unresolved & ~whole[level]
            left = left.repeat_interleave(2, 0).repeat_interleave(2, 1)
            unresolved = left & present[level - 1]
    return blocks


def class_sums(
    path: TilePath, tile: Tensor, baseline: Tensor, weights: Tensor, groups: Tensor, count: int,
    costs: Sequence[float], batch: Callable[[int], int], tick: Callable[[int], None],
) -> Tensor:  # fmt: skip
    """Return the attributions (count, band) summed over the patches of the pixels of each group.

    `tile` and `baseline` (band, y, x) with halo and the `path` between them; `weights` (class, y, x) of the
    pixels' logits and their `groups` (y, x), -1 for none. `batch` tells how many blocks of a side go at once;
    `tick` gets the pixels just done.
    """
    network, slopes = path.network, path.slopes()
    sums = torch.zeros(count, len(tile))
    for side, group, rows, cols in _by_side(groups, costs):
        for part in torch.arange(len(rows)).split(batch(side)):
            group_of, corner = group[part], (rows[part], cols[part])
            own, inside = _own_weights(weights, groups, group_of, *corner, side)
            multipliers = path.multipliers(slopes, *inside, own)
            x, start = (patches_at(maps, *inside, network.patch_size + side - 1) for maps in (tile, baseline))
            values = pulled_back(network, x, start, multipliers)
            sums.index_add_(0, group_of, values.sum((2, 3)).cpu())
            tick(int((own != 0).any(1).sum()))
    return sums


def _by_side(groups: Tensor, costs: Sequence[float]) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Yield each side with the groups, top rows and left columns of all blocks that have it."""
    found: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = {}
    for group in groups.unique().tolist():
        if group < 0:
            continue
        for side, rows, cols in cover(groups == group, costs):
            found.setdefault(side, []).append((torch.full_like(rows, group), rows, cols))
    for side, blocks in found.items():
        group, rows, cols = (torch.cat(parts) for parts in zip(*blocks))
        yield side, group, rows, cols


def _own_weights(
    weights: Tensor, groups: Tensor, group: Tensor, rows: Tensor, cols: Tensor, side: int
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return weights (n, class, side, side) of the blocks' own pixels, and corners moved inside the tile."""
    inside = rows.clamp_max(groups.shape[0] - side), cols.clamp_max(groups.shape[1] - side)
    windows = weights.unfold(1, side, 1).unfold(2, side, 1)[:, *inside].movedim(1, 0)
    same = groups.unfold(0, side, 1).unfold(1, side, 1)[inside] == group[:, None, None]
    steps = torch.arange(side, device=rows.device)
    below = steps[None, :] >= (rows - inside[0])[:, None]
    right = steps[None, :] >= (cols - inside[1])[:, None]
    own = same & below[:, :, None] & right[:, None, :]
    return windows * own[:, None], inside
