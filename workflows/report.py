"""The HTML report of a training: figures of both splits, confusion, per-class recall, course of the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape

from ..engine.jobs import TrainClassifierJob
from ..models.card import Card

if TYPE_CHECKING:
    from .train_classifier import Trial

_WIDTH, _HEIGHT = 640, 200


def training_report(job: TrainClassifierJob, card: Card, trials: list[Trial], record: dict) -> str:
    """Return the report as one HTML page without scripts or outside files."""
    templates = Environment(
        loader=PackageLoader(__package__.partition(".")[0], "resources"), autoescape=select_autoescape()
    )
    templates.filters["percent"] = lambda value: "–" if np.isnan(value) else f"{100 * value:.2f} %"
    return templates.get_template("training_report.html").render(
        job=job, card=card, trials=trials, record=record, curves=[_curves(trial) for trial in trials],
        width=_WIDTH, height=_HEIGHT,
    )  # fmt: skip


def _curves(trial: Trial) -> dict[str, str]:
    """Return the losses as points of SVG polylines."""
    losses = {
        "training": [epoch.loss for epoch in trial.history],
        "validation": [epoch.validation_loss for epoch in trial.history],
    }
    finite = [value for series in losses.values() for value in series if np.isfinite(value)]
    top = max(finite, default=1.0) or 1.0
    count = max(len(trial.history) - 1, 1)
    return {
        name: " ".join(
            f"{_WIDTH * i / count:.1f},{_HEIGHT * (1 - value / top):.1f}"
            for i, value in enumerate(series)
            if np.isfinite(value)
        )
        for name, series in losses.items()
    }
