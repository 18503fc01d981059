"""The tables of a review: errors in the order of how instructive they are, and who was taken for whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..models.metrics import Accuracy
from ..rasters.grid import Grid
from .review_reference import Judged, Reference
from .review_regions import Regions, as_number, outline, pixel_area, place_of
from .review_suspicion import CONFUSED, DARK_OR_BRIGHT, EDGE, LABEL_ERROR, MIXED, UNSEEN, Suspicion

# What a look at an error is worth: wrong labels can be corrected and confusions studied; what lies at a
# border, or between two classes, is seldom either's fault.
WORTH = {LABEL_ERROR: 1.0, CONFUSED: 0.9, UNSEEN: 0.7, DARK_OR_BRIGHT: 0.5, MIXED: 0.4, EDGE: 0.3}
# Bands or dates that are named as evidence.
_TOP = 5
_VERDICTS = ("verdict", "corrected_class", "comment", "reviewed_at")


@dataclass(frozen=True)
class Finding:
    """What was found of one region: its suspicion, nearest samples, and the bands' evidence (n, text)."""

    suspicion: Suspicion
    nearest_distance: float
    nearest_class: int
    evidence: str = ""


def base_scores(regions: Regions, judged: Judged) -> np.ndarray:
    """Return how instructive regions (m,) are before it is known why they are wrong, 0 to 1.

    The mean of size (logarithm of the pixels, over that of the largest), confidence (the margin of the
    predicted over the true class; 0.5 where there is none), and rarity of the pair (1 less its share of all
    errors).
    """
    if not len(regions):
        return np.empty(0)
    size = np.log1p(regions.counts) / np.log1p(regions.counts.max())
    margin = np.add.reduceat(judged.margin[regions.order], regions.starts) / regions.counts
    pairs = np.stack([regions.true, regions.predicted])
    _, number, counts = np.unique(pairs, axis=1, return_inverse=True, return_counts=True)
    rarity = 1 - counts[number.reshape(-1)] / len(regions)
    return (size + np.nan_to_num(margin, nan=0.5) + rarity) / 3


def instructive(scores: np.ndarray, findings: dict[int, Finding]) -> dict[int, float]:
    """Return how instructive each region is, 0 to 1, the most instructive first: its score times `WORTH`."""
    worth = {
        region: float(scores[region]) * WORTH[found.suspicion.name] for region, found in findings.items()
    }
    return dict(sorted(worth.items(), key=lambda pair: (-pair[1], pair[0])))


def errors_table(
    reference: Reference, judged: Judged, regions: Regions, findings: dict[int, Finding], grid: Grid
) -> dict:
    """Return a row per region in `findings`, the most instructive first, with outlines or points."""
    worth = instructive(base_scores(regions, judged), findings)
    names = reference.names
    rows, geometries = [], []
    for number, region in enumerate(worth, 1):
        found, members = findings[region], regions.members(region)
        middle = int(regions.centre[region])
        x, y = place_of(grid, int(reference.rows[middle]), int(reference.cols[middle]))
        rows.append([
            number, names[regions.true[region]], names[regions.predicted[region]],
            as_number(judged.confidence[members].mean()), as_number(judged.margin[members].mean()),
            len(members), as_number(pixel_area(grid, reference.rows[members]).sum()), x, y,
            found.evidence or None, as_number(found.nearest_distance),
            names[found.nearest_class] if found.nearest_class >= 0 else None,
            found.suspicion.name, found.suspicion.rule, worth[region], *[None] * len(_VERDICTS),
        ])  # fmt: skip
        geometries.append(f"POINT({x!r} {y!r})" if reference.points else outline(reference, members, grid))
    return {
        "columns": [{"name": name, "type": kind, "alias": alias} for name, kind, alias in _COLUMNS],
        "rows": rows,
        "geometry": "Point" if reference.points else "MultiPolygon",
        "geometries": geometries,
    }


_COLUMNS = (
    ("error_id", "int", "Error (1: most instructive)"),
    ("true_class", "string", "True class, by the reference"),
    ("predicted_class", "string", "Predicted class"),
    ("confidence", "double", "Probability of the predicted class"),
    ("margin", "double", "Margin over the true class"),
    ("pixels", "int", "Pixels"),
    ("area_m2", "double", "Area (m²)"),
    ("x", "double", "x of the explained pixel"),
    ("y", "double", "y of the explained pixel"),
    ("evidence", "string", "Why predicted and not true"),
    ("nearest_distance", "double", "Distance to the nearest sample (1: usual)"),
    ("nearest_class", "string", "Class of the nearest sample"),
    ("suspicion", "string", "Suspicion"),
    ("rule", "string", "What the suspicion rests on"),
    ("instructive", "double", "How instructive"),
    ("verdict", "string", "Verdict"),
    ("corrected_class", "string", "Corrected class"),
    ("comment", "string", "Comment"),
    ("reviewed_at", "string", "Reviewed at"),
)


def evidence_text(values: Sequence[float], names: Sequence[str]) -> str:
    """Return the strongest bands or dates with their signed parts: "677 nm (+0.41), 1160 nm (-0.12)"."""
    array = np.nan_to_num(np.asarray(values, dtype=float))
    order = np.argsort(-np.abs(array), kind="stable")[:_TOP]
    return ", ".join(f"{names[band]} ({array[band]:+.3g})" for band in order if array[band])


def confusion_table(accuracy: Accuracy, names: Sequence[str]) -> dict:
    """Return a row per class of the reference: how often it was taken for each class, recall, precision."""
    columns = [
        ("reference", "string", "Reference class"),
        *((f"predicted_{i}", "int", f"Predicted {name}") for i, name in enumerate(names, 1)),
        ("pixels", "int", "Reference pixels"),
        ("recall", "double", "Recall"),
        ("precision", "double", "Precision"),
        ("iou", "double", "Intersection over union"),
    ]
    rows = [
        [
            name, *accuracy.confusion[i].tolist(), int(accuracy.confusion[i].sum()),
            *(as_number(float(part[i])) for part in (accuracy.recall, accuracy.precision, accuracy.iou)),
        ]
        for i, name in enumerate(names)
    ]  # fmt: skip
    return {"columns": [{"name": n, "type": k, "alias": a} for n, k, a in columns], "rows": rows}
