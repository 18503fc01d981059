"""The tables and the report of clusters."""

from __future__ import annotations

import numpy as np

from ..engine.series_jobs import ClusterSeriesJob
from ..models.card import Card, CardClass
from ..rasters.series import Series
from .report import page
from .series_clusters import Fit
from .series_labels import SeriesLabels
from .series_naming import Named

UNASSIGNED = CardClass("unassigned", "#bbbbbb")


def _percent(fit: Fit) -> np.ndarray:
    """Return the confusion (class, class + 1) in per cent of each row, NaN where a class has no pixel."""
    counts = fit.confusion.astype(float)
    with np.errstate(invalid="ignore"):
        return 100 * counts / counts.sum(1, keepdims=True)


def cluster_tables(result: Named | None, labels: SeriesLabels | None) -> dict:
    """Return the tables CONFUSION and SCORES, none without labels."""
    if result is None or labels is None:
        return {}
    names = [*labels.names, UNASSIGNED.name]
    confusion = [
        ("reference", "string", "Reference class"),
        *((f"percent_{i}", "double", f"Classified as {name} (%)") for i, name in enumerate(names, 1)),
        ("pixels", "int", "Test pixels"),
    ]
    rows = [
        [name, *(None if np.isnan(v) else round(float(v), 2) for v in row), int(counts.sum())]
        for name, row, counts in zip(labels.names, _percent(result.chosen), result.chosen.confusion)
    ]
    scores = [
        ("clusters", "int", "Clusters"), ("vote", "string", "Vote"), ("chosen", "string", "Chosen"),
        ("overall_accuracy", "double", "Overall accuracy"),
        ("balanced_accuracy", "double", "Balanced accuracy"), ("kappa", "double", "Cohen's kappa"),
        ("ari", "double", "Adjusted Rand index"), ("nmi", "double", "Normalised mutual information"),
        ("purity", "double", "Purity"), ("classes_without_cluster", "int", "Classes without a cluster"),
    ]  # fmt: skip
    fits = [
        [fit.clusters, fit.vote, "yes" if fit is result.chosen else "no",
         fit.overall_accuracy, fit.balanced_accuracy, fit.kappa, fit.ari, fit.nmi, fit.purity, fit.missing]
        for fit in result.fits
    ]  # fmt: skip

    def table(columns: list, values: list) -> dict:
        return {"columns": [dict(zip(("name", "type", "alias"), c)) for c in columns], "rows": values}

    return {"CONFUSION": table(confusion, rows), "SCORES": table(scores, fits)}


def cluster_report(
    job: ClusterSeriesJob, series: Series, card: Card, result: Named | None, labels: SeriesLabels | None,
    count: int, sampled: int, record: dict,
) -> str:  # fmt: skip
    """Return the report of clusters as one HTML page."""
    chosen = result.chosen if result else None
    return page(
        "cluster_report.html", job=job, series=series, card=card, record=record, count=count, sampled=sampled,
        names=labels.names if labels else (), scores=result.fits if result else (), chosen=chosen,
        percent=_percent(chosen).tolist() if chosen else (),
        totals=chosen.confusion.sum(1).tolist() if chosen else (),
        supervised=result.supervised if result else None,
    )  # fmt: skip
