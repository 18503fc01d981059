"""The errors of an error layer as plain values: its columns, and their order and filters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from qgis.core import QgsFeature, QgsVariantUtils

from .matrix import Pair

VERDICTS = ("model error", "label error", "both plausible", "unsure")
SUSPICIONS = (
    "label error", "mixed pixel", "edge", "shadow or cloud", "unseen spectrum", "genuine confusion",
)  # fmt: skip
TEXTS = (
    "true_class", "predicted_class", "evidence", "nearest_class", "suspicion", "rule", "verdict",
    "corrected_class", "comment", "reviewed_at",
)  # fmt: skip
NUMBERS = ("confidence", "margin", "area_m2", "x", "y", "nearest_distance", "instructive")
COUNTS = ("error_id", "pixels")
EDITED = ("verdict", "corrected_class", "comment", "reviewed_at")
COLUMNS = (*COUNTS, *NUMBERS, *TEXTS)
# Columns that errors can be sorted by, and whether the largest comes first.
SORTED_BY = {
    "error_id": False, "instructive": True, "confidence": True, "margin": True, "pixels": True,
    "nearest_distance": True, "true_class": False, "predicted_class": False, "suspicion": False,
}  # fmt: skip


@dataclass
class ErrorRecord:
    """One error: the columns of its feature, empty texts and NaN where a cell is empty."""

    fid: int
    error_id: int
    pixels: int
    confidence: float
    margin: float
    area_m2: float
    x: float
    y: float
    nearest_distance: float
    instructive: float
    true_class: str
    predicted_class: str
    evidence: str
    nearest_class: str
    suspicion: str
    rule: str
    verdict: str
    corrected_class: str
    comment: str
    reviewed_at: str

    @classmethod
    def of_feature(cls, feature: QgsFeature) -> ErrorRecord:
        """Read a feature of the error layer."""
        values = {name: _value(feature, name, math.nan) for name in NUMBERS}
        values.update({name: _value(feature, name, "") for name in TEXTS})
        values.update({name: _value(feature, name, 0) for name in COUNTS})
        return cls(fid=feature.id(), **values)

    @property
    def pair(self) -> Pair:
        """The true and the predicted class."""
        return self.true_class, self.predicted_class

    @property
    def reviewed(self) -> bool:
        """Whether someone gave a verdict."""
        return bool(self.verdict)


@dataclass(frozen=True)
class Filter:
    """Which errors to step through; None and False let all pass."""

    pair: Pair | None = None
    suspicion: str | None = None
    open_only: bool = False

    def passes(self, record: ErrorRecord) -> bool:
        """Tell whether `record` is one to step through."""
        return (
            (self.pair is None or record.pair == self.pair)
            and (self.suspicion is None or record.suspicion == self.suspicion)
            and not (self.open_only and record.reviewed)
        )


def sort_key(column: str) -> Callable[[ErrorRecord], tuple]:
    """Return the key that sorts by `column`; empty cells come last, ties by how instructive."""
    descending = SORTED_BY[column]

    def key(record: ErrorRecord) -> tuple:
        value = getattr(record, column)
        if isinstance(value, str):
            return value == "", value, record.error_id
        empty = math.isnan(value)
        return empty, 0.0 if empty else (-value if descending else value), record.error_id

    return key


def _value(feature: QgsFeature, name: str, empty: str | float | int):
    value = feature[name]
    return empty if QgsVariantUtils.isNull(value) else type(empty)(value)
