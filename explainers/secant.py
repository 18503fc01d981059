"""Secant propagation: how a straight path through the input arrives at the output, segment by segment.

Between two points of the path each ReLU acts as its secant, (a(z1) - a(z0)) / (z1 - z0), and an affine
layer as itself; the product of these over the layers, times the input's difference, is exactly the
output's difference (DeepLIFT's rescale rule, Shrikumar, Greenside & Kundaje 2017, arXiv:1704.02685).
With one segment that is DeepLIFT. With many the sum tends to integrated gradients (Sundararajan, Taly &
Yan 2017, arXiv:1703.01365), faster than sampled gradients do, because a ReLU that opens within a segment
counts for the part of it in which it is open; and it is complete at any number of segments.

The points are run forward once; any set of segments between them is then run backward by the transposed
layers, without the automatic differentiation's second look at every point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..models.networks import PatchNetwork
from .transposed import transposed

# Differences below this are rounding: the derivative in the middle is taken instead of the secant.
_SMALLEST = 1e-6


class Segments(NamedTuple):
    """Segments of a path by the numbers of the points at their ends; `lengths` as shares of the path."""

    starts: Tensor
    ends: Tensor
    lengths: Tensor


class Trace(NamedTuple):
    """What a forward run leaves: what went into the ReLUs, and the shapes of one row around each layer."""

    into_relus: list[Tensor]
    shapes: list[torch.Size]


def segments_between(positions: Tensor, stride: int = 1) -> Segments:
    """Return the segments between every `stride`-th of the positions (points,)."""
    points = torch.arange(0, len(positions), stride, device=positions.device)
    return Segments(points[:-1], points[1:], positions[points].diff())


def path_of(start: Tensor, end: Tensor, positions: Tensor) -> Tensor:
    """Points (n, points, ...) of the paths from `start` to `end` (n, ...) at `positions` (points,)."""
    t = positions.reshape(1, -1, *[1] * (start.dim() - 1))
    return start[:, None] + t * (end - start)[:, None]


def trace(network: PatchNetwork, z: Tensor) -> Trace:
    """Run the body on front outputs (n, ...) and keep what went into each ReLU."""
    shapes, into_relus = [], []
    for layer in network.body:
        shapes.append(z.shape[1:])
        if isinstance(layer, nn.ReLU):
            into_relus.append(z)
        z = layer(z)
    return Trace(into_relus, [*shapes, z.shape[1:]])


def secants(path: Tensor, segments: Segments) -> Tensor:
    """Secants (n, segment, ...) of a ReLU between the points of paths (n, point, ...)."""
    first, last = path[:, segments.starts], path[:, segments.ends]
    step = last - first
    slope = (last.clamp_min(0) - first.clamp_min(0)) / step
    return torch.where(step.abs() < _SMALLEST, (first + last > 0).to(path.dtype), slope)


def multipliers(
    network: PatchNetwork, shapes: Sequence[torch.Size], slopes: Callable[[int], Tensor], weights: Tensor
) -> Tensor:
    """Run rows backward from the logits to the front's output, (row, ...).

    `weights` (row, class) of the logits; `slopes(i)` gives the i-th ReLU's slopes (row, ...); `shapes` are
    those of one row at each layer's input and at the end.
    """
    rows = weights.reshape(len(weights), *shapes[-1])
    relu = sum(isinstance(layer, nn.ReLU) for layer in network.body)
    for layer, shape in zip(reversed(network.body), reversed(shapes[:-1])):
        if isinstance(layer, nn.ReLU):
            relu -= 1
            rows = rows * slopes(relu)
        else:
            rows = transposed(layer, rows, shape)
    return rows


def path_multipliers(
    network: PatchNetwork, start: Tensor, end: Tensor, positions: Tensor, weights: Tensor, segments: Segments
) -> Tensor:
    """Multipliers (n, segment, ...) at the front's output, for paths between front outputs (n, ...)."""
    n, points = len(start), len(positions)
    run = trace(network, path_of(start, end, positions).flatten(0, 1))

    def slopes(relu: int) -> Tensor:
        return secants(run.into_relus[relu].unflatten(0, (n, points)), segments).flatten(0, 1)

    count = len(segments.starts)
    rows = multipliers(network, run.shapes, slopes, weights.repeat_interleave(count, 0))
    return rows.unflatten(0, (n, count))


def pulled_back(network: PatchNetwork, x: Tensor, baseline: Tensor, rows: Tensor) -> Tensor:
    """Attributions (n, band, y, x): multipliers (n, ...) through the front, times x - baseline."""
    side = network.patch_size
    shapes, z = [], x[:1]
    for layer in network.front:
        shapes.append(z.shape[1:])
        z = layer(z)
    for layer, shape in zip(reversed(network.front), reversed(shapes)):
        rows = transposed(layer, rows, shape)
    return rows.reshape(len(x), -1, side, side) * (x - baseline)
