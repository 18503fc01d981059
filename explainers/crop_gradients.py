"""Integrated gradients of single pixels of a segmentation network, each in a crop around it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .base import Attribution, Explainer
from .passes import gradient


class CropIntegratedGradients(Explainer):
    """Integrated gradients; Sundararajan, Taly & Yan 2017, arXiv:1703.01365.

    Gauss-Legendre quadrature of the gradient at `steps` nodes, at least 1, one after the other.
    """

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        nodes, shares = np.polynomial.legendre.leggauss(self.options.steps)
        mean = torch.zeros_like(x)
        for node, share in zip((nodes + 1) / 2, shares / 2):
            point = torch.lerp(baseline, x, float(node))
            mean += float(share) * gradient(self.network, point, weights)
        reference = self.output(baseline, weights)
        return self.plain(mean * (x - baseline), reference, self.options.steps)
