"""Means with intervals over chips, and the ranking of explainers with what it can't tell apart."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

DRAWS = 1000
_TAILS = (2.5, 97.5)


class Interval(NamedTuple):
    """A mean and its 95 % bootstrap interval; the interval is NaN below two values, the mean at none."""

    mean: float
    low: float
    high: float


class Criterion(NamedTuple):
    """Values of a score, (explainer, chip), NaN where it is not defined, and which end is good.

    `applies` bool (explainer,): False for those that it can say nothing of; None where it can of all.
    """

    values: np.ndarray
    lower_is_better: bool
    applies: np.ndarray | None = None


class Place(NamedTuple):
    """An explainer in the ranking: points 0 to 1 with their interval, and what it is not separable from.

    `place`: one more than the number of explainers whose whole interval lies above its own.
    """

    name: str
    points: float
    low: float
    high: float
    place: int
    not_separable: tuple[str, ...]


def mean_interval(values: np.ndarray, seed: int) -> Interval:
    """Return the mean of the finite values (n,) with its percentile bootstrap interval over them."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return Interval(*(float("nan"),) * 3)
    if finite.size == 1:
        return Interval(float(finite[0]), float("nan"), float("nan"))
    drawn = np.random.default_rng(seed).integers(0, finite.size, (DRAWS, finite.size))
    low, high = np.percentile(finite[drawn].mean(1), _TAILS)
    return Interval(float(finite.mean()), float(low), float(high))


def rank(
    names: Sequence[str], families: Mapping[str, Mapping[str, Criterion]], seed: int
) -> tuple[Place, ...]:
    """Rank explainers by Borda points over families of scores, the best first.

    A score's points go evenly from 1 (best mean over the chips) to 0 (worst), ties share theirs; a family's
    are the mean of its scores', an explainer's the mean of its families', so that a family with many scores
    weighs no more than one with one. A score that does not apply to an explainer counts neither for nor
    against it. Where only some explainers have no value at a chip (a zero map), they get just less than the
    worst of the others there. The intervals are of the points over bootstrap draws of chips, the same for
    all; with fewer than two chips they are 0 to 1. Explainers whose intervals overlap are not separable.
    """
    families = {name: scores for name, scores in families.items() if scores}
    if not families:
        return tuple(Place(name, *(float("nan"),) * 3, 1, ()) for name in names)
    chips = next(iter(next(iter(families.values())).values())).values.shape[1]
    drawn = np.random.default_rng(seed).integers(0, chips, (DRAWS, chips))
    # The first draw is the sample itself.
    drawn = np.concatenate([np.arange(chips)[None], drawn])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing are NaN, as they should be
        of_families = [
            np.nanmean([_points(criterion, drawn) for criterion in scores.values()], axis=0)
            for scores in families.values()
        ]
        points = np.nanmean(of_families, axis=0)
        low, high = np.nanpercentile(points[1:], _TAILS, axis=0)
    if chips < 2:
        low, high = np.zeros_like(low), np.ones_like(high)
    places = []
    for i, name in enumerate(names):
        overlap = (low <= high[i]) & (high >= low[i])
        others = tuple(other for j, other in enumerate(names) if j != i and overlap[j])
        place = 1 + int((low > high[i]).sum())
        places.append(Place(name, float(points[0, i]), float(low[i]), float(high[i]), place, others))
    return tuple(sorted(places, key=lambda entry: (entry.place, -entry.points)))


def _points(criterion: Criterion, drawn: np.ndarray) -> np.ndarray:
    """Return the points (draw, explainer) of a score, NaN where it does not apply."""
    if criterion.applies is not None and not criterion.applies.all():
        points = np.full((len(drawn), len(criterion.values)), np.nan)
        judged = Criterion(criterion.values[criterion.applies], criterion.lower_is_better)
        points[:, criterion.applies] = _points(judged, drawn)
        return points
    values = criterion.values if criterion.lower_is_better else -criterion.values
    # Just worse than the worst of the others, so that it is no tie.
    worst = np.nanmax(values, axis=0)
    worst += 1e-9 * (1 + np.abs(worst))
    filled = np.where(np.isnan(values), worst, values)
    means = np.nanmean(filled[:, drawn], axis=2).T
    better = (means[:, None, :] < means[:, :, None]).sum(2)
    equal = (means[:, None, :] == means[:, :, None]).sum(2)
    # Ranks from 0 (best), ties sharing their mean; a draw without a value leaves the score out.
    ranks = np.where(equal > 0, better + (equal - 1) / 2, np.nan)
    return 1 - ranks / max(len(values) - 1, 1)
