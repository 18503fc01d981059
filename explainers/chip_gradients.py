"""Integrated gradients of chips: secants, or quadrature of the gradient, along the straight path."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..models.scene_networks import SceneNetwork
from .base import Attribution, Explainer
from .passes import gradient, path_multipliers
from .secant import path_of

# Segments to begin with where the steps are not given.
_FIRST = 8
# The error left at the finer of two levels is about half of the change between them (benchmarks/README.md).
_CHANGE_PER_TOLERANCE = 2
# Larger batches gained nothing on the CPU.
_MOST_AT_ONCE = 64


class ChipIntegratedGradients(Explainer):
    """Integrated gradients; Sundararajan, Taly & Yan 2017, arXiv:1703.01365.

    With `steps`, Gauss-Legendre quadrature of the gradient at that many nodes. Without, secants over segments
    of the path (see `secant`), twice as many from level to level, until the map changes by no more than
    twice `tolerance` of its sum of absolute values and the residual is within `tolerance` of the output's
    difference, or at `max_steps`. With a `tolerance` of 0 at once with `max_steps` segments, as no level
    could settle: nothing is then known of how near the map is, and none counts as settled.
    """

    network: SceneNetwork

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        reference = self.output(baseline, weights)
        if self.options.steps:
            nodes, shares = np.polynomial.legendre.leggauss(self.options.steps)
            mean = self._mean_gradient(x, baseline, weights, (nodes + 1) / 2, shares / 2)
            return self.plain(mean * (x - baseline), reference, self.options.steps)
        return self._refined(x, baseline, weights, reference)

    def _refined(self, x: Tensor, baseline: Tensor, weights: Tensor, reference: Tensor) -> Attribution:
        difference = self.output(x, weights) - reference
        most = self.options.max_steps
        segments = min(_FIRST, most) if self.options.tolerance else most
        values = self.level(x, baseline, weights, segments)
        settled = torch.zeros(len(x), dtype=torch.bool)
        evaluations = torch.full((len(x),), segments)
        left = torch.arange(len(x), device=x.device)
        while len(left) and 2 * segments <= most:
            segments *= 2
            coarser = values[left]
            finer = values[left] = self.level(x[left], baseline[left], weights[left], segments)
            evaluations[left.cpu()] += segments
            done = self._settled(coarser, finer, difference[left])
            settled[left[done].cpu()] = True
            left = left[~done]
        return Attribution(values, reference, settled, evaluations)

    def level(self, x: Tensor, baseline: Tensor, weights: Tensor, segments: int) -> Tensor:
        """Return the attributions (n, band, s, s) by so many segments, whether they settle or not."""
        values = torch.zeros_like(x)
        size = min(self.batch_size(), _MOST_AT_ONCE)
        # As many chips at a time as fit with their whole paths, or one by pieces of its path.
        piece = min(segments, max(1, size - 1))
        for first in range(0, segments, piece):
            last = min(first + piece, segments)
            positions = torch.arange(first, last + 1).to(x) / segments
            for chips in torch.arange(len(x), device=x.device).split(max(1, size // len(positions))):
                path = path_of(baseline[chips], x[chips], positions)
                values[chips] += path_multipliers(self.network, path, weights[chips])
        return values * (x - baseline) / segments

    def _settled(self, coarser: Tensor, finer: Tensor, difference: Tensor) -> Tensor:
        """Return bool (n,): two levels of the map agree, and the finer adds up to the difference (n,)."""
        tolerance = self.options.tolerance
        total = finer.abs().sum((1, 2, 3))
        change = (finer - coarser).abs().sum((1, 2, 3))
        residual = (difference - finer.sum((1, 2, 3))).abs()
        # Sums of float32 can't be told apart below a part of the total, where a difference is nearly nothing.
        return (change <= _CHANGE_PER_TOLERANCE * tolerance * total) & (
            residual <= tolerance * difference.abs() + 1e-5 * total
        )

    def _mean_gradient(
        self, x: Tensor, baseline: Tensor, weights: Tensor, positions: np.ndarray, shares: np.ndarray
    ) -> Tensor:
        """Return the weighted sum (n, band, s, s) of the gradients at positions (0 to 1) of the paths."""
        mean = torch.zeros_like(x)
        chips = torch.arange(len(x)).repeat_interleave(len(positions))
        places = torch.from_numpy(positions).to(x).repeat(len(x))
        parts = torch.from_numpy(shares).to(x).repeat(len(x))
        # The layers' outputs are freed on the way back: half of what a batch may take elsewhere.
        size = min(2 * self.batch_size(), _MOST_AT_ONCE)
        for chip, place, part in zip(chips.split(size), places.split(size), parts.split(size)):
            points = torch.lerp(baseline[chip], x[chip], place[:, None, None, None])
            slopes = gradient(self.network, points, weights[chip])
            mean.index_add_(0, chip.to(x.device), slopes * part[:, None, None, None])
        return mean
