"""Accuracy figures from a confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Accuracy:
    """Figures of a confusion matrix (rows: reference, columns: predicted), shares from 0 to 1.

    `recall`, `precision` and `iou` are per class, NaN where a class does not occur.
    """

    confusion: np.ndarray
    overall: float
    kappa: float
    mean_iou: float
    recall: np.ndarray
    precision: np.ndarray
    iou: np.ndarray

    @property
    def balanced(self) -> float:
        """Mean recall of the classes that occur: balanced accuracy."""
        return float(np.nanmean(self.recall))

    @property
    def global_iou(self) -> float:
        """Hits of all classes over reference, predicted, or both, of all classes."""
        hits = float(np.trace(self.confusion))
        return hits / (2 * self.pixels - hits) if self.pixels else float("nan")

    @property
    def weighted_iou(self) -> float:
        """Mean of the classes' intersections over unions, weighted by how many reference pixels each has."""
        share = self.confusion.sum(1) / max(self.confusion.sum(), 1)
        return float((share * np.nan_to_num(self.iou)).sum())

    @property
    def f1(self) -> np.ndarray:
        """F1 score of each class, NaN where it neither occurs nor is predicted."""
        return 2 * self.iou / (1 + self.iou)

    @property
    def pixels(self) -> int:
        """Number of pixels that were judged."""
        return int(self.confusion.sum())


def accuracy_of(confusion: np.ndarray) -> Accuracy:
    """Compute the figures of a confusion matrix (class, class); Cohen's kappa (1960)."""
    counts = confusion.astype(np.float64)
    total, hits = counts.sum(), np.diag(counts)
    rows, columns = counts.sum(1), counts.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        overall = hits.sum() / total
        chance = (rows * columns).sum() / total**2
        kappa = (overall - chance) / (1 - chance) if chance < 1 else np.nan
        iou = hits / (rows + columns - hits)
        recall, precision = hits / rows, hits / columns
    mean_iou = float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")
    return Accuracy(confusion, float(overall), float(kappa), mean_iou, recall, precision, iou)
