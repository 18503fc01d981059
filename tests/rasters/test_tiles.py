from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window

from explanation_layers.rasters.tiles import plan_tiles


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 60), st.integers(1, 60), st.integers(1, 70))
def test_tiles_cover_each_pixel_of_the_window_once(left, top, width, height, side):
    seen = np.zeros((120, 120), dtype=int)
    for tile in plan_tiles(Window(left, top, width, height), side):
        assert (tile.col_off - left) % side == 0 and (tile.row_off - top) % side == 0
        assert tile.width <= side and tile.height <= side
        seen[tile.toslices()] += 1
    expected = np.zeros_like(seen)
    expected[top : top + height, left : left + width] = 1
    assert np.array_equal(seen, expected)


def test_tiles_of_a_huge_window_are_not_listed_beforehand():
    tiles = plan_tiles(Window(0, 0, 10**9, 10**9), 256)
    assert next(tiles) == Window(0, 0, 256, 256)
    assert next(tiles) == Window(256, 0, 256, 256)


def test_a_tile_has_at_least_a_pixel():
    with pytest.raises(ValueError, match="at least one pixel"):
        next(plan_tiles(Window(0, 0, 4, 4), 0))
