"""Integrated gradients, with a stated number of steps or refined per pixel until the map has settled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..models.files import Network
from ..models.networks import PatchNetwork
from .base import Attribution, Explainer, Options, as_large_as, batches, patches_at
from .class_sums import class_sums
from .costs import body_operations
from .path_mesh import PathMesh
from .secant import Paths, path_of, pulled_back
from .tile_path import TilePath, pieces

# Segments to begin with, to choose from.
_FIRST = (8, 12, 16, 24)
# Of two levels the finer is about 3.6 times nearer to the integral (benchmarks/README.md). Going on from it
# by a quarter of the change leaves a third of the change as error: 2.5 times the tolerance is well within.
_BEYOND = 0.25
_CHANGE_PER_TOLERANCE = 2.5


class Levels(NamedTuple):
    """Two levels of segments of n paths, the finer with twice as many.

    `coarser` and `finer` multipliers (n, ...) at the front's output; `reference` and `difference` (n,) of
    the target's output.
    """

    coarser: Tensor
    finer: Tensor
    reference: Tensor
    difference: Tensor


class IntegratedGradients(Explainer):
    """Integrated gradients; Sundararajan, Taly & Yan 2017, arXiv:1703.01365.

    With `steps`, Gauss-Legendre quadrature of the gradient at that many nodes. Without, secants over
    segments of the path (see `secant`), doubled per patch until the residual is within `tolerance` of the
    output's difference and the sums per band change by no more than `tolerance` allows between two levels.
    `learn` puts the segments where, on a sample, the path bends most, and begins with as many as cost
    least in the end.
    """

    network: PatchNetwork

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__(network, options)
        self.mesh = PathMesh()
        self.first = self._first_choices()[-1]

    def _first_choices(self) -> list[int]:
        choices = [segments for segments in _FIRST if segments <= self.options.max_steps]
        return choices or [max(2, self.options.max_steps // 2 * 2)]

    @property
    def sums_share_work(self) -> bool:
        return not self.options.steps and self.network.patch_size > 1

    @property
    def evaluations_at_once(self) -> int:
        # The points go forward, the segments between them backward.
        return self.options.steps or 2 * self.first

    def learn(
        self, x: Tensor, baseline: Tensor, weights: Tensor, check: Callable[[], None] = lambda: None
    ) -> None:
        if self.options.steps:
            return
        self.mesh = PathMesh.learned(self.network, x, baseline, weights, check)
        cost = {}
        for segments in self._first_choices():
            check()
            self.first = segments
            levels = self._first_levels(x, baseline, weights)
            settled = self._refined(x, baseline, weights, levels, most=self.first).settled
            # Forward and backward, at these two levels and, where they do not settle, at the next.
            cost[segments] = 2.5 * segments + 4 * segments * float((~settled).float().mean())
        self.first = min(cost, key=lambda segments: cost[segments])

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        if self.options.steps:
            values = self._quadrature(x, baseline, weights)
            return self.plain(values, self.output(baseline, weights), self.options.steps)
        return self._refined(x, baseline, weights, self._first_levels(x, baseline, weights))

    def attributions(
        self, tile: Tensor, baseline: Tensor, weights: Tensor, wanted: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Attribution]]:
        """As `Explainer.attributions`; overlapping patches share what runs forward, where that is cheaper."""
        if not self.sums_share_work:
            yield from super().attributions(tile, baseline, weights, wanted)
            return
        positions = self.mesh.positions(self.first)
        baseline = as_large_as(tile, baseline)
        for inner, outer in pieces(self.network, wanted.shape, len(positions), self.options.memory):
            part, start = tile[:, *outer], baseline[:, *outer]
            weight, pixels = weights[:, *inner], wanted[inner]
            if int(pixels.sum()) * self._operations(1) <= self._operations(max(pixels.shape)):
                found = super().attributions(part, start, weight, pixels)
            else:
                found = self._sharing(part, start, weight, pixels, positions)
            for rows, cols, result in found:
                yield rows + inner[0].start, cols + inner[1].start, result

    def _sharing(
        self, tile: Tensor, baseline: Tensor, weights: Tensor, wanted: Tensor, positions: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Attribution]]:
        """As `attributions`, with one forward run for all the pixels."""
        path = TilePath(self.network, tile, baseline, positions)
        slopes = [path.slopes(stride) for stride in (2, 1)]
        for rows, cols in batches(wanted, self.batch_size()):
            x, base = (patches_at(maps, rows, cols, self.network.patch_size) for maps in (tile, baseline))
            weight = weights[:, rows, cols].T.contiguous()
            coarser, finer = (path.multipliers(each, rows, cols, weight[:, :, None, None]) for each in slopes)
            start, end = ((path.outputs[point][:, rows, cols].T * weight).sum(1) for point in (0, -1))
            levels = Levels(coarser, finer, start, end - start)
            yield rows, cols, self._refined(x, base, weight, levels)

    def class_sums(
        self, tile: Tensor, baseline: Tensor, weights: Tensor, groups: Tensor, count: int,
        tick: Callable[[int], None],
    ) -> Tensor:  # fmt: skip
        """As `Explainer.class_sums`, with half as many segments again as `learn` begins with.

        Errors of the pixels of a class go the same way in part: their mean asks for more than one of them.
        """
        positions = self.mesh.positions(self.first * 3 // 2)
        sums = torch.zeros(count, len(tile))
        baseline = as_large_as(tile, baseline)
        for inner, outer in pieces(self.network, groups.shape, len(positions), self.options.memory):
            part, start, group = tile[:, *outer], baseline[:, *outer], groups[inner]
            levels = min(group.shape).bit_length()
            costs = [self._operations(2**level) for level in range(levels)]
            path = TilePath(self.network, part, start, positions)
            sums += class_sums(
                path, part, start, weights[:, *inner], group, count, costs, self.batch_size, tick
            )
        return sums

    def _operations(self, side: int) -> int:
        return body_operations(self.network, side)

    def settled(self, coarser: Tensor, finer: Tensor, values: Tensor, difference: Tensor) -> Tensor:
        """Return bool (n,): two levels' sums (n, band) agree and `values` add up to the difference (n,)."""
        tolerance = self.options.tolerance
        total = values.abs().sum(1)
        residual = (difference - values.sum(1)).abs()
        # Sums of float32 can't be told apart below this, where a difference is nearly nothing.
        rounding = 1e-5 * total
        return ((finer - coarser).abs().sum(1) <= _CHANGE_PER_TOLERANCE * tolerance * total) & (
            residual <= tolerance * difference.abs() + rounding
        )

    def _first_levels(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Levels:
        paths = self._paths(x, baseline, self.first)
        coarser, finer = (paths.multipliers(weights, stride).sum(1) for stride in (2, 1))
        start, end = ((paths.outputs[:, point] * weights).sum(1) for point in (0, -1))
        return Levels(coarser, finer, start, end - start)

    def _paths(self, x: Tensor, baseline: Tensor, segments: int) -> Paths:
        front = self.network.front
        return Paths(self.network, front(baseline), front(x), self.mesh.positions(segments))

    def _refined(
        self, x: Tensor, baseline: Tensor, weights: Tensor, levels: Levels, most: int | None = None
    ) -> Attribution:
        """Return the attributions of the first levels, with more segments where they have not settled.

        With up to `most` segments, those of the options if it is not given.
        """
        segments, most = self.first, most or self.options.max_steps
        coarser, finer = (pulled_back(self.network, x, baseline, rows) for rows in levels[:2])
        values, settled = self._judged(coarser, finer, levels.difference)
        evaluations = torch.full((len(x),), segments + segments // 2)
        left = torch.nonzero(~settled)[:, 0]
        coarser = finer[left]
        while len(left) and 2 * segments <= most:
            segments *= 2
            at_once = max(1, self.batch_size() * self.first // segments)
            finer = torch.cat([
                self.level(x[part], baseline[part], weights[part], segments) for part in left.split(at_once)
            ])  # fmt: skip
            values[left], settled[left] = self._judged(coarser, finer, levels.difference[left])
            evaluations[left.cpu()] += segments
            coarser, left = finer[~settled[left]], left[~settled[left]]
        return Attribution(values, levels.reference, settled.cpu(), evaluations)

    def _judged(self, coarser: Tensor, finer: Tensor, difference: Tensor) -> tuple[Tensor, Tensor]:
        """Return the attributions (n, band, y, x) of two levels, and whether they have settled (n,)."""
        values = torch.lerp(coarser, finer, 1 + _BEYOND)
        per_band = [maps.sum((2, 3)) for maps in (coarser, finer, values)]
        return values, self.settled(per_band[0], per_band[1], per_band[2], difference)

    def level(self, x: Tensor, baseline: Tensor, weights: Tensor, segments: int) -> Tensor:
        """Return the attributions (n, band, y, x) by so many segments, whether they settle or not."""
        rows = self._paths(x, baseline, segments).multipliers(weights).sum(1)
        return pulled_back(self.network, x, baseline, rows)

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
