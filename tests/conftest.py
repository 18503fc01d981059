"""What all tests share: the package under its one name, and the folder of real data."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _register_package() -> None:
    spec = importlib.util.spec_from_file_location("_launcher", ROOT / "engine" / "launcher.py")
    launcher = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(launcher)
    launcher.register(ROOT)


_register_package()

# The tests of the QGIS side need PyQGIS, those of the engine side rasterio; no interpreter has both.
if importlib.util.find_spec("qgis") is None:
    collect_ignore = ["qgis"]
else:
    collect_ignore = ["engine", "rasters", "models", "explainers", "workflows", "benchmarks"]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root, which is the plugin's folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the repository; skips where it isn't."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the real data in {folder}")
    return folder
