"""DeepLIFT with the rescale rule."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Attribution, Explainer
from .secant import pulled_back, segment_multipliers


class DeepLift(Explainer):
    """DeepLIFT (rescale); Shrikumar, Greenside & Kundaje 2017, arXiv:1704.02685: one secant from baseline to input."""

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        edges = torch.tensor([0.0, 1.0], device=x.device)
        multipliers = segment_multipliers(self.network, x, baseline, weights, edges)[:, 0]
        values = pulled_back(self.network, x, baseline, multipliers)
        return self.plain(values, self.output(baseline, weights), 2)

    @property
    def evaluations_at_once(self) -> int:
        return 2
