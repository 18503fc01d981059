"""Train classifiers of whole chips: one that reads all bands, one of a chosen band, or one per band."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from importlib.metadata import version

import numpy as np
import torch

from ..engine.jobs import TrainSceneClassifierJob
from ..models.card import SCENE_CLASSIFICATION, Card, CardBand, card_classes
from ..models.files import Spectra, save_model
from ..models.metrics import Accuracy, accuracy_of
from ..models.scene_networks import (
    SCENE_ARCHITECTURES,
    SMALLEST_CHIP,
    SPECKLE_FILTERS,
    VALUES,
    SceneNetwork,
    build_scene_network,
)  # fmt: skip
from ..models.scene_training import (
    AUGMENTATIONS,
    SCHEDULES,
    SceneTrainingSettings,
    fit_scenes,
    predict_scenes,
)  # fmt: skip
from ..rasters.errors import InputError
from ..rasters.outputs import Outputs
from ..rasters.wavelengths import Band
from .context import Context
from .devices import resolve_device
from .record import run_record, stage_records, with_records
from .report import scene_training_report
from .scene_preparation import limits_of, prepare, spectra_of
from .scene_samples import BandChoice, SceneSamples, choose_bands, find_chips, read_samples


@dataclass(frozen=True)
class SceneTrial:
    """One trained model: the bands it reads, its card, the loss of each epoch, its accuracy on test chips."""

    choice: BandChoice
    card: Card
    losses: tuple[float, ...]
    accuracy: Accuracy


def train(job: TrainSceneClassifierJob, context: Context) -> dict:
    """Train the classifiers that `job` describes, and judge them on chips that they have not seen."""
    _check(job)
    device = resolve_device(job.device)
    context.progress(0.0, "Looking for chips")
    found = find_chips(job, context)
    choices = choose_bands(found[0].bands, job.band)
    limits = _given_limits(job, choices)
    models = model_paths(job, choices)
    written = [*models, *([job.report] if job.report else [])]
    inputs = {chip.path for part in found for chip in part.chips}
    inputs |= {path for path in (job.label_features, job.label_raster) if path}
    with Outputs(context.job_id, with_records(written), sorted(inputs)) as outputs:
        samples = read_samples(job, found, choices, context)
        trials = []
        for number, (choice, path) in enumerate(zip(choices, models)):
            share = (0.05 + 0.95 * number / len(choices), 0.95 / len(choices))
            network, spectra, losses, accuracy = _run(job, samples, choice, limits, device, context, share)
            card = _card(job, samples, choice, found[0].bands, network, accuracy)
            card = save_model(outputs.stage(path), network, spectra, card)
            trials.append(SceneTrial(choice, card, losses, accuracy))
        record = run_record(job, context, _facts(models, trials))
        if job.report:
            with open(outputs.stage(job.report), "w", encoding="utf-8") as file:
                file.write(scene_training_report(job, samples, trials, record))
        stage_records(outputs, written, record)
    return {
        "files": {**job.wanted(), "model": models[0]},
        "tables": {"CONFUSION": _confusion_table(trials)},
        "numbers": {
            "OVERALL_ACCURACY": trials[0].accuracy.overall,
            "BALANCED_ACCURACY": trials[0].accuracy.balanced,
            "KAPPA": trials[0].accuracy.kappa,
        },
        "strings": {"MODEL": models[0], "MODELS": ";".join(models)},
        "warnings": context.warnings,
        "record": record,
    }


def model_paths(job: TrainSceneClassifierJob, choices: list[BandChoice]) -> list[str]:
    """Return where the models go: `job.model`, or STEM_BAND.safetensors for each band."""
    if job.band != "each":
        return [job.model]
    stem, ending = os.path.splitext(job.model)
    return [f"{stem}_{choice.name}{ending}" for choice in choices]


def _check(job: TrainSceneClassifierJob) -> None:
    for name, value, known in (
        ("architecture", job.architecture, SCENE_ARCHITECTURES),
        ("kind of values", job.values, VALUES),
        ("speckle filter", job.speckle_filter, SPECKLE_FILTERS),
        ("augmentation", job.augmentation, AUGMENTATIONS),
        ("schedule", job.schedule, SCHEDULES),
    ):
        if value not in known:
            raise InputError(f"There is no {name} '{value}'; choose one of {', '.join(known)}.")
    if job.patch_size and job.patch_size < SMALLEST_CHIP:
        raise InputError(f"The patch size can't be {job.patch_size}; choose {SMALLEST_CHIP} or more.")
    for name, share, high in (
        ("test share", job.test_share, 1), ("learning rate", job.learning_rate, 10),
        ("number of looks", job.looks, 1e6),
    ):  # fmt: skip
        if not 0 < share < high:
            raise InputError(f"The {name} {share:g} is not between 0 and {high:g}.")
    for name, count, least in (
        ("patch size", job.patch_size, 0), ("number of epochs", job.epochs, 1),
        ("batch size", job.batch_size, 2), ("seed", job.seed, 0),
    ):  # fmt: skip
        if count < least:
            raise InputError(f"The {name} can't be {count}; choose {least} or more.")


def _given_limits(job: TrainSceneClassifierJob, choices: list[BandChoice]) -> dict[int, tuple[float, float]]:
    """Return the limits (low, high) that the job gives for each band that is read, {} where it gives none."""
    if job.clip is None:
        return {}
    bands = [band for choice in choices for band in choice.bands]
    pairs = list(zip(job.clip[::2], job.clip[1::2]))
    if len(job.clip) % 2 or len(pairs) not in (1, len(bands)):
        raise InputError(
            f"CLIP has {len(job.clip)} number(s) for {len(bands)} band(s); give low and high once for all, "
            "or for each band."
        )
    for low, high in pairs:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InputError(f"CLIP goes from {low:g} to {high:g}; the first must be the smaller one.")
    return dict(zip(bands, pairs * (len(bands) // len(pairs))))


def _run(
    job: TrainSceneClassifierJob, samples: SceneSamples, choice: BandChoice,
    limits: dict[int, tuple[float, float]], device: str, context: Context, share: tuple[float, float],
) -> tuple[SceneNetwork, Spectra, tuple[float, ...], Accuracy]:  # fmt: skip
    """Train one model and judge it; `share` is where in the whole job that starts, and its part of it."""
    torch.manual_seed(job.seed)
    network = build_scene_network(job.architecture, **_options(job, samples, choice))
    raw = samples.values[:, [samples.bands.index(band) for band in choice.bands]]
    train, test = samples.split.train, samples.split.test
    spectra = spectra_of(raw, samples)
    pairs = [limits[band] for band in choice.bands] if limits else limits_of(network, raw, train)
    network.low.copy_(torch.tensor([low for low, _ in pairs]))
    network.high.copy_(torch.tensor([high for _, high in pairs]))
    chips = prepare(network, raw, spectra.mean)
    of = f" on {choice.name}" if choice.name else ""
    text = [f"Training {job.architecture}{of}"]

    def on_epoch(number: int, loss: float) -> None:
        text[0] = f"Training {job.architecture}{of}, epoch {number} of {job.epochs}, loss {loss:.4f}"
        if number in (1, job.epochs) or number % 10 == 0:
            context.log(text[0])

    def on_batch(done: float) -> None:
        context.check()
        context.progress(share[0] + share[1] * done, text[0])

    classes = torch.from_numpy(samples.classes)
    losses = fit_scenes(network, chips, classes, train, _settings(job, device), on_epoch, on_batch)
    predicted = predict_scenes(network, chips, test, device, context.check)
    confusion = np.zeros((len(samples.names),) * 2, dtype=np.int64)
    np.add.at(confusion, (samples.classes[test], predicted), 1)
    accuracy = accuracy_of(confusion)
    context.log(f"Accuracy on the test chips{of}: {accuracy.overall:.4f}")
    return network, spectra, losses, accuracy


def _options(job: TrainSceneClassifierJob, samples: SceneSamples, choice: BandChoice) -> dict:
    return {
        "bands": len(choice.bands),
        "classes": len(samples.names),
        "patch_size": samples.values.shape[-1],
        "values": job.values,
        "speckle_filter": job.speckle_filter,
        "looks": job.looks,
    }


def _settings(job: TrainSceneClassifierJob, device: str = "cpu") -> SceneTrainingSettings:
    return SceneTrainingSettings(
        epochs=job.epochs, learning_rate=job.learning_rate, schedule=job.schedule, batch_size=job.batch_size,
        augmentation=job.augmentation, balanced=job.class_weights, seed=job.seed, device=device,
    )  # fmt: skip


def _card(
    job: TrainSceneClassifierJob, samples: SceneSamples, choice: BandChoice, bands: tuple[Band, ...],
    network: SceneNetwork, accuracy: Accuracy,
) -> Card:  # fmt: skip
    names, split = samples.names, samples.split

    def counts(members: np.ndarray) -> dict[str, int]:
        return dict(zip(names, np.bincount(samples.classes[members], minlength=len(names)).tolist()))

    settings = asdict(_settings(job))
    del settings["device"]
    return Card(
        task=SCENE_CLASSIFICATION,
        architecture=job.architecture,
        options=_options(job, samples, choice),
        bands=tuple(
            CardBand(band.name, band.wavelength_nm, band.fwhm_nm, index in choice.bands)
            for index, band in enumerate(bands)
        ),
        classes=card_classes(names),
        training={
            "label_name": job.label_name,
            "seed": job.seed,
            "settings": settings,
            "clip": "percentiles of the training chips" if job.clip is None else "given",
            "low": network.low.tolist(),
            "high": network.high.tolist(),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "split": split.kind,
            "block_size": split.block_size,
            "train_chips": counts(split.train),
            "test_chips": counts(split.test),
            "test_chips_that_overlap_training": samples.overlap,
            "overall_accuracy": accuracy.overall,
            "balanced_accuracy": accuracy.balanced,
            "kappa": accuracy.kappa,
            "f1": dict(zip(names, map(_known, accuracy.f1))),
            "software": {name: version(name) for name in ("torch", "monai")},
        },
    )


def _facts(models: list[str], trials: list[SceneTrial]) -> dict:
    if len(trials) == 1:
        return {"model_digest": trials[0].card.digest, "training": trials[0].card.training}
    return {
        "models": [
            {"path": path, "model_digest": trial.card.digest, "training": trial.card.training}
            for path, trial in zip(models, trials)
        ]
    }


def _confusion_table(trials: list[SceneTrial]) -> dict:
    names = trials[0].card.class_names
    columns = [
        {"name": "band", "type": "string", "alias": "Bands of the model"},
        {"name": "reference", "type": "string", "alias": "Reference class"},
        *(
            {"name": f"predicted_{i}", "type": "int", "alias": f"Predicted {name}"}
            for i, name in enumerate(names, 1)
        ),
        {"name": "chips", "type": "int", "alias": "Test chips"},
        {"name": "recall", "type": "double", "alias": "Recall"},
        {"name": "precision", "type": "double", "alias": "Precision"},
        {"name": "f1", "type": "double", "alias": "F1 score"},
    ]
    rows = [
        [
            trial.choice.name or "all", name, *trial.accuracy.confusion[i].tolist(),
            int(trial.accuracy.confusion[i].sum()),
            *map(_known, (trial.accuracy.recall[i], trial.accuracy.precision[i], trial.accuracy.f1[i])),
        ]
        for trial in trials
        for i, name in enumerate(names)
    ]  # fmt: skip
    return {"columns": columns, "rows": rows}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
