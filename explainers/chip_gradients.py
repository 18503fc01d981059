"""Integrated gradients of chips: quadrature of the gradient along the straight path."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .base import Attribution, Explainer
from .passes import gradient

# Segments to begin with where the steps are not given.
_FIRST = 16
# Larger batches gained nothing on the CPU.
_MOST_AT_ONCE = 64


class ChipIntegratedGradients(Explainer):
    """Integrated gradients; Sundararajan, Taly & Yan 2017, arXiv:1703.01365.

    With `steps`, Gauss-Legendre quadrature at that many nodes. Without, the trapezoidal rule with twice as
    many segments from level to level, which uses all gradients again, until the residual is within
    `tolerance` of the output's difference and the map changes by no more than that, or at `max_steps`.
    """

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        reference = self.output(baseline, weights)
        if self.options.steps:
            nodes, shares = np.polynomial.legendre.leggauss(self.options.steps)
            mean = self._mean_gradient(x, baseline, weights, (nodes + 1) / 2, shares / 2)
            return self.plain(mean * (x - baseline), reference, self.options.steps)
        return self._refined(x, baseline, weights, reference)

    def _refined(self, x: Tensor, baseline: Tensor, weights: Tensor, reference: Tensor) -> Attribution:
        difference = self.output(x, weights) - reference
        segments = min(_FIRST, self.options.max_steps)
        positions = np.linspace(0, 1, segments + 1)
        shares = np.r_[0.5, np.ones(segments - 1), 0.5] / segments
        mean = self._mean_gradient(x, baseline, weights, positions, shares)
        settled = torch.zeros(len(x), dtype=torch.bool)
        evaluations = torch.full((len(x),), segments + 1)
        left = torch.arange(len(x), device=x.device)
        while len(left) and 2 * segments <= self.options.max_steps:
            between = (np.arange(segments) + 0.5) / segments
            shares = np.full(segments, 1 / segments)
            added = self._mean_gradient(x[left], baseline[left], weights[left], between, shares)
            change = (added - mean[left]) / 2
            mean[left] += change
            evaluations[left.cpu()] += segments
            segments *= 2
            done = self._settled(change, mean[left], (x - baseline)[left], difference[left])
            settled[left[done].cpu()] = True
            left = left[~done]
        return Attribution(mean * (x - baseline), reference, settled, evaluations)

    def _settled(self, change: Tensor, mean: Tensor, span: Tensor, difference: Tensor) -> Tensor:
        """Return bool (n,): the map hardly changed and adds up to the difference (n,)."""
        values = (mean * span).flatten(1)
        total = values.abs().sum(1)
        residual = (difference - values.sum(1)).abs()
        moved = (change * span).flatten(1).abs().sum(1)
        tolerance = self.options.tolerance
        # Sums of float32 can't be told apart below a part of the total, where a difference is nearly nothing.
        return (moved <= tolerance * total) & (residual <= tolerance * difference.abs() + 1e-5 * total)

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
