"""Patches, fields and points: the same for every way of cutting a scene into windows."""

from __future__ import annotations

import numpy as np
from rasterio.windows import Window

from explanation_layers.rasters.simulate_layout import PatchMap, PointSample, RandomField


def test_patches_are_the_same_whole_and_in_windows() -> None:
    patches = PatchMap(70, 6, np.random.default_rng(0))
    whole = patches.read(Window(0, 0, 70, 70))
    assert np.array_equal(patches.read(Window(13, 40, 50, 30)), whole[40:70, 13:63])


def test_each_class_has_patches_all_over_the_scene() -> None:
    for size in (32, 128):
        whole = PatchMap(size, 6, np.random.default_rng(1)).read(Window(0, 0, size, size))
        shares = np.bincount(whole.ravel(), minlength=6) / whole.size
        assert shares.min() > 0.06
        half = size // 2
        for quarter in (whole[:half, :half], whole[:half, half:], whole[half:, :half], whole[half:, half:]):
            assert len(np.unique(quarter)) >= 5
        assert np.mean(whole[:, 1:] == whole[:, :-1]) > 0.7  # patches, not single pixels


def test_a_field_is_standard_normal_and_smooth_apart_from_its_white_part() -> None:
    values = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        values.append(RandomField(96, 20, rng).read(Window(0, 0, 96, 96), rng))
    field = np.stack(values)
    assert abs(field.mean()) < 0.1
    assert abs(field.std() - 1) < 0.08
    neighbours = np.corrcoef(field[:, :, 1:].ravel(), field[:, :, :-1].ravel())[0, 1]
    assert 0.4 < neighbours < 0.65


def test_points_are_spread_over_tiles_and_limited_per_class() -> None:
    rng = np.random.default_rng(3)
    sample = PointSample(2, per_class=50)
    tiles = [Window(column, 0, 16, 16) for column in range(0, 64, 16)]
    for tile in tiles:
        classes = np.zeros((16, 16), int)
        classes[:2] = -1
        classes[2, :5] = 1
        sample.add(tile, classes, rng)
    classes, rows, columns = sample.read()
    assert np.bincount(classes).tolist() == [50, 20]
    assert rows.min() >= 2
    assert len(np.unique(columns[classes == 0] // 16)) == 4
    assert np.all(np.abs(rows % 1 - 0.5) <= 0.3)
