from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform as transform_points

from explanation_layers.rasters import labels as labels_module
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.grid import Grid
from explanation_layers.rasters.labels import read_label_raster
from explanation_layers.rasters.scene import open_scene
from explanation_layers.rasters.writers import RasterWriter

PLACE = Affine(30, 0, 364095, 0, -30, 5809965)
UTM = CRS.from_epsg(32633).to_wkt()
GRID = Grid(12, 10, UTM, PLACE)
CLASSES = np.random.default_rng(2).integers(0, 4, (1, 10, 12)).astype(np.uint8)


def as_array(labels, grid=GRID):
    """Class numbers + 1, 0 where there is no label."""
    array = np.zeros((grid.height, grid.width), dtype=int)
    array[labels.rows, labels.cols] = labels.classes + 1
    return array


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_class_numbers_of_any_type_are_labels(make_raster, dtype, monkeypatch):
    monkeypatch.setattr(labels_module, "_BLOCK", 5)
    labels = read_label_raster(make_raster("a.tif", CLASSES.astype(dtype)), GRID)
    np.testing.assert_array_equal(as_array(labels), CLASSES[0])
    assert labels.names == ("class 1", "class 2", "class 3") and labels.warnings == ()
    assert (np.diff(labels.rows * 12 + labels.cols) > 0).all()


def test_the_unlabelled_value_nodata_and_nan_are_no_labels(make_raster):
    values = CLASSES.astype(np.float32)
    values[0, 0, 0] = np.nan
    labels = read_label_raster(make_raster("a.tif", values, nodata=3), GRID, unlabelled_value=2)
    assert labels.names == ("class 0", "class 1")
    expected = np.where(np.isin(values[0], [0, 1]), values[0] + 1, 0)
    np.testing.assert_array_equal(as_array(labels), expected)


def test_another_grid_in_the_same_system_gives_the_nearest_pixel(make_raster):
    # Pixels of half the size, one scene pixel to the right and two down; the rest of the scene is unlabelled.
    fine = np.random.default_rng(3).integers(1, 4, (1, 12, 16)).astype(np.uint8)
    place = PLACE * Affine.translation(1, 2) * Affine.scale(0.5)
    labels = read_label_raster(make_raster("a.tif", fine, place=place), GRID, unlabelled_value=-1)
    array = as_array(labels)
    assert (array[2:8, 1:9] > 0).all() and np.count_nonzero(array) == 6 * 8
    blocks = fine[0].reshape(6, 2, 8, 2)
    assert ((array[2:8, 1:9][:, None, :, None] == blocks).any(axis=(1, 3))).all()
    assert "another grid" in labels.warnings[0]


def test_another_coordinate_system_is_laid_on_the_scene(make_raster):
    corners = transform_points("EPSG:32633", "EPSG:4326", *zip(PLACE * (0, 0), PLACE * (12, 10)))
    step = 1e-5
    width, height = int(np.ptp(corners[0]) / step) + 60, int(np.ptp(corners[1]) / step) + 60
    place = Affine(step, 0, min(corners[0]) - 30 * step, 0, -step, max(corners[1]) + 30 * step)
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    xs, ys = transform_points("EPSG:4326", "EPSG:32633", *(axis.ravel() for axis in place * (columns, rows)))
    at = ~PLACE * (np.array(xs), np.array(ys))
    column, row = (np.clip(np.floor(axis).astype(int), 0, size - 1) for axis, size in zip(at, (12, 10)))
    fine = CLASSES[0][row, column].reshape(1, height, width)
    labels = read_label_raster(make_raster("a.tif", fine, place=place, crs="EPSG:4326"), GRID)
    np.testing.assert_array_equal(as_array(labels), CLASSES[0])


def test_without_a_georeference_only_the_same_size_fits(make_raster):
    unplaced = Grid(12, 10, None, Affine.identity())
    path = make_raster("a.tif", CLASSES, place=None)
    np.testing.assert_array_equal(as_array(read_label_raster(path, unplaced), unplaced), CLASSES[0])
    for grid, said in (
        (Grid(13, 10, None, Affine.identity()), "12 x 10 pixels and the scene 13 x 10"),
        (GRID, "the labels raster has no georeference"),
    ):
        with pytest.raises(InputError, match=said):
            read_label_raster(path, grid)
    with pytest.raises(InputError, match="the scene raster has no georeference"):
        read_label_raster(make_raster("b.tif", CLASSES), unplaced)


def test_without_a_coordinate_system_only_another_such_raster_fits(make_raster):
    path = make_raster("a.tif", CLASSES, crs=None)
    shifted = Grid(12, 10, None, PLACE * Affine.translation(3, 0))
    labels = read_label_raster(path, shifted)
    np.testing.assert_array_equal(as_array(labels)[:, :9], CLASSES[0][:, 3:])
    with pytest.raises(InputError, match="the labels raster has no coordinate system"):
        read_label_raster(path, GRID)


def test_labels_of_another_place_are_refused(make_raster):
    path = make_raster("a.tif", CLASSES, place=PLACE * Affine.translation(500, 0))
    with pytest.raises(InputError, match=r"cover \(379095, .* and the scene \(364095, .* same place"):
        read_label_raster(path, GRID)
    path = make_raster("b.tif", CLASSES, crs="EPSG:32719")
    with pytest.raises(InputError, match=r"same place|coordinate system"):
        read_label_raster(path, GRID)


def test_what_is_no_raster_of_classes_is_refused(make_raster):
    measured = np.linspace(0, 1, 120, dtype=np.float32).reshape(1, 10, 12)
    grid = Grid(60, 40, UTM, PLACE)
    for path, own, said in (
        (make_raster("a.tif", measured), GRID, r"holds 0\.0\d+, which is no class number"),
        (
            make_raster("b.tif", np.arange(2400, dtype=np.int32).reshape(1, 40, 60)),
            grid,
            "more than 1000 values",
        ),
        (make_raster("c.tif", np.full((1, 10, 12), 1e30, np.float32)), GRID, "no class number"),
        (make_raster("d.tif", np.concatenate([CLASSES, CLASSES])), GRID, "has 2 bands"),
        (make_raster("e.tif", np.zeros((1, 10, 12), np.uint8)), GRID, "No pixel of the scene has a label"),
    ):
        with pytest.raises(InputError, match=said):
            read_label_raster(path, own)


def test_names_of_a_raster_that_was_written_here_come_back(tmp_path):
    path = str(tmp_path / "a.tif")
    with RasterWriter(path, GRID, 1, "uint8", 0, class_names=["roof & wall", "tree", "tree"]) as writer:
        writer.write(GRID.whole, CLASSES)
    assert read_label_raster(path, GRID).names == ("roof & wall (1)", "tree (2)", "tree (3)")


def test_names_of_an_envi_classification_are_used(tmp_path):
    CLASSES.tofile(tmp_path / "a.dat")
    (tmp_path / "a.hdr").write_text(
        "ENVI\nsamples = 12\nlines = 10\nbands = 1\ndata type = 1\ninterleave = bsq\nbyte order = 0\n"
        "file type = ENVI Classification\nclasses = 3\nclass names = {Unclassified, roof,\n tree}\n"
    )
    path = str(tmp_path / "a.dat")
    assert read_label_raster(path, open_scene(path).grid).names == ("roof", "tree", "class 3")
