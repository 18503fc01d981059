"""Which labelled pixels train and which test: by spatial blocks, or at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..rasters.errors import InputError

# Block sizes to choose from, in pixels, and how often an arrangement of blocks is drawn for each.
_SIZES = (256, 128, 64, 32, 16, 8, 4)
_DRAWS = 10
_NEAR = 0.1


@dataclass(frozen=True)
class Split:
    """Indices of training and test samples; `block_size` in pixels, 0 where the split is random."""

    kind: str
    train: np.ndarray
    test: np.ndarray
    block_size: int = 0


def random_split(classes: np.ndarray, names: tuple[str, ...], test_share: float, seed: int) -> Split:
    """Split each class at random, with at least one sample of it on either side.

    Raises InputError where a class has fewer than two samples.
    """
    generator = np.random.default_rng(seed)
    train, test = [], []
    for number, name in enumerate(names):
        members = generator.permutation(np.flatnonzero(classes == number))
        if len(members) < 2:
            raise InputError(
                f"Class '{name}' has {len(members)} labelled pixel(s) with data; it needs two or more, "
                "to train and to test."
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

    `block_size` in pixels; 0 takes the largest of 256, 128, ... 4 that puts every class on both sides and
    comes within 0.1 of the test share, or the nearest to the share where none does.
    Raises InputError where none does.
    """
    sizes = (block_size,) if block_size else _SIZES
    best, best_error = None, np.inf
    for size in sizes:
        blocks = _blocks(rows, cols, size)
        counts = _block_counts(blocks, classes, len(names))
        test_blocks = _choose_test_blocks(counts, test_share, np.random.default_rng(seed))
        if test_blocks is not None:
            in_test = test_blocks[blocks]
            error = abs(in_test.mean() - test_share)
            if error < best_error:
                best, best_error = (
                    Split("blocks", np.flatnonzero(~in_test), np.flatnonzero(in_test), size),
                    error,
                )
            if error <= _NEAR:
                break
    if best is None:
        raise _unsplittable(counts, names, size)
    return best


def parcel_split(
    parcels: np.ndarray, classes: np.ndarray, names: tuple[str, ...], test_share: float, seed: int
) -> Split:
    """Split by parcels, numbered from 0 in int (n,): all samples of one train, or all test.

    Raises InputError where a class lies in fewer than two.
    """
    counts = _block_counts(parcels, classes, len(names))
    few = [name for name, number in zip(names, (counts > 0).sum(0)) if number < 2]
    if few:
        raise InputError(
            f"Class '{few[0]}' lies in fewer than two parcels, so that it can't be trained and tested; label "
            "more of its parcels, or leave the class out."
        )
    test_parcels = _choose_test_blocks(counts, test_share, np.random.default_rng(seed))
    if test_parcels is None:
        raise InputError(
            f"No draw of parcels puts every class on both sides with a test share of {test_share:g}; "
            "label more parcels, or choose another share."
        )
    in_test = test_parcels[parcels]
    return Split("parcels", np.flatnonzero(~in_test), np.flatnonzero(in_test))


def _unsplittable(counts: np.ndarray, names: tuple[str, ...], size: int) -> InputError:
    """Return the error for the blocks of the last size that was tried."""
    blocks = f"blocks of {size} x {size} pixels"
    few = [name for name, number in zip(names, (counts > 0).sum(0)) if number < 2]
    problem = (
        f"Class '{few[0]}' lies in fewer than 2 {blocks}" if few else f"The classes share too few {blocks}"
    )
    smaller = "use smaller blocks, " if size > _SIZES[-1] else ""
    return InputError(
        f"{problem}, so that not every class can be trained and tested; label more places, {smaller}"
        "or split at random."
    )


def _blocks(rows: np.ndarray, cols: np.ndarray, size: int) -> np.ndarray:
    """Number the blocks that hold a sample from 0 and return each sample's block."""
    places = np.stack([rows // size, cols // size])
    return np.unique(places, axis=1, return_inverse=True)[1].reshape(-1)


def _block_counts(blocks: np.ndarray, classes: np.ndarray, class_count: int) -> np.ndarray:
    counts = np.zeros((blocks.max() + 1, class_count), dtype=np.int64)
    np.add.at(counts, (blocks, classes), 1)
    return counts


def _choose_test_blocks(
    counts: np.ndarray, test_share: float, generator: np.random.Generator
) -> np.ndarray | None:
    """Return which blocks test (bool per block): of some draws, the one whose shares are nearest the wanted.

    None where no draw puts every class on both sides.
    """
    total = counts.sum(0)
    if ((counts > 0).sum(0) < 2).any():
        return None
    best, best_error = None, np.inf
    for _ in range(_DRAWS):
        chosen = _draw_test_blocks(counts, test_share * total, generator)
        tested = counts[chosen].sum(0)
        error = np.abs(tested / total - test_share).max()
        if (tested > 0).all() and (tested < total).all() and error < best_error:
            best, best_error = chosen, error
    return best


def _draw_test_blocks(counts: np.ndarray, wanted: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw blocks until each class comes near the `wanted` samples, the class of fewest blocks first.

    A block is passed over where it would take the last training block of a class, or where the class at
    hand is nearer to what is wanted without it.
    """
    present = counts > 0
    chosen = np.zeros(len(counts), dtype=bool)
    tested, left = np.zeros(len(wanted)), present.sum(0)
    for number in np.argsort(left, kind="stable"):
        candidates = generator.permutation(np.flatnonzero(present[:, number] & ~chosen))
        # Those that take no class beyond what is wanted come first.
        beyond = np.maximum(tested + counts[candidates] - wanted, 0).sum(1) / counts[candidates].sum(1)
        for block in candidates[np.argsort(beyond, kind="stable")]:
            lacking = wanted[number] - tested[number]
            if lacking <= 0:
                break
            too_many = tested[number] > 0 and counts[block, number] > 2 * lacking
            if too_many or (left[present[block]] < 2).any():
                continue
            chosen[block] = True
            tested += counts[block]
            left -= present[block]
    return chosen
