"""What a reference may be: points, polygons and rasters, in memory that does not grow with its pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import calculate_default_transform, reproject
from rasterio.windows import Window

from explanation_layers.rasters.errors import Cancelled
from explanation_layers.rasters.grid import Grid
from explanation_layers.rasters.labels import read_label_features
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.feature_windows import FeatureWindows
from explanation_layers.workflows.memory import PeakMemory

from .conftest import demo_points, picked, rectangle, same, write_classes, write_features


def test_points_name_the_pixels_that_they_fall_in(run, site, demo, spectral_model):
    found = run(
        site.scene, spectral_model, explainer="saliency", target="reference",
        reference_features=demo_points(demo, site),
    )  # fmt: skip
    with rasterio.open(demo.label_raster) as dataset:
        labels = dataset.read(1)
    by_raster = run(
        site.scene, spectral_model, explainer="saliency", target="reference",
        reference_raster=demo.label_raster,
    )  # fmt: skip
    assert np.array_equal(np.isfinite(found.saliency[1]), labels > 0)
    assert same(found.attribution, by_raster.attribution)


def test_polygons_with_holes_and_overlaps(run, tmp_path, site, spectral_model):
    """A pixel in polygons of two classes, and one in a hole, has no reference."""
    grid, one, two = site.grid, site.names[1], site.names[4]
    with_hole = rectangle(grid, 5, 5, 10, 10)
    with_hole["coordinates"] += rectangle(grid, 7, 7, 2, 3)["coordinates"]
    path = write_features(
        tmp_path / "polygons.geojson",
        [
            (one, with_hole), (two, rectangle(grid, 12, 12, 8, 8)), (one, rectangle(grid, 40, 40, 4, 4)),
            (one, rectangle(grid, 42, 42, 4, 4)), (None, rectangle(grid, 30, 2, 4, 4)),
        ],
    )  # fmt: skip
    options = {"explainer": "input_x_gradient"}
    found = run(site.scene, spectral_model, target="reference", reference_features=path, **options)
    named = np.full(site.classes.shape, -1)
    named[5:15, 5:15], named[7:10, 7:9] = 0, -1
    named[12:20, 12:20] = 3
    named[12:15, 12:15] = -1
    named[40:44, 40:44] = named[42:46, 42:46] = 0
    wanted = picked(run, site.scene, spectral_model, named, **options)
    assert same(found.attribution, wanted["attribution"])
    assert f"9 pixel(s) are named more than one class in {path} and are left out." in found.warnings
    assert f"1 feature(s) of {path} have no class and are left out." in found.warnings


def test_features_are_read_as_labels_are(tmp_path, context, site):
    """Window by window what the reading of a training's labels gives of all."""
    rng = np.random.default_rng(3)
    features = []
    for number in range(60):
        x, y = site.grid.transform * tuple(rng.uniform(0, 56, 2))
        size = rng.uniform(0.2, 12, 2) * site.grid.transform.a
        ring = [[x, y], [x + size[0], y - 3], [x + size[0] / 2, y + size[1]], [x, y]]
        polygon = {"type": "Polygon", "coordinates": [ring]}
        geometry = polygon if number % 3 else {"type": "Point", "coordinates": [x, y]}
        features.append((str(rng.integers(1, 6)), geometry))
    path = write_features(tmp_path / "many.geojson", features)
    windows = FeatureWindows(path, site.grid, site.grid.whole, context)
    labels = read_label_features(path, site.grid)
    wanted = np.full(site.classes.shape, -1)
    wanted[labels.rows, labels.cols] = labels.classes
    assert windows.names == labels.names
    assert np.array_equal(windows.of(site.grid.whole), wanted)
    assert windows.pixels.tolist() == np.bincount(labels.classes).tolist()
    part = Window(13, 7, 30, 21)
    assert np.array_equal(windows.of(part), wanted[7:28, 13:43])
    contested = next(text for text in labels.warnings if "more than one class" in text).split()[0]
    assert any(text.startswith(f"{contested} pixel(s) are named more than one") for text in context.warnings)


