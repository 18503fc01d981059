"""Which chips of one raster train and which test: overlapping ones on the same side where possible."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..rasters.errors import InputError
from .splits import Split, block_split

# A split of groups of overlapping chips may miss the test share by this much before single chips are split.
_FAR = 0.15
# With more overlapping pairs than this, chips lie so densely that groups of them say nothing.
_MOST_PAIRS = 10_000_000


def chip_block_split(
    rows: np.ndarray, cols: np.ndarray, side: int, classes: np.ndarray, names: tuple[str, ...],
    test_share: float, seed: int,
) -> Split:  # fmt: skip
    """Split the chips with upper left pixels `rows`, `cols` by blocks of their raster.

    Chips that overlap, also by way of others, go to the block of their common centre. Where that is not
    possible or far from the test share, each goes to the block of its own centre.
    Raises InputError where blocks can't put every class on both sides.
    """
    group = overlapping_groups(rows, cols, side)
    sizes = np.bincount(group)
    row, col = (np.round(np.bincount(group, axis) / sizes)[group].astype(np.int64) for axis in (rows, cols))
    with suppress(InputError):
        split = block_split(row, col, classes, names, test_share, 0, seed)
        if abs(len(split.test) / len(classes) - test_share) <= _FAR:
            return split
    return block_split(rows, cols, classes, names, test_share, 0, seed)


def overlapping_groups(rows: np.ndarray, cols: np.ndarray, side: int) -> np.ndarray:
    """Number the groups of chips that overlap, and return each chip's group, int (n,).

    All are one group where they lie very densely.
    """
    tree = cKDTree(np.stack([rows, cols], 1))
    if tree.count_neighbors(tree, side - 1, p=np.inf) > 2 * _MOST_PAIRS:
        return np.zeros(len(rows), dtype=np.int64)
    pairs = tree.query_pairs(side - 1, p=np.inf, output_type="ndarray")
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(rows),) * 2)
    return connected_components(links, directed=False)[1]


def overlap_share(rows: np.ndarray, cols: np.ndarray, side: int, split: Split) -> float:
    """Share of test chips that share a pixel with a training chip: what a split leaks."""
    places = np.stack([rows, cols], 1)
    nearest, _ = cKDTree(places[split.train]).query(places[split.test], p=np.inf)
    return float((nearest < side).mean())
