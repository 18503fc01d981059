"""Fully constrained least squares: abundances that are not negative and sum to one, exactly.

After Heinz & Chang 2001, DOI 10.1109/36.911111. Not by a heavy row of ones: pixels move between supports
together, by block principal pivoting (Portugal, Júdice & Vicente 1994; Kim & Park 2011,
DOI 10.1137/110821172), until each one's conditions of optimality hold.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.optimize import nnls

# Chunks bound the memory: some thirty arrays of (pixel, material) at once.
_CHUNK = 1 << 18
# Steps in which all materials with a wrong sign change sides, before only the last one does.
_PATIENCE = 3
_MOST_STEPS = 100
# Of the values' scale: what counts as zero.
_TOLERANCE = 1e-10
# Makes endmembers that depend on each other, or outnumber the bands, have one answer; of their mean energy.
_RIDGE = 1e-12
_MOST_MATERIALS = 62


def fcls(pixels: np.ndarray, endmembers: np.ndarray) -> np.ndarray:
    """Abundances (n, material), float64, of pixels (n, band) in endmembers (material, band).

    They minimise the squared error among those that are not negative and sum to one; values may have any
    sign, but must be finite. The same endmember given twice shares its abundance in equal parts.
    Raises ValueError where there are none or more than 62 endmembers, or other bands.
    """
    pixels, endmembers = np.atleast_2d(pixels), np.atleast_2d(np.asarray(endmembers, np.float64))
    materials = len(endmembers)
    if not 1 <= materials <= _MOST_MATERIALS or pixels.shape[1] != endmembers.shape[1]:
        raise ValueError(f"pixels {pixels.shape} do not go with endmembers {endmembers.shape}")
    abundances = np.ones((len(pixels), materials))
    if materials > 1:
        # About their mean, the products keep the digits that a common brightness would take.
        middle = endmembers.mean(0)
        centred = endmembers - middle
        gram = centred @ centred.T
        energy = np.trace(gram) / materials
        if energy == 0:
            return abundances / materials
        gram += _RIDGE * energy * np.eye(materials)
        for start in range(0, len(pixels), _CHUNK):
            part = slice(start, start + _CHUNK)
            abundances[part] = _pivot(gram, (pixels[part] - middle) @ centred.T)
    return abundances


def nonnegative(pixels: np.ndarray, endmembers: np.ndarray) -> np.ndarray:
    """Abundances (n, material) that are not negative and have any sum; arguments as of `fcls`."""
    pixels = np.asarray(pixels, np.float64)
    length = np.linalg.norm(pixels, axis=1, keepdims=True)
    corners, sizes = as_simplex(np.asarray(endmembers, np.float64))
    return fcls(pixels / np.where(length > 0, length, 1), corners)[:, :-1] * sizes * length


def as_simplex(endmembers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (material + 1, band) whose simplex holds all sums that a pixel of length 1 can be nearest to.

    And what makes their shares abundances, (material,). The last vertex is darkness, which takes up what the
    sum lacks. Of spectra without negative values none adds more than the pixel's length; theirs is doubled
    for noise that is. A black endmember has no abundance.
    """
    length = np.linalg.norm(endmembers, axis=1)
    longest = 2.0 * len(endmembers)
    unit = longest * endmembers / np.where(length > 0, length, 1)[:, None]
    sizes = np.where(length > 0, longest / np.where(length > 0, length, 1), 0)
    return np.vstack([unit, np.zeros((1, endmembers.shape[1]))]), sizes


def _pivot(gram: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Minimise a G a / 2 - b a over the simplex for each row b (n, material) of `products`."""
    count, materials = products.shape
    powers = 1 << np.arange(materials, dtype=np.int64)
    scale = _TOLERANCE * np.maximum(np.abs(products).max(1), np.abs(gram).max())
    result = np.full((count, materials), 1 / materials)
    open_rows = np.arange(count)
    supports = np.full(count, powers.sum())
    fewest, patience = np.full(count, materials + 1), np.full(count, _PATIENCE)
    for _ in range(_MOST_STEPS):
        abundances, slopes = _solve(gram, products[open_rows], supports)
        inside = (supports[:, None] & powers) > 0
        wrong = np.where(inside, abundances < -_TOLERANCE, slopes < -scale[open_rows, None])
        wrongs = wrong.sum(1)
        done = wrongs == 0
        result[open_rows[done]] = abundances[done]
        keep = ~done
        open_rows, wrong, wrongs = open_rows[keep], wrong[keep], wrongs[keep]
        supports, fewest, patience = supports[keep], fewest[keep], patience[keep]
        if not len(open_rows):
            break
        better = wrongs < fewest
        fewest = np.where(better, wrongs, fewest)
        patience = np.where(better, _PATIENCE, patience - 1)
        # Murty's rule, the last wrong one only, ends for certain; all wrong ones at once are faster.
        last = 1 << (materials - 1 - wrong[:, ::-1].argmax(1))
        supports = supports ^ np.where(patience >= 0, wrong @ powers, last)
    for row in open_rows:
        result[row] = _alone(gram, products[row])
    result = result.clip(0)
    return result / result.sum(1, keepdims=True)


def _solve(gram: np.ndarray, products: np.ndarray, supports: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best abundances with the sum of one on each row's support, and their slopes (both (n, material)).

    A slope is what the error would gain with more of a material, less what it gains on the support.
    """
    materials = len(gram)
    abundances, slopes = np.zeros_like(products), np.empty_like(products)
    for bits, rows in _groups(supports):
        own = np.flatnonzero(bits >> np.arange(materials) & 1)
        system = np.ones((len(own) + 1, len(own) + 1))
        system[:-1, :-1], system[-1, -1] = gram[np.ix_(own, own)], 0
        # Scaled, since the ones of the sum and the energies of spectra differ by magnitudes.
        size = np.abs(system[:-1, :-1]).max()
        system[-1, :-1] = system[:-1, -1] = size
        right = np.column_stack([products[np.ix_(rows, own)], np.full(len(rows), size)])
        solved = np.linalg.solve(system, right.T).T
        found = np.zeros((len(rows), materials))
        found[:, own] = solved[:, :-1]
        abundances[rows] = found
        slopes[rows] = found @ gram - products[rows] + size * solved[:, -1:]
    return abundances, slopes


def _groups(supports: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    order = np.argsort(supports, kind="stable")
    kinds, starts = np.unique(supports[order], return_index=True)
    for bits, rows in zip(kinds, np.split(order, starts[1:])):
        yield int(bits), rows


def _alone(gram: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Return one pixel's abundances by NNLS: rounding kept the pivoting from its end.

    Over its sum, the NNLS answer for endmembers less the pixel, with a row of ones, is the nearest point of
    the simplex whatever that row's weight.
    """
    values, vectors = np.linalg.eigh(gram)
    root = vectors * np.sqrt(values.clip(0))
    pixel = np.where(values > 0, products @ vectors / np.sqrt(values.clip(np.finfo(float).tiny)), 0)
    size = np.sqrt(values.max()) or 1.0
    system = np.vstack([(root - pixel).T, np.full((1, len(gram)), size)])
    found = nnls(system, np.append(np.zeros(len(gram)), size))[0]
    return found / found.sum()