def test_a_raster_in_another_crs_names_the_nearest(run, tmp_path, site, demo, spectral_model):
    target = "EPSG:3035"
    with rasterio.open(demo.all_classes) as dataset:
        transform, width, height = calculate_default_transform(
            dataset.crs, target, dataset.width, dataset.height, *dataset.bounds, resolution=dataset.res[0] / 4
        )
        moved = np.zeros((height, width), dtype=np.uint8)
        place = {"src_transform": dataset.transform, "src_crs": dataset.crs}
        reproject(dataset.read(1), moved, dst_transform=transform, dst_crs=target, **place)
        classes = dataset.read(1)
    path = str(tmp_path / "moved.tif")
    profile = {"driver": "GTiff", "count": 1, "height": height, "width": width, "dtype": "uint8"}
    with rasterio.open(path, "w", crs=target, transform=transform, **profile) as dataset:
        dataset.write(moved, 1)
    aux = Path(f"{demo.all_classes}.aux.xml")
    Path(f"{path}.aux.xml").write_text(aux.read_text())
    options = {"explainer": "input_x_gradient"}
    found = run(site.scene, spectral_model, target="reference", reference_raster=path, **options)
    wanted = picked(run, site.scene, spectral_model, classes.astype(int) - 1, **options)["attribution"]
    # Classes border each other within a quarter of a pixel, but for the pixels at their borders.
    both = np.isfinite(found.attribution).all(0) & np.isfinite(wanted).all(0)
    alike = np.isclose(found.attribution, wanted, atol=1e-5 * np.nanmax(np.abs(wanted))).all(0)
    assert both.mean() > 0.9 and alike[both].mean() > 0.97
    assert any("are on another grid; each pixel of the scene got the nearest" in w for w in found.warnings)


def test_another_value_may_mean_no_class(run, tmp_path, site, spectral_model):
    classes = np.where(site.classes == 0, 99, site.classes)
    path = write_classes(tmp_path / "other.tif", site.scene, classes, site.names)
    options = {"explainer": "saliency", "target": "reference"}
    found = run(site.scene, spectral_model, reference_raster=path, unlabelled_value=99, **options)
    usual = run(site.scene, spectral_model, reference_raster=site.reference, **options)
    assert same(found.attribution, usual.attribution)


def test_with_a_mask_pixels_need_both(run, tmp_path, site, spectral_model):
    mask = write_features(tmp_path / "mask.geojson", [(None, rectangle(site.grid, 20, 20, 12, 9))])
    options = {"explainer": "saliency", "target": "reference", "reference_raster": site.reference}
    found = run(site.scene, spectral_model, mask_features=mask, **options)
    assert np.array_equal(np.isfinite(found.saliency[1]), site.classes[20:29, 20:32] > 0)


def test_memory_does_not_grow_with_what_a_polygon_covers(context, site):
    """A polygon over 100,000 x 100,000 pixels: held pixel by pixel it would be 240 GB."""
    grid = Grid(100_000, 100_000, site.grid.crs, site.grid.transform)
    folder = Path(site.reference).parent
    path = write_features(folder / "huge.geojson", [("clay", rectangle(grid, 0, 0, 100_000, 100_000))])
    window = Window(61_000, 72_000, 3000, 2000)
    with PeakMemory() as memory:
        windows = FeatureWindows(path, grid, window, context)
        tile = windows.of(Window(61_500, 72_500, 128, 128))
    assert windows.pixels.tolist() == [6_000_000] and (tile == 0).all()
    assert memory.megabytes is None or memory.megabytes < 100


def test_looking_through_the_reference_stops_when_it_is_cancelled(site, tmp_path):
    grid = Grid(100_000, 100_000, site.grid.crs, site.grid.transform)
    path = write_features(tmp_path / "huge.geojson", [("clay", rectangle(grid, 0, 0, 100_000, 100_000))])
    context = Context("cancelled", lambda message: None)
    context.cancel()
    with pytest.raises(Cancelled):
        FeatureWindows(path, grid, grid.whole, context)
