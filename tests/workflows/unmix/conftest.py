"""What tests of unmixing share: small scenes of mixed pixels as rasters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.windows import Window

from explanation_layers.engine.unmix_jobs import UnmixJob
from explanation_layers.rasters.grid import Grid
from explanation_layers.rasters.simulate_materials import MATERIALS, material_spectra
from explanation_layers.rasters.simulate_mixed_pixels import write_spectra
from explanation_layers.rasters.simulate_mixtures import Design, Mixed, Mixing, mixed_scene
from explanation_layers.rasters.wavelengths import Band
from explanation_layers.rasters.writers import RasterWriter
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.unmix import unmix

WAVELENGTHS = np.linspace(450, 2350, 39)
NAMES = [material.name for material in MATERIALS]
RASTERS = (
    "abundances", "endmember_spread", "nonlinearity", "uncertainty", "reconstruction_error", "brightness",
    "parts",
)  # fmt: skip


class MixedRaster(NamedTuple):
    """A scene: its raster, the table of its materials' spectra, and what it was mixed of."""

    raster: str
    spectra: str
    truth: Mixed
    design: Design


def _write_raster(
    path: Path, values: np.ndarray, dtype: str = "float32", nodata: float = float("nan"),
    wavelengths: np.ndarray | None = None,
) -> str:  # fmt: skip
    """Write values (band, y, x), with wavelengths in nm where they are given."""
    bands = [Band(f"band {i}") for i in range(1, len(values) + 1)]
    if wavelengths is not None:
        bands = [Band(f"{w:.0f} nm", float(w)) for w in wavelengths]
    grid = Grid(values.shape[2], values.shape[1], None, Affine(30, 0, 3e5, 0, -30, 5.8e6))
    with RasterWriter(str(path), grid, len(values), dtype, nodata, bands) as writer:
        writer.write(Window(0, 0, grid.width, grid.height), values.astype(dtype))
    return str(path)


def _make(
    folder: Path, size: int = 40, count: int = 3, seed: int = 1, mixing: str = "linear", noise: float = 0.0,
    varying: bool = False, name: str = "scene", scale: float = 1.0, dtype: str = "float32",
) -> MixedRaster:  # fmt: skip
    """Write a scene of one kind of mixing, of strength 1."""
    spreads = (0.08, 0.03) if varying else (0.0, 0.0)
    design = Design(material_spectra(WAVELENGTHS, count), (Mixing(mixing, 1.0),), *spreads, noise=noise)
    truth = mixed_scene(design, size, seed)
    stored = scale * truth.values.T.reshape(-1, size, size)
    raster = _write_raster(
        folder / f"{name}.tif", np.rint(stored) if dtype != "float32" else stored, dtype,
        -32768 if dtype == "int16" else float("nan"), WAVELENGTHS,
    )  # fmt: skip
    table = str(folder / f"{name}.csv")
    write_spectra(table, WAVELENGTHS, NAMES[:count], design.spectra)
    return MixedRaster(raster, table, truth, design)


@pytest.fixture(scope="session")
def write_raster() -> Callable[..., str]:
    """Return a function that writes a raster; see `_write_raster`."""
    return _write_raster


@pytest.fixture(scope="session")
def make() -> Callable[..., MixedRaster]:
    """Return a function that writes a scene; see `_make`."""
    return _make


@pytest.fixture(scope="session")
def linear(tmp_path_factory: pytest.TempPathFactory) -> MixedRaster:
    """Linear mixtures of three materials, without noise, 40 x 40 pixels."""
    return _make(tmp_path_factory.mktemp("linear"))


@pytest.fixture(scope="session")
def bilinear(tmp_path_factory: pytest.TempPathFactory) -> MixedRaster:
    """Bilinear mixtures whose spectra vary, with noise, reflectance x 10000, 44 x 44 pixels."""
    folder = tmp_path_factory.mktemp("bilinear")
    return _make(folder, 44, mixing="bilinear", noise=0.003, varying=True, scale=10_000, dtype="int16")


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., SimpleNamespace]:
    """Return a function that unmixes into a folder and reads the rasters and the table back."""

    def run(scene: str, name: str = "out", **options: object) -> SimpleNamespace:
        folder = tmp_path / name
        paths = {kind: str(folder / f"{kind}.tif") for kind in RASTERS}
        paths["model"] = str(folder / "model.safetensors")
        job = UnmixJob(scene, **{**paths, **options})
        result = unmix(job, Context(name, lambda message: None))
        rasters = {}
        for kind in RASTERS:
            if kind in result["files"]:
                with rasterio.open(result["files"][kind]) as dataset:
                    rasters[kind] = dataset.read()
        table = result["tables"]["ENDMEMBERS_TABLE"]
        columns = [column["name"] for column in table["columns"]]
        rows = [dict(zip(columns, row)) for row in table["rows"]]
        return SimpleNamespace(**rasters, result=result, rows=rows, paths=paths, folder=folder)

    return run
