"""Score explainers on a sample of chips or of labelled pixels, for one model or several, and rank them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..engine.jobs import EvaluateExplainersJob
from ..explainers.scores.bootstrap import Place
from ..explainers.scores.complexity import encoder
from ..models.card import SCENE_CLASSIFICATION
from ..models.files import Model
from ..rasters.outputs import Outputs
from .chip_batches import stoppable
from .context import Context
from .devices import resolve_device, workers
from .evaluation_inputs import Baseline
from .evaluation_montage import montage
from .evaluation_report import evaluation_report
from .evaluation_sample import Sample, Samples
from .evaluation_scores import BLOCK, CURVE_STEPS, REMOVALS, Judge
from .evaluation_settings import baseline_of, check_job, load_models, names_of_models, radius_in_decibels
from .evaluation_table import Judged, judged, metrics_table, ranking_of
from .explainer_options import warn_of_coarse_layer
from .record import run_record, stage_records, with_records

# Of the progress, what is left for pictures and pages.
_SCORING = 0.97


def evaluate(job: EvaluateExplainersJob, context: Context) -> dict:
    """Judge the explainers of `job` and return their table; write the montage and the report."""
    check_job(job)
    device = resolve_device(job.device)
    context.progress(0.0, "Reading models")
    models = load_models(job)
    warn_of_coarse_layer(job.explainers, job.layer, models, context)
    if job.segments and models[0].card.task != SCENE_CLASSIFICATION:
        context.warn("SEGMENTS is not used: the models classify pixels, not chips.")
    baselines = [baseline_of(job, model) for model in models]
    inputs = [path for path in (*job.models, job.scene, job.label_features, job.label_raster) if path]
    with Outputs(context.job_id, with_records(job.output_paths()), inputs) as outputs:
        context.progress(0.0, "Reading chips" if job.patches else "Reading the scene")
        samples = Samples(job, context)
        drawn = [samples.of(model, path) for model, path in zip(models, job.models)]
        entries = _judge_all(job, context, models, drawn, baselines, device)
        _warn_of_flags(entries, context)
        overall = ranking_of([entry.scores for entry in entries], job.seed)
        record = run_record(job, context, _facts(job, entries, overall))
        if job.montage:
            context.progress(_SCORING, "Drawing the montage")
            with open(outputs.stage(job.montage), "wb") as picture:
                picture.write(montage(entries))
        if job.report:
            context.progress(_SCORING, "Writing the report")
            with open(outputs.stage(job.report), "w", encoding="utf-8") as page:
                page.write(evaluation_report(job, entries, overall, record))
        stage_records(outputs, job.output_paths(), record)
    return {
        "files": job.wanted(),
        "tables": {"METRICS": metrics_table(job, entries)},
        "numbers": {},
        "strings": {},
        "warnings": context.warnings,
        "record": record,
    }


def _judge_all(
    job: EvaluateExplainersJob, context: Context, models: list[Model], drawn: list[Sample],
    baselines: list[Baseline], device: str,
) -> list[Judged]:  # fmt: skip
    """Score model after model; the progress counts explained copies of chips."""
    text = [""]
    ticks = _Ticks(lambda share: context.progress(_SCORING * share, text[0]))
    arguments = [
        Judge(job, model, sample, baseline, device, ticks, context.check)
        for model, sample, baseline in zip(models, drawn, baselines)
    ]
    ticks.total = sum(judge.units() for judge in arguments)
    entries = []
    for name, model, sample, judge in zip(names_of_models(job.models), models, drawn, arguments):
        text[0] = f"Scoring {len(job.explainers)} explainers of {name} on {len(sample)} {_things(model)}"
        context.log(text[0])
        with workers(device, judge.workers) as pool, stoppable(judge.network, context):
            scores = judge.scores(pool)
        entries.append(judged(name, model, sample, scores, job.seed))
    return entries


def _things(model: Model) -> str:
    return "chips" if model.card.task == SCENE_CLASSIFICATION else "pixels"


class _Ticks:
    """Adds up what several workers have done and reports the share of `total`."""

    def __init__(self, report: Callable[[float], None]) -> None:
        self.total = 1
        self._report = report
        self._done = 0
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self._done += count
            share = min(self._done / self.total, 1.0)
        self._report(share)


def _warn_of_flags(entries: list[Judged], context: Context) -> None:
    for entry in entries:
        scores, count = entry.scores, len(entry.sample)
        things = _things(entry.model)
        for name, zero, flat, still, placeless in zip(
            scores.names, scores.zero.sum(1), scores.flat.sum(1), (scores.constant & ~scores.zero).sum(1),
            scores.placeless.sum(1),
        ):  # fmt: skip
            if zero:
                context.warn(
                    f"{name} of {entry.name} gives a map of zeros for {zero} of {count} {things}. Such maps "
                    "have no scores, and count as the worst in the ranking."
                )
            if flat:
                hint = "; its layer has a single pixel, choose an earlier one" if name == "grad_cam" else ""
                context.warn(
                    f"{name} of {entry.name} gives the same value everywhere for {flat} of {count} {things}"
                    f"{hint}. Such maps have no scores, and count as the worst in the ranking."
                )
            if placeless:
                context.warn(
                    f"{name} of {entry.name} gives a value for each band but no place in it, for {placeless} "
                    f"of {count} {things}. Such maps have no scores of complexity and localisation; the "
                    "ranking goes by the others."
                )
            if still:
                context.warn(
                    f"{name} of {entry.name} gives {still} maps that no change of the chip moved; their "
                    "sensitivity of 0 means that they do not explain the chip."
                )


def _facts(job: EvaluateExplainersJob, entries: list[Judged], overall: tuple[Place, ...]) -> dict:
    """Return what the run record says of the evaluation beside the job."""
    return {
        "models": [
            {
                "name": entry.name, "digest": entry.model.card.digest, "bands": entry.bands,
                "task": entry.model.card.task, "architecture": entry.model.card.architecture,
                "chips": len(entry.sample), "accuracy": entry.accuracy,
                "radius_in_decibels": radius_in_decibels(job, entry.model.network),
                "ranking": [place._asdict() for place in entry.ranking],
            }
            for entry in entries
        ],
        "ranking": [place._asdict() for place in overall],
        "protocol": {
            "target": "logit of the class predicted for the unchanged chip",
            "sensitivity": {
                "norm": "Frobenius, relative to that of the unchanged chip's map",
                "radius": job.radius, "draws": job.samples, "clipped": False,
                "speckle_looks": job.speckle_looks,
            },
            "infidelity": {"removals": REMOVALS, "of": "logit"},
            "deletion_insertion": {"steps": CURVE_STEPS, "block": BLOCK, "of": "softmax probability"},
            "randomisation": "weights permuted within each tensor, from the output down",
            "png_encoder": encoder(),
            "intervals": "95 %, percentile bootstrap over chips, 1000 draws",
        },
    }  # fmt: skip
