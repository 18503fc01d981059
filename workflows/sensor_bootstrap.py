"""Draws over pixels and over the seeds of networks: how sure a mean is of both."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

DRAWS = 500
_TAILS = (2.5, 97.5)


class Interval(NamedTuple):
    """A value and its 95 % percentile interval, None where it is not known."""

    value: float | None
    low: float | None
    high: float | None


def weights(count: int, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Return weights (1 + draw, count) that sum to 1: first of the sample itself, then of draws from it."""
    drawn = generator.multinomial(count, np.full(count, 1 / count), draws)
    return np.concatenate([np.full((1, count), 1 / count), drawn / count])


def means(values: np.ndarray, of_seeds: np.ndarray, of_pixels: np.ndarray) -> np.ndarray:
    """Return weighted means (draw, ...) of values (seed, pixel, ...); weights as those of `weights`."""
    flat = values.reshape(*values.shape[:2], -1)
    found = [((of_seeds @ part) * of_pixels).sum(1) for part in np.moveaxis(flat, -1, 0)]
    return np.stack(found, -1).reshape(len(of_seeds), *values.shape[2:])


def interval(draws: np.ndarray) -> Interval:
    """Return the first of (1 + draw,) and the interval of the rest; NaN draws are left out."""
    value, rest = draws[0], draws[1:][np.isfinite(draws[1:])]
    if not np.isfinite(value):
        return Interval(None, None, None)
    if not rest.size:
        return Interval(float(value), None, None)
    low, high = np.percentile(rest, _TAILS)
    return Interval(float(value), float(low), float(high))
