"""Integrated gradients, with a stated number of steps or refined per pixel until the map has settled."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .base import Attribution, Explainer
from .secant import path_of, pulled_back, segment_multipliers

FIRST_SEGMENTS = 8
# The finer of two levels is three times nearer to the integral than the coarser (benchmarks/README.md), so
# that a change of twice the tolerance between them means an error within the tolerance.
_CHANGE_PER_TOLERANCE = 2.0
_PILOT_SEGMENTS = 16
_PILOT_ROUNDS = 3
# No stretch of the path is sampled less than this share of an even spacing.
_LEAST_DENSITY = 0.1


class IntegratedGradients(Explainer):
    """Integrated gradients; Sundararajan, Taly & Yan 2017, arXiv:1703.01365.

    With `steps`, Gauss-Legendre quadrature of the gradient at that many nodes. Without, secants over
    segments of the path (see `secant`), doubled per patch until the residual is within `tolerance` of the
    output's difference and the sums per band change by no more than twice `tolerance` between two levels.
    `learn` puts the segments where, on a sample, the path bends most.
    """

    _grading = (torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))

    @property
    def evaluations_at_once(self) -> int:
        return self.options.steps or 2 * FIRST_SEGMENTS + 1

    def learn(self, x: Tensor, baseline: Tensor, weights: Tensor) -> None:
        if self.options.steps:
            return
        edges = torch.linspace(0, 1, _PILOT_SEGMENTS + 1)
        for _ in range(_PILOT_ROUNDS):
            bends = self._bends(x, baseline, weights, edges)
            # The error of a segment grows with the square of its length: where it is large, the root of it counts.
            width = edges.diff()
            density = bends.sqrt() / width
            density = density / (density * width).sum()
            density = (density + _LEAST_DENSITY) / (1 + _LEAST_DENSITY)
            shares = torch.cat([torch.zeros(1), (density * width).cumsum(0)])
            self._grading = (shares / shares[-1], edges)
            edges = self.edges(_PILOT_SEGMENTS)

    def edges(self, segments: int) -> Tensor:
        """Positions (segments + 1,) from 0 to 1 along the path, nested when `segments` doubles."""
        shares, positions = self._grading
        even = np.linspace(0, 1, segments + 1)
        return torch.from_numpy(np.interp(even, shares.numpy(), positions.numpy())).float()

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        reference = self.output(baseline, weights)
        if self.options.steps:
            return self.plain(self._quadrature(x, baseline, weights), reference, self.options.steps)
        difference = self.output(x, weights) - reference
        n = len(x)
        values = self._level(x, baseline, weights, FIRST_SEGMENTS)
        settled = torch.zeros(n, dtype=torch.bool, device=x.device)
        evaluations = torch.full((n,), FIRST_SEGMENTS + 1)
        segments = 2 * FIRST_SEGMENTS
        left = torch.arange(n, device=x.device)
        while len(left) and segments <= self.options.max_steps:
            finer = torch.cat([
                self._level(x[part], baseline[part], weights[part], segments)
                for part in left.split(max(1, n * (2 * FIRST_SEGMENTS + 1) // (segments + 1)))
            ])  # fmt: skip
            done = self._settled(values[left], finer, difference[left])
            values[left] = finer
            settled[left] = done
            evaluations[left.cpu()] += segments + 1
            left = left[~done]
            segments *= 2
        return Attribution(values, reference, settled.cpu(), evaluations)

    def _settled(self, coarser: Tensor, finer: Tensor, difference: Tensor) -> Tensor:
        bands = finer.sum((2, 3))
        change = (bands - coarser.sum((2, 3))).abs().sum(1)
        residual = (difference - bands.sum(1)).abs()
        tolerance = self.options.tolerance
        # Sums of float32 can't be told apart below this, where a difference is nearly nothing.
        rounding = 1e-5 * bands.abs().sum(1)
        return (change <= _CHANGE_PER_TOLERANCE * tolerance * bands.abs().sum(1)) & (
            residual <= tolerance * difference.abs() + rounding
        )

    def _level(self, x: Tensor, baseline: Tensor, weights: Tensor, segments: int) -> Tensor:
        edges = self.edges(segments).to(x.device)
        multipliers = segment_multipliers(self.network, x, baseline, weights, edges)
        mean = torch.einsum("ns...,s->n...", multipliers, edges.diff())
        return pulled_back(self.network, x, baseline, mean)

    def _quadrature(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Tensor:
        nodes, shares = np.polynomial.legendre.leggauss(self.options.steps)
        positions = torch.from_numpy((nodes + 1) / 2).to(x)
        with torch.enable_grad():
            # The affine front is evaluated at the two ends only.
            z = path_of(self.network.front(baseline), self.network.front(x), positions).requires_grad_(True)
            logits = self.network.body(z).flatten(1).reshape(len(x), len(positions), -1)
            gradients = torch.autograd.grad((logits * weights[:, None]).sum(), z)[0]
        gradients = gradients.reshape(len(x), len(positions), *gradients.shape[1:])
        mean = torch.einsum("ns...,s->n...", gradients, torch.from_numpy(shares / 2).to(x))
        return pulled_back(self.network, x, baseline, mean)

    def _bends(self, x: Tensor, baseline: Tensor, weights: Tensor, edges: Tensor) -> Tensor:
        """Return (segment,): how much a segment's share of the map changes when it is halved, on average."""
        halved = torch.stack([edges[:-1], (edges[:-1] + edges[1:]) / 2], 1).flatten()
        halved = torch.cat([halved, edges[-1:]]).to(x.device)
        bends = []
        for one, base, weight in zip(x.split(1), baseline.split(1), weights.split(1)):
            coarse = self._shares(one, base, weight, edges.to(x.device))
            fine = self._shares(one, base, weight, halved).unflatten(0, (-1, 2)).sum(1)
            bends.append((coarse - fine).abs().sum(1) / coarse.sum(0).abs().sum().clamp_min(1e-12))
        return torch.stack(bends).mean(0).cpu()

    def _shares(self, x: Tensor, baseline: Tensor, weights: Tensor, edges: Tensor) -> Tensor:
        """Return (segment, band): each segment's part of the attribution of one patch."""
        multipliers = segment_multipliers(self.network, x, baseline, weights, edges)[0]
        multipliers = multipliers * edges.diff().reshape(-1, *[1] * (multipliers.dim() - 1))
        count = len(multipliers)
        inputs, start = x.expand(count, -1, -1, -1), baseline.expand(count, -1, -1, -1)
        return pulled_back(self.network, inputs, start, multipliers).sum((2, 3))
