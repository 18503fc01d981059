"""Chips that labels place on a scene: points, polygons and rasters of classes."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from explanation_layers.rasters.chip_labels import chips_of_class_raster, chips_of_features
from explanation_layers.rasters.chips import chips_of_folder
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.scene import open_scene

WIDTH, HEIGHT = 40, 30
UTM33 = "EPSG:32633"
PLACE = Affine(10, 0, 500000, 0, -10, 4000000)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A scene of two bands whose values tell where they are."""
    path = str(tmp_path_factory.mktemp("scene") / "scene.tif")
    band, row, column = np.ogrid[:2, :HEIGHT, :WIDTH]
    return write_raster(path, (10000 * band + 100 * row + column).astype(np.float32))


def write_raster(path, values, place=PLACE, **profile):
    if place is not None:
        profile |= {"transform": place, "crs": UTM33}
    count, height, width = values.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", count=count, height=height, width=width, dtype=values.dtype, **profile
        ) as dataset:
            dataset.write(values)
    return open_scene(path)


def point(row, column, place=PLACE):
    """A point in the middle of a pixel."""
    return {"type": "Point", "coordinates": list(place * (column + 0.5, row + 0.5))}


def polygon(*corners, place=PLACE):
    """A polygon with corners (row, column)."""
    ring = [list(place * (column, row)) for row, column in (*corners, corners[0])]
    return {"type": "Polygon", "coordinates": [ring]}


def box(top, left, bottom, right, place=PLACE):
    return polygon((top, left), (top, right), (bottom, right), (bottom, left), place=place)


@pytest.fixture
def write(tmp_path):
    """Return a function that writes (geometry, class) pairs as GeoJSON; class `...` for no field."""

    def write(*pairs):
        items = [
            {"type": "Feature", "geometry": geometry, "properties": {} if value is ... else {"class": value}}
            for geometry, value in pairs
        ]
        path = tmp_path / "labels.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": items}), encoding="utf-8")
        return str(path)

    return write


def corners_of(chips):
    return [(chip.row, chip.col) for chip in chips.chips]


