"""The tables of a segmentation's contributions: channels, evidence, correlation, audit, worst pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..explainers.audit import audit
from ..explainers.last_layer import ChannelSums, Match, class_weights
from ..models.segmentation_networks import SegmentationNetwork
from ..rasters.grid import Grid
from .segmentation_audit import Auditor

_SAMPLED = ("integrated_gradients", "seg_grad_cam", "grad_cam")
# Points of each method in the layer of the worst pixels.
WORST = 10


def channel_table(network: SegmentationNetwork, names: Sequence[str], sums: ChannelSums) -> dict:
    """Return a row per true class, class and channel, and one for each bias."""
    means, given = sums.means, sums.contributions(network.head)
    biases = class_weights(network.head)[1]
    rows = []
    for true, true_name in enumerate(names):
        pixels = int(sums.pixels[true])
        if not pixels:
            continue
        for number, name in enumerate(names):
            for channel in range(means.shape[1]):
                rows.append([
                    true_name, name, channel + 1, float(given[true, number, channel]),
                    float(means[true, channel]), pixels,
                ])  # fmt: skip
            rows.append([true_name, name, 0, float(biases[number]), None, pixels])
    return _table(
        [
            ("true_class", "string", "True class"), ("class", "string", "Class"),
            ("channel", "int", "Channel (0: bias)"),
            ("mean_contribution", "double", "Mean contribution to the class's output"),
            ("mean_activation", "double", "Mean activation"), ("pixels", "int", "Pixels"),
        ],
        rows,
    )  # fmt: skip


class EvidenceSums:
    """Running sums of what speaks for each class, by true class; shares are means of pixels' shares."""

    def __init__(self, count: int) -> None:
        self.pixels = np.zeros(count, dtype=np.int64)
        self._amounts, self._shares = np.zeros((count, count)), np.zeros((count, count))

    def add(self, evidence: np.ndarray, groups: np.ndarray) -> None:
        """Count a tile's evidence (class, y, x); `groups` int (y, x) are the true classes, -1 for none."""
        known = groups >= 0
        amounts, group = evidence[:, known].T.astype(np.float64), groups[known]
        np.add.at(self._amounts, group, amounts)
        np.add.at(self._shares, group, amounts / np.maximum(amounts.sum(1, keepdims=True), 1e-30))
        self.pixels += np.bincount(group, minlength=len(self.pixels))

    @property
    def spurious_share(self) -> float:
        """Mean share of the evidence that speaks for other classes than the true one, over all pixels."""
        others = self._shares.sum() - np.trace(self._shares)
        return float(others / max(self.pixels.sum(), 1))

    def table(self, names: Sequence[str]) -> dict:
        """Return a row per true class and class."""
        rows = [
            [
                true_name, name, float(self._shares[true, number] / self.pixels[true]),
                float(self._amounts[true, number] / self.pixels[true]), int(true != number),
                int(self.pixels[true]),
            ]
            for true, true_name in enumerate(names)
            if self.pixels[true]
            for number, name in enumerate(names)
        ]  # fmt: skip
        return _table(
            [
                ("true_class", "string", "True class"), ("class", "string", "Class"),
                ("share", "double", "Share of the evidence"), ("mean_evidence", "double", "Mean evidence"),
                ("other", "int", "Speaks for another class"), ("pixels", "int", "Pixels"),
            ],
            rows,
        )  # fmt: skip


def correlation_table(found: Match) -> dict:
    """Return a row per channel of both models: its best partner, or why it has none."""
    size = found.correlations.abs().nan_to_num(0.0)
    partner = dict(found.pairs.tolist())
    other_partner = {other: own for own, other in found.pairs.tolist()}
    rows = []
    for model, constant, unique, partners, best in (
        ("MODEL", found.constant, found.unique, partner, size.amax(1)),
        ("OTHER_MODEL", found.other_constant, found.other_unique, other_partner, size.amax(0)),
    ):
        for channel in range(len(constant)):
            other = partners.get(channel)
            pair = (channel, other) if model == "MODEL" else (other, channel)
            kind = "constant" if constant[channel] else "unique" if unique[channel] else "shared"
            value = None if other is None else float(found.correlations[pair])
            largest = None if constant[channel] else float(best[channel])
            rows.append([model, channel + 1, None if other is None else other + 1, value, largest, kind])
    return _table(
        [
            ("model", "string", "Model"), ("channel", "int", "Channel"),
            ("partner", "int", "Matched channel of the other model"),
            ("correlation", "double", "Correlation with it"),
            ("largest", "double", "Largest absolute correlation"), ("kind", "string", "Kind"),
        ],
        rows,
    )  # fmt: skip


def audit_table(auditor: Auditor) -> dict:
    """Return a row per method, best grade first."""
    rows = []
    for name, findings in auditor.findings.items():
        found = audit(findings)
        peak = auditor.peak_mb[name]
        rows.append([
            name, found.grade, found.targets, found.median, found.high, found.largest, found.exact_share,
            found.largest_residual, _known(found.reference_share), _known(found.cancellation),
            _known(found.leakage), _known(found.resize_defect), auditor.seconds[name], peak,
        ])  # fmt: skip
    return _table(
        [
            ("method", "string", "Method"), ("grade", "string", "Grade"), ("pixels", "int", "Pixels"),
            ("median", "double", "Median relative residual"),
            ("percentile_95", "double", "95th percentile of the relative residual"),
            ("largest", "double", "Largest relative residual"),
            ("exact_share", "double", "Share of pixels with a relative residual below 0.0001"),
            ("largest_residual", "double", "Largest absolute residual"),
            ("reference_share", "double", "Share of the reference or bias"),
            ("cancellation", "double", "Cancellation (sum of absolute parts over absolute sum)"),
            ("leakage", "double", "Share outside of what can reach the pixel"),
            ("resize_defect", "double", "Change of the sum by enlarging"),
            ("seconds", "double", "Seconds"), ("peak_mb", "double", "Peak memory (MB)"),
        ],
        sorted(rows, key=lambda row: (row[1], row[5])),
    )  # fmt: skip


def worst_pixels(auditor: Auditor, grid: Grid) -> dict:
    """Return the pixels of each method with the largest relative residuals, as points."""
    rows, places = [], []
    for name, findings in auditor.findings.items():
        found = audit(findings)
        order = np.argsort(-found.relative.numpy(), kind="stable")[:WORST]
        for rank, number in enumerate(order.tolist(), 1):
            row, col = auditor.pixels[name][number]
            each = findings[number]
            rows.append([
                name, rank, row, col, float(found.relative[number]), each.residual, each.output,
                each.parts, each.reference,
            ])  # fmt: skip
            places.append(list(grid.transform @ (col + 0.5, row + 0.5)))
    table = _table(
        [
            ("method", "string", "Method"), ("rank", "int", "Rank"), ("row", "int", "Row"),
            ("column", "int", "Column"), ("relative_residual", "double", "Relative residual"),
            ("residual", "double", "Residual"), ("output", "double", "Output"),
            ("parts", "double", "Sum of the parts"), ("reference", "double", "Reference or bias"),
        ],
        rows,
    )  # fmt: skip
    return {**table, "places": places}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _table(columns: Sequence[tuple[str, str, str]], rows: list[list]) -> dict:
    return {"columns": [dict(zip(("name", "type", "alias"), column)) for column in columns], "rows": rows}
