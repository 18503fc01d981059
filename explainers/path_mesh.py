"""Where along the path of integrated gradients the segments lie."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..models.networks import PatchNetwork
from .secant import Paths, pulled_back

_SEGMENTS = 12
_ROUNDS = 2
# No stretch of the path is sampled less than this share of an even spacing.
_LEAST_DENSITY = 0.1


class PathMesh:
    """Positions from 0 to 1 along the path, even unless learned; nested when the segments double.

    ReLUs rarely open evenly along the path: from the mean spectrum most do so at its start, from black near
    its end. Segments of equal error instead of equal length cut the error 2 to 25 times
    (benchmarks/README.md).
    """

    def __init__(self, shares: Tensor | None = None, positions: Tensor | None = None) -> None:
        ends = torch.tensor([0.0, 1.0])
        self._shares = ends if shares is None else shares
        self._positions = ends if positions is None else positions

    def positions(self, segments: int) -> Tensor:
        """Return the ends of the segments, float32 (segments + 1,)."""
        even = np.linspace(0, 1, segments + 1)
        return torch.from_numpy(np.interp(even, self._shares.numpy(), self._positions.numpy())).float()

    @classmethod
    def learned(
        cls, network: PatchNetwork, x: Tensor, baseline: Tensor, weights: Tensor, check: Callable[[], None]
    ) -> PathMesh:
        """Spread the segments by the error that each has on the paths of n patches."""
        mesh = cls()
        for _ in range(_ROUNDS):
            ends = mesh.positions(_SEGMENTS)
            # The error of a segment grows with the square of its length: its root is what a length adds.
            width = ends.diff()
            density = _bends(network, x, baseline, weights, ends, check).sqrt() / width
            density = density / (density * width).sum().clamp_min(1e-12)
            shares = torch.cat([torch.zeros(1), ((density + _LEAST_DENSITY) * width).cumsum(0)])
            mesh = cls(shares / shares[-1], ends)
        return mesh


def _bends(
    network: PatchNetwork, x: Tensor, baseline: Tensor, weights: Tensor, ends: Tensor,
    check: Callable[[], None],
) -> Tensor:  # fmt: skip
    """Return (segment,): how much a segment's part of the map changes when it is halved, on average."""
    halved = torch.cat([torch.stack([ends[:-1], (ends[:-1] + ends[1:]) / 2], 1).flatten(), ends[-1:]])
    bends = []
    for one, base, weight in zip(x.split(1), baseline.split(1), weights.split(1)):
        check()
        coarse = _parts(network, one, base, weight, ends)
        fine = _parts(network, one, base, weight, halved).unflatten(0, (-1, 2)).sum(1)
        bends.append((coarse - fine).abs().sum(1) / fine.sum(0).abs().sum().clamp_min(1e-12))
    return torch.stack(bends).mean(0).cpu()


def _parts(network: PatchNetwork, x: Tensor, baseline: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """Return (segment, band): each segment's part of the attribution of one patch."""
    start, end = network.front(baseline), network.front(x)
    rows = Paths(network, start, end, ends).multipliers(weights)[0]
    inputs, base = (t.expand(len(rows), -1, -1, -1) for t in (x, baseline))
    return pulled_back(network, inputs, base, rows).sum((2, 3))
