"""Band profiles of two networks compared: ranks, the bands on top, and how far apart they lie in nm.

A profile (band,) says how much a network attributes to each band; none of its values is negative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import comb

import numpy as np
from scipy.stats import rankdata

TOP_SHARE = 0.1  # of the bands, those with the largest values

Comparison = Callable[[np.ndarray, np.ndarray], np.ndarray]


def spearman(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation (n,) of the rows of two (n, band); NaN where a row is constant."""
    centred = [
        ranks - ranks.mean(1, keepdims=True) for ranks in (rankdata(one, axis=1), rankdata(other, axis=1))
    ]
    spread = np.linalg.norm(centred[0], axis=1) * np.linalg.norm(centred[1], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, (centred[0] * centred[1]).sum(1) / spread, np.nan)


def kendall(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b (n,) of the rows of two (n, band); NaN where a row is constant."""
    found = np.full(len(one), np.nan)
    for row, (left, right) in enumerate(zip(one, other)):
        first, second = (np.sign(values[:, None] - values[None, :]).ravel() for values in (left, right))
        spread = np.sqrt(float(np.abs(first).sum()) * float(np.abs(second).sum()))
        if spread > 0:
            found[row] = float(first @ second) / spread
    return found


def top_count(bands: int) -> int:
    """Return how many bands are on top: a tenth of them, one at least."""
    return max(1, round(TOP_SHARE * bands))


def jaccard(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return (n,): of the bands that are on top in either row of two (n, band), the share that is in both."""
    count = top_count(one.shape[1])
    on_top = []
    for values in (one, other):
        chosen = np.zeros(values.shape, bool)
        np.put_along_axis(chosen, np.argsort(-values, axis=1, kind="stable")[:, :count], True, axis=1)
        on_top.append(chosen)
    return (on_top[0] & on_top[1]).sum(1) / (on_top[0] | on_top[1]).sum(1)


def jaccard_by_chance(bands: int) -> float:
    """Return what `jaccard` is on average where the bands on top are drawn at random (hypergeometric)."""
    count = top_count(bands)
    ways = comb(bands, count)
    return sum(
        comb(count, both) * comb(bands - count, count - both) / ways * both / (2 * count - both)
        for both in range(count + 1)
    )


def wasserstein(one: np.ndarray, other: np.ndarray, wavelengths_nm: np.ndarray) -> np.ndarray:
    """Return the 1-Wasserstein distance (n,) in nm of the rows of two (n, band), each made to sum to 1.

    NaN where a row is all zero.
    """
    order = np.argsort(wavelengths_nm)
    steps = np.diff(wavelengths_nm[order])
    shares = []
    for values in (one, other):
        total = values.sum(1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares.append(np.where(total > 0, values / total, np.nan)[:, order].cumsum(1))
    return (np.abs(shares[0] - shares[1])[:, :-1] * steps).sum(1)


def comparisons(wavelengths_nm: np.ndarray | None) -> Mapping[str, Comparison]:
    """Return the ways to compare profiles by name; that in nm only where wavelengths (band,) are known."""
    ways: dict[str, Comparison] = {"spearman": spearman, "kendall": kendall, "jaccard": jaccard}
    if wavelengths_nm is not None:
        ways["wasserstein_nm"] = lambda one, other: wasserstein(one, other, wavelengths_nm)
    return ways


def is_distance(name: str) -> bool:
    """Whether a comparison is larger the less alike two profiles are."""
    return name == "wasserstein_nm"
