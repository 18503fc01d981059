"""Which interpreter runs the engine: the environment variable, the settings, or the managed one."""

from __future__ import annotations

import json
import os
from pathlib import Path

VARIABLE = "EXPLANATION_LAYERS_PYTHON"
MARKER = "engine.json"  # written last by the set-up: without it a folder holds no engine


def find_python(configured: str, folder: Path) -> str | None:
    """Return the engine's interpreter, None where there is none yet.

    `EXPLANATION_LAYERS_PYTHON` wins over `configured` (of the settings page, may be empty), which
    wins over the environment that the set-up made in `folder`.
    """
    return os.environ.get(VARIABLE) or configured or managed_python(folder)


def managed_python(folder: Path) -> str | None:
    """Return the interpreter of the whole environment in `folder`; None where it has none."""
    place = managed_place(folder)
    python = environment_python(place) if place else None
    return str(python) if python and python.exists() else None


def managed_place(folder: Path) -> Path | None:
    """Return the environment in `folder` that the marker names, whole or since damaged."""
    try:
        name = json.loads((folder / MARKER).read_text(encoding="utf-8"))["environment"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder / str(name)


def environment_python(place: Path) -> Path:
    """Return where a virtual environment in `place` has its interpreter."""
    return place / "Scripts" / "python.exe" if os.name == "nt" else place / "bin" / "python"
