"""Counting a network's operations, to tell which of two ways to the same result is the cheaper."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..models.networks import PatchNetwork


def body_operations(network: PatchNetwork, height: int, width: int) -> int:
    """Return the floating-point operations of the body, once forward, for an output map of this size."""
    skeleton = deepcopy(network).to("meta")
    halo = network.patch_size - 1
    z = skeleton.front(torch.empty(1, network.bands, height + halo, width + halo, device="meta"))
    with FlopCounterMode(display=False) as counter:
        skeleton.body(z)
    return counter.get_total_flops()
