"""Train a pixel or patch classifier from labelled pixels of a scene."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch

from ..engine.jobs import TrainClassifierJob
from ..models.card import PIXEL_CLASSIFICATION, Card, CardBand, card_classes
from ..models.files import Spectra, save_model
from ..models.metrics import Accuracy, accuracy_of
from ..models.networks import ARCHITECTURES, NORMALISATIONS, SMALLEST_PATCH, PatchNetwork, build
from ..models.samples import PatchSamples
from ..models.splits import Split, block_split, random_split
from ..models.training import Epoch, TrainingSettings, fit, predict, set_statistics
from ..rasters.errors import InputError
from ..rasters.labels import LabelledPixels, read_label_features, read_label_raster
from ..rasters.outputs import Outputs
from ..rasters.scene import Scene, open_scene
from .context import Context
from .devices import resolve_device
from .record import run_record, stage_records, with_records
from .report import training_report
from .samples import read_samples, usable_bands

SPLITS = ("blocks", "random")
# Spectra kept in the model file, for baselines that are drawn from the training data.
_BACKGROUND = 128


@dataclass(frozen=True)
class Trial:
    """One training run: its split, its history, and its accuracy on the test pixels."""

    split: Split
    history: list[Epoch]
    accuracy: Accuracy
    shared_share: float


def train(job: TrainClassifierJob, context: Context) -> dict:
    """Train the classifier that `job` describes, and judge it on pixels that it has not seen."""
    _check(job)
    device = resolve_device(job.device)
    scene = open_scene(job.scene)
    inputs = [path for path in (job.scene, job.label_features, job.label_raster) if path]
    with Outputs(context.job_id, with_records(job.output_paths()), inputs) as outputs:
        context.progress(0.0, "Reading labels")
        labels = _read_labels(job, scene)
        for warning in labels.warnings:
            context.warn(warning)
        if len(labels.names) < 2:
            raise InputError(f"The labels have one class only, '{labels.names[0]}'; two or more are needed.")
        bands = usable_bands(scene, labels, context.check)
        samples = read_samples(
            scene, labels, bands, _patch_size(job), job.seed, context.check, context.warn, job.memory_mb
        )
        splits = _splits(job, samples, context)
        runs = []
        for number, split in enumerate(splits):
            share = (number / len(splits), (number + 1) / len(splits))
            runs.append(_run(job, samples, split, device, context, share))
        # The model is that of the split which was asked for; the other one is trained to compare with.
        network, trials = runs[0][0], [trial for _, trial in runs]
        spectra = _spectra(samples, splits[0].train, job.seed)
        card = _card(job, scene, bands, samples, trials, network)
        card = save_model(outputs.stage(job.model), network, spectra, card)
        facts = {"model_digest": card.digest, "training": card.training}
        record = run_record(job, context, facts)
        if job.report:
            with open(outputs.stage(job.report), "w", encoding="utf-8") as file:
                file.write(training_report(job, card, trials, record))
        stage_records(outputs, job.output_paths(), record)
    accuracy = trials[0].accuracy
    return {
        "files": job.wanted(),
        "tables": {"CONFUSION": _confusion_table(accuracy, samples.names)},
        "numbers": {
            "OVERALL_ACCURACY": accuracy.overall,
            "KAPPA": accuracy.kappa,
            "MEAN_IOU": accuracy.mean_iou,
        },
        "strings": {},
        "warnings": context.warnings,
        "record": record,
    }


def _check(job: TrainClassifierJob) -> None:
    for name, value, known in (
        ("architecture", job.architecture, tuple(ARCHITECTURES)),
        ("normalisation", job.normalisation, NORMALISATIONS),
        ("split", job.split, SPLITS),
    ):
        if value not in known:
            raise InputError(f"There is no {name} '{value}'; choose one of {', '.join(known)}.")
    least = SMALLEST_PATCH[job.architecture]
    if job.architecture != "spectral_cnn" and (job.patch_size % 2 == 0 or job.patch_size < least):
        raise InputError(
            f"The patch size {job.patch_size} does not suit {job.architecture}; "
            f"choose an odd number from {least} on."
        )
    for name, share, high in (("test share", job.test_share, 1), ("learning rate", job.learning_rate, 10)):
        if not 0 < share < high:
            raise InputError(f"The {name} {share} is not between 0 and {high}.")
    for name, count, least in (
        ("number of epochs", job.epochs, 1), ("patience", job.patience, 1), ("batch size", job.batch_size, 1),
        ("number of components", job.components, 1), ("block size", job.block_size, 0), ("seed", job.seed, 0),
    ):  # fmt: skip
        if count < least:
            raise InputError(f"The {name} can't be {count}; choose {least} or more.")


def _patch_size(job: TrainClassifierJob) -> int:
    return 1 if job.architecture == "spectral_cnn" else job.patch_size


def _read_labels(job: TrainClassifierJob, scene: Scene) -> LabelledPixels:
    if job.label_features:
        return read_label_features(job.label_features, scene.grid)
    if job.label_raster:
        return read_label_raster(job.label_raster, scene.grid, job.unlabelled_value)
    raise InputError("There are no labels; choose points, polygons or a class raster.")


def _splits(job: TrainClassifierJob, samples: PatchSamples, context: Context) -> list[Split]:
    """Return the split asked for, and the other kind to compare with, where it can be made."""
    classes = samples.classes.numpy()

    def make(kind: str) -> Split:
        if kind == "random":
            return random_split(classes, samples.names, job.test_share, job.seed)
        return block_split(
            samples.rows, samples.cols, classes, samples.names, job.test_share, job.block_size, job.seed
        )

    splits = [make(job.split)]
    if job.compare_splits:
        other = "random" if job.split == "blocks" else "blocks"
        try:
            splits.append(make(other))
        except InputError as problem:
            context.warn(f"The {other} split can't be compared: {problem}")
    return splits


def _run(
    job: TrainClassifierJob, samples: PatchSamples, split: Split, device: str, context: Context,
    share: tuple[float, float],
) -> tuple[PatchNetwork, Trial]:  # fmt: skip
    torch.manual_seed(job.seed)
    options = _options(job, samples)
    network = build(job.architecture, **options)
    set_statistics(network, samples, split.train)
    settings = TrainingSettings(
        job.epochs, job.patience, job.learning_rate, job.batch_size, job.class_weights, job.seed, device
    )
    text = ["Training"]

    def on_epoch(epoch: Epoch) -> None:
        text[0] = (
            f"Training ({split.kind} split), epoch {epoch.number} of {job.epochs}, loss {epoch.loss:.4f}"
        )
        if epoch.number == 1 or epoch.number % 10 == 0:
            context.log(f"{text[0]}, validation accuracy {epoch.validation_accuracy:.4f}")

    def on_batch(done: float) -> None:
        context.check()
        context.progress(share[0] + 0.95 * done * (share[1] - share[0]), text[0])

    history = fit(network, samples, split.train, settings, on_epoch, on_batch)
    predicted = predict(network, samples, split.test, context.check)
    confusion = np.zeros((len(samples.names),) * 2, dtype=np.int64)
    np.add.at(confusion, (samples.classes.numpy()[split.test], predicted), 1)
    trial = Trial(split, history, accuracy_of(confusion), _shared_share(samples, split))
    context.log(f"Accuracy on the test pixels ({split.kind} split): {trial.accuracy.overall:.4f}")
    return network, trial


def _options(job: TrainClassifierJob, samples: PatchSamples) -> dict:
    bands = samples.spectra.shape[1]
    return {
        "bands": bands,
        "classes": len(samples.names),
        "patch_size": _patch_size(job),
        "normalisation": job.normalisation,
        "components": min(job.components, bands),
    }


def _shared_share(samples: PatchSamples, split: Split) -> float:
    """Share of test pixels whose patch shares a pixel with a training patch: what a split leaks."""
    used = np.zeros(len(samples.spectra), dtype=bool)
    index = samples.index.numpy()
    used[index[split.train].ravel()] = True
    return float(used[index[split.test]].any(1).mean())


def _spectra(samples: PatchSamples, train: np.ndarray, seed: int) -> Spectra:
    centres = samples.centres(torch.from_numpy(train)).double()
    classes = samples.classes[torch.from_numpy(train)]
    means = torch.stack([centres[classes == number].mean(0) for number in range(len(samples.names))])
    chosen = np.random.default_rng(seed).permutation(len(train))[:_BACKGROUND]
    return Spectra(centres.mean(0).float(), means.float(), centres[torch.from_numpy(chosen)].float())


def _card(
    job: TrainClassifierJob, scene: Scene, bands: list[int], samples: PatchSamples, trials: list[Trial],
    network: PatchNetwork,
) -> Card:  # fmt: skip
    used = set(bands)
    return Card(
        task=PIXEL_CLASSIFICATION,
        architecture=job.architecture,
        options=_options(job, samples),
        bands=tuple(
            CardBand(band.name, band.wavelength_nm, band.fwhm_nm, index in used)
            for index, band in enumerate(scene.bands)
        ),
        classes=card_classes(samples.names),
        training={
            "label_name": job.label_name,
            "seed": job.seed,
            "settings": asdict(TrainingSettings(
                job.epochs, job.patience, job.learning_rate, job.batch_size, job.class_weights, job.seed
            )),
            "parameters": sum(p.numel() for p in network.parameters()),
            "trials": [
                {
                    "split": trial.split.kind,
                    "block_size": trial.split.block_size,
                    "train_pixels": len(trial.split.train),
                    "test_pixels": len(trial.split.test),
                    "test_pixels_sharing_a_patch": trial.shared_share,
                    "epochs": len(trial.history),
                    "overall_accuracy": trial.accuracy.overall,
                    "kappa": trial.accuracy.kappa,
                    "mean_iou": trial.accuracy.mean_iou,
                }
                for trial in trials
            ],
        },
    )  # fmt: skip


def _confusion_table(accuracy: Accuracy, names: tuple[str, ...]) -> dict:
    columns = [
        {"name": "reference", "type": "string", "alias": "Reference class"},
        *(
            {"name": f"predicted_{i}", "type": "int", "alias": f"Predicted {name}"}
            for i, name in enumerate(names, 1)
        ),
        {"name": "pixels", "type": "int", "alias": "Test pixels"},
        {"name": "recall", "type": "double", "alias": "Recall"},
        {"name": "precision", "type": "double", "alias": "Precision"},
        {"name": "iou", "type": "double", "alias": "Intersection over union"},
    ]
    rows = [
        [
            name, *accuracy.confusion[i].tolist(), int(accuracy.confusion[i].sum()),
            *(None if np.isnan(value) else float(value)
              for value in (accuracy.recall[i], accuracy.precision[i], accuracy.iou[i])),
        ]
        for i, name in enumerate(names)
    ]  # fmt: skip
    return {"columns": columns, "rows": rows}
