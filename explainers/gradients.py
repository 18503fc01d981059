"""Explainers that are read from one forward pass and a few backward passes."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from .base import Attribution, Explainer
from .passes import Passes


class PassExplainer(Explainer):
    """Base of the methods whose values come from `Passes` alone."""

    uses_baseline: ClassVar[bool] = False
    contributions: ClassVar[bool] = False

    def values(self, passes: Passes) -> Tensor:
        """Return the values (n, band or 1, s, s)."""
        raise NotImplementedError

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        return self.read(Passes(self.network, x, weights, self.options.layer))

    def read(self, passes: Passes) -> Attribution:
        """Return the attribution that `passes` hold."""
        return self.plain(self.values(passes))


class Saliency(PassExplainer):
    """Absolute gradient; Simonyan, Vedaldi & Zisserman 2013, arXiv:1312.6034."""

    signed: ClassVar[bool] = False

    def values(self, passes: Passes) -> Tensor:
        return passes.gradient.abs()


class InputXGradient(PassExplainer):
    """Input times gradient; Shrikumar et al. 2016, arXiv:1605.01713.

    Its reference is 0: what the biases give stays in the residual.
    """

    contributions: ClassVar[bool] = True

    def values(self, passes: Passes) -> Tensor:
        return passes.x * passes.gradient

    def read(self, passes: Passes) -> Attribution:
        return self.plain(self.values(passes), torch.zeros(len(passes.x), device=passes.x.device))


class GuidedBackpropagation(PassExplainer):
    """Gradient that ReLUs let pass where it is positive; Springenberg et al. 2015, arXiv:1412.6806."""

    def values(self, passes: Passes) -> Tensor:
        return passes.guided


class Deconvolution(PassExplainer):
    """Gradient that ReLUs cut below 0, open or not; Zeiler & Fergus 2014, arXiv:1311.2901."""

    def values(self, passes: Passes) -> Tensor:
        return passes.deconvolved


class GradCam(PassExplainer):
    """Maps of a layer, weighed by their mean gradient; Selvaraju et al. 2017, arXiv:1610.02391.

    One map for all bands, above 0, enlarged bilinearly to the input.
    """

    signed: ClassVar[bool] = False
    per_band: ClassVar[bool] = False
    weighs_layer: ClassVar[bool] = True

    def values(self, passes: Passes) -> Tensor:
        return passes.cam


class GuidedGradCam(PassExplainer):
    """Guided backpropagation times Grad-CAM; Selvaraju et al. 2017, arXiv:1610.02391."""

    weighs_layer: ClassVar[bool] = True

    def values(self, passes: Passes) -> Tensor:
        return passes.guided * passes.cam
