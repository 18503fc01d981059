from __future__ import annotations

import json

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.windows import Window

from explanation_layers.rasters import features as features_module
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.grid import Grid
from explanation_layers.rasters.labels import mask_of_features, read_label_features, window_of_features

UTM = CRS.from_epsg(32633).to_wkt()
GRID = Grid(10, 8, UTM, Affine(30, 0, 1000, 0, -30, 5000))
UNPLACED = Grid(10, 8, None, Affine.identity())


def point(column, row, grid=GRID):
    return {"type": "Point", "coordinates": list(grid.transform * (column + 0.5, row + 0.5))}


def box(left, top, right, bottom, grid=GRID):
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return {"type": "Polygon", "coordinates": [[list(grid.transform * corner) for corner in corners]]}


@pytest.fixture
def write(tmp_path):
    """Return a function that writes (geometry, class) pairs as GeoJSON and returns the path."""
    files = iter(range(100))

    def write(*pairs, field="class"):
        items = [
            {"type": "Feature", "geometry": geometry, "properties": {field: value}}
            for geometry, value in pairs
        ]
        path = tmp_path / f"{next(files)}.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": items}), encoding="utf-8")
        return str(path)

    return write


def as_dict(labels):
    places = zip(labels.rows.tolist(), labels.cols.tolist())
    return {place: labels.names[i] for place, i in zip(places, labels.classes)}


def test_points_label_their_pixel_and_polygons_the_centres_inside(write):
    many = {"type": "MultiPoint", "coordinates": [point(9, 7)["coordinates"], point(8, 7)["coordinates"]]}
    both = {"type": "GeometryCollection", "geometries": [point(5, 5), box(6, 6, 7, 7)]}
    path = write((point(1, 2), "tree"), (box(3.4, 0.4, 5.6, 1.6), "roof"), (many, "tree"), (both, "water"))
    labels = read_label_features(path, GRID)
    assert as_dict(labels) == {
        **{(row, column): "roof" for row in (0, 1) for column in (3, 4, 5)},
        **dict.fromkeys([(2, 1), (7, 8), (7, 9)], "tree"),
        **dict.fromkeys([(5, 5), (6, 6)], "water"),
    }
    assert labels.names == ("roof", "tree", "water") and labels.warnings == ()
    assert {labels.rows.dtype, labels.cols.dtype, labels.classes.dtype} == {np.dtype(np.int64)}
    keys = labels.rows * 10 + labels.cols
    assert (np.diff(keys) > 0).all()


def test_holes_of_polygons_have_no_label(write):
    rings = [box(0, 0, 3, 3)["coordinates"][0], box(1, 1, 2, 2)["coordinates"][0]]
    labels = read_label_features(write(({"type": "Polygon", "coordinates": rings}, 1)), GRID)
    assert len(labels.rows) == 8 and (1, 1) not in as_dict(labels)


def test_classes_that_look_like_numbers_are_in_the_order_of_numbers(write):
    values = ["tree", 10, "9", 3.0, 2.5, " a "]
    labels = read_label_features(write(*((point(i, 0), value) for i, value in enumerate(values))), GRID)
    assert labels.names == ("2.5", "3", "9", "10", "a", "tree")
    assert [as_dict(labels)[0, i] for i in range(6)] == ["tree", "10", "9", "3", "2.5", "a"]


def test_what_is_left_out_is_counted(write):
    line = {"type": "LineString", "coordinates": [[1000, 4990], [1200, 4990]]}
    path = write(
        (point(0, 0), "a"),
        (point(1, 0), None),
        (point(2, 0), ""),
        (point(30, 0), "b"),
        (box(4.6, 4.6, 5.4, 5.4), "a"),
        (box(6, 6, 8, 8), "a"),
        (box(7, 7, 9, 9), "b"),
        (line, "a"),
        (None, "a"),
    )
    labels = read_label_features(path, GRID)
    assert (7, 7) not in as_dict(labels)
    assert labels.warnings == (
        "2 label feature(s) have no point or polygon and are left out.",
        "2 label feature(s) have no class and are left out.",
        "1 label feature(s) lie outside the scene and are left out.",
        "1 label feature(s) are too small to hold the centre of a pixel and are left out.",
        "1 pixel(s) are labelled with more than one class and are left out.",
    )


def test_a_pixel_labelled_twice_alike_counts_once(write):
    labels = read_label_features(write((point(1, 1), "a"), (point(1, 1), "a"), (point(2, 1), "b")), GRID)
    assert as_dict(labels) == {(1, 1): "a", (1, 2): "b"} and labels.warnings == ()


def test_a_class_without_a_pixel_is_no_class(write):
    labels = read_label_features(write((point(1, 1), "b"), (point(50, 1), "a")), GRID)
    assert labels.names == ("b",) and labels.classes.tolist() == [0]


