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


@pytest.fixture(scope="session")
def land_cover_chips(shared, tmp_path_factory) -> Path:
    """A folder of 197 Sentinel-1 chips (VV and VH in dB, 32 x 32, placed), a sub-folder per land cover.

    Each has one class on at least 70 % of its pixels; they come from five places, named before the first "-".
    """
    from explanation_layers.rasters.chip_labels import chips_of_class_raster
    from explanation_layers.rasters.scene import open_scene
    from explanation_layers.rasters.writers import RasterWriter

    names = {1: "water", 2: "trees", 4: "crops", 5: "built", 7: "snow", 9: "rangeland"}
    source, target = shared / "data" / "terramind_s1_s2_lulc", tmp_path_factory.mktemp("land_cover")
    for path in sorted((source / "S1RTC").glob("*.tif")):
        chips = chips_of_class_raster(open_scene(str(path)), str(source / "LULC" / path.name), 32)
        for index, chip in enumerate(chips.chips):
            folder = target / names[int(chips.names[chip.class_index].removeprefix("class "))]
            folder.mkdir(exist_ok=True)
            file, grid = folder / f"{path.stem}-{chip.row}-{chip.col}.tif", chips.grid(index)
            with RasterWriter(str(file), grid, 2, descriptions=("VV", "VH")) as writer:
                writer.write(grid.whole, chips.read([index])[0])
    return target
