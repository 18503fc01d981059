"""Say which versions and devices the engine has."""

from __future__ import annotations

import platform
from importlib.metadata import version

import torch

from ..engine.jobs import ProbeJob
from .context import Context


def probe(job: ProbeJob, context: Context) -> dict:
    """Return versions and the device that `auto` means, as strings."""
    strings = {name: version(name) for name in ("torch", "captum", "rasterio", "scikit-learn")}
    device = f"cuda ({torch.cuda.get_device_name(0)})" if torch.cuda.is_available() else "cpu"
    return {
        "files": {}, "tables": {}, "numbers": {}, "warnings": [], "record": {},
        "strings": {"python": platform.python_version(), **strings, "device": device},
    }  # fmt: skip
