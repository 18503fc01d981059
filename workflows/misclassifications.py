"""Find where a model, or a map, contradicts a reference, and say why that may be."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from ..engine.jobs import MisclassificationsJob as Job
from ..models.card import PIXEL_CLASSIFICATION, SERIES_AUTOENCODER
from ..models.files import Model
from ..models.metrics import accuracy_of
from ..rasters.errors import InputError
from ..rasters.labels import LabelledPixels, read_label_features, read_label_raster
from ..rasters.outputs import Outputs
from ..rasters.parcels import parcels_of
from ..rasters.scene import Scene, describe_band, open_scene
from ..rasters.series import Series
from .context import Context
from .devices import resolve_device
from .fitting import open_pair
from .pixel_explaining import PixelExplainer
from .record import run_record, stage_records, with_records
from .review_findings import explain_by_means, explain_errors, find, known_of
from .review_predictions import OfMap, OfModel, Predictor
from .review_reference import Judged, Reference, cut_to, judge, with_classes
from .review_regions import Regions, regions_of
from .review_report import ReviewReport
from .review_suspicion import SUSPICIONS, Known
from .review_tables import base_scores, confusion_table, errors_table, instructive
from .series_reading import open_series_pair, open_source

# Errors that are looked into; of more, the least instructive are left out.
MOST_ERRORS = 20_000


@dataclass(frozen=True)
class _Opened:
    """What a job is about: a scene, and what says of which class its pixels are."""

    scene: Scene
    predictor: Predictor
    model: Model | None

    @property
    def looker(self) -> PixelExplainer | None:
        return self.predictor.looker if isinstance(self.predictor, OfModel) else None


def find_errors(job: Job, context: Context) -> dict:
    """Compare what `job` names with its reference, and look into the errors."""
    _check(job)
    with ExitStack() as stack:
        opened = _open(job, context, stack)
        scene, predictor = opened.scene, opened.predictor
        if opened.looker:
            opened.looker.check(job.explainer)
        inputs = [path for path in (
            *(scene.paths if isinstance(scene, Series) else (scene.path,)), job.model, job.classes,
            job.label_features, job.label_raster, job.train_features, job.train_raster,
        ) if path]  # fmt: skip
        outputs = stack.enter_context(Outputs(context.job_id, with_records(job.output_paths()), inputs))
        context.progress(0.0, "Reading the reference")
        reference = _reference(job, opened, context)
        training = _training(job, opened, reference, context)
        judged = judge(reference, predictor, context)
        _warn(job, context, opened, judged)
        regions = regions_of(reference, judged, scene.grid.width)
        order = np.argsort(-base_scores(regions, judged), kind="stable")
        if len(order) > MOST_ERRORS:
            context.warn(
                f"Of {len(order)} errors, the {MOST_ERRORS} of largest size, margin and rarity are in the "
                "layer; the confusion table counts all."
            )
        chosen = order[:MOST_ERRORS]
        known = findings = pairs = None
        table = errors_table(reference, judged, regions, {}, scene.grid)
        if not len(chosen):
            context.warn("No reference pixel is wrong: the layer of errors is empty.")
        else:
            known = known_of(reference, judged, training, predictor, job.sample, context)
            findings, pairs = find(reference, judged, regions, chosen, predictor, known, context)
            best = list(instructive(base_scores(regions, judged), findings))[: job.explained]
            texts = _evidence(job, opened, reference, regions, best, known, context)
            findings = {
                region: replace(found, evidence=texts.get(region, "")) for region, found in findings.items()
            }
            table = errors_table(reference, judged, regions, findings, scene.grid)
        confusion = accuracy_of(_confusion(reference, judged))
        numbers = _numbers(reference, judged, training, confusion.overall, confusion.kappa, table, scene)
        facts = {
            "model_digest": opened.model.card.digest if opened.model else None,
            "review": _review(job, reference), "figures": numbers,
        }  # fmt: skip
        record = run_record(job, context, facts)
        if job.report:
            report = ReviewReport(job, opened.scene, predictor.bands, reference, regions, known, pairs)
            with open(outputs.stage(job.report), "w", encoding="utf-8") as file:
                file.write(report.page(table, confusion, numbers, record, context.check))
        stage_records(outputs, job.output_paths(), record)
    return {
        "files": job.wanted(),
        "tables": {"ERRORS": table, "CONFUSION": confusion_table(confusion, reference.names)},
        "numbers": numbers,
        "strings": {},
        "warnings": context.warnings,
        "record": record,
    }


def _check(job: Job) -> None:
    if bool(job.scene) == bool(job.series):
        raise InputError("Errors are those on a raster, INPUT, or on a series, SERIES; give one of the two.")
    if bool(job.model) == bool(job.classes):
        raise InputError("What is judged is a MODEL, or a raster of CLASSES; give one of the two.")
    if not (job.label_features or job.label_raster):
        raise InputError("There is no REFERENCE; choose points, polygons or a raster of classes.")
    for name, value, least in (
        ("sample of a class", job.sample, 10), ("number of explained errors", job.explained, 0),
        ("seed", job.seed, 0),
    ):  # fmt: skip
        if value < least:
            raise InputError(f"The {name} can't be {value}; choose {least} or more.")


def _open(job: Job, context: Context, stack: ExitStack) -> _Opened:
    if job.classes:
        if job.series:
            scene: Scene = open_source(job.series, context, "as_is", 0.0)
        else:
            scene = open_scene(job.scene or "")
        bands = [index for index, band in enumerate(scene.bands) if band.good]
        return _Opened(scene, OfMap(job.classes, scene, bands, context, stack), None)
    pair: tuple[Scene, Model]
    if job.series:
        pair = open_series_pair(job.series, job.model or "", context)
        if pair[1].card.task == SERIES_AUTOENCODER:
            raise InputError(
                f"The model {job.model} is an autoencoder, which predicts no class; give the classes that "
                "explain:clusterseries made with it as CLASSES."
            )
    else:
        pair = open_pair(job.scene or "", job.model or "", PIXEL_CLASSIFICATION)
    looker = PixelExplainer(*pair, resolve_device(job.device), job.memory_mb)
    return _Opened(pair[0], OfModel(looker, context, job.memory_mb), pair[1])


def _reference(job: Job, opened: _Opened, context: Context) -> Reference:
    grid = opened.scene.grid
    labels = _labels(job.label_features, job.label_raster, job.unlabelled_value, opened.scene, context)
    places, classes = with_classes(labels, opened.predictor.classes, opened.model is not None)
    parcels = parcels_of(labels, grid.width)
    inside = cut_to(labels, grid.window_of(job.extent), grid)
    points = bool(job.label_features) and labels.parcels is None
    return Reference(
        labels.rows[inside], labels.cols[inside], places[labels.classes][inside], parcels[inside], classes,
        points,
    )  # fmt: skip


def _training(job: Job, opened: _Opened, reference: Reference, context: Context) -> LabelledPixels | None:
    """Return the labels that trained the model, in the reference's classes; others are left out."""
    if not (job.train_features or job.train_raster):
        return None
    labels = _labels(job.train_features, job.train_raster, job.unlabelled_value, opened.scene, context)
    names = reference.names
    numbers = np.array([names.index(name) if name in names else -1 for name in labels.names])
    kept = numbers[labels.classes] >= 0
    if not kept.any():
        raise InputError("TRAINING has no class of the reference; choose the labels that trained the model.")
    return LabelledPixels(labels.rows[kept], labels.cols[kept], numbers[labels.classes][kept], tuple(names))


