"""EnMAP tiles of Potsdam through qgis_process: a mosaic that QGIS's GDAL made, points as GeoPackage."""

from __future__ import annotations

import json
import os
import subprocess

import numpy as np
import pytest
from osgeo import gdal

gdal.UseExceptions()

EMPTY = range(129, 135)  # bands without data
TILE = "enmap_potsdam_tile_96_96.tif"


@pytest.fixture(scope="module")
def run(root):
    """A function that runs one algorithm and returns its results."""
    if not (os.environ.get("EXPLANATION_LAYERS_PYTHON") or (root / ".venv" / "bin" / "python").exists()):
        pytest.skip("needs the engine: run `make env`")

    def run(name: str, **inputs):
        finished = subprocess.run(
            [str(root / "scripts" / "qgis-process"), "run", f"explain:{name}", "-"],
            input=json.dumps({"inputs": inputs}),
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return json.loads(finished.stdout)["results"]

    return run


@pytest.fixture(scope="module")
def enmap(shared):
    """The folder of the tiles."""
    return shared / "data" / "enmap_potsdam"


@pytest.fixture(scope="module")
def mosaic(enmap, tmp_path_factory):
    """A function that writes the virtual mosaic of a folder of tiles and returns its path."""

    def mosaic(name: str) -> str:
        path = str(tmp_path_factory.mktemp("mosaic") / f"{name}.vrt")
        gdal.BuildVRT(path, [str(tile) for tile in sorted((enmap / name).glob("*.tif"))]).FlushCache()
        return path

    return mosaic


def grid(path: str) -> tuple:
    dataset = gdal.Open(str(path))
    size = dataset.RasterXSize, dataset.RasterYSize
    return size, dataset.GetGeoTransform(), dataset.GetSpatialRef().ExportToWkt()


def items(path: str, domain: str = "") -> list[dict]:
    dataset = gdal.Open(str(path))
    return [dataset.GetRasterBand(i + 1).GetMetadata(domain) for i in range(dataset.RasterCount)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "field", "floor"),
    [
        # 18 of 57 points are of the largest class, 2070 of 5672 pixels.
        ("points", "level_2", 0.4),
        ("raster", None, 0.5),
    ],
)
def test_a_model_of_real_labels_classifies_and_explains_a_tile(
    run, enmap, mosaic, tmp_path, labels, field, floor
):
    places = enmap / "landcover_potsdam_point.gpkg" if labels == "points" else mosaic("labels")
    trained = run(
        "trainclassifier",
        INPUT=mosaic("images"),
        LABELS=str(places),
        EPOCHS=60 if labels == "points" else 8,
        COMPARE_SPLITS=False,
        MODEL=str(tmp_path / "model.safetensors"),
        **({"LABEL_FIELD": field} if field else {}),
    )
    print(labels, trained)
    assert trained["OVERALL_ACCURACY"] >= floor and trained["KAPPA"] >= 0.3

    tile = str(enmap / "images" / TILE)
    names = {name: str(tmp_path / f"{name}.tif") for name in ("CLASSES", "ATTRIBUTION", "SALIENCY")}
    run("classify", INPUT=tile, MODEL=trained["MODEL"], CLASSES=names["CLASSES"])
    explained = run(
        "attribution", INPUT=tile, MODEL=trained["MODEL"],
        ATTRIBUTION=names["ATTRIBUTION"], SALIENCY=names["SALIENCY"],
    )  # fmt: skip
    assert explained["PIXELS"] == 1024 and explained["MEAN_RESIDUAL"] < 0.01
    for path in names.values():
        assert grid(path) == grid(tile)
    assert (gdal.Open(names["CLASSES"]).ReadAsArray() > 0).all()
    given, kept = (items(path) for path in (tile, names["ATTRIBUTION"]))
    assert [float(band["wavelength"]) for band in kept] == [float(band["wavelength"]) for band in given]
    values, saliency = (gdal.Open(names[name]).ReadAsArray() for name in ("ATTRIBUTION", "SALIENCY"))
    assert np.isnan(values[EMPTY.start : EMPTY.stop]).all()
    values = np.delete(values, EMPTY, 0)
    assert np.isfinite(values).all()
    np.testing.assert_allclose(saliency[1], values.sum(0), rtol=1e-4, atol=1e-3)
    assert np.abs(saliency[2]).mean() < 0.01 * np.abs(saliency[1]).mean()
