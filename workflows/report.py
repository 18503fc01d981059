"""The HTML reports of trainings: figures, confusion, course of the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from torch import Tensor

from ..engine.jobs import TrainAutoencoderJob, TrainClassifierJob, TrainSceneClassifierJob
from ..models.autoencoder_training import AutoencoderEpoch
from ..models.card import Card
from ..rasters.series import Series

if TYPE_CHECKING:
    from .scene_samples import SceneSamples
    from .train_classifier import Trial
    from .train_scene_classifier import SceneTrial

_WIDTH, _HEIGHT = 640, 200


def training_report(job: TrainClassifierJob, card: Card, trials: list[Trial], record: dict) -> str:
    """Return the report of a pixel classifier as one HTML page without scripts or outside files."""
    curves = [
        _curves(
            training=[epoch.loss for epoch in trial.history],
            validation=[epoch.validation_loss for epoch in trial.history],
        )
        for trial in trials
    ]
    return page("training_report.html", job=job, card=card, trials=trials, record=record, curves=curves)


def scene_training_report(
    job: TrainSceneClassifierJob, samples: SceneSamples, trials: list[SceneTrial], record: dict
) -> str:
    """Return the report of scene classifiers as one HTML page without scripts or outside files."""
    return page(
        "scene_training_report.html", job=job, samples=samples, trials=trials, record=record,
        curves=[_curves(training=trial.losses) for trial in trials],
        unit="" if job.values == "as_is" else " dB",
    )  # fmt: skip


def autoencoder_report(
    job: TrainAutoencoderJob, card: Card, series: Series, history: list[AutoencoderEpoch],
    errors: Mapping[str, Tensor], counts: Mapping[str, int], record: dict,
) -> str:  # fmt: skip
    """Return the report of an autoencoder as one HTML page without scripts or outside files."""
    known = job.values != "as_is"
    return page(
        "autoencoder_report.html", job=job, card=card, series=series, history=history, counts=counts,
        record=record, errors={part: values.tolist() for part, values in errors.items()},
        unit=" (dB)" if known else "", unit_squared=" (dB²)" if known else "",
        curves=_curves(
            training=[epoch.loss for epoch in history],
            validation=[epoch.validation_loss for epoch in history],
        ),
    )  # fmt: skip


def page(template: str, **values: object) -> str:
    """Return a template of the resources filled in."""
    templates = Environment(
        loader=PackageLoader(__package__.partition(".")[0], "resources"), autoescape=select_autoescape()
    )
    templates.filters["percent"] = lambda value: "–" if np.isnan(value) else f"{100 * value:.2f} %"
    return templates.get_template(template).render(width=_WIDTH, height=_HEIGHT, **values)


def _curves(**losses: Sequence[float]) -> dict[str, str]:
    """Return series of losses as points of SVG polylines."""
    finite = [value for series in losses.values() for value in series if np.isfinite(value)]
    top = max(finite, default=1.0) or 1.0
    return {
        name: " ".join(
            f"{_WIDTH * i / max(len(series) - 1, 1):.1f},{_HEIGHT * (1 - value / top):.1f}"
            for i, value in enumerate(series)
            if np.isfinite(value)
        )
        for name, series in losses.items()
    }