@pytest.mark.parametrize(("side", "corner"), [(4, (8, 10)), (5, (8, 10)), (7, (7, 9)), (1, (10, 12))])
def test_a_point_is_in_the_middle_of_its_chip(scene, write, side, corner):
    chips = chips_of_features(scene, write((point(10, 12), "ship")), side)
    assert (corners_of(chips), chips.names, chips.side) == ([corner], ("ship",), side)
    assert chips.read([0])[0, 0, side // 2, side // 2] == 1012


def test_chips_know_their_place(scene, write):
    chips = chips_of_features(scene, write((point(10, 12), "ship"), (point(20, 5), 7)), 4)
    assert [chip.name for chip in chips.chips] == ["row 8, column 10", "row 18, column 3"]
    assert chips.names == ("7", "ship") and chips.classes.tolist() == [1, 0]
    assert chips.grid(0).transform == PLACE * Affine.translation(10, 8)
    assert chips.read([1, 0], bands=[1])[:, 0, 0, 0].tolist() == [11803, 10810]
    assert len(chips.bands) == 2 and chips.chips[0].path == scene.path


def test_chips_at_the_edge_are_moved_inside_and_those_beyond_left_out(scene, write):
    path = write((point(0, 0), "a"), (point(29, 39), "a"), (point(15, 20), "a"), (point(-1, 5), "a"))
    chips = chips_of_features(scene, path, 8)
    assert corners_of(chips) == [(0, 0), (11, 16), (22, 32)]
    assert any("2 point(s) lie less than half a chip" in text for text in chips.warnings)
    assert any("1 point(s) or polygon(s) lie outside" in text for text in chips.warnings)


def test_a_small_polygon_gets_one_chip_around_its_middle(scene, write):
    path = write((box(10, 10, 12, 14), "a"), (box(0, 0, 2, 2), "b"), (box(28, 38, 33, 44), "c"))
    assert corners_of(chips_of_features(scene, path, 8)) == [(0, 0), (7, 8), (22, 32)]


def test_a_footprint_gives_its_own_pixels(scene, write):
    assert corners_of(chips_of_features(scene, write((box(3, 5, 11, 13), "a")), 8)) == [(3, 5)]


def test_a_large_polygon_is_cut_into_chips_side_by_side(scene, write):
    chips = chips_of_features(scene, write((box(2, 3, 20, 30), "a")), 8)
    assert corners_of(chips) == [(row, col) for row in (3, 11) for col in (4, 12, 20)]
    # Without two corners cut off, where the centres of two chips are.
    cut = polygon((2, 16), (2, 30), (5, 30), (20, 15), (20, 3), (15, 3))
    assert corners_of(chips_of_features(scene, write((cut, "a")), 8)) == [
        (3, 12), (3, 20), (11, 4), (11, 12),
    ]  # fmt: skip


def test_a_hole_holds_no_chip(scene, write):
    with_hole = box(0, 0, 24, 24)
    with_hole["coordinates"] += box(8, 8, 16, 16)["coordinates"]
    chips = chips_of_features(scene, write((with_hole, "a")), 8)
    assert len(chips) == 8 and (8, 8) not in corners_of(chips)


def test_a_polygon_that_stands_out_is_cut_at_the_edge(scene, write):
    chips = chips_of_features(scene, write((box(-100, -100, 100, 100), "a")), 10)
    assert corners_of(chips) == [(row, col) for row in (0, 10, 20) for col in (0, 10, 20, 30)]


def test_every_part_of_a_multipolygon_counts(scene, write):
    parts = {
        "type": "MultiPolygon",
        "coordinates": [box(0, 0, 8, 8)["coordinates"], box(20, 20, 28, 28)["coordinates"]],
    }
    assert corners_of(chips_of_features(scene, write((parts, "a")), 8)) == [(0, 0), (20, 20)]


def test_a_polygon_between_the_centres_is_counted(scene, write):
    thin = polygon((0, 0), (1, 0), (24, 23), (24, 24), (23, 24), (0, 1))
    frame = box(0, 0, 16, 16)
    frame["coordinates"] += box(1, 1, 15, 15)["coordinates"]
    assert corners_of(chips_of_features(scene, write((thin, "a")), 8)) == [(0, 0), (8, 8), (16, 16)]
    chips = chips_of_features(scene, write((frame, "a"), (point(25, 35), "a")), 8)
    assert len(chips) == 1 and "1 polygon(s) hold the centre of no chip" in chips.warnings[0]
    with pytest.raises(InputError, match="holds the centre of a chip; use smaller chips"):
        chips_of_features(scene, write((frame, "a")), 8)


def test_without_classes_chips_are_unlabelled(scene, write):
    chips = chips_of_features(scene, write((point(10, 12), ...), (point(20, 12), ...)), 4)
    assert (chips.names, chips.classes.tolist()) == ((), [-1, -1])


def test_some_without_class_are_left_out(scene, write):
    chips = chips_of_features(scene, write((point(10, 12), "a"), (point(20, 12), None)), 4)
    assert len(chips) == 1 and chips.warnings == ("1 label feature(s) have no class and are left out.",)


def test_one_chip_of_two_labels(scene, write):
    again = (point(10, 12), "a")
    assert len(chips_of_features(scene, write(again, again), 4)) == 1
    chips = chips_of_features(scene, write(again, (point(10, 12), "b"), (point(20, 12), "c")), 4)
    assert chips.names == ("c",) and "1 chip(s) are labelled with more than one class" in chips.warnings[0]
    with pytest.raises(InputError, match="more than one class; correct"):
        chips_of_features(scene, write(again, (point(10, 12), "b")), 4)


def test_labels_of_another_place_are_refused_with_both_extents(scene, write):
    with pytest.raises(InputError, match=r"cover \(0, 0, 50, 50\), the scene \(500000, 3999700,"):
        chips_of_features(scene, write((box(0, 0, 50, 50, place=Affine.identity()), "a")), 8)


@pytest.mark.parametrize(
    ("side", "sentence"),
    [(31, "40 x 30 pixels, which is smaller than a chip of 31 x 31"), (0, "set PATCH_SIZE")],
)
def test_a_side_that_does_not_fit_is_refused(scene, write, side, sentence):
    with pytest.raises(InputError, match=sentence):
        chips_of_features(scene, write((point(1, 1), "a")), side)
    with pytest.raises(InputError, match=sentence):
        chips_of_class_raster(scene, scene.path, side)


def test_scenes_without_georeference_take_labels_as_qgis_shows_them(tmp_path, write):
    scene = write_raster(str(tmp_path / "plain.tif"), np.zeros((1, 30, 40), np.float32), place=None)
    chips = chips_of_features(scene, write((point(10, 12, Affine.scale(1, -1)), "a")), 4)
    assert corners_of(chips) == [(8, 10)]
    assert not chips.grid(0).georeferenced


positions = st.floats(-20, 60, allow_nan=False)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(corners=st.lists(st.tuples(positions, positions), min_size=3, max_size=6), side=st.integers(1, 30))
def test_chips_of_a_polygon_stay_on_the_raster_and_never_overlap(scene, write, corners, side):
    try:
        chips = chips_of_features(scene, write((polygon(*corners), "a"), (point(15, 20), "b")), side)
    except InputError as error:
        assert "more than one class" in str(error)
        return
    for chip in chips.chips:
        assert 0 <= chip.row <= HEIGHT - side and 0 <= chip.col <= WIDTH - side
    cut = [(chip.row, chip.col) for chip in chips.chips if chips.names[chip.class_index] == "a"]
    for one, other in combinations(cut, 2):
        assert abs(one[0] - other[0]) >= side or abs(one[1] - other[1]) >= side


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(0, HEIGHT - 1), column=st.integers(0, WIDTH - 1), side=st.integers(1, 30))
def test_the_chip_of_a_point_holds_it_and_stays_on_the_raster(scene, write, row, column, side):
    (corner,) = corners_of(chips_of_features(scene, write((point(row, column), "a")), side))
    for start, at, size in zip(corner, (row, column), (HEIGHT, WIDTH)):
        assert 0 <= start <= at < start + side <= size


