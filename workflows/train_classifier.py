"""Train a classifier of pixels from labelled pixels of a scene or a series."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from ..engine.jobs import TrainClassifierJob
from ..models.card import PIXEL_CLASSIFICATION, Card, CardBand, card_classes
from ..models.epochs import Epoch, TrainingSettings
from ..models.files import save_model
from ..models.metrics import Accuracy, accuracy_of
from ..models.networks import ARCHITECTURES, NORMALISATIONS, SMALLEST_PATCH, PatchNetwork
from ..models.segmentation_networks import SEGMENTATION_ARCHITECTURES, SegmentationNetwork
from ..models.splits import Split
from ..rasters.errors import InputError
from ..rasters.outputs import Outputs
from ..rasters.scene import Scene, open_scene
from ..rasters.series import Series, paths_of
from .context import Context
from .devices import resolve_device
from .record import run_record, stage_records, with_records
from .report import training_report
from .samples import usable_bands
from .series_reading import open_source
from .train_patches import PatchLearner
from .train_segmentation import SegmentationLearner
from .training_labels import SPLITS, read_labels

# A U-Net of more levels halves its maps more often than any raster needs.
_DEEPEST = 7
_PIXELS_A_STEP, _CROPS_A_STEP = 64, 4

Learner = PatchLearner | SegmentationLearner


@dataclass(frozen=True)
class Trial:
    """One training run: its split, its history, and its accuracy on the test pixels."""

    split: Split
    history: list[Epoch]
    accuracy: Accuracy
    shared_share: float


def train(job: TrainClassifierJob, context: Context) -> dict:
    """Train the classifier that `job` describes, and judge it on pixels that it has not seen."""
    check_training(job)
    device = resolve_device(job.device)
    scene = _opened(job, context)
    labels_of = (job.label_features, job.label_raster, job.test_label_features, job.test_label_raster)
    inputs = [path for path in (*paths_of(scene), *labels_of) if path]
    with Outputs(context.job_id, with_records(job.output_paths()), inputs) as outputs:
        context.progress(0.0, "Reading labels")
        labels = read_labels(job, scene, context)
        bands = usable_bands(scene, labels.pixels, context.check)
        learn = SegmentationLearner if _is_dense(job) else PatchLearner
        learner: Learner = learn(job, context, scene, labels.pixels, bands)
        splits = labels.splits(job, learner.samples, context)
        runs = []
        for number, split in enumerate(splits):
            share = (number / len(splits), (number + 1) / len(splits))
            runs.append(run_trial(job, learner, split, device, context, share))
        # The model is that of the split which was asked for; the other one is trained to compare with.
        network, trials = runs[0][0], [trial for _, trial in runs]
        card = card_of(job, scene, bands, learner, trials, network)
        card = save_model(outputs.stage(job.model), network, learner.spectra(splits[0]), card)
        facts = {"model_digest": card.digest, "training": card.training, **_notes_of(scene)}
        record = run_record(job, context, facts)
        if job.report:
            with open(outputs.stage(job.report), "w", encoding="utf-8") as file:
                file.write(training_report(job, card, trials, record))
        stage_records(outputs, job.output_paths(), record)
    accuracy = trials[0].accuracy
    return {
        "files": job.wanted(),
        "tables": {"CONFUSION": _confusion_table(accuracy, learner.samples.names)},
        "numbers": {
            "OVERALL_ACCURACY": accuracy.overall,
            "KAPPA": accuracy.kappa,
            "MEAN_IOU": accuracy.mean_iou,
            "GLOBAL_IOU": accuracy.global_iou,
            "WEIGHTED_IOU": accuracy.weighted_iou,
        },
        "strings": {},
        "warnings": context.warnings,
        "record": record,
    }


def _opened(job: TrainClassifierJob, context: Context) -> Scene:
    if bool(job.scene) == bool(job.series):
        raise InputError("Training is on the raster INPUT or the rasters SERIES; give one of the two.")
    if job.series:
        return open_source(job.series, context, job.values, job.calibration)
    return open_scene(job.scene or "")


def _notes_of(scene: Scene) -> dict:
    return {"notes": list(scene.notes)} if isinstance(scene, Series) else {}


def check_training(job: TrainClassifierJob) -> None:
    """Raise InputError where a setting of a training can't be."""
    for name, value, known in (
        ("architecture", job.architecture, (*ARCHITECTURES, *SEGMENTATION_ARCHITECTURES)),
        ("normalisation", job.normalisation, NORMALISATIONS),
        ("split", job.split, SPLITS),
    ):
        if value not in known:
            raise InputError(f"There is no {name} '{value}'; choose one of {', '.join(known)}.")
    if _is_dense(job):
        _check_dense(job)
    elif job.architecture != "spectral_cnn":
        least = SMALLEST_PATCH[job.architecture]
        if job.patch_size % 2 == 0 or job.patch_size < least:
            raise InputError(
                f"The patch size {job.patch_size} does not suit {job.architecture}; "
                f"choose an odd number from {least} on."
            )
    if job.values != "as_is" and job.normalisation == "per_pixel":
        raise InputError(
            "Decibels can't be divided by their sum, as NORMALISATION per_pixel does; choose standard or "
            "none."
        )
    for name, share, high in (("test share", job.test_share, 1), ("learning rate", job.learning_rate, 10)):
        if not 0 < share < high:
            raise InputError(f"The {name} {share} is not between 0 and {high}.")
    for name, count, least in (
        ("number of epochs", job.epochs, 1), ("patience", job.patience, 1), ("batch size", job.batch_size, 0),
        ("number of components", job.components, 1), ("block size", job.block_size, 0), ("seed", job.seed, 0),
    ):  # fmt: skip
        if count < least:
            raise InputError(f"The {name} can't be {count}; choose {least} or more.")


