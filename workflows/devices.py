"""The device that a job computes on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from ..rasters.errors import InputError


def resolve_device(name: str) -> str:
    """Return "cpu" or "cuda" for `auto`, `cpu` or `cuda`; InputError where there is no such device."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no CUDA device for the engine's PyTorch; choose DEVICE 'auto' or 'cpu'.")
    if name not in ("cpu", "cuda"):
        raise InputError(f"There is no device '{name}'; choose auto, cpu or cuda.")
    return name


@contextmanager
def workers(device: str, most: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Give a worker with a thread of its own for each core, but no more than `most`, or one for a GPU.

    Cores that work on parts of their own need not wait for each other in every small operation.
    """
    threads = torch.get_num_threads()
    count = min(threads, most or threads) if device == "cpu" else 1
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as executor:
            yield executor
    finally:
        # In part the number is the whole process's: the next job of a warm engine gets all cores again.
        torch.set_num_threads(threads)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one core: a pixel's few operations are so small that others cost more time than they save.

    On a machine that is busy otherwise it took 50 ms in place of 600 ms.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
