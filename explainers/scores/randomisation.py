"""Whether a map depends on what the network has learnt: its weights are mixed up, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

from ...models.segmentation_networks import SegmentationNetwork
from .ranks import spearman

# From the output down; a ResNet's stages are judged whole, and a U-Net's levels.
_RESNET = ("fc", "layer4", "layer3", "layer2", "layer1", "conv1")

N = TypeVar("N", bound=nn.Module)


def stages(network: nn.Module) -> dict[str, nn.Module]:
    """Return the parts of a network that are randomised one after the other, the last one first.

    Scene classifiers: `fc`, `layer4` to `layer1`, `conv1` of the trunk. Pixel classifiers: the layers with
    weights of the body, named by their place in it, and then the front. Segmentation networks: `head`, the
    levels of the way up, `bottom`, those of the way down; the first level has the finest maps.
    """
    trunk = getattr(network, "trunk", None)
    if isinstance(trunk, nn.Module):
        return {name: trunk.get_submodule(name) for name in _RESNET}
    if isinstance(network, SegmentationNetwork):
        return _levels(network)
    body = network.get_submodule("body")
    weighted = {f"body.{name}": part for name, part in body.named_children() if list(part.parameters())}
    return {**dict(reversed(weighted.items())), "front": network.get_submodule("front")}


def _levels(network: SegmentationNetwork) -> dict[str, nn.Module]:
    part, levels = network.body.get_submodule, range(network.depth)
    up = {f"up.{n}": nn.ModuleList([part(f"merge.{n}"), part(f"up.{n}")]) for n in levels}
    down = {f"down.{n}": part(f"down.{n}") for n in reversed(levels)}
    return {"head": network.head, **up, "bottom": part("bottom"), **down}


def cascade(network: N, seed: int) -> Iterator[tuple[str, N]]:
    """Yield the stage just reached with the network randomised from its output down to that stage.

    Adebayo et al. 2018, arXiv:1810.03292, "cascading". The weights of each tensor are permuted among
    themselves: what was learnt goes, their scale stays, so that the network does not die. It is one copy
    that changes from stage to stage; use it before asking for the next.
    """
    mixed = deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    for name, stage in stages(mixed).items():
        with torch.no_grad():
            for weight in stage.parameters():
                order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
                weight.copy_(weight.flatten()[order].reshape(weight.shape))
        yield name, mixed


def similarity(values: Tensor, trained: Tensor) -> Tensor:
    """Return Spearman's correlation (n,) of maps (n, band, y, x) with those of the trained network.

    Of the absolute values; NaN where a map is constant, as a zero map is.
    """
    return spearman(values.abs().flatten(1), trained.abs().flatten(1))
