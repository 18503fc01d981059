"""Interpreters: one to make the engine's environment with, and what a given one has.

`sys.executable` is never used as it is: in QGIS on Windows and macOS that is QGIS.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .commands import SetupError, run_command
from .environment import engine_environment

OLDEST, NEWEST = (3, 11), (3, 14)  # what the locked requirements have wheels for
PREFERRED = ("3.12", "3.13", "3.11", "3.14")
MODULES = ("torch", "captum", "numpy", "rasterio", "sklearn", "safetensors", "jinja2", "monai")

_ASK_BASE = """
import importlib.util, json, sys
whole = all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
print(json.dumps([sys.executable, list(sys.version_info[:2]), sys.maxsize > 2**32, whole]))
"""
_ASK_VERSIONS = """
import importlib, json, platform, sys
versions = {"python": platform.python_version()}
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    versions[name] = str(getattr(module, "__version__", ""))
cuda = getattr(sys.modules.get("torch"), "cuda", None)
versions["device"] = f"cuda ({cuda.get_device_name()})" if cuda and cuda.is_available() else "cpu"
print(json.dumps(versions))
"""


@dataclass(frozen=True)
class Base:
    """An interpreter that virtual environments can be made with."""

    python: str
    version: str


def find_base() -> Base:
    """Return the first interpreter that will do; SetupError says which were looked at."""
    refused = []
    for command in _candidates():
        try:
            python, version, is_64_bit, whole = json.loads(_ask([*command, "-I", "-c", _ASK_BASE]))
        except (OSError, SetupError, ValueError):
            continue
        label = ".".join(map(str, version))
        if not OLDEST <= tuple(version) <= NEWEST or not is_64_bit:
            refused.append(f"{python} is {label}{'' if is_64_bit else ' in 32 bits'}")
        elif not whole:
            refused.append(f"{python} lacks venv, which Debian and Ubuntu have as python3-venv")
        else:
            return Base(python, label)
    found = "; ".join(dict.fromkeys(refused)) or "none was found"
    raise SetupError(
        f"The engine needs a 64-bit Python 3.{OLDEST[1]} to 3.{NEWEST[1]} with venv to start from ({found}): "
        "install one, or give explain:setupengine a PYTHON that has torch, captum and rasterio."
    )


def probe(python: str, is_cancelled: Callable[[], bool] = lambda: False) -> dict[str, str]:
    """Return the versions that `python` has of what the engine needs, and the device torch sees.

    Keys are `python`, the names of `MODULES`, and `device`. Everything is really imported; what
    can't be raises SetupError.
    """
    try:
        return json.loads(_ask([python, "-I", "-c", _ASK_VERSIONS, *MODULES], is_cancelled))
    except (OSError, ValueError) as error:
        raise SetupError(f"{python} is not a Python that can be started: {error}.") from error


def _ask(command: list[str], is_cancelled: Callable[[], bool] = lambda: False) -> str:
    """Return the last line that the interpreter printed."""
    lines = [""]
    code = run_command(command, engine_environment(command[0]), lines.append, is_cancelled)
    last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
    if code != 0:
        raise SetupError(f"{command[0]} can't run the engine: {last.rstrip('.')}.")
    return last


def _candidates() -> Iterator[list[str]]:
    """Yield commands that may start a Python: installed ones first, QGIS's own last."""
    suffix = ".exe" if os.name == "nt" else ""
    names = [f"python{version}" for version in PREFERRED] + ["python3", "python"]
    for folder in [*_system_folders(), *_qgis_folders()]:
        for name in names:
            path = folder / f"{name}{suffix}"
            if path.is_file():
                yield [str(path)]
    if launcher := shutil.which("py") if os.name == "nt" else None:
        for version in PREFERRED:
            yield [launcher, f"-{version}"]


def _system_folders() -> list[Path]:
    home = Path.home()
    if os.name == "nt":
        programs = Path(os.environ.get("LOCALAPPDATA", home)) / "Programs" / "Python"
        return [programs / f"Python{version.replace('.', '')}" for version in PREFERRED]
    if sys.platform == "darwin":  # its /usr/bin/python3 may open a dialogue that offers developer tools
        framework = Path("/Library/Frameworks/Python.framework/Versions")
        versions = [framework / version / "bin" for version in PREFERRED]
        return [*versions, Path("/opt/homebrew/bin"), Path("/usr/local/bin")]
    return [Path("/usr/bin"), Path("/usr/local/bin"), home / ".local" / "bin"]


def _qgis_folders() -> list[Path]:
    beside = Path(sys.executable).parent
    prefix = Path(sys.exec_prefix)
    return [beside, beside / "bin", prefix, prefix / "bin"]
