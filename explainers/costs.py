"""What a network costs, counted from its layers without running them: operations and memory."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..models.files import Network
from ..models.networks import PatchNetwork


# A network is kept alive as long as a count of it is cached: few counts, so that a warm engine that
# explains one model after the other does not collect them.
@lru_cache(maxsize=32)
def body_operations(network: PatchNetwork, side: int) -> int:
    """Return the floating-point operations of the body, once forward, for a square output map."""
    skeleton = deepcopy(network).to("meta")
    halo = network.patch_size - 1
    z = skeleton.front(torch.empty(1, network.bands, side + halo, side + halo, device="meta"))
    with FlopCounterMode(display=False) as counter:
        skeleton.body(z)
    return counter.get_total_flops()


@lru_cache(maxsize=64)
def layer_bytes(network: Network, side: int) -> int:
    """Return the bytes of all layers' outputs for a square output map (of a scene network: for one chip)."""
    skeleton = deepcopy(network).to("meta", torch.float32)
    width = network.patch_size + side - 1
    total = 0

    def count(_layer: nn.Module, _inputs: tuple, output: Tensor) -> None:
        nonlocal total
        total += output.numel() * output.element_size()

    for module in skeleton.modules():
        if not any(True for _ in module.children()):
            module.register_forward_hook(count)
    with torch.no_grad():
        skeleton.logits(torch.empty(1, network.bands, width, width, device="meta"))
    return total
