"""What all work on chips shares: which ones count, how they reach the network, and how many at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from ..explainers.costs import layer_bytes
from ..models.files import Model
from ..models.scene_networks import SceneNetwork
from .context import Context

# Larger batches of a worker gained nothing on the CPU.
CHIPS_AT_ONCE = 16
# A batch takes this part of the memory, divided among the workers.
_BATCHES = 4


def has_say(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which pixels (n, y, x) of chips (n, band, y, x) have data, and which chips (n,) on half or more.

    A pixel has data if all its bands have.
    """
    finite = np.isfinite(values).all(1)
    return finite, 2 * finite.sum((1, 2)) >= finite[0].size


def prepared(model: Model, values: np.ndarray) -> Tensor:
    """Return chips (n, band, y, x) as the network's input, on its device.

    Pixels without data become the training mean.
    """
    x = torch.from_numpy(values)
    finite = torch.isfinite(x).all(1, keepdim=True)
    filled = torch.where(finite, x, model.spectra.mean[:, None, None])
    return model.network.prepare(filled.to(next(model.network.buffers()).device))


def memory_of_batch(memory_mb: int) -> int:
    """Return the bytes that a worker's batch may take."""
    return memory_mb * 2**20 // (_BATCHES * torch.get_num_threads())


def chips_within(network: SceneNetwork, memory_mb: int) -> int:
    """Return how many chips can go forward at a time within the memory of a worker's batch."""
    return max(1, memory_of_batch(memory_mb) // layer_bytes(network, 1))


def batches_ahead() -> int:
    """Return how many batches to have in work: one for each worker, and one to read or write meanwhile."""
    return torch.get_num_threads() + 1


@contextmanager
def stoppable(network: nn.Module, context: Context) -> Iterator[None]:
    """Let each layer of a network ask before it runs whether the job shall stop: batches can take seconds."""

    def ask(*_: object) -> None:
        context.check()

    hooks = [
        module.register_forward_pre_hook(ask) for module in network.modules() if not list(module.children())
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
