"""Forward and backward passes of one batch, run when first asked for and shared by the explainers."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn

from ..models.files import Network
from ..models.relus import Record, Rule, recording
from ..models.scene_networks import SceneNetwork


def gradient(network: Network, x: Tensor, weights: Tensor) -> Tensor:
    """Return the gradient (n, band, s, s) of the target output by the input alone.

    One pass forward and one backward, which frees the layers' outputs on its way.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        return torch.autograd.grad((network.logits(x).flatten(1) * weights).sum(), x)[0]


def path_multipliers(network: SceneNetwork, path: Tensor, weights: Tensor) -> Tensor:
    """Return the multipliers (n, band, s, s) summed over the segments between points (n, point, band, s, s).

    Those of the residual network are secants, so that times a segment they are exactly what the target
    output changes by on it. A speckle filter, smooth and often linear, counts with its gradient midway.
    """
    with torch.enable_grad(), recording(Record(Rule("secant"))):
        x = network.filtered(path.flatten(0, 1)).detach().requires_grad_(True)
        logits = network.classified(x).flatten(1).unflatten(0, path.shape[:2])
        # The last point of a path begins no segment.
        rows = torch.autograd.grad((logits[:, :-1] * weights[:, None]).sum(), x)[0]
        rows = rows.unflatten(0, path.shape[:2])[:, :-1]
        if network.speckle_filter == "none":
            return rows.sum(1)
        middle = ((path[:, 1:] + path[:, :-1]) / 2).requires_grad_(True)
        filtered = network.filtered(middle.flatten(0, 1))
        return torch.autograd.grad(filtered, middle, rows.flatten(0, 1))[0].sum(1)


class Passes:
    """One forward pass of prepared inputs `x` (n, band, s, s), and backward passes of the target output.

    `weights` (n, class) make the target of the logits. `layer` is the part of the network whose maps
    Grad-CAM weighs. Each of the properties below runs its pass once.
    """

    def __init__(self, network: Network, x: Tensor, weights: Tensor, layer: str) -> None:
        self._record = Record()
        self.x, self._layer = x, layer
        with torch.enable_grad(), recording(self._record):
            self._input = x.detach().requires_grad_(True)
            self._output = (network.logits(self._input).flatten(1) * weights).sum(1)

    @property
    def output(self) -> Tensor:
        """The target output (n,)."""
        return self._output.detach()

    @cached_property
    def gradient(self) -> Tensor:
        """Gradient (n, band, s, s) of the target output by the input."""
        return self._with_maps[0]

    @cached_property
    def guided(self) -> Tensor:
        """Guided backpropagation: ReLUs let pass what is positive, where they were open."""
        return self._backward("guided", [self._input])[0]

    @cached_property
    def deconvolved(self) -> Tensor:
        """Deconvolution: ReLUs let pass what is positive, open or not."""
        return self._backward("deconvolution", [self._input])[0]

    @cached_property
    def cam(self) -> Tensor:
        """Grad-CAM (n, 1, s, s): the layer's maps, weighed by their mean gradient, above 0, enlarged."""
        maps = self._record.taps[self._layer]
        # A gradient that went all the way to the input has passed the layer.
        known = "_with_maps" in self.__dict__
        slopes = self._with_maps[1] if known else self._backward("gradient", [maps])[0]
        weighed = (slopes.mean((2, 3), keepdim=True) * maps.detach()).sum(1, keepdim=True)
        return nn.functional.interpolate(weighed.clamp_min(0), self.x.shape[2:], mode="bilinear")

    @cached_property
    def _with_maps(self) -> tuple[Tensor, ...]:
        maps = self._record.taps.get(self._layer)
        return self._backward("gradient", [self._input] if maps is None else [self._input, maps])

    def _backward(self, rule: str, by: list[Tensor]) -> tuple[Tensor, ...]:
        self._record.rule.name = rule
        return torch.autograd.grad(self._output, by, torch.ones_like(self._output), retain_graph=True)
