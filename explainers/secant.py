"""Secant propagation: how a straight path through the input arrives at the output, segment by segment.

Between two points of the path each ReLU acts as its secant, (a(z1) - a(z0)) / (z1 - z0), and an affine
layer as itself; the product of these over the layers, times the input's difference, is exactly the
output's difference (DeepLIFT's rescale rule, Shrikumar, Greenside & Kundaje 2017, arXiv:1704.02685).
With one segment that is DeepLIFT. With many the sum tends to integrated gradients (Sundararajan, Taly &
Yan 2017, arXiv:1703.01365), faster than sampled gradients do, because a ReLU that opens within a segment
counts for the part of it in which it is open; and it is complete at any number of segments.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..models.networks import PatchNetwork

# Differences below this are rounding: the derivative in the middle is taken instead of the secant.
_SMALLEST = 1e-6


class _SecantReLU(torch.autograd.Function):
    """ReLU of the points of n paths, stacked as (n * points, ...), whose backward pass is the secants.

    Row i of a path stands for the segment from point i to point i + 1; the last row carries nothing.
    """

    @staticmethod
    def forward(z: Tensor, points: int) -> Tensor:  # type: ignore[override]
        return z.clamp_min(0)

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: Tensor) -> None:
        z, points = inputs
        path = z.detach().reshape(-1, points, *z.shape[1:])
        ends = path.clamp_min(0)
        step = path[:, 1:] - path[:, :-1]
        secants = (ends[:, 1:] - ends[:, :-1]) / step
        middle = (path[:, 1:] + path[:, :-1]) > 0
        ctx.secants = torch.where(step.abs() < _SMALLEST, middle.to(z.dtype), secants)  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        secants = ctx.secants  # type: ignore[attr-defined]
        paths = grad.reshape(len(secants), -1, *grad.shape[1:])
        out = torch.zeros_like(paths)
        torch.mul(paths[:, :-1], secants, out=out[:, :-1])
        return out.reshape(grad.shape), None


def path_of(start: Tensor, end: Tensor, positions: Tensor) -> Tensor:
    """Points (n * points, ...) of the straight paths from `start` to `end` (n, ...) at `positions` (points,)."""
    t = positions.reshape(1, -1, *[1] * (start.dim() - 1))
    return (start[:, None] + t * (end - start)[:, None]).flatten(0, 1)


def body_of_paths(network: PatchNetwork, z: Tensor, points: int) -> Tensor:
    """Run the network's body on stacked path points, with secants in the backward pass; (n * points, class)."""
    for layer in network.body:
        z = _SecantReLU.apply(z, points) if isinstance(layer, nn.ReLU) else layer(z)
    return z.flatten(1)


def segment_multipliers(
    network: PatchNetwork, x: Tensor, baseline: Tensor, weights: Tensor, edges: Tensor
) -> Tensor:
    """Multipliers (n, segment, ...) at the output of `front` for the segments between `edges` (points,)."""
    points = len(edges)
    with torch.enable_grad():
        z = path_of(network.front(baseline), network.front(x), edges).requires_grad_(True)
        logits = body_of_paths(network, z, points)
        target = (logits.reshape(len(x), points, -1) * weights[:, None]).sum()
        multipliers = torch.autograd.grad(target, z)[0]
    return multipliers.reshape(len(x), points, *multipliers.shape[1:])[:, :-1]


def pulled_back(network: PatchNetwork, x: Tensor, baseline: Tensor, multipliers: Tensor) -> Tensor:
    """Attributions (n, band, y, x): multipliers (n, ...) at the output of `front`, through it, times the difference."""
    with torch.enable_grad():
        inputs = x.detach().requires_grad_(True)
        gradient = torch.autograd.grad(network.front(inputs), inputs, multipliers)[0]
    return gradient * (x - baseline)
