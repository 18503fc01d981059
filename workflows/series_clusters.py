"""Clusters of an embedding, the classes that labelled pixels name them after, and how well that fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score

from ..models.metrics import Accuracy, accuracy_of

VOTES = ("majority", "balanced", "one_to_one")
_STARTS = 10
# Without labels, the numbers of clusters that are tried, on so many pixels: silhouettes take their square.
_TRIED = range(2, 13)
_SILHOUETTE_PIXELS = 2000


class Clusters:
    """k-means on standardised embeddings (n, dimension); clusters are in the order of their first value.

    k-means++ with 10 starts (Arthur & Vassilvitskii 2007). Two runs on the same data number them alike.
    """

    def __init__(self, embedding: np.ndarray, count: int, seed: int) -> None:
        self._mean = embedding.mean(0)
        deviation = embedding.std(0)
        self._deviation = np.where(deviation > 1e-12, deviation, 1.0)
        fitted = KMeans(count, n_init=_STARTS, random_state=seed).fit(self.standardised(embedding))
        self.centres = fitted.cluster_centers_[np.lexsort(fitted.cluster_centers_.T[::-1])]

    def __len__(self) -> int:
        return len(self.centres)

    def standardised(self, embedding: np.ndarray) -> np.ndarray:
        """Embeddings (n, dimension) less the mean of those that were clustered, over their deviation."""
        return (embedding - self._mean) / self._deviation

    def predict(self, embedding: np.ndarray) -> np.ndarray:
        """Return the nearest cluster int64 (n,) of embeddings (n, dimension), counted from 0."""
        z = self.standardised(embedding)
        # Squared distances without |z|², which is the same for all centres.
        return (np.square(self.centres).sum(1) - 2 * z @ self.centres.T).argmin(1)


def best_by_silhouette(embedding: np.ndarray, seed: int) -> tuple[int, dict[int, float]]:
    """Return the number of clusters whose silhouette (Rousseeuw 1987) is best, and those of all tried."""
    shown = np.random.default_rng(seed).permutation(len(embedding))[:_SILHOUETTE_PIXELS]
    scores = {}
    for count in _TRIED:
        if count >= len(shown):
            break
        clusters = Clusters(embedding, count, seed)
        found = clusters.predict(embedding[shown])
        several = 1 < len(np.unique(found)) < len(shown)
        z = clusters.standardised(embedding[shown])
        scores[count] = float(silhouette_score(z, found)) if several else -1.0
    return max(scores, key=lambda count: scores[count]), scores


def vote(counts: np.ndarray, rule: str) -> np.ndarray:
    """Return the class int64 (cluster,) that each cluster is named after, -1 where none.

    `counts` (cluster, class) are training pixels. `majority`: the class of most pixels; `balanced`: of the
    largest share of its own pixels; of a tie, the class with fewer pixels, for which the cluster is purer.
    `one_to_one`: every class one cluster, so that most pixels are right (Kuhn 1955); the others none.
    """
    if rule == "one_to_one":
        named = np.full(len(counts), -1)
        rows, columns = linear_sum_assignment(counts, maximize=True)
        hit = counts[rows, columns] > 0
        named[rows[hit]] = columns[hit]
        return named
    sizes = counts.sum(0)
    weights = counts / np.maximum(sizes, 1) if rule == "balanced" else counts.astype(float)
    # argmax takes the first of equals.
    order = np.argsort(sizes, kind="stable")
    return np.where(counts.sum(1) > 0, order[weights[:, order].argmax(1)], -1)


@dataclass(frozen=True)
class Fit:
    """How clusters under a vote fit test pixels; `confusion` (class, class + 1), unassigned ones last."""

    clusters: int
    vote: str
    confusion: np.ndarray
    accuracy: Accuracy
    ari: float
    nmi: float
    purity: float
    missing: int

    @property
    def overall_accuracy(self) -> float:
        """Share of the test pixels whose cluster is named after their class."""
        return self.accuracy.overall

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes."""
        return self.accuracy.balanced

    @property
    def kappa(self) -> float:
        """Cohen's kappa, unassigned as a class of its own."""
        return self.accuracy.kappa


def fit_of(found: np.ndarray, classes: np.ndarray, named: np.ndarray, rule: str, class_count: int) -> Fit:
    """Judge clusters `found` int (n,) of test pixels by their classes int (n,).

    Adjusted Rand index (Hubert & Arabie 1985), normalised mutual information and purity are of the clusters
    themselves, whatever their names.
    """
    predicted = np.where(named[found] < 0, class_count, named[found])
    confusion = np.zeros((class_count + 1,) * 2, dtype=np.int64)
    np.add.at(confusion, (classes, predicted), 1)
    counts = np.zeros((len(named), class_count), dtype=np.int64)
    np.add.at(counts, (found, classes), 1)
    return Fit(
        clusters=len(named), vote=rule, confusion=confusion[:-1], accuracy=accuracy_of(confusion),
        ari=float(adjusted_rand_score(classes, found)),
        nmi=float(normalized_mutual_info_score(classes, found)),
        purity=float(counts.max(1).sum() / len(classes)),
        missing=class_count - len(set(named[named >= 0].tolist())),
    )  # fmt: skip
