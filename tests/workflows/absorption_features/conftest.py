"""What tests of absorption features share: two classes with planted absorptions, and attributions of them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from explanation_layers.engine.absorption_jobs import AbsorptionFeaturesJob
from explanation_layers.rasters.grid import Grid
from explanation_layers.rasters.wavelengths import Band
from explanation_layers.rasters.writers import RasterWriter
from explanation_layers.workflows.context import Context

AT = np.arange(450.0, 1340.0, 10.0)
BANDS = tuple(Band(f"band {i}", wavelength) for i, wavelength in enumerate(AT))
SIDE = 24
LINEAGE = {"EXPLANATION_LAYERS": json.dumps({"job": {"explainer": "deeplift", "baseline": "mean"}})}
# Centre, depth and width of what each of the classes absorbs.
DIPS = {1: [(670.0, 0.3, 20.0)], 2: [(970.0, 0.2, 25.0), (1180.0, 0.1, 30.0)]}


def quiet() -> Context:
    return Context("test", lambda message: None)


def bump(centre: float, width: float) -> np.ndarray:
    return np.exp(-(((AT - centre) / width) ** 2))


def records(result: dict, name: str) -> list[dict]:
    """The rows of a table as dictionaries."""
    table = result["tables"][name]
    names = [column["name"] for column in table["columns"]]
    return [dict(zip(names, row, strict=True)) for row in table["rows"]]


def write(path: Path, values: np.ndarray, bands=BANDS, origin=(0, 0), crs=32633, **options) -> str:
    """Write (band, y, x) with wavelengths at a place in pixels from the scene's corner."""
    transform = Affine(10, 0, 5e5, 0, -10, 5.8e6) * Affine.translation(*origin)
    grid = Grid(values.shape[2], values.shape[1], CRS.from_epsg(crs).to_wkt(), transform)
    with RasterWriter(str(path), grid, len(values), bands=bands, **options) as writer:
        writer.write(grid.whole, values)
    return str(path)


@pytest.fixture
def made(tmp_path: Path) -> SimpleNamespace:
    """Two classes with Gaussian absorptions on a sloped continuum, and attributions on the first's.

    The second class's lie where no spectrum of it shows anything, around 560 nm.
    """
    rng = np.random.default_rng(3)
    classes = np.ones((SIDE, SIDE), dtype=np.uint8)
    classes[:, SIDE // 2 :] = 2
    classes[0, 0] = 0
    level = 0.3 + 0.1 * (AT - AT[0]) / (AT[-1] - AT[0])
    spectra = np.empty((len(AT), SIDE, SIDE))
    for number, dips in DIPS.items():
        spectrum = level * np.prod([1 - depth * bump(c, w) for c, depth, w in dips], axis=0)
        spectra[:, classes == number] = spectrum[:, None]
    spectra[:, classes == 0] = 9
    spectra *= 1 + 0.3 * rng.random((SIDE, SIDE))
    spectra += 0.0005 * rng.standard_normal(spectra.shape)
    weight = np.zeros_like(spectra)
    weight[:, classes == 1] = (bump(670, 20) + 0.01)[:, None]
    weight[:, classes == 2] = (-bump(545, 15) - 0.01)[:, None]
    values = weight * (1 + 0.1 * rng.standard_normal(spectra.shape))
    folder = tmp_path / "in"
    folder.mkdir()
    labels = folder / "classes.tif"
    write(labels, classes[None], None, dtype="uint8", nodata=0, class_names=("first", "second"))
    return SimpleNamespace(
        scene=write(folder / "scene.tif", spectra.astype(np.float32)),
        attribution=write(folder / "attribution.tif", values.astype(np.float32), tags=LINEAGE),
        classes=str(labels), values=values, spectra=spectra, numbers=classes, folder=folder,
    )  # fmt: skip


@pytest.fixture
def job(made: SimpleNamespace) -> AbsorptionFeaturesJob:
    return AbsorptionFeaturesJob(
        scene=made.scene, attribution=made.attribution, class_raster=made.classes, shifts=400
    )
