"""Integrated gradients, with a stated number of steps or refined per pixel until the map has settled."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .base import Attribution, Explainer
from .path_mesh import PathMesh
from .secant import path_multipliers, path_of, pulled_back, segments_between

FIRST_SEGMENTS = 6
# The finer of two levels is three times nearer to the integral than the coarser (benchmarks/README.md), so
# that a change of twice the tolerance between them means an error within the tolerance.
_CHANGE_PER_TOLERANCE = 2.0


class IntegratedGradients(Explainer):
    """Integrated gradients; Sundararajan, Taly & Yan 2017, arXiv:1703.01365.

    With `steps`, Gauss-Legendre quadrature of the gradient at that many nodes. Without, secants over
    segments of the path (see `secant`), doubled per patch until the residual is within `tolerance` of the
    output's difference and the sums per band change by no more than twice `tolerance` between two levels.
    `learn` puts the segments where, on a sample, the path bends most.
    """

    mesh = PathMesh()

    @property
    def evaluations_at_once(self) -> int:
        # Two levels of segments go backward at a time.
        return self.options.steps or 3 * FIRST_SEGMENTS

    def learn(self, x: Tensor, baseline: Tensor, weights: Tensor) -> None:
        if not self.options.steps:
            self.mesh = PathMesh.learned(self.network, x, baseline, weights)

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        reference = self.output(baseline, weights)
        if self.options.steps:
            return self.plain(self._quadrature(x, baseline, weights), reference, self.options.steps)
        n = len(x)
        difference = self.output(x, weights) - reference
        start, end = self.network.front(baseline), self.network.front(x)
        segments = 2 * FIRST_SEGMENTS
        coarser, values = self._two_levels(x, baseline, start, end, weights, segments)
        settled = self.settled(coarser, values.sum((2, 3)), difference)
        evaluations = torch.full((n,), segments + 1)
        left = torch.nonzero(~settled)[:, 0]
        while len(left) and 2 * segments <= self.options.max_steps:
            segments *= 2
            at_once = max(1, n * self.evaluations_at_once // segments)
            finer = torch.cat([
                self._level(x[part], baseline[part], start[part], end[part], weights[part], segments)
                for part in left.split(at_once)
            ])  # fmt: skip
            done = self.settled(values[left].sum((2, 3)), finer.sum((2, 3)), difference[left])
            values[left] = finer
            settled[left] = done
            evaluations[left.cpu()] += segments + 1
            left = left[~done]
        return Attribution(values, reference, settled.cpu(), evaluations)

    def settled(self, coarser: Tensor, finer: Tensor, difference: Tensor) -> Tensor:
        """Return bool (n,): two levels (n, band) agree and the finer adds up to the difference (n,)."""
        tolerance = self.options.tolerance
        total = finer.abs().sum(1)
        residual = (difference - finer.sum(1)).abs()
        # Sums of float32 can't be told apart below this, where a difference is nearly nothing.
        rounding = 1e-5 * total
        return ((finer - coarser).abs().sum(1) <= _CHANGE_PER_TOLERANCE * tolerance * total) & (
            residual <= tolerance * difference.abs() + rounding
        )

    def _two_levels(
        self, x: Tensor, baseline: Tensor, start: Tensor, end: Tensor, weights: Tensor, segments: int
    ) -> tuple[Tensor, Tensor]:
        """Return the sums per band (n, band) at half the segments and the attributions at all of them."""
        positions = self.mesh.positions(segments).to(x)
        both = [segments_between(positions, stride) for stride in (2, 1)]
        joined = type(both[0])(*(torch.cat(parts) for parts in zip(*both)))
        rows = path_multipliers(self.network, start, end, positions, weights, joined)
        coarse = torch.einsum("ns...,s->n...", rows[:, : segments // 2], both[0].lengths)
        fine = torch.einsum("ns...,s->n...", rows[:, segments // 2 :], both[1].lengths)
        return (
            pulled_back(self.network, x, baseline, coarse).sum((2, 3)),
            pulled_back(self.network, x, baseline, fine),
        )

    def _level(
        self, x: Tensor, baseline: Tensor, start: Tensor, end: Tensor, weights: Tensor, segments: int
    ) -> Tensor:
        positions = self.mesh.positions(segments).to(x)
        between = segments_between(positions)
        rows = path_multipliers(self.network, start, end, positions, weights, between)
        return pulled_back(
            self.network, x, baseline, torch.einsum("ns...,s->n...", rows, between.lengths)
        )  # fmt: skip

    def _quadrature(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Tensor:
        nodes, shares = np.polynomial.legendre.leggauss(self.options.steps)
        positions = torch.from_numpy((nodes + 1) / 2).to(x)
        # The affine front is evaluated at the two ends only.
        path = path_of(self.network.front(baseline), self.network.front(x), positions)
        with torch.enable_grad():
            z = path.flatten(0, 1).requires_grad_(True)
            logits = self.network.body(z).flatten(1).unflatten(0, path.shape[:2])
            gradients = torch.autograd.grad((logits * weights[:, None]).sum(), z)[0]
        mean = torch.einsum(
            "ns...,s->n...", gradients.unflatten(0, path.shape[:2]), torch.from_numpy(shares / 2).to(x)
        )
        return pulled_back(self.network, x, baseline, mean)
