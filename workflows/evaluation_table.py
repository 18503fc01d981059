"""The table of an evaluation and its ranking: a row per model and explainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..engine.jobs import EvaluateExplainersJob
from ..explainers.scores.bootstrap import Criterion, Interval, Place, mean_interval, rank
from ..models.card import polarisation
from ..models.files import Model
from .evaluation_metrics import METRICS, OF_PLACES
from .evaluation_result import ModelScores
from .evaluation_sample import Sample
from .evaluation_settings import radius_in_decibels


@dataclass(frozen=True)
class Judged:
    """A model with its name, its sample, its scores, and what they come to.

    `intervals` by metric, one per explainer. `stages` by stage: mean Spearman (explainer,).
    `accuracy`: share of the labelled chips that it classifies rightly, NaN where none is labelled.
    """

    name: str
    model: Model
    sample: Sample
    scores: ModelScores
    intervals: dict[str, tuple[Interval, ...]]
    stages: dict[str, np.ndarray]
    ranking: tuple[Place, ...]

    @property
    def bands(self) -> str:
        """The bands that the model reads: their polarisations, or their names, or of many how many."""
        names = [self.model.card.bands[index].name for index in self.model.card.used_bands]
        if len(names) > 4:
            return f"{len(names)} bands"
        return ", ".join(polarisation(name) or name for name in names)

    @property
    def accuracy(self) -> float:
        """Share of the labelled chips that the model classifies rightly; NaN where none is labelled."""
        known = self.sample.classes >= 0
        right = self.sample.classes[known] == self.scores.predicted[known]
        return float(right.mean()) if known.any() else float("nan")

    @property
    def places(self) -> dict[str, Place]:
        """The places of the ranking by explainer."""
        return {place.name: place for place in self.ranking}


def judged(name: str, model: Model, sample: Sample, scores: ModelScores, seed: int) -> Judged:
    """Sum the scores of a model up over its chips."""
    return Judged(
        name=name, model=model, sample=sample, scores=scores,
        intervals={
            metric: tuple(mean_interval(row, seed) for row in values)
            for metric, values in scores.values.items()
        },
        stages={stage: np.array([_mean(row) for row in values]) for stage, values in scores.stages.items()},
        ranking=ranking_of([scores], seed),
    )  # fmt: skip


def ranking_of(several: Sequence[ModelScores], seed: int) -> tuple[Place, ...]:
    """Rank the explainers over the chips of one model or of several."""
    families: dict[str, dict[str, Criterion]] = {}
    for metric in METRICS:
        parts = [scores.values[metric.name] for scores in several if metric.name in scores.values]
        if metric.ranked and len(parts) == len(several):
            values = np.concatenate(parts, 1)
            placed = np.logical_not(np.concatenate([scores.placeless for scores in several], 1).all(1))
            applies = placed if metric.name in OF_PLACES else np.ones_like(placed)
            # The only one of several is neither the best nor the worst of them.
            if np.isfinite(values).any() and (applies.all() or applies.sum() > 1):
                criterion = Criterion(values, bool(metric.lower_is_better), applies)
                families.setdefault(metric.family, {})[metric.name] = criterion
    return rank(several[0].names, families, seed)


def metrics_table(job: EvaluateExplainersJob, models: Sequence[Judged]) -> dict:
    """Return the table METRICS: columns with names, types and aliases, and rows."""
    stages = list(dict.fromkeys(stage for entry in models for stage in entry.stages))
    columns = [
        ("model", "string", "Model"), ("bands", "string", "Bands or polarisation"),
        ("explainer", "string", "Explainer"), ("place", "int", "Place"), ("points", "double", "Points"),
        ("points_low", "double", "Points, low"), ("points_high", "double", "Points, high"),
        ("not_separable", "string", "Not separable from"),
    ]  # fmt: skip
    for metric in METRICS:
        columns += [
            (metric.name, "double", metric.title),
            (f"{metric.name}_low", "double", f"{metric.title}, low"),
            (f"{metric.name}_high", "double", f"{metric.title}, high"),
        ]
    columns += [
        (f"similarity_{stage.replace('.', '_')}", "double", f"Spearman, randomised down to {stage}")
        for stage in stages
    ]
    columns += [
        ("bright_chance", "double", "Share of the bright return's pixels"),
        ("seconds_per_chip", "double", "Seconds per chip"), ("chips", "int", "Chips"),
        ("zero_maps", "int", "Zero maps"), ("flat_maps", "int", "Flat maps"),
        ("constant_maps", "int", "Maps that no draw changed"),
        ("randomised_chips", "int", "Chips of the randomisation"), ("accuracy", "double", "Model's accuracy"),
        ("baseline", "string", "Baseline"), ("steps", "int", "Steps"), ("segments", "int", "Secant segments"),
        ("layer", "string", "Grad-CAM layer"),
        ("radius", "double", "Radius"), ("radius_db", "double", "Radius (dB)"),
        ("samples", "int", "Samples"), ("speckle_looks", "double", "Looks of the speckle"),
    ]  # fmt: skip
    return {
        "columns": [{"name": name, "type": kind, "alias": alias} for name, kind, alias in columns],
        "rows": [_row(job, entry, i, stages) for entry in models for i in range(len(entry.scores.names))],
    }


def _row(job: EvaluateExplainersJob, entry: Judged, i: int, stages: list[str]) -> list:
    """Return the row of a model's i-th explainer."""
    scores = entry.scores
    name = scores.names[i]
    place = entry.places[name]
    row: list = [
        entry.name, entry.bands, name, place.place, _number(place.points), _number(place.low),
        _number(place.high), ", ".join(place.not_separable),
    ]  # fmt: skip
    for metric in METRICS:
        interval = entry.intervals[metric.name][i] if metric.name in entry.intervals else None
        row += [None] * 3 if interval is None else [_number(value) for value in interval]
    row += [_number(entry.stages[stage][i]) if stage in entry.stages else None for stage in stages]
    decibels = radius_in_decibels(job, entry.model.network)
    chips = "bright_share" in scores.values
    return [
        *row,
        job.bright_share if chips else None,
        float(f"{scores.seconds[i]:.4g}"),
        len(entry.sample),
        int(scores.zero[i].sum()),
        int(scores.flat[i].sum()),
        int(scores.constant[i].sum()),
        min(job.randomised_chips, len(entry.sample)),
        _number(entry.accuracy),
        job.baseline,
        job.steps,
        job.segments,
        job.layer,
        job.radius,
        None if decibels is None else float(np.mean(decibels)),
        job.samples,
        job.speckle_looks if "speckle_sensitivity" in scores.values else None,
    ]


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _number(value: float) -> float | None:
    """Return a number for a table, None for what is not defined."""
    return float(value) if np.isfinite(value) else None
