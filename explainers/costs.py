"""What a network costs, counted from its layers without running them: operations and memory."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..models.files import Network
from ..models.networks import PatchNetwork
from ..models.segmentation_networks import SegmentationNetwork
from ..models.unmixers import AbundanceNetwork

N = TypeVar("N", bound=nn.Module)


def remembered(count: Callable[[N, int], int]) -> Callable[[N, int], int]:
    """Count once for each network and side, for as long as the network is there: a count keeps none alive."""
    known: WeakKeyDictionary[N, dict[int, int]] = WeakKeyDictionary()

    @wraps(count)
    def look_up(network: N, side: int) -> int:
        counts = known.setdefault(network, {})
        if side not in counts:
            counts[side] = count(network, side)
        return counts[side]

    return look_up


@remembered
def body_operations(network: PatchNetwork, side: int) -> int:
    """Return the floating-point operations of the body, once forward, for a square output map."""
    skeleton = deepcopy(network).to("meta")
    halo = network.patch_size - 1
    z = skeleton.front(torch.empty(1, network.bands, side + halo, side + halo, device="meta"))
    with FlopCounterMode(display=False) as counter:
        skeleton.body(z)
    return counter.get_total_flops()


@remembered
def layer_bytes(network: Network, side: int) -> int:
    """Return the bytes of all layers' outputs for a square output map (of a scene network: for one chip).

    Of a segmentation network: for the smallest map of at least that side that it can make. Of an unmixing
    model, which has no chain of layers, by its own estimate.
    """
    if isinstance(network, AbundanceNetwork):
        return side * side * network.bytes_per_pixel
    skeleton = deepcopy(network).to("meta", torch.float32)
    if isinstance(network, SegmentationNetwork):
        width, bands = -(-side // network.alignment) * network.alignment, network.prepared_bands
    else:
        width, bands = network.patch_size + side - 1, network.bands
    total = 0

    def count(_layer: nn.Module, _inputs: tuple, output: Tensor) -> None:
        nonlocal total
        total += output.numel() * output.element_size()

    for module in skeleton.modules():
        if not any(True for _ in module.children()):
            module.register_forward_hook(count)
    with torch.no_grad():
        skeleton.logits(torch.empty(1, bands, width, width, device="meta"))
    return total
