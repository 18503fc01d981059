"""Statistics per class and band of a raster that is seen tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_ROWS = 8192
_FIRST = np.uint64(0x9E3779B97F4A7C15)
_SECOND = np.uint64(0xBF58476D1CE4E5B9)
_THIRD = np.uint64(0x94D049BB133111EB)


class BandRow(NamedTuple):
    """One class and band (both counted from 0); None where the band has no value in the class.

    `share` is the mean absolute value over its sum across the bands of the class. `mean` is of all
    `pixels`, `mean_absolute` of `absolutes` pixels, `p10` and `p90` are of the `sampled` ones.
    """

    class_index: int
    band: int
    mean: float | None
    mean_absolute: float | None
    share: float | None
    p10: float | None
    p90: float | None
    pixels: int
    absolutes: int
    sampled: int


class BandStatistics:
    """Means and percentiles per class and band, in memory that does not grow with the pixels.

    Sums are kept in float64. Percentiles come from the `sample` pixels of a class whose keys have the
    smallest hashes (bottom-k sampling): all of them while a class has no more, and the same ones in
    whatever order the pixels come.
    """

    def __init__(self, class_count: int, band_count: int, sample: int = 4096, seed: int = 0) -> None:
        self._sample = sample
        self._seed = seed
        self._sums = np.zeros((class_count, band_count))
        self._absolute = np.zeros((class_count, band_count))
        self._pixels = np.zeros((class_count, band_count), dtype=np.int64)
        self._totals = np.zeros((class_count, band_count))
        self._total_pixels = np.zeros(class_count, dtype=np.int64)
        self._hashes = [np.empty(0, np.uint64) for _ in range(class_count)]
        self._values = [np.empty((0, band_count), np.float32) for _ in range(class_count)]

    def add(self, classes: np.ndarray, values: np.ndarray, keys: np.ndarray) -> None:
        """Add pixels: classes int (n,), values float (n, band), and a number per pixel as keys int64 (n,).

        Values that are not finite are left out of their band. A key comes once in all calls.
        """
        order = np.argsort(classes, kind="stable")
        bounds = np.searchsorted(classes[order], np.arange(len(self._hashes) + 1))
        hashes = _hashed(keys, self._seed)
        for index in range(len(self._hashes)):
            for start in range(bounds[index], bounds[index + 1], _ROWS):
                chosen = order[start : min(start + _ROWS, bounds[index + 1])]
                self._add_to_class(index, values[chosen], hashes[chosen])

    def add_totals(self, sums: np.ndarray, pixels: np.ndarray) -> None:
        """Add sums (class, band) over so many pixels (class,), of which `add` gets a sample only.

        The means are then of these.
        """
        self._totals += sums
        self._total_pixels += pixels

    def rows(self) -> list[BandRow]:
        """Return a row per class and band, for the classes that have pixels."""
        return [row for index in range(len(self._hashes)) for row in self._rows_of_class(index)]

    def percentiles(self, shares: Sequence[float]) -> np.ndarray:
        """Return (class, share, band): percentiles of the sampled pixels, NaN where there are none."""
        found = np.full((len(self._values), len(shares), self._sums.shape[1]), np.nan)
        for index, values in enumerate(self._values):
            finite = np.where(np.isfinite(values), values, np.nan)
            ordered = np.sort(finite, axis=0).astype(np.float64)
            if len(ordered):
                counts = np.isfinite(ordered).sum(axis=0)
                found[index] = [_percentile(ordered, counts, share) for share in shares]
        return found

    def limits(self, share: float = 0.99) -> np.ndarray:
        """Return (band,): the percentile of the absolute values of the sampled pixels, 0 without any."""
        values = np.abs(np.concatenate(self._values))
        ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=0).astype(np.float64)
        if not len(ordered):
            return np.zeros(values.shape[1])
        return np.nan_to_num(_percentile(ordered, np.isfinite(ordered).sum(axis=0), share))

    def _add_to_class(self, index: int, values: np.ndarray, hashes: np.ndarray) -> None:
        known = np.isfinite(values)
        exact = np.where(known, values, 0).astype(np.float64, copy=False)
        self._sums[index] += exact.sum(axis=0)
        self._absolute[index] += np.abs(exact).sum(axis=0)
        self._pixels[index] += known.sum(axis=0)
        kept = self._hashes[index]
        wanted = known.any(axis=1)
        if kept.size == self._sample:
            wanted &= hashes < kept[-1]
        if wanted.any():
            kept = np.concatenate([kept, hashes[wanted]])
            order = np.argsort(kept)[: self._sample]
            self._hashes[index] = kept[order]
            self._values[index] = np.concatenate([self._values[index], values[wanted]])[order]

    def _rows_of_class(self, index: int) -> list[BandRow]:
        pixels = self._pixels[index]
        if not pixels.any():
            return []
        with np.errstate(invalid="ignore"):
            means, absolute = self._sums[index] / pixels, self._absolute[index] / pixels
        every = pixels
        if self._total_pixels[index]:
            means = self._totals[index] / self._total_pixels[index]
            every = np.full_like(pixels, self._total_pixels[index])
        total = np.nansum(absolute)
        shares = absolute / total if total else np.where(np.isnan(absolute), np.nan, 0.0)
        finite = np.where(np.isfinite(self._values[index]), self._values[index], np.nan)
        ordered = np.sort(finite, axis=0).astype(np.float64)
        sampled = np.isfinite(ordered).sum(axis=0)
        p10, p90 = (_percentile(ordered, sampled, share) for share in (0.1, 0.9))
        return [
            BandRow(
                class_index=index,
                band=band,
                mean=_known(means[band]),
                mean_absolute=_known(absolute[band]),
                share=_known(shares[band]),
                p10=_known(p10[band]),
                p90=_known(p90[band]),
                pixels=int(every[band]),
                absolutes=int(pixels[band]),
                sampled=int(sampled[band]),
            )
            for band in range(pixels.size)
        ]


class PixelSample:
    """Up to `size` pixels of each class, those whose keys have the smallest hashes."""

    def __init__(self, class_count: int, size: int, seed: int = 0) -> None:
        self._size, self._seed = size, seed
        self._keys = [np.empty(0, np.int64) for _ in range(class_count)]

    def add(self, classes: np.ndarray, keys: np.ndarray) -> None:
        """Add pixels: classes int (n,) and a number per pixel as keys int64 (n,)."""
        for index, kept in enumerate(self._keys):
            found = np.concatenate([kept, keys[classes == index]])
            self._keys[index] = found[np.argsort(_hashed(found, self._seed))[: self._size]]

    def keys(self) -> np.ndarray:
        """Return the keys of all classes, int64 (n,)."""
        return np.concatenate(self._keys)

    def classes(self) -> np.ndarray:
        """Return the class of each of the keys, int64 (n,)."""
        return np.repeat(np.arange(len(self._keys)), [len(kept) for kept in self._keys])


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _percentile(ordered: np.ndarray, counts: np.ndarray, share: float) -> np.ndarray:
    """Return the percentile of each column, whose `counts` values are sorted with NaN after them."""
    position = share * np.maximum(counts - 1, 0)
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(counts - 1, 0))
    columns = np.arange(ordered.shape[1])
    return ordered[low, columns] + (position - low) * (ordered[high, columns] - ordered[low, columns])


def _hashed(keys: np.ndarray, seed: int) -> np.ndarray:
    """Return splitmix64 of the keys (Steele, Lea & Flood 2014): no two keys share a hash."""
    state = keys.astype(np.uint64) + np.full(1, seed + 1, dtype=np.uint64) * _FIRST
    state = (state ^ (state >> np.uint64(30))) * _SECOND
    state = (state ^ (state >> np.uint64(27))) * _THIRD
    return state ^ (state >> np.uint64(31))
