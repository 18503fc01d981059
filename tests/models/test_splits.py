"""Splits: shares, classes on both sides, and no block with both kinds of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explanation_layers.models.splits import Split, block_split, random_split
from explanation_layers.rasters.errors import InputError

NAMES = ("water", "maize", "forest")


def scattered(count: int, side: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, columns and classes of pixels drawn in patches of 8, as fields are."""
    generator = np.random.default_rng(seed)
    keys = generator.choice(side * side, count, replace=False)
    rows, cols = np.divmod(np.sort(keys), side)
    patches = generator.integers(0, len(NAMES), (side // 8 + 1, side // 8 + 1))
    return rows, cols, patches[rows // 8, cols // 8]


def blocks_of(rows: np.ndarray, cols: np.ndarray, chosen: np.ndarray, size: int) -> set[tuple[int, int]]:
    return set(zip((rows[chosen] // size).tolist(), (cols[chosen] // size).tolist()))


def check(split: Split, count: int, classes: np.ndarray) -> None:
    assert np.array_equal(np.sort(np.concatenate([split.train, split.test])), np.arange(count))
    for side in (split.train, split.test):
        assert set(classes[side]) == set(classes)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.05, 0.6), size=st.sampled_from([0, 4, 8, 16]))
def test_blocks_have_every_class_on_both_sides_and_never_pixels_of_both(seed, share, size) -> None:
    rows, cols, classes = scattered(600, 96, seed)
    split = block_split(rows, cols, classes, NAMES, share, size, seed)
    check(split, 600, classes)
    assert split.kind == "blocks" and split.block_size in ((size,) if size else (64, 32, 16, 8, 4))
    trained = blocks_of(rows, cols, split.train, split.block_size)
    assert not trained & blocks_of(rows, cols, split.test, split.block_size)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_blocks_come_near_the_share_of_every_class(share: float) -> None:
    rows, cols, classes = scattered(4000, 256, seed=2)
    split = block_split(rows, cols, classes, NAMES, share, 16, seed=0)
    for number in range(3):
        members = classes == number
        assert members[split.test].sum() / members.sum() == pytest.approx(share, abs=0.08)


def test_the_largest_block_that_serves_is_taken() -> None:
    # Each class at two places 100 pixels apart: blocks of 64 tell them apart, those of 128 don't.
    rows = np.repeat([10, 110], 30)
    cols = np.tile(np.arange(30), 2)
    classes = np.tile(np.repeat([0, 1, 2], 10), 2)
    split = block_split(rows, cols, classes, NAMES, 0.5, 0, seed=0)
    assert split.block_size == 64
    assert len(split.train) == len(split.test) == 30


def test_a_class_in_one_place_is_named() -> None:
    rows, cols, classes = scattered(600, 96, seed=1)
    here = classes == 1
    rows[here], cols[here] = 40 + rows[here] % 3, 40 + cols[here] % 3
    sentence = (
        "Class 'maize' lies in fewer than 2 blocks of 4 x 4 pixels, .* label more places, or split at random"
    )
    with pytest.raises(InputError, match=sentence):
        block_split(rows, cols, classes, NAMES, 0.3, 0, seed=0)
    with pytest.raises(InputError, match="2 blocks of 64 x 64 .* use smaller blocks, or"):
        block_split(rows, cols, classes, NAMES, 0.3, 64, seed=0)


def test_blocks_that_can_not_be_parted_are_told() -> None:
    # Three classes chained over three blocks: whichever block tests, a class is on one side only.
    rows = np.array([0, 0, 100, 100, 200, 200])
    classes = np.array([0, 1, 1, 2, 2, 0])
    with pytest.raises(InputError, match="The classes share too few blocks of 8 x 8 pixels"):
        block_split(rows, np.zeros(6, int), classes, NAMES, 0.3, 8, seed=0)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.99])
def test_random_split_takes_the_share_of_each_class_and_leaves_one(share: float) -> None:
    classes = np.repeat([0, 1, 2], [200, 10, 2])
    split = random_split(classes, NAMES, share, seed=4)
    check(split, 212, classes)
    tested = np.bincount(classes[split.test])
    assert tested.tolist() == [round(200 * share), min(max(round(10 * share), 1), 9), 1]


def test_a_class_of_one_pixel_is_named() -> None:
    with pytest.raises(InputError, match=r"Class 'forest' has 1 labelled pixel\(s\) with data; it needs two"):
        random_split(np.array([0, 0, 1, 1, 2]), NAMES, 0.5, seed=0)


def test_a_class_of_no_pixel_is_named() -> None:
    with pytest.raises(InputError, match="Class 'forest' has 0 labelled"):
        random_split(np.array([0, 0, 1, 1]), NAMES, 0.5, seed=0)
    with pytest.raises(InputError, match="Class 'forest' lies in fewer than 2"):
        block_split(np.array([0, 50, 0, 50]), np.zeros(4, int), np.array([0, 0, 1, 1]), NAMES, 0.5, 0, 0)


def test_equal_seeds_split_alike_and_others_do_not() -> None:
    rows, cols, classes = scattered(600, 96, seed=3)
    for make in (
        lambda seed: random_split(classes, NAMES, 0.3, seed),
        lambda seed: block_split(rows, cols, classes, NAMES, 0.3, 8, seed),
    ):
        assert np.array_equal(make(1).test, make(1).test)
        assert not np.array_equal(make(1).test, make(2).test)
