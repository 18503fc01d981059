"""What tests of the target `reference` share: a reference for the demo scene, and what to compare with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio

from explanation_layers.engine.jobs import AttributionJob
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.rasters.class_rasters import category_names
from explanation_layers.rasters.grid import Grid
from explanation_layers.rasters.scene import open_scene
from explanation_layers.workflows.attribution import explain
from explanation_layers.workflows.context import Context

RASTERS = ("attribution", "saliency", "continuum_part")


class Found(SimpleNamespace):
    """What a job left: its rasters, its band table as dictionaries, the result and the warnings."""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Found]:
    """Return a function that explains and reads back what was written."""

    def go(scene: str, model: str, rasters: tuple[str, ...] = RASTERS[:2], **options: object) -> Found:
        paths = {name: str(tmp_path / f"{name}.tif") for name in rasters}
        context = Context("test", lambda message: None)
        job = AttributionJob(scene, model, **{"baseline": "mean", **paths, **options})
        result = explain(job, context)
        table = result["tables"]["BAND_TABLE"]
        names = [column["name"] for column in table["columns"]]
        rows = [dict(zip(names, row, strict=True)) for row in table["rows"]]
        read = {}
        for name, path in paths.items():
            with rasterio.open(path) as dataset:
                read[name] = dataset.read()
        return Found(result=result, warnings=context.warnings, rows=rows, numbers=result["numbers"], **read)

    return go


def write_classes(path: Path, like: str, classes: np.ndarray, names: dict[int, str] | None = None) -> str:
    """Write class numbers (y, x) on the grid of the raster `like`."""
    with rasterio.open(like) as dataset:
        place = {"crs": dataset.crs, "transform": dataset.transform}
    height, width = classes.shape
    profile = {"driver": "GTiff", "count": 1, "height": height, "width": width, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, **place) as dataset:
        dataset.write(classes.astype(np.uint8), 1)
    if names:
        listed = "".join(f"<Category>{names.get(n, '')}</Category>" for n in range(max(names) + 1))
        Path(f"{path}.aux.xml").write_text(
            f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{listed}</CategoryNames></PAMRasterBand>'
            "</PAMDataset>"
        )
    return str(path)


def write_features(path: Path, features: list[tuple[str | None, dict]]) -> str:
    """Write geometries with classes as GeoJSON."""
    items = [
        {"type": "Feature", "properties": {"class": name}, "geometry": geometry}
        for name, geometry in features
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return str(path)


def rectangle(grid: Grid, col: int, row: int, width: int, height: int) -> dict:
    """A polygon around some pixels."""
    corners = [(col, row), (col + width, row), (col + width, row + height), (col, row + height), (col, row)]
    return {"type": "Polygon", "coordinates": [[list(grid.transform * corner) for corner in corners]]}


@pytest.fixture(scope="module")
def site(demo: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The demo scene with a reference of whole numbers 1 to 6 in blocks of 5 pixels, 0 where there is none.

    Whatever is true: each class of the model has pixels of every kind.
    """
    folder = tmp_path_factory.mktemp("reference")
    grid = open_scene(demo.raster).grid
    rows, cols = np.indices((grid.height, grid.width)) // 5
    classes = (rows + 2 * cols) % 7
    names = category_names(demo.label_raster)
    path = write_classes(folder / "reference.tif", demo.raster, classes, names)
    left, top = grid.transform * (10, 12)
    right, bottom = grid.transform * (34, 30)
    return SimpleNamespace(
        scene=demo.raster, grid=grid, reference=path, classes=classes, names=names,
        extent=[left, bottom, right, top], inside=(slice(12, 30), slice(10, 34)),
    )  # fmt: skip


def picked(run: Callable, scene: str, model: str, named: np.ndarray, **options: object) -> dict:
    """Return the rasters of the target `class`, class by class, picked where `named` (y, x) names it.

    `named` are places in the model's classes, -1 where none is named: NaN there.
    """
    found: dict[str, np.ndarray] = {}
    for place, name in enumerate(load_model(model, PIXEL_CLASSIFICATION).card.class_names):
        one = run(scene, model, target="class", class_name=name, **options)
        for key in RASTERS:
            if (values := vars(one).get(key)) is not None:
                kept = found.setdefault(key, np.full_like(values, np.nan))
                kept[:, named == place] = values[:, named == place]
    return found


def same(ours: np.ndarray, theirs: np.ndarray, limit: float = 1e-5) -> bool:
    """Equal where nodata, elsewhere to `limit` of the largest value."""
    empty = np.isnan(theirs)
    if ours.shape != theirs.shape or not np.array_equal(np.isnan(ours), empty) or empty.all():
        return False
    return np.abs(ours - theirs)[~empty].max() <= limit * np.abs(theirs[~empty]).max()


def demo_points(demo: SimpleNamespace, site: SimpleNamespace) -> str:
    """The demo's points with names of classes in place of numbers."""
    document = json.loads(Path(demo.points).read_text())
    for feature in document["features"]:
        feature["properties"]["class"] = site.names[int(feature["properties"]["class"])]
    path = Path(site.reference).with_name("points.geojson")
    path.write_text(json.dumps(document))
    return str(path)
