"""Explainers from one gradient: saliency and input x gradient."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from .base import Attribution, Explainer


def gradient(explainer: Explainer, x: Tensor, weights: Tensor) -> Tensor:
    """Gradient (n, band, y, x) of the target output by the input."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        return torch.autograd.grad(explainer.output(x, weights).sum(), x)[0]


class Saliency(Explainer):
    """Absolute gradient; Simonyan, Vedaldi & Zisserman 2013, arXiv:1312.6034."""

    uses_baseline: ClassVar[bool] = False
    contributions: ClassVar[bool] = False

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        return self.plain(gradient(self, x, weights).abs())


class InputXGradient(Explainer):
    """Input times gradient; Shrikumar et al. 2016, arXiv:1605.01713.

    Its reference is 0: what the biases give stays in the residual.
    """

    uses_baseline: ClassVar[bool] = False

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        return self.plain(x * gradient(self, x, weights), torch.zeros(len(x), device=x.device))
