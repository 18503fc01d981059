"""The path of a whole tile, run forward once for all the patches in it that overlap."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..models.networks import PatchNetwork
from .costs import layer_bytes
from .secant import multipliers, path_of, secants, trace


class TilePath:
    """Straight path from a baseline to a tile with halo, both (band, y, x), at `positions`.

    In a network of valid convolutions what a patch makes of its path is a window of what the tile makes of
    its own: one forward run, which computes no overlap twice, gives every patch its slopes. Only the way
    back, which starts from one pixel's output, is each patch's own. `outputs` (point, class, y, x): logits.
    """

    def __init__(self, network: PatchNetwork, tile: Tensor, baseline: Tensor, positions: Tensor) -> None:
        positions = positions.to(tile)
        self.network, self._positions = network, positions
        start, end = (network.front(t[None]) for t in (baseline, tile))
        self._trace = trace(network, path_of(start, end, positions)[0])
        self.outputs = self._trace.output

    def slopes(self, stride: int = 1) -> list[Tensor]:
        """Return the secants of each ReLU between every `stride`-th point, (segment, channel, ..., y, x)."""
        return [secants(maps[None], stride)[0] for maps in self._trace.into_relus]

    def multipliers(self, slopes: list[Tensor], rows: Tensor, cols: Tensor, weights: Tensor) -> Tensor:
        """Return the multipliers (n, channel, ..., y, x) at the front's output, summed over the path.

        They are for n crops of the output map with corners `rows` and `cols` (n,) and with `weights`
        (n, class, height, width) of their logits.
        """
        count = len(slopes[0])
        lengths = self._positions[:: (len(self._positions) - 1) // count].diff()
        shapes = self._crop_shapes(weights.shape[-2:])
        into_relus = [shape for shape, layer in zip(shapes, self.network.body) if isinstance(layer, nn.ReLU)]

        def slopes_of(relu: int) -> Tensor:
            return _windows(slopes[relu], rows, cols, into_relus[relu][-2:]).flatten(0, 1)

        start = (weights[:, None] * lengths.reshape(-1, 1, 1, 1)).flatten(0, 1)
        return multipliers(self.network, shapes, slopes_of, start).unflatten(0, (-1, count)).sum(1)

    def _crop_shapes(self, size: torch.Size) -> list[torch.Size]:
        """Return the shapes around each layer for a crop whose output map is of `size`."""
        height, width = (whole - part for whole, part in zip(self._trace.shapes[-1][-2:], size))
        return [
            torch.Size((*shape[:-2], shape[-2] - height, shape[-1] - width)) for shape in self._trace.shapes
        ]


def _windows(maps: Tensor, rows: Tensor, cols: Tensor, size: torch.Size) -> Tensor:
    """Return a copy of windows (n, segment, channel, ..., y, x) of maps (segment, channel, ..., y, x).

    The copy lies in memory with the channels last, as the maps do.
    """
    view = maps.unfold(-2, size[0], 1).unfold(-2, size[1], 1)
    return view.movedim((-4, -3), (0, 1)).movedim(3, -1)[rows, cols].movedim(-1, 2)


def pieces(
    network: PatchNetwork, size: torch.Size, points: int, memory: int
) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Yield the rows and columns of pieces of an output map of `size`, without and with halo.

    They are as large as a forward run at so many points, with the slopes of its segments, takes no more
    than `memory` bytes.
    """
    halo = network.patch_size - 1
    height, width = size
    side = 1
    # Twice what goes through the layers at each point: the slopes of two levels take no less.
    while side < max(size) and 2 * points * layer_bytes(network, side + 1) <= memory:
        side += 1
    for top, left in itertools.product(range(0, height, side), range(0, width, side)):
        bottom, right = min(top + side, height), min(left + side, width)
        inner = slice(top, bottom), slice(left, right)
        yield inner, (slice(top, bottom + halo), slice(left, right + halo))
