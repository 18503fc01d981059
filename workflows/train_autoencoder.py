"""Train an autoencoder of the series of single pixels."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from ..engine.series_jobs import TrainAutoencoderJob
from ..models.autoencoder import Autoencoder, autoencoder
from ..models.autoencoder_training import (
    AutoencoderEpoch,
    AutoencoderSettings,
    fit_autoencoder,
    reconstruction_error,
)
from ..models.card import SERIES_AUTOENCODER, Card, CardBand, card_classes
from ..models.files import Spectra, save_model
from ..rasters.errors import InputError
from ..rasters.outputs import Outputs
from ..rasters.series import Series
from .context import Context
from .devices import resolve_device
from .record import run_record, stage_records, with_records
from .report import autoencoder_report
from .series_labels import SeriesLabels, label_paths, read_series_labels
from .series_reading import SeriesPixels, draw_pixels, open_source, read_pixels, unit_of

_ARCHITECTURE = "conv_autoencoder"
_VALIDATION_SHARE = 0.1
# Series without a label are held out together with those of their block of this side.
_BLOCK = 16
# Training series that the model file keeps, to start explanations from.
_BACKGROUND = 512
_FEWEST = 20
# With less the network has nothing to tell apart, with more the embedding is no summary.
_DIMENSIONS = (1, 64)


def train(job: TrainAutoencoderJob, context: Context) -> dict:
    """Train the autoencoder that `job` describes, and measure it on pixels that it has not seen."""
    _check(job)
    device = resolve_device(job.device)
    series = open_source(job.series, context, job.values, job.calibration)
    window = series.grid.window_of(job.extent)
    inputs = [*series.paths, *label_paths(job)]
    with Outputs(context.job_id, with_records(job.output_paths()), inputs) as outputs:
        context.progress(0.0, "Reading the series")
        labels = read_series_labels(job, series.grid, context)
        tests = _test_pixels(job, labels)
        pixels = draw_pixels(series, window, job.sample, job.seed, context.check, tests)
        train_rows, validation_rows = _held_out(job, pixels, labels)
        network, history = _fit(job, context, series, pixels, train_rows, validation_rows, device)
        errors = {"training": _errors(network, pixels[train_rows])}
        errors["validation"] = _errors(network, pixels[validation_rows])
        counts = {"training": len(train_rows), "validation": len(validation_rows)}
        if labels is not None and tests is not None:
            chosen = np.sort(np.random.default_rng(job.seed).permutation(tests)[: job.sample])
            rows, cols = np.divmod(chosen, series.grid.width)
            tested = read_pixels(series, rows, cols, context.check)
            if len(tested):
                errors["test"], counts["test"] = _errors(network, tested), len(tested)
        card = _card(job, series, network, history, errors, counts)
        card = save_model(outputs.stage(job.model), network, _spectra(job, pixels, train_rows), card)
        facts = {"model_digest": card.digest, "training": card.training, "notes": list(series.notes)}
        record = run_record(job, context, facts)
        if job.report:
            with open(outputs.stage(job.report), "w", encoding="utf-8") as file:
                file.write(autoencoder_report(job, card, series, history, errors, counts, record))
        stage_records(outputs, job.output_paths(), record)
    last = errors["test" if "test" in errors else "validation"]
    return {
        "files": job.wanted(),
        "tables": {"ERRORS": _error_table(series, network, errors, counts, unit_of(job.values))},
        "numbers": {"RECONSTRUCTION_ERROR": float(last.mean()), "DATES": len(series.dates)},
        "strings": {},
        "warnings": context.warnings,
        "record": record,
    }


def _check(job: TrainAutoencoderJob) -> None:
    low, high = _DIMENSIONS
    if not low <= job.embedding_dimensions <= high:
        raise InputError(
            f"An embedding can't have {job.embedding_dimensions} dimensions; choose from {low} to {high}."
        )
    for name, count, least in (
        ("number of epochs", job.epochs, 1), ("patience", job.patience, 1), ("batch size", job.batch_size, 2),
        ("sample", job.sample, _FEWEST), ("stride", job.stride, 1), ("seed", job.seed, 0),
    ):  # fmt: skip
        if count < least:
            raise InputError(f"The {name} can't be {count}; choose {least} or more.")
    if not 0 < job.learning_rate < 1:
        raise InputError(f"The learning rate {job.learning_rate} is not between 0 and 1.")


def _test_pixels(job: TrainAutoencoderJob, labels: SeriesLabels | None) -> np.ndarray | None:
    """Return the keys of the pixels that only test, rising; None without labels."""
    if labels is None:
        return None
    return labels.keys[labels.split(job.test_share, job.seed).test]


def _held_out(
    job: TrainAutoencoderJob, pixels: SeriesPixels, labels: SeriesLabels | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return which pixels train and which validate: whole parcels, and whole blocks where there are none.

    Raises InputError where there are too few.
    """
    blocks = (pixels.rows // _BLOCK) << 32 | pixels.cols // _BLOCK
    if labels is not None:
        parcels = labels.parcels_at(pixels.rows, pixels.cols)
        blocks = np.where(parcels >= 0, -1 - parcels, blocks)
    groups, members = np.unique(blocks, return_inverse=True)
    order = np.random.default_rng(job.seed).permutation(len(groups))
    sizes = np.bincount(members.reshape(-1))[order]
    # Groups are taken until a tenth of the pixels is, at least one, and not the last.
    taken = np.cumsum(sizes) - sizes < _VALIDATION_SHARE * len(pixels)
    taken[-1] = False
    held_out = np.isin(members.reshape(-1), order[taken])
    if len(pixels) < _FEWEST or not held_out.any():
        raise InputError(
            f"Only {len(pixels)} pixel(s) with data are there to train on, in {len(groups)} place(s) that "
            f"lie apart; {_FEWEST} or more in two or more places are needed. Choose a larger extent or "
            "sample."
        )
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _fit(
    job: TrainAutoencoderJob, context: Context, series: Series, pixels: SeriesPixels,
    train_rows: np.ndarray, validation_rows: np.ndarray, device: str,
) -> tuple[Autoencoder, list[AutoencoderEpoch]]:  # fmt: skip
    text = ["Training"]

    def on_epoch(epoch: AutoencoderEpoch) -> None:
        text[0] = f"Training, epoch {epoch.number} of {job.epochs}, loss {epoch.loss:.4f}"
        if epoch.number == 1 or epoch.number % 10 == 0:
            context.log(f"{text[0]}, validation {epoch.validation_loss:.4f}")

    def on_batch(done: float) -> None:
        context.check()
        context.progress(0.05 + 0.9 * done, text[0])

    torch.manual_seed(job.seed)
    network = autoencoder(**_options(job, series))
    settings = AutoencoderSettings(
        job.epochs, job.patience, job.learning_rate, job.batch_size, job.seed, device
    )
    history = fit_autoencoder(
        network, pixels.values, pixels.observed, train_rows, validation_rows, settings, on_epoch, on_batch
    )
    return network.eval(), history


def _options(job: TrainAutoencoderJob, series: Series) -> dict:
    return {
        "dates": len(series.dates), "channels": len(series.channels),
        "dimensions": job.embedding_dimensions, "stride": job.stride,
    }  # fmt: skip


def _errors(network: Autoencoder, pixels: SeriesPixels) -> Tensor:
    return reconstruction_error(network, pixels.values, pixels.observed)


def _spectra(job: TrainAutoencoderJob, pixels: SeriesPixels, train_rows: np.ndarray) -> Spectra:
    """Return the mean series, that again per dimension, which has no classes, and a sample of series."""
    values = pixels.values[torch.from_numpy(train_rows)]
    mean = values.double().mean(0).float()
    chosen = np.sort(np.random.default_rng(job.seed).permutation(len(values))[:_BACKGROUND])
    return Spectra(mean, mean.expand(job.embedding_dimensions, -1), values[torch.from_numpy(chosen)])


def _card(
    job: TrainAutoencoderJob, series: Series, network: Autoencoder, history: list[AutoencoderEpoch],
    errors: dict[str, Tensor], counts: dict[str, int],
) -> Card:  # fmt: skip
    return Card(
        task=SERIES_AUTOENCODER,
        architecture=_ARCHITECTURE,
        options=_options(job, series),
        bands=tuple(CardBand(band.name, None, None, True, band.date) for band in series.bands),
        classes=card_classes([f"dimension {d}" for d in range(1, job.embedding_dimensions + 1)]),
        training={
            "values": job.values,
            "calibration": job.calibration,
            "seed": job.seed,
            "settings": {
                "epochs": job.epochs, "patience": job.patience, "learning_rate": job.learning_rate,
                "batch_size": job.batch_size, "weight_decay": AutoencoderSettings.weight_decay,
            },
            "parameters": sum(p.numel() for p in network.parameters()),
            "epochs": len(history),
            "history": [asdict(epoch) for epoch in history],
            "label_name": job.label_name,
            "test_share": job.test_share if label_paths(job) else None,
            "pixels": counts,
            "mean_squared_error": {
                part: dict(zip(series.channels, (float(f"{e:.6g}") for e in values.tolist())))
                for part, values in errors.items()
            },
        },
    )  # fmt: skip


def _error_table(
    series: Series, network: Autoencoder, errors: dict[str, Tensor], counts: dict[str, int], unit: str
) -> dict:
    shown = f" ({unit})" if unit else ""
    squared = f" ({unit}²)" if unit else ""
    columns = [
        ("pixels_of", "string", "Pixels"), ("channel", "string", "Channel"), ("pixels", "int", "Count"),
        ("mean_squared_error", "double", f"Mean squared error{squared}"),
        ("root_mean_squared_error", "double", f"Root mean squared error{shown}"),
        ("explained_variance", "double", "Share of the channel's variance that is explained"),
    ]  # fmt: skip
    deviation = network.scaling.scale[: len(series.channels)]
    rows = [
        [part, name, counts[part], float(error), float(error.sqrt()), float(1 - error / deviation[c] ** 2)]
        for part, values in errors.items()
        for c, (name, error) in enumerate(zip(series.channels, values))
    ]
    return {"columns": [dict(zip(("name", "type", "alias"), c)) for c in columns], "rows": rows}