@pytest.fixture
def classes():
    """A raster of classes: 4 in the upper left quarter, 2 in the lower right, with some of 9 and none."""
    values = np.zeros((1, HEIGHT, WIDTH), np.uint8)
    values[0, :15, :20] = 4
    values[0, 15:, 20:] = 2
    values[0, :2, :10] = 9
    return values


def test_cells_of_one_class_are_chips(scene, classes, tmp_path):
    labels = write_raster(str(tmp_path / "labels.tif"), classes)
    chips = chips_of_class_raster(scene, labels.path, 10)
    # 80 % of the first cell are class 4, half of those in the second row of cells.
    assert corners_of(chips) == [(0, 0), (0, 10), (20, 20), (20, 30)]
    assert chips.names == ("class 2", "class 4") and chips.classes.tolist() == [1, 1, 0, 0]
    assert corners_of(chips_of_class_raster(scene, labels.path, 10, share=0.81)) == [
        (0, 10), (20, 20), (20, 30),
    ]  # fmt: skip
    half = chips_of_class_raster(scene, labels.path, 10, share=0.5)
    assert set(corners_of(half)) >= {(10, 0), (10, 10), (10, 20), (10, 30)}


def test_unlabelled_pixels_count_against_a_cell(scene, classes, tmp_path):
    labels = write_raster(str(tmp_path / "labels.tif"), classes, nodata=2)
    assert chips_of_class_raster(scene, labels.path, 10).names == ("class 4",)
    with_zero = chips_of_class_raster(scene, labels.path, 10, unlabelled_value=4)
    assert with_zero.names == ("class 0",)


def test_cells_do_not_depend_on_the_blocks_read(scene, tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    values = np.kron(rng.integers(1, 4, (1, 6, 8)), np.ones((1, 5, 5), int)).astype(np.uint8)
    labels = write_raster(str(tmp_path / "labels.tif"), values)
    whole = chips_of_class_raster(scene, labels.path, 7, share=0.5)
    monkeypatch.setattr("explanation_layers.rasters.chip_labels._BLOCK", 7)
    assert replace(chips_of_class_raster(scene, labels.path, 7, share=0.5), scene=None) == replace(
        whole, scene=None
    )
    for chip in whole.chips:
        cell = values[0, chip.row : chip.row + 7, chip.col : chip.col + 7]
        assert np.bincount(cell.ravel()).max() >= 0.5 * 49
        assert whole.names[chip.class_index] == f"class {np.bincount(cell.ravel()).argmax()}"


def test_labels_on_another_grid_are_resampled(scene, classes, tmp_path):
    inside = classes[:, 14::2, 20::2]
    place = PLACE * Affine.translation(20, 14) * Affine.scale(2)
    labels = write_raster(str(tmp_path / "coarse.tif"), inside, place=place)
    chips = chips_of_class_raster(scene, labels.path, 10)
    assert corners_of(chips) == [(20, 20), (20, 30)]
    assert "on another grid" in chips.warnings[0]


def test_a_raster_without_chips_is_refused(scene, classes, tmp_path):
    labels = write_raster(str(tmp_path / "labels.tif"), classes)
    with pytest.raises(InputError, match="No cell of 30 x 30 pixels has one class .* on 70%"):
        chips_of_class_raster(scene, labels.path, 30)
    measured = write_raster(str(tmp_path / "measured.tif"), classes + np.float32(0.5))
    with pytest.raises(InputError, match="no class number"):
        chips_of_class_raster(scene, measured.path, 10)


def test_sentinel_1_cells_by_land_cover(land_cover_chips, shared):
    chips = chips_of_folder(str(land_cover_chips))
    counts = dict(zip(chips.names, np.bincount(chips.classes).tolist()))
    assert counts == {"built": 3, "crops": 74, "rangeland": 24, "snow": 49, "trees": 22, "water": 25}
    assert [band.name for band in chips.bands] == ["VV", "VH"] and chips.warnings == ()
    place, row, column = chips.chips[0].name.removesuffix(".tif").split("/")[1].split("-")
    whole = open_scene(str(shared / "data" / "terramind_s1_s2_lulc" / "S1RTC" / f"{place}.tif"))
    window = Window(int(column), int(row), 32, 32)
    assert np.array_equal(chips.read([0])[0], whole.read(window))
    assert chips.grid(0).same_as(whole.grid.sub(window)) and chips.grid(0).georeferenced
