"""The device that a job computes on."""

from __future__ import annotations

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
