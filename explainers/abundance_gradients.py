"""Integrated gradients for abundances, whose way from the spectrum is no chain of layers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .base import Attribution, Explainer
from .passes import gradient

_FIRST = 8  # nodes to begin with
# Twice as many nodes halve the error at a kink; up to so many, chance may decide.
_PROGRESS, _PATIENT = 0.8, 16


class AbundanceGradients(Explainer):
    """Integrated gradients; Sundararajan, Taly & Yan 2017, arXiv:1703.01365.

    By Gauss-Legendre quadrature of the gradient: at `steps` nodes, or at twice as many time after time until
    a pixel's values add up to the output's difference within `tolerance` of it. An abundance has kinks on the
    path, where a material comes in or goes out. Where more nodes do not help, it jumps, and what is left over
    is the jump: such a pixel is given up, and its residual tells.
    """

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        reference = self.output(baseline, weights)
        if self.options.steps:
            values = self._quadrature(x, baseline, weights, self.options.steps)
            return self.plain(values, reference, self.options.steps)
        difference = self.output(x, weights) - reference
        values = torch.zeros_like(x)
        settled = torch.zeros(len(x), dtype=torch.bool)
        evaluations = torch.zeros(len(x), dtype=torch.int64)
        left, nodes = torch.arange(len(x)), min(_FIRST, self.options.max_steps)
        before = torch.full((len(x),), float("inf"))
        while len(left):
            found = self._quadrature(x[left], baseline[left], weights[left], nodes)
            values[left] = found
            evaluations[left] += nodes
            residual = (difference[left] - found.sum((1, 2, 3))).abs()
            # An abundance of 0 at both ends has nothing to add up to but rounding.
            near = (residual <= self.options.tolerance * difference[left].abs() + 1e-5).cpu()
            settled[left[near]] = True
            helped = (residual.cpu() < _PROGRESS * before[left]) | (nodes <= _PATIENT)
            before[left] = residual.cpu()
            nodes *= 2
            left = left[~near & helped] if nodes <= self.options.max_steps else left[:0]
        return Attribution(values, reference, settled, evaluations)

    def _quadrature(self, x: Tensor, baseline: Tensor, weights: Tensor, nodes: int) -> Tensor:
        """Return the values (n, band, y, x) by so many nodes, one after the other."""
        places, shares = np.polynomial.legendre.leggauss(nodes)
        mean = torch.zeros_like(x)
        for place, share in zip((places + 1) / 2, shares / 2):
            mean += share * gradient(self.network, torch.lerp(baseline, x, float(place)), weights)
        return (x - baseline) * mean
