"""DeepLIFT with the rescale rule."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models.networks import PatchNetwork
from .base import Attribution, Explainer
from .secant import Paths, pulled_back


class DeepLift(Explainer):
    """One secant from baseline to input; Shrikumar et al. 2017, arXiv:1704.02685, rescale rule."""

    network: PatchNetwork

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        ends = torch.tensor([0.0, 1.0])
        front = self.network.front
        rows = Paths(self.network, front(baseline), front(x), ends).multipliers(weights)[:, 0]
        return self.plain(pulled_back(self.network, x, baseline, rows), self.output(baseline, weights), 2)

    @property
    def evaluations_at_once(self) -> int:
        return 2
