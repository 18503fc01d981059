"""The HTML report of an evaluation: rankings, tables, montage, the paper's figures beside ours, settings."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, select_autoescape

from ..engine.jobs import EvaluateExplainersJob
from ..explainers.scores.bootstrap import Interval, Place
from ..explainers.scores.ranks import spearman
from .evaluation_metrics import METRICS, Metric, readable
from .evaluation_montage import montage
from .evaluation_settings import radius_in_decibels
from .evaluation_table import Judged

# Su et al., IGARSS 2022, Table 1: Max-Sensitivity VH and VV, size in KB VH and VV.
PAPER = {
    "integrated_gradients": (0.0742, 0.0952, 28.663, 30.841),
    "input_x_gradient": (0.1362, 0.1527, 29.123, 29.812),
    "guided_backpropagation": (0.0412, 0.0392, 24.34, 24.099),
    "deconvolution": (0.0766, 0.0754, 29.638, 30.058),
    "saliency": (0.1376, 0.1534, 52.624, 52.14),
    "occlusion": (0.0178, 0.0195, 4.305, 4.191),
    "guided_grad_cam": (0.1819, 0.1824, 11.682, 11.451),
    "grad_cam": (0.4528, 0.4942, 15.107, 14.916),
}
# Fewer methods in common than this can't agree or disagree on an order.
_LEAST_IN_COMMON = 3


class Agreement(NamedTuple):
    """Spearman's correlation of our order with the paper's column `polarisation`."""

    model: str
    polarisation: str
    sensitivity: float
    size: float


def evaluation_report(
    job: EvaluateExplainersJob, entries: Sequence[Judged], overall: Sequence[Place], record: dict
) -> str:
    """Return the report as one HTML page without scripts or outside files."""
    templates = Environment(
        loader=PackageLoader(__package__.partition(".")[0], "resources"), autoescape=select_autoescape()
    )
    templates.filters |= {"number": number, "readable": readable}
    has_data = [metric for metric in METRICS if any(_defined(entry, metric) for entry in entries)]
    return templates.get_template("evaluation_report.html").render(
        job=job, entries=entries, overall=overall, record=record,
        pictures=[base64.b64encode(montage([entry])).decode() for entry in entries],
        chip=next(iter(entries)).model.card.task == "scene_classification",
        main=[metric for metric in has_data if metric.ranked or metric.name == "bright_share"],
        further=[metric for metric in has_data if not metric.ranked and metric.name != "bright_share"],
        metrics=has_data, best=best, cell=cell, decibels=_decibels, shade=_shade,
        paper=PAPER if _in_common(entries[0]) else {},
        agreements=[_agreement(entry) for entry in entries if len(_in_common(entry)) >= _LEAST_IN_COMMON],
        settings=json.dumps({**record["job"], "protocol": record["protocol"]}, indent=2, ensure_ascii=False),
    )  # fmt: skip


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits, a dash for none."""
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"


def cell(entry: Judged, metric: Metric, i: int) -> Interval:
    """Return the mean of a metric for a model's i-th explainer with its interval."""
    if metric.name not in entry.intervals:
        return Interval(*(float("nan"),) * 3)
    return entry.intervals[metric.name][i]


def best(entry: Judged, metric: Metric, i: int) -> bool:
    """Tell whether no other explainer of the model has a better mean."""
    if metric.lower_is_better is None or metric.name not in entry.intervals:
        return False
    means = np.array([interval.mean for interval in entry.intervals[metric.name]])
    if not np.isfinite(means[i]):
        return False
    return bool(means[i] == (np.nanmin(means) if metric.lower_is_better else np.nanmax(means)))


def _defined(entry: Judged, metric: Metric) -> bool:
    return any(np.isfinite(interval.mean) for interval in entry.intervals.get(metric.name, ()))


def _decibels(job: EvaluateExplainersJob, entry: Judged) -> str:
    """Return the radius in decibels as a text, empty where it has none."""
    found = radius_in_decibels(job, entry.model.network)
    return " and ".join(f"{value:g}" for value in dict.fromkeys(found or ()))


def _shade(value: float) -> str:
    """Return a background colour for a correlation: the stronger, the more its method ignores the network."""
    strength = min(abs(value), 1.0) if np.isfinite(value) else 0.0
    return f"rgba(213, 94, 0, {0.75 * strength:.2f})"


def _in_common(entry: Judged) -> list[str]:
    return [name for name in entry.scores.names if name in PAPER] if _reads_chips(entry) else []


def _reads_chips(entry: Judged) -> bool:
    return entry.model.card.task == "scene_classification"


def _agreement(entry: Judged) -> Agreement:
    names = _in_common(entry)
    column = 0 if entry.bands == "VH" else 1
    places = [entry.scores.names.index(name) for name in names]
    found = []
    for metric, first in (("max_sensitivity", 0), ("png_kb", 2)):
        ours = torch.tensor([[entry.intervals[metric][place].mean for place in places]])
        theirs = torch.tensor([[PAPER[name][first + column] for name in names]])
        found.append(float(spearman(ours, theirs)) if bool(ours.isfinite().all()) else float("nan"))
    return Agreement(entry.name, ("VH", "VV")[column], *found)
