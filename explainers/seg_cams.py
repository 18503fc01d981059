"""Class activation maps of segmentation networks: coarse, and not conservative (see `audit`).

Seg-Grad-CAM, Vinogradova, Dibrov & Myers 2020, DOI 10.1609/aaai.v34i10.7244: maps of a layer, weighed by the
mean gradient of the logits summed over a region. Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) is that
over the whole image, HiResCAM (Draelos & Carin 2020, arXiv:2011.08891) weighs each cell by its own gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor, fx, nn

from ..models.relus import Tap
from ..models.segmentation_networks import FEATURES, SegmentationNetwork

LAYERS = (FEATURES, "bottom")


class Cam(NamedTuple):
    """A map (y, x) of a layer's cells before ReLU, and the same above 0 enlarged to the image, (Y, X)."""

    raw: Tensor
    shown: Tensor


class SegmentationCams:
    """Maps of one prepared image (band, y, x), of any target, from one pass forward.

    `layer`: `features`, which the last layer reads, or `bottom`, the maps of the coarsest level. The network
    is explainable. `logits` (class, y, x).
    """

    def __init__(self, network: SegmentationNetwork, image: Tensor, layer: str = FEATURES) -> None:
        self._shape = image.shape[1:]
        with torch.enable_grad():
            self._maps, logits = _run_from(network, image[None].detach(), layer)
            self._logits = logits[0]
        self.logits = self._logits.detach()

    def cams(self, weights: Iterable[Tensor], each_cell: bool = False) -> Iterator[Cam]:
        """Yield a map for each target, one pass back each.

        Each of `weights` (class, y, x) makes the target of the logits: one class in a region, say, and 0
        elsewhere. With `each_cell` HiResCAM.
        """
        for target in weights:
            slopes = self.slopes(target)
            yield self.weighed(slopes if each_cell else slopes.mean((1, 2), keepdim=True))

    @property
    def shrunk(self) -> int:
        """How many pixels wide a cell of the layer's maps is."""
        return self._shape[0] // self._maps.shape[2]

    def slopes(self, target: Tensor) -> Tensor:
        """Return the gradient of a target, weights (class, y, x) of the logits, by the maps' cells.

        (channel, cell, cell); one pass back.
        """
        with torch.enable_grad():
            total = (self._logits * target).sum()
        return torch.autograd.grad(total, self._maps, retain_graph=True)[0][0]

    def weighed(self, weights: Tensor) -> Cam:
        """Return the maps weighed and summed; `weights` (channel, 1, 1), or of each cell."""
        raw = (self._maps.detach()[0] * weights).sum(0)
        large = nn.functional.interpolate(raw[None, None], self._shape, mode="bilinear")[0, 0]
        return Cam(raw, large.clamp_min(0))


def _run_from(network: SegmentationNetwork, x: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Return a layer's maps, as what gradients are asked by, and the logits."""
    kept = _Kept(cast(fx.GraphModule, network.body), layer)
    logits = kept.run(network.front(x).contiguous(memory_format=torch.channels_last))
    return kept.maps, logits


class _Kept(fx.Interpreter):
    """Runs a network's body, and keeps the maps of one of its layers as a leaf of the way back."""

    def __init__(self, body: fx.GraphModule, layer: str) -> None:
        super().__init__(body)
        self.maps = torch.empty(0)
        if layer == FEATURES:
            self._node = next(n for n in body.graph.nodes if _is_tap(body, n, layer))
        else:
            stacks = [n for n in body.graph.nodes if _inside(n, layer)]
            self._node = stacks[-1]

    def run_node(self, n: fx.Node) -> Tensor:
        result = super().run_node(n)
        if n is self._node:
            self.maps = result = result.detach().requires_grad_(True)
        return result


def _is_tap(body: fx.GraphModule, node: fx.Node, name: str) -> bool:
    layer = body.get_submodule(str(node.target)) if node.op == "call_module" else None
    return isinstance(layer, Tap) and layer.name == name


def _inside(node: fx.Node, name: str) -> bool:
    return any(path == name or path.startswith(f"{name}.") for path in node.meta.get("nn_module_stack", {}))
