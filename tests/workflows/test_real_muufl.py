"""comparesensors on MUUFL Gulfport: 64 bands of a spectrometer, and LiDAR profiles of the same pixels."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from affine import Affine
from scipy.io import loadmat

from explanation_layers.engine.jobs import CompareSensorsJob
from explanation_layers.rasters.grid import Grid
from explanation_layers.rasters.wavelengths import Band
from explanation_layers.rasters.writers import RasterWriter
from explanation_layers.workflows.compare_sensors import compare
from explanation_layers.workflows.context import Context

CLASSES = ("roof", "grass", "tree", "shadow", "asphalt")
PURE = 0.9  # pixels with an abundance above this are labelled


@pytest.fixture(scope="module")
def muufl(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A raster of each sensor without georeference, and the classes of pure pixels."""
    folder = tmp_path_factory.mktemp("muufl")
    source = loadmat(shared / "data" / "unmixing_muufl_lidar" / "muffle_dataset_130_90.mat")
    grid = Grid(90, 90, None, Affine.identity())
    bands = [Band(f"B{i}", float(w)) for i, w in enumerate(np.linspace(375, 1050, 64), 1)]
    abundances = source["label"]
    classes = np.where(abundances.max(-1) > PURE, abundances.argmax(-1) + 1, 0)

    def write(name: str, values: np.ndarray, bands: list[Band] | None, dtype: str, nodata: float) -> str:
        path = str(folder / f"{name}.tif")
        names = CLASSES if name == "classes" else None
        with RasterWriter(path, grid, len(values), dtype, nodata, bands=bands, class_names=names) as writer:
            writer.write(grid.whole, values.astype(dtype))
        return path

    spectra, heights = (np.moveaxis(source[name], -1, 0) for name in ("Y", "MPN"))
    return SimpleNamespace(
        hsi=write("hsi", spectra, bands, "float32", np.nan),
        lidar=write("lidar", heights, None, "float32", np.nan),
        classes=write("classes", classes[None], None, "uint8", 0),
    )


@pytest.mark.slow
def test_what_height_adds_to_spectra(muufl: SimpleNamespace, tmp_path: Path) -> None:
    job = CompareSensorsJob(
        scenes=(muufl.hsi, muufl.lidar), label_raster=muufl.classes, epochs=20, seeds=2, sample=40,
        report=str(tmp_path / "report.html"), shares_raster=str(tmp_path / "shares.tif"),
        extent=[20.0, -60.0, 60.0, -20.0],
    )  # fmt: skip
    value = compare(job, Context("muufl", lambda message: None))
    tables = {
        name: [dict(zip((column["name"] for column in table["columns"]), row)) for row in table["rows"]]
        for name, table in value["tables"].items()
    }
    overall = {row["network"]: row for row in tables["ACCURACY"] if row["class"] == "(all)"}
    assert overall["hsi"]["accuracy"] > 0.95
    # Height alone can't tell asphalt from grass; asphalt's share of the test pixels is a tenth.
    assert 0.4 < overall["lidar"]["accuracy"] < 0.8 < overall["hsi"]["accuracy_low"]
    # What height adds is within a few pixels of a thousand.
    assert overall["hsi + lidar"]["accuracy"] > overall["hsi"]["accuracy"] - 0.02
    assert overall["lidar"]["mcnemar_1"] < 1e-6
    of_lidar = {row["class"]: row for row in tables["SHARES"] if row["sensor"] == "lidar"}
    assert set(of_lidar) == {*CLASSES, "(all)"}
    assert all(row["share"] < 0.3 and row["share_per_nm"] is None for row in of_lidar.values())
    # Roofs are high; a shadow has no height of its own.
    assert of_lidar["roof"]["share"] > of_lidar["shadow"]["share"]
    floors = {(row["class"], row["sensor"], row["metric"]): row for row in tables["CORRELATION"]}
    assert len(floors) == 5 * (4 + 3)
    assert all(row["floor"] is not None and row["floor_pairs"] == 2 for row in floors.values())
    assert value["record"]["shapley_values_off_by"] < 1e-9 and value["record"]["mean_residual"] < 0.01
    assert value["warnings"] == []
