"""Splits of chips from one raster: overlapping chips stay together where they can."""

from __future__ import annotations

import numpy as np
import pytest

from explanation_layers.models.chip_splits import chip_block_split, overlap_share, overlapping_groups
from explanation_layers.models.splits import Split
from explanation_layers.rasters.errors import InputError

NAMES = ("a", "b")


def test_chips_that_share_a_pixel_are_one_group_also_by_way_of_others() -> None:
    rows, cols = np.array([0, 7, 14, 0, 40, 48]), np.array([0, 7, 14, 8, 40, 40])
    groups = overlapping_groups(rows, cols, 8)
    # The third touches the second's corner; the fourth begins where the first ends, but meets the second.
    assert groups[0] == groups[1] == groups[2] == groups[3]
    assert len(set(groups)) == 3 and groups[4] != groups[5]


def test_very_many_pairs_are_one_group_without_being_listed() -> None:
    places = np.random.default_rng(0).integers(0, 50, (2, 6000))
    assert set(overlapping_groups(*places, 64)) == {0}


def test_overlapping_pairs_are_on_one_side() -> None:
    generator = np.random.default_rng(4)
    rows, cols = (np.repeat(generator.permutation(40) * 25, 2) for _ in range(2))
    rows, cols = rows + generator.integers(0, 10, 80), cols + generator.integers(0, 10, 80)
    classes = np.repeat(np.arange(40) % 2, 2)
    split = chip_block_split(rows, cols, 16, classes, NAMES, 0.3, 0)
    assert overlap_share(rows, cols, 16, split) == 0
    assert 0.15 <= len(split.test) / 80 <= 0.45
    assert sorted([*split.train, *split.test]) == list(range(80))
    assert set(classes[split.test]) == set(classes[split.train]) == {0, 1}


def test_one_cluster_is_split_by_the_chips_own_places() -> None:
    rows, cols = (axis.ravel() for axis in np.mgrid[0:200:5, 0:200:5])
    classes = (rows + cols) // 5 % 2
    split = chip_block_split(rows, cols, 16, classes, NAMES, 0.3, 0)
    assert 0.15 <= len(split.test) / len(rows) <= 0.45
    assert 0 < overlap_share(rows, cols, 16, split) < 1


def test_chips_at_one_place_can_not_be_split_by_blocks() -> None:
    zeros = np.zeros(6, dtype=np.int64)
    with pytest.raises(InputError):
        chip_block_split(zeros, zeros, 16, np.arange(6) % 2, NAMES, 0.3, 0)


def test_overlap_is_the_share_of_test_chips_that_touch_a_training_chip() -> None:
    rows, cols = np.array([0, 15, 16, 100]), np.zeros(4, dtype=np.int64)
    split = Split("blocks", np.array([0]), np.array([1, 2, 3]))
    assert overlap_share(rows, cols, 16, split) == pytest.approx(1 / 3)
