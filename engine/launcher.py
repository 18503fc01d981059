"""Start the engine process: register this plugin under one name, whatever its folder is called.

Run as a script by the engine's interpreter, and loaded by path by the tests. It imports nothing of
ours before the package is registered, and puts no folder on the module search path, where the
neighbours of a QGIS plugin would be other plugins.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

PACKAGE = "explanation_layers"


def register(root: Path) -> ModuleType:
    """Make the package whose folder is `root` importable as `explanation_layers` and return it."""
    if PACKAGE in sys.modules:
        return sys.modules[PACKAGE]
    spec = importlib.util.spec_from_file_location(
        PACKAGE, root / "__init__.py", submodule_search_locations=[str(root)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"No package in {root}.")
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)
    return package


if __name__ == "__main__":
    register(Path(__file__).resolve().parents[1])
    sys.exit(importlib.import_module(f"{PACKAGE}.workflows.server").main())
