"""Sliding chips: every pixel covered, places that no extent moves, merges equal to a plain double loop."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.grid import Grid
from explanation_layers.workflows.merge import Merge, Plan, merge_weights, merged
from explanation_layers.workflows.slide import Chips, Slide, starts


@dataclass
class Scene:
    """A scene in memory that counts the pixels that are read of it."""

    values: np.ndarray
    path: str = "scene.tif"
    pixels: int = 0

    @property
    def grid(self) -> Grid:
        return Grid(self.values.shape[2], self.values.shape[1], None, Affine.identity())

    def read(self, window: Window, halo: int, bands: list[int]) -> np.ndarray:
        rows, cols = window.toslices()
        assert 0 <= rows.start < rows.stop <= self.grid.height and cols.stop <= self.grid.width
        self.pixels += int(window.width * window.height)
        return self.values[bands, rows, cols]


class Maps(NamedTuple):
    values: np.ndarray
    valid: np.ndarray


def work(chips: Chips) -> Maps:
    """A network whose map is a polynomial of the chip and its mean."""
    values = chips.values * chips.values.mean((1, 2, 3), keepdims=True) + 1
    return Maps(values.sum(1, keepdims=True), np.isfinite(chips.values).all(1))


def slid(scene: Scene, window: Window, side: int, stride: int, merge: str, memory_mb: int = 64) -> np.ndarray:
    """Return the merged map of a window."""
    slide = Slide(scene, side, stride, [0, 1])
    plan = Plan(merge_weights(merge, side), 1, 10, memory_mb, size=5, ahead=2)
    result = np.full((int(window.height), int(window.width)), 7, dtype=np.float32)
    new, keys = 0, []

    def seen(chips: Chips, maps: Maps, first: np.ndarray) -> None:
        nonlocal new
        new += int(first.sum())
        keys.extend(chips.keys[first].tolist())

    with ThreadPoolExecutor(1) as pool:
        for piece, values in merged(slide, window, plan, pool, work, seen):
            top, left = int(piece.row_off - window.row_off), int(piece.col_off - window.col_off)
            result[top : top + int(piece.height), left : left + int(piece.width)] = values[0]
    assert new == slide.count(window) == len(set(keys))
    return result


def double_loop(scene: Scene, side: int, stride: int, weights: np.ndarray) -> np.ndarray:
    """Return the merged map of the whole scene, chip by chip and in float64."""
    height, width = scene.values.shape[1:]
    total, weight = np.zeros((height, width)), np.zeros((height, width))
    for row in starts(height, side, stride):
        for col in starts(width, side, stride):
            chip = scene.values[None, :, row : row + side, col : col + side]
            found = work(Chips(np.zeros(1), np.array([row]), np.array([col]), chip))
            total[row : row + side, col : col + side] += found.values[0, 0] * weights
            weight[row : row + side, col : col + side] += weights
    return total / weight


def scene_of(height: int, width: int) -> Scene:
    return Scene(np.random.default_rng(height * width).random((2, height, width), dtype=np.float32))


@given(st.integers(1, 400), st.integers(1, 40), st.integers(1, 40))
def test_chips_cover_every_pixel_and_stay_inside(size: int, side: int, stride: int) -> None:
    side, stride = min(side, size), min(stride, side, size)
    places = starts(size, side, stride)
    covered = np.zeros(size, dtype=bool)
    for place in places:
        covered[place : place + side] = True
    assert covered.all() and places[0] == 0 and places[-1] == size - side
    assert (np.diff(places) > 0).all() and (places[:-1] % stride == 0).all()


@pytest.mark.parametrize("merge", ["uniform", "centre"])
@given(st.integers(9, 60), st.integers(9, 60), st.integers(2, 9), st.integers(1, 9))
@settings(deadline=None, max_examples=25)
def test_a_merge_is_the_plain_double_loop(
    merge: str, height: int, width: int, side: int, stride: int
) -> None:
    scene, stride = scene_of(height, width), min(stride, side)
    expected = double_loop(scene, side, stride, merge_weights(merge, side))
    found = slid(scene, scene.grid.whole, side, stride, merge)
    np.testing.assert_allclose(found, expected, rtol=2e-5)


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_the_pieces_of_a_scene_equal_the_whole(data: st.DataObject) -> None:
    scene = scene_of(data.draw(st.integers(20, 300)), data.draw(st.integers(20, 300)))
    side, height, width = data.draw(st.integers(4, 20)), *scene.values.shape[1:]
    stride = data.draw(st.integers(max(1, side // 4), side))
    whole = slid(scene, scene.grid.whole, side, stride, "centre")
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = Window(
        left, top, data.draw(st.integers(1, width - left)), data.draw(st.integers(1, height - top))
    )
    found = slid(scene, window, side, stride, "centre")
    np.testing.assert_array_equal(found, whole[window.toslices()])


def test_panels_leave_no_seams_and_count_every_chip_once() -> None:
    scene = scene_of(40, 700)
    plan = Plan(merge_weights("centre", 16), 1, 100, 1, 5, 2)
    assert len(list(plan.panels(scene.grid.whole))) == 6
    several = slid_by(scene, plan)
    np.testing.assert_array_equal(several, slid(scene, scene.grid.whole, 16, 8, "centre"))


def slid_by(scene: Scene, plan: Plan) -> np.ndarray:
    slide, result, first = Slide(scene, 16, 8, [0, 1]), np.empty((40, 700), np.float32), []
    with ThreadPoolExecutor(1) as pool:
        window = Window(0, 0, 700, 40)
        for piece, values in merged(
            slide, window, plan, pool, work, lambda c, m, new: first.extend(c.keys[new])
        ):
            result[piece.toslices()] = values[0]
    assert len(first) == len(set(first)) == slide.count(window)
    return result


def test_a_chip_alone_gives_its_own_map() -> None:
    scene = scene_of(16, 16)
    found = slid(scene, scene.grid.whole, 16, 8, "centre")
    expected = work(Chips(np.zeros(1), np.zeros(1), np.zeros(1), scene.values[None])).values[0, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_raster_is_read_once() -> None:
    scene = scene_of(300, 90)
    slid(scene, scene.grid.whole, 16, 4, "uniform")
    assert scene.pixels == 300 * 90


def test_weights_are_positive_symmetric_and_even_at_half_a_chip() -> None:
    weights = merge_weights("centre", 64)
    assert weights.min() > 0 and np.allclose(weights, weights[::-1]) and np.allclose(weights, weights.T)
    axis = weights[32] / weights[32].max()
    assert np.allclose(axis[:32] + axis[32:], axis[0] + axis[32])
    assert (merge_weights("uniform", 5) == 1).all()
    with pytest.raises(InputError, match=r"There is no merge 'sum'; choose one of uniform, centre\."):
        merge_weights("sum", 5)


def test_pixels_without_data_have_no_value_and_do_no_harm() -> None:
    merge = Merge(Window(0, 0, 8, 8), 1, np.ones((4, 4)))
    values = np.ones((1, 4, 4))
    values[0, 0, 0] = np.nan
    merge.add(0, 0, values, np.isfinite(values[0]))
    merge.add(2, 2, values * 3, np.isfinite(values[0]))
    ((_, found),) = merge.finished()
    assert np.isnan(found[0, 0, 0]) and found[0, 2, 2] == 1 and found[0, 3, 3] == 2 and found[0, 5, 5] == 3
    assert np.isnan(found[0, 7, 7])


def test_strides_and_rasters_that_can_not_be() -> None:
    with pytest.raises(InputError, match=r"stride can't be 17 with chips of 16 x 16 pixels; choose 1 to 16"):
        Slide(scene_of(20, 20), 16, 17, [0])
    with pytest.raises(InputError, match=r"scene.tif has 20 x 12 pixels, which is smaller than a chip"):
        Slide(scene_of(12, 20), 16, 0, [0])