def _labels(
    features: str | None, raster: str | None, unlabelled: int, scene: Scene, context: Context
) -> LabelledPixels:
    if features:
        labels = read_label_features(features, scene.grid)
    else:
        labels = read_label_raster(raster or "", scene.grid, unlabelled)
    for warning in labels.warnings:
        context.warn(warning)
    return labels


def _evidence(
    job: Job, opened: _Opened, reference: Reference, regions: Regions, best: list[int], known: Known,
    context: Context,
) -> dict[int, str]:  # fmt: skip
    scene, bands = opened.scene, opened.predictor.bands
    names = [_band_name(scene, band) for band in bands]
    if opened.looker is None:
        return explain_by_means(reference, regions, best, scene, bands, known, names)
    names += ["brightness"]
    return explain_errors(
        reference, regions, best, opened.looker, job.explainer, job.baseline, names, context
    )


def _band_name(scene: Scene, band: int) -> str:
    wavelength = scene.bands[band].wavelength_nm
    if wavelength and not isinstance(scene, Series):
        return f"{wavelength:.0f} nm"
    return describe_band(band, scene.bands[band])


def _warn(job: Job, context: Context, opened: _Opened, judged: Judged) -> None:
    lost = int((~judged.known()).sum())
    if lost == len(judged.predicted):
        raise InputError(
            "No pixel of the reference has data in all bands and a predicted class; choose another "
            "reference, raster or extent."
        )
    if lost:
        context.warn(f"{lost} reference pixel(s) have no data or no predicted class and are left out.")
    trained_on = opened.model.card.training.get("label_name") if opened.model else None
    if trained_on and trained_on == job.label_name and not (job.train_features or job.train_raster):
        context.warn(
            f"The model was trained with labels named '{trained_on}', as the reference is: it errs less "
            "often on pixels that trained it than elsewhere. Give the labels that trained it as TRAINING to "
            "tell them apart."
        )


def _confusion(reference: Reference, judged: Judged) -> np.ndarray:
    counts = np.zeros((len(reference.classes),) * 2, dtype=np.int64)
    known = judged.known()
    np.add.at(counts, (reference.true[known], judged.predicted[known]), 1)
    return counts


def _numbers(
    reference: Reference, judged: Judged, training: LabelledPixels | None, overall: float, kappa: float,
    table: dict, scene: Scene,
) -> dict[str, float | int | None]:  # fmt: skip
    known = judged.known()
    wrong = known & (judged.predicted != reference.true)
    suspicions = [row[12] for row in table["rows"]]
    numbers: dict[str, float | int | None] = {
        "ERROR_SHARE": float(wrong.sum() / known.sum()), "ERROR_PIXELS": int(wrong.sum()),
        "PIXELS": int(known.sum()), "ERROR_COUNT": len(table["rows"]),
        "OVERALL_ACCURACY": overall, "KAPPA": kappa if np.isfinite(kappa) else None,
        **{name.upper().replace(" ", "_") + "_COUNT": suspicions.count(name) for name in SUSPICIONS},
    }  # fmt: skip
    if training is not None:
        width = np.int64(scene.grid.width)
        trained = np.isin(reference.rows * width + reference.cols, training.rows * width + training.cols)
        new = known & ~trained
        numbers["TRAINED_SHARE"] = float((known & trained).sum() / known.sum())
        numbers["NEW_ERROR_SHARE"] = float((wrong & new).sum() / new.sum()) if new.any() else None
    return numbers


def _review(job: Job, reference: Reference) -> dict:
    """Return what the review dock must know of the layer."""
    values = job.to_dict()
    return {
        "scene": job.scene, "series": values["series"], "model": job.model, "class_raster": job.classes,
        "reference": job.reference or job.label_raster,
        "reference_field": (job.label_name or None) if job.label_features else None,
        "explainer": job.explainer,
        "class_names": [{"name": entry.name, "colour": entry.colour} for entry in reference.classes],
    }  # fmt: skip
