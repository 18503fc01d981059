"""Secant propagation: how a straight path through the input arrives at the output, segment by segment.

Between two points of the path each ReLU acts as its secant, (a(z1) - a(z0)) / (z1 - z0), and an affine
layer as itself; the product of these over the layers, times the input's difference, is exactly the
output's difference (DeepLIFT's rescale rule, Shrikumar, Greenside & Kundaje 2017, arXiv:1704.02685).
With one segment that is DeepLIFT. With many the sum tends to integrated gradients (Sundararajan, Taly &
Yan 2017, arXiv:1703.01365), faster than sampled gradients do, because a ReLU that opens within a segment
counts for the part of it in which it is open; and it is complete at any number of segments.

The points are run forward once; the segments between any of them are then run backward by the transposed
layers, without the automatic differentiation's second look at every point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..models.networks import PatchNetwork
from ..models.relus import secants
from .transposed import transposed


class Trace(NamedTuple):
    """What a forward run leaves: what went into the ReLUs, each layer's shapes of one row, the output."""

    into_relus: list[Tensor]
    shapes: list[torch.Size]
    output: Tensor


def trace(network: PatchNetwork, z: Tensor) -> Trace:
    """Run the body on front outputs (n, ...) and keep what went into each ReLU."""
    shapes, into_relus = [], []
    z = z.contiguous(memory_format=torch.channels_last if z.dim() == 4 else torch.channels_last_3d)
    for layer in network.body:
        shapes.append(z.shape[1:])
        if isinstance(layer, nn.ReLU):
            into_relus.append(z)
        z = layer(z)
    return Trace(into_relus, [*shapes, z.shape[1:]], z)


def multipliers(
    network: PatchNetwork, shapes: Sequence[torch.Size], slopes: Callable[[int], Tensor], weights: Tensor
) -> Tensor:
    """Run rows backward from the logits to the front's output, (row, ...).

    `weights` (row, class) or (row, class, y, x) of the logits; `slopes(i)` makes the i-th ReLU's slopes
    (row, ...), to be overwritten; `shapes` are those of one row at each layer's input and at the end.
    """
    rows = weights.reshape(len(weights), *shapes[-1])
    relu = sum(isinstance(layer, nn.ReLU) for layer in network.body)
    for layer, shape in zip(reversed(network.body), reversed(shapes[:-1])):
        if isinstance(layer, nn.ReLU):
            relu -= 1
            # In place in the slopes: they lie as the forward run did, with channels last, which is fastest.
            rows = slopes(relu).mul_(rows)
        else:
            rows = transposed(layer, rows, shape)
    return rows


def path_of(start: Tensor, end: Tensor, positions: Tensor) -> Tensor:
    """Points (n, points, ...) of the paths from `start` to `end` (n, ...) at `positions` (points,)."""
    return torch.lerp(start[:, None], end[:, None], positions.reshape(1, -1, *[1] * (start.dim() - 1)))


class Paths:
    """Straight paths between front outputs `start` and `end` (n, ...), run forward at `positions`.

    `outputs` (n, point, class): the logits.
    """

    def __init__(self, network: PatchNetwork, start: Tensor, end: Tensor, positions: Tensor) -> None:
        positions = positions.to(start)
        self._network, self._positions = network, positions
        self._count = len(start)
        self._trace = trace(network, path_of(start, end, positions).flatten(0, 1))
        self.outputs = self._trace.output.flatten(1).unflatten(0, (len(start), -1))

    def multipliers(self, weights: Tensor, stride: int = 1) -> Tensor:
        """Return the multipliers at the front's output (n, segment, ...), each times its segment's length.

        The segments lie between every `stride`-th point; `weights` (n, class) are those of the logits.
        """
        lengths = self._positions[::stride].diff()

        def slopes(relu: int) -> Tensor:
            path = self._trace.into_relus[relu].unflatten(0, (self._count, -1))
            return secants(path, stride).flatten(0, 1)

        rows = multipliers(
            self._network, self._trace.shapes, slopes, (weights[:, None] * lengths[:, None]).flatten(0, 1)
        )
        return rows.unflatten(0, (self._count, -1))


def pulled_back(network: PatchNetwork, x: Tensor, baseline: Tensor, rows: Tensor) -> Tensor:
    """Attributions (n, band, y, x): multipliers (n, ...) through the front, times x - baseline."""
    shapes, z = [], x[:1]
    for layer in network.front:
        shapes.append(z.shape[1:])
        z = layer(z)
    for layer, shape in zip(reversed(network.front), reversed(shapes)):
        rows = transposed(layer, rows, shape)
    return rows.reshape(x.shape) * (x - baseline)
