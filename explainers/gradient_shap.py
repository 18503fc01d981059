"""Gradient SHAP: expected gradients over baselines from the training data."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from .base import Attribution, Explainer
from .passes import gradient


class GradientShap(Explainer):
    """Expected gradients; Erion et al. 2021, arXiv:1906.10670; GradientExplainer of Lundberg & Lee 2017.

    Every patch is explained with the same `samples` pairs of a training spectrum and a position along the
    path from it, drawn by the seed with one position in each of as many equal stretches, so that
    neighbouring maps can be compared. No noise is added.
    """

    uses_baseline: ClassVar[bool] = False

    def draws(self) -> tuple[Tensor, Tensor]:
        """Return the baselines (sample, band) and the positions (sample,)."""
        generator = np.random.default_rng(self.options.seed)
        count = self.options.samples
        chosen = generator.integers(0, len(self.options.background), count)
        positions = (generator.permutation(count) + generator.random(count)) / count
        return self.options.background[torch.from_numpy(chosen)], torch.from_numpy(positions).float()

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        spectra, positions = self.draws()
        values = torch.zeros_like(x)
        reference = torch.zeros(len(x), device=x.device)
        for spectrum, position in zip(spectra, positions):
            start = spectrum.to(x)[:, None, None].expand_as(x)
            between = start + position.to(x) * (x - start)
            values += (x - start) * gradient(self.network, between, weights)
            # One uniform patch stands for all: the output at the baseline depends on the weights alone.
            reference += (self.network.logits(start[:1]).flatten(1) * weights).sum(1)
        count = len(positions)
        return self.plain(values / count, reference / count, count)
