"""How well each network classifies labelled pixels, and whether two differ by more than chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from ..models.metrics import accuracy_of
from .sensor_bootstrap import DRAWS, Interval, interval, weights
from .sensor_shares import ALL

# Draws that are worked on at a time.
_AT_ONCE = 50


class Judged(NamedTuple):
    """A network's predicted classes, int64 (seed, pixel).

    `ablated`: it is the joint network without a sensor's values.
    """

    name: str
    predicted: np.ndarray
    ablated: bool = False


class NetAccuracy(NamedTuple):
    """Figures of a network for a class (`ALL`: overall), the means over its seeds.

    `accuracy` is the overall accuracy, of a class its recall; `f1` of all is the mean of the classes.
    `mcnemar`: by the other networks' order, the p-value of McNemar's exact test that both err equally often.
    """

    network: str
    class_name: str
    pixels: int
    accuracy: Interval
    f1: Interval
    precision: float | None
    balanced: float | None
    kappa: float | None
    mcnemar: tuple[float | None, ...]


def accuracies(
    entries: Sequence[Judged], classes: np.ndarray, names: Sequence[str], seed: int, check: Callable[[], None]
) -> list[NetAccuracy]:
    """Judge networks on pixels of known `classes` (pixel,), indices into `names`."""
    generator = np.random.default_rng(seed)
    right = [_vote(entry.predicted, len(names)) == classes for entry in entries]
    found = []
    for entry, own in zip(entries, right):
        check()
        figures = [accuracy_of(_confusion(each, classes, len(names))) for each in entry.predicted]
        draws = _draws(entry.predicted, classes, len(names), generator, check)
        pixels = np.bincount(classes, minlength=len(names))
        for number in [None, *np.flatnonzero(pixels)]:
            among = slice(None) if number is None else classes == number
            tests = tuple(
                None
                if other is entry or entry.ablated or other.ablated
                else mcnemar(own[among], theirs[among])
                for other, theirs in zip(entries, right)
            )
            found.append(
                NetAccuracy(
                    entry.name,
                    ALL if number is None else names[number],
                    int(len(classes) if number is None else pixels[number]),
                    interval(draws["overall"] if number is None else draws["recall"][:, number]),
                    interval(
                        np.nanmean(draws["f1"][:, pixels > 0], 1)
                        if number is None
                        else draws["f1"][:, number]
                    ),
                    None if number is None else _mean(figure.precision[number] for figure in figures),
                    _mean(figure.balanced for figure in figures) if number is None else None,
                    _mean(figure.kappa for figure in figures) if number is None else None,
                    tests,
                )
            )
    return found


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """Return the two-sided p-value of McNemar's exact test (1947); bool (pixel,) say where each is right."""
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    if only_one + only_other == 0:
        return 1.0
    return float(binomtest(only_one, only_one + only_other).pvalue)


def _vote(predicted: np.ndarray, count: int) -> np.ndarray:
    """Return the class (pixel,) that most seeds predict; of several, the one of the first seed among them."""
    votes = np.stack([(predicted == number).sum(0) for number in range(count)])
    most = votes == votes.max(0)
    best = np.full(predicted.shape[1], -1)
    for row in predicted[::-1]:
        best = np.where(most[row, np.arange(len(row))], row, best)
    return best


def _confusion(predicted: np.ndarray, classes: np.ndarray, count: int) -> np.ndarray:
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (classes, predicted), 1)
    return confusion


def _draws(
    predicted: np.ndarray, classes: np.ndarray, count: int, generator: np.random.Generator,
    check: Callable[[], None],
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return figures by draw of pixels and seeds: overall (draw,), recall and f1 (draw, class)."""
    of_seeds = weights(len(predicted), DRAWS, generator)
    rows = np.eye(count)
    reference = rows[classes]
    hits = [reference * (each == classes)[:, None] for each in predicted]
    guessed = [rows[each] for each in predicted]
    parts: dict[str, list[np.ndarray]] = {"overall": [], "recall": [], "f1": []}
    for start in range(0, len(of_seeds), _AT_ONCE):
        check()
        size = min(_AT_ONCE, len(of_seeds) - start)
        drawn = weights(len(classes), size, generator)
        drawn = drawn[:-1] if start == 0 else drawn[1:]
        true = drawn @ reference
        share = of_seeds[start : start + size]
        overall, recall, f1 = (np.zeros((size, *shape)) for shape in ((), (count,), (count,)))
        for place, (own, all_guessed) in enumerate(zip(hits, guessed)):
            hit, guess = drawn @ own, drawn @ all_guessed
            with np.errstate(invalid="ignore", divide="ignore"):
                weight = share[:, place, None]
                overall += weight[:, 0] * hit.sum(1)
                recall += weight * hit / true
                f1 += weight * np.where(true + guess > 0, 2 * hit / (true + guess), np.nan)
        for name, values in (("overall", overall), ("recall", recall), ("f1", f1)):
            parts[name].append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def _mean(values: Iterable[float]) -> float | None:
    found = np.array([value for value in values if np.isfinite(value)])
    return float(found.mean()) if found.size else None


def accuracy_table(rows: Sequence[NetAccuracy], names: Sequence[str]) -> dict:
    """Return the table ACCURACY: a row per network and class; `names` are the networks', in their order."""
    columns = [
        ("network", "string", "Network"), ("class", "string", "Class"), ("pixels", "int", "Pixels"),
        ("accuracy", "double", "Overall accuracy, of a class its recall"),
        ("accuracy_low", "double", "Accuracy, 2.5 %"), ("accuracy_high", "double", "Accuracy, 97.5 %"),
        ("f1", "double", "F1"), ("f1_low", "double", "F1, 2.5 %"), ("f1_high", "double", "F1, 97.5 %"),
        ("precision", "double", "Precision"), ("balanced_accuracy", "double", "Balanced accuracy"),
        ("kappa", "double", "Kappa"),
        *((f"mcnemar_{i}", "double", f"McNemar p against {name}") for i, name in enumerate(names, 1)),
    ]  # fmt: skip
    values = [
        [
            row.network, row.class_name, row.pixels, *row.accuracy, *row.f1, row.precision, row.balanced,
            row.kappa, *row.mcnemar[: len(names)],
        ]
        for row in rows
    ]  # fmt: skip
    return {"columns": [dict(zip(("name", "type", "alias"), c)) for c in columns], "rows": values}