def _check_dense(job: TrainClassifierJob) -> None:
    for name, count, most in (("depth", job.depth, _DEEPEST), ("number of filters", job.filters, 1024)):
        if not 1 <= count <= most:
            raise InputError(f"The {name} can't be {count}; choose one from 1 to {most}.")
    cells = 2**job.depth
    if job.tile_size < cells or job.tile_size % cells:
        below = max(job.tile_size // cells, 1) * cells
        raise InputError(
            f"The tile size {job.tile_size} is no multiple of {cells}, as a U-Net of depth {job.depth} "
            f"needs; choose {below} or {below + cells}."
        )
    if not 0 <= job.normalisation_strength <= 1:
        raise InputError(f"The normalisation strength {job.normalisation_strength} is not between 0 and 1.")


def _is_dense(job: TrainClassifierJob) -> bool:
    return job.architecture in SEGMENTATION_ARCHITECTURES


def _settings(job: TrainClassifierJob, device: str = "cpu") -> TrainingSettings:
    batch_size = job.batch_size or (_CROPS_A_STEP if _is_dense(job) else _PIXELS_A_STEP)
    return TrainingSettings(
        job.epochs, job.patience, job.learning_rate, batch_size, job.class_weights, job.seed, device
    )


def run_trial(
    job: TrainClassifierJob, learner: Learner, split: Split, device: str, context: Context,
    share: tuple[float, float], what: str = "",
) -> tuple[PatchNetwork | SegmentationNetwork, Trial]:  # fmt: skip
    """Train on a split and judge on its test pixels; `share` of the job's progress, from and to, is this.

    `what` is trained, for the progress.
    """
    start = f"Training {what}" if what else "Training"
    text = [start]

    def on_epoch(epoch: Epoch) -> None:
        text[0] = f"{start} ({split.kind} split), epoch {epoch.number} of {job.epochs}, loss {epoch.loss:.4f}"
        if epoch.number == 1 or epoch.number % 10 == 0:
            context.log(f"{text[0]}, validation accuracy {epoch.validation_accuracy:.4f}")

    def on_batch(done: float) -> None:
        context.check()
        context.progress(share[0] + 0.95 * done * (share[1] - share[0]), text[0])

    learnt = learner.learn(split, _settings(job, device), on_epoch, on_batch)
    confusion = np.zeros((len(learner.samples.names),) * 2, dtype=np.int64)
    np.add.at(confusion, (learner.samples.classes.numpy()[split.test], learnt.predicted), 1)
    trial = Trial(split, learnt.history, accuracy_of(confusion), learnt.shared_share)
    context.log(f"Accuracy on the test pixels ({split.kind} split): {trial.accuracy.overall:.4f}")
    return learnt.network, trial


def card_of(
    job: TrainClassifierJob, scene: Scene, bands: list[int], learner: Learner, trials: list[Trial],
    network: PatchNetwork | SegmentationNetwork,
) -> Card:  # fmt: skip
    """Return the card of a network that reads `bands` of the scene or series.

    Of a series it tells the dates, and how values were read. A scene's bands may have dates too, which bind
    no other scene to them.
    """
    used, series = set(bands), isinstance(scene, Series)
    return Card(
        task=PIXEL_CLASSIFICATION,
        architecture=job.architecture,
        options=learner.options,
        bands=tuple(
            CardBand(
                band.name, band.wavelength_nm, band.fwhm_nm, index in used, band.date if series else None
            )
            for index, band in enumerate(scene.bands)
        ),
        classes=card_classes(learner.samples.names),
        training={
            **({"values": job.values, "calibration": job.calibration} if series else {}),
            "label_name": job.label_name,
            "seed": job.seed,
            "settings": asdict(_settings(job)),
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
                    "global_iou": trial.accuracy.global_iou,
                    "weighted_iou": trial.accuracy.weighted_iou,
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
