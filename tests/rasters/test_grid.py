from __future__ import annotations

import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.windows import Window

from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.grid import Grid

UTM = CRS.from_epsg(32633).to_wkt()
PLACED = Grid(40, 20, UTM, Affine(30, 0, 1000, 0, -30, 5000))
UNPLACED = Grid(40, 20, None, Affine.identity())


@pytest.mark.parametrize(
    ("extent", "window"),
    [
        (None, Window(0, 0, 40, 20)),
        ((1000, 4400, 2200, 5000), Window(0, 0, 40, 20)),
        ((1030, 4940, 1090, 4970), Window(1, 1, 2, 1)),
        ((1031, 4941, 1089, 4969), Window(1, 1, 2, 1)),
        ((1029, 4939, 1091, 4971), Window(0, 0, 4, 3)),  # outward to whole pixels
        ((1030 - 1e-7, 4940, 1090 + 1e-7, 4970), Window(1, 1, 2, 1)),  # but not for a rounding error
        ((0, 4985, 1045, 9000), Window(0, 0, 2, 1)),  # cut to the raster
        ((1045, 4955, 1045, 4955), Window(1, 1, 1, 1)),  # a point is a pixel
        ((1090, 4970, 1030, 4940), Window(1, 1, 2, 1)),  # corners swapped
    ],
)
def test_an_extent_becomes_the_pixels_that_it_touches(extent, window):
    assert PLACED.window_of(extent) == window


@pytest.mark.parametrize(
    ("extent", "window"),
    [
        ((0, -20, 40, 0), Window(0, 0, 40, 20)),  # as QGIS shows it
        ((3, -7, 5, -4), Window(3, 4, 2, 3)),
        ((0, 0, 40, 20), Window(0, 0, 40, 20)),  # as GDAL counts
        ((3, 4, 5, 7), Window(3, 4, 2, 3)),
    ],
)
def test_without_georeference_an_extent_is_in_pixels_either_way_up(extent, window):
    assert UNPLACED.window_of(extent) == window


def test_a_rotated_grid_gives_the_box_of_pixels_around_the_extent():
    grid = Grid(10, 10, UTM, Affine.rotation(45))
    assert grid.window_of((0, 6, 0, 6)) == Window(4, 4, 1, 1)
    assert grid.window_of((-1, 5, 1, 7)) == Window(2, 2, 4, 4)


@pytest.mark.parametrize(
    "extent", [(3000, 4400, 4000, 5000), (1000, 5030, 2200, 6000), (2200, 4400, 2230, 5000)]
)
def test_an_extent_outside_says_both_extents(extent):
    with pytest.raises(InputError, match=r"outside the raster, which covers \(1000, 4400, 2200, 5000\)"):
        PLACED.window_of(extent)


def test_an_extent_that_is_no_number_is_refused():
    with pytest.raises(InputError, match="x_min, y_min, x_max, y_max"):
        PLACED.window_of((0, 0, float("nan"), 1))


@given(
    st.integers(0, 39),
    st.integers(0, 19),
    st.integers(1, 40),
    st.integers(1, 20),
    st.sampled_from([0, 30, -75]),
)
def test_the_extent_of_a_window_gives_the_window_back(left, top, width, height, turn):
    grid = Grid(40, 20, UTM, Affine(30, 0, 364095, 0, -30, 5809965) * Affine.rotation(turn))
    window = Window(left, top, min(width, 40 - left), min(height, 20 - top))
    found = grid.window_of(grid.sub(window).extent)
    if turn:
        assert found.col_off <= left and found.row_off <= top
    else:
        assert found == window


def test_a_window_of_a_raster_without_georeference_lies_on_it_in_qgis():
    assert not UNPLACED.sub(Window(0, 0, 5, 5)).georeferenced
    part = UNPLACED.sub(Window(3, 4, 5, 6))
    assert part.extent == (3, -10, 8, -4)
    assert part.sub(Window(1, 1, 2, 2)).extent == (4, -7, 6, -5)


def test_grids_are_the_same_by_pixels_not_by_text():
    other = CRS.from_epsg(32633).to_wkt(version="WKT2_2019")
    assert other != UTM
    assert PLACED.same_as(Grid(40, 20, other, Affine(30, 0, 1000 + 1e-6, 0, -30, 5000)))
    assert not PLACED.same_as(Grid(40, 20, other, Affine(30, 0, 1001, 0, -30, 5000)))
    assert not PLACED.same_as(Grid(40, 21, other, PLACED.transform))
    assert not PLACED.same_as(Grid(40, 20, CRS.from_epsg(32632).to_wkt(), PLACED.transform))
    assert not PLACED.same_as(Grid(40, 20, None, PLACED.transform))
    assert UNPLACED.same_as(Grid(40, 20, None, Affine.identity()))