def test_labels_that_can_not_be_used_are_refused_with_a_sentence(write, tmp_path):
    text = tmp_path / "text.geojson"
    text.write_text("no json")
    for path, said in (
        (str(tmp_path / "nowhere.geojson"), "There is no file"),
        (str(text), "not a GeoJSON file"),
        (write(), "no feature with a point or polygon"),
        (write((None, "a")), "no feature with a point or polygon"),
        (write((point(0, 0), "a"), field="kind"), "no field 'class'"),
        (write((point(0, 0), None)), "No label in .* has a class"),
        (write((point(30, 30), "a"), (box(40, 0, 41, 1), "b")), r"the scene \(1000, 4760, 1300, 5000\)"),
        (write((point(0, 0), "a"), (point(0, 0), "b")), "more than one class"),
    ):
        with pytest.raises(InputError, match=said):
            read_label_features(path, GRID)


@pytest.mark.parametrize("upright", [False, True])
def test_without_georeference_features_are_in_pixels_either_way_up(write, upright):
    grid = UNPLACED if not upright else Grid(10, 8, None, Affine.scale(1, -1))
    path = write((point(3, 2, grid), "a"), (box(5, 5, 7, 8, grid), "b"))
    labels = read_label_features(path, UNPLACED)
    assert as_dict(labels) == {(2, 3): "a", **{(row, column): "b" for row in (5, 6, 7) for column in (5, 6)}}
    assert mask_of_features(path, UNPLACED, UNPLACED.whole).sum() == 7


def test_a_polygon_larger_than_a_piece_is_burnt_whole(write, monkeypatch):
    path = write((box(0.2, 0.2, 9.4, 7.6), "a"))
    whole = as_dict(read_label_features(path, GRID))
    monkeypatch.setattr(features_module, "_PIECE", 3)
    assert as_dict(read_label_features(path, GRID)) == whole and len(whole) == 9 * 8


def test_labels_on_a_huge_grid_take_no_memory_of_it(write):
    grid = Grid(10**6, 10**6, UTM, GRID.transform)
    labels = read_label_features(write((point(999_999, 999_999), "a"), (box(5, 5, 7, 7), "b")), grid)
    assert as_dict(labels)[999_999, 999_999] == "a" and len(labels.rows) == 5


@given(
    st.lists(
        st.tuples(st.floats(0, 10), st.floats(0, 8), st.floats(0.1, 6), st.floats(0.1, 6)),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 9),
    st.integers(0, 7),
)
def test_the_mask_of_a_window_is_that_part_of_the_whole_mask(tmp_path_factory, boxes, left, top):
    path = tmp_path_factory.mktemp("mask") / "mask.geojson"
    geometries = [box(x, y, x + width, y + height) for x, y, width, height in boxes] + [point(4, 4)]
    items = [{"type": "Feature", "geometry": geometry, "properties": None} for geometry in geometries]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    whole = mask_of_features(str(path), GRID, GRID.whole)
    window = Window(left, top, min(4, 10 - left), min(4, 8 - top))
    part = mask_of_features(str(path), GRID, window)
    assert part.dtype == bool and part.shape == (window.height, window.width)
    assert np.array_equal(part, whole[window.toslices()])
    centres = np.array(
        [GRID.transform * (column + 0.5, row + 0.5) for row in range(8) for column in range(10)]
    )
    inside = np.zeros(80, dtype=bool)
    for geometry in geometries[:-1]:
        ring = np.array(geometry["coordinates"][0])
        inside |= ((centres > ring.min(axis=0)) & (centres < ring.max(axis=0))).all(axis=1)
    inside[4 * 10 + 4] = True
    assert np.count_nonzero(inside != whole.ravel()) <= np.count_nonzero(_on_an_edge(boxes))


def _on_an_edge(boxes):
    """Whether pixel centres are on a box's edge (to rounding), where burning may go either way."""
    columns, rows = np.meshgrid(np.arange(10) + 0.5, np.arange(8) + 0.5)
    edge = np.zeros((8, 10), dtype=bool)
    for x, y, width, height in boxes:
        for bound in (x, x + width):
            edge |= np.abs(columns - bound) < 1e-6
        for bound in (y, y + height):
            edge |= np.abs(rows - bound) < 1e-6
    return edge


def test_the_window_of_a_mask_is_the_pixels_that_it_touches(write):
    assert window_of_features(write((box(2.2, 1, 4, 3.5), None), (point(6, 2), None)), GRID) == Window(
        2, 1, 5, 3
    )
    with pytest.raises(InputError, match="outside the raster"):
        window_of_features(write((box(20, 1, 24, 3.5), None)), GRID)
