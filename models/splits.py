"""Which labelled pixels train and which test: by spatial blocks, or at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..rasters.errors import InputError


@dataclass(frozen=True)
class Split:
    """Indices of training and test samples; `block_size` in pixels, 0 where the split is random."""

    kind: str
    train: np.ndarray
    test: np.ndarray
    block_size: int = 0


def random_split(classes: np.ndarray, names: tuple[str, ...], test_share: float, seed: int) -> Split:
    """Split each class at random, with at least one sample of it on either side.

    Raises InputError where a class has a single sample.
    """
    generator = np.random.default_rng(seed)
    train, test = [], []
    for number, name in enumerate(names):
        members = generator.permutation(np.flatnonzero(classes == number))
        if len(members) < 2:
            raise InputError(
                f"Class '{name}' has one labelled pixel; it needs two or more, to train and to test."
            )
        count = min(max(round(test_share * len(members)), 1), len(members) - 1)
        test.append(members[:count])
        train.append(members[count:])
    return Split("random", np.sort(np.concatenate(train)), np.sort(np.concatenate(test)))


def block_split(
    rows: np.ndarray, cols: np.ndarray, classes: np.ndarray, names: tuple[str, ...],
    test_share: float, block_size: int, seed: int,
) -> Split:  # fmt: skip
    """Split by square blocks of the raster, so that training and test pixels are not neighbours.

    `block_size` in pixels; 0 takes the largest of 256, 128, ... 4 that leaves every class in two blocks or
    more. Raises InputError where a class lies in fewer than two blocks.
    """
    block_size = block_size or _choose_block_size(rows, cols, classes, names)
    blocks = _blocks(rows, cols, block_size)
    counts = _block_counts(blocks, classes, len(names))
    present = counts > 0
    for number, name in enumerate(names):
        if present[:, number].sum() < 2:
            raise InputError(
                f"Class '{name}' lies in fewer than 2 blocks of {block_size} x {block_size} pixels, so it can't be "
                "both trained and tested; label it in more places, use smaller blocks, or split at random."
            )
    test_blocks = _choose_test_blocks(counts, test_share, np.random.default_rng(seed))
    in_test = test_blocks[blocks]
    return Split("blocks", np.flatnonzero(~in_test), np.flatnonzero(in_test), block_size)


def _choose_block_size(
    rows: np.ndarray, cols: np.ndarray, classes: np.ndarray, names: tuple[str, ...]
) -> int:
    size = 256
    while size > 4 and (_block_counts(_blocks(rows, cols, size), classes, len(names)) > 0).sum(0).min() < 2:
        size //= 2
    return size


def _blocks(rows: np.ndarray, cols: np.ndarray, size: int) -> np.ndarray:
    """Number the blocks that hold a sample from 0 and return each sample's block."""
    places = np.stack([rows // size, cols // size])
    return np.unique(places, axis=1, return_inverse=True)[1].reshape(-1)


def _block_counts(blocks: np.ndarray, classes: np.ndarray, class_count: int) -> np.ndarray:
    counts = np.zeros((blocks.max() + 1, class_count), dtype=np.int64)
    np.add.at(counts, (blocks, classes), 1)
    return counts


def _choose_test_blocks(counts: np.ndarray, test_share: float, generator: np.random.Generator) -> np.ndarray:
    """Choose blocks (bool per block) so that each class comes near its test share, the rarest first.

    A block is passed over where it would take the last training block of a class, or far more of a
    class than its share while the class at hand has other blocks.
    """
    wanted = test_share * counts.sum(0)
    chosen = np.zeros(len(counts), dtype=bool)
    for number in np.argsort((counts > 0).sum(0), kind="stable"):
        candidates = generator.permutation(np.flatnonzero(counts[:, number] > 0))
        # Blocks that overshoot no class come first; the others only serve a class that has no test block yet.
        for block in sorted(candidates, key=lambda b: _overshoot(counts, chosen, wanted, b)):
            have = counts[chosen, number].sum()
            if chosen[block] or have >= wanted[number]:
                continue
            left = ((counts > 0) & ~chosen[:, None]).sum(0) - (counts[block] > 0)
            if (left[counts[block] > 0] < 1).any():
                continue
            if have and have + counts[block, number] - wanted[number] > wanted[number] - have:
                continue
            chosen[block] = True
    return chosen


def _overshoot(counts: np.ndarray, chosen: np.ndarray, wanted: np.ndarray, block: int) -> float:
    after = counts[chosen].sum(0) + counts[block]
    return float(np.maximum(after - wanted, 0).sum() / max(counts[block].sum(), 1))
