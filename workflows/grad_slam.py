"""Map which dates made the embedding of a series (Grad-SLAM)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import cast

import numpy as np
import torch
from scipy.stats import spearmanr

from ..engine.series_jobs import GradSlamJob
from ..explainers.channel_shares import MOST_CHANNELS
from ..explainers.date_dependence import date_dependence
from ..explainers.grad_slam import SCALINGS, VARIANTS, receptive
from ..models.autoencoder import Autoencoder
from ..models.card import SERIES_AUTOENCODER
from ..models.files import Model
from ..rasters.errors import InputError
from ..rasters.outputs import Outputs
from ..rasters.series import Series
from .context import Context
from .date_directions import Directions, directions_of
from .date_maps import untrained
from .date_profiles import Profiles
from .date_worker import DateWorker
from .date_writers import DateWriters
from .devices import resolve_device
from .fitting import no_data
from .record import lineage_tags, run_record, stage_records, with_records
from .series_labels import SeriesLabels, label_paths, read_series_labels
from .series_plot import plot_profiles
from .series_reading import open_series_pair, unit_of
from .tiling import map_tiles, tile_side, within

# A tile is in memory as values, observed ones, and maps: this many float32 copies of its bands.
_COPIES = 8
_TOP = 3
# Scalings that give sizes, of which there are shares.
_SIZES = ("absolute_minmax", "l1_share")
_FRESH = 1  # stream of the seed that untrained networks are drawn by
_ALIKE = 0.9


def explain(job: GradSlamJob, context: Context) -> dict:
    """Explain the embedding of the series that `job` names, and summarise it per class and date."""
    device = resolve_device(job.device)
    series, model = open_series_pair(job.series, job.model, context, SERIES_AUTOENCODER)
    _check(job, series, model)
    window = series.grid.window_of(job.extent)
    inputs = [*series.paths, job.model, *label_paths(job)]
    with Outputs(context.job_id, with_records(job.output_paths()), inputs) as outputs:
        context.progress(0.0, "Reading labels")
        labels = read_series_labels(job, series.grid, context)
        directions = directions_of(job, context, series, model, labels, device)
        unit = unit_of(model.card.training["values"])
        grid = series.grid.sub(window)
        facts = {"model_digest": model.card.digest, **directions.facts(), "notes": list(series.notes)}
        others = _untrained(job, context, series, model, labels, device)
        total = grid.width * grid.height
        worker = DateWorker(job, context, series, model, directions, others, total, device)
        profiles = Profiles(series, directions, labels, unit, job.seed)
        pixels, residual, score = 0, 0.0, 0.0
        sums, counts, plain = np.zeros((3, len(series.dates)))
        with ExitStack() as stack:
            writers = DateWriters(job, outputs, series, directions, grid, lineage_tags(job, facts), stack)
            executor = stack.enter_context(ThreadPoolExecutor(1))
            side = tile_side(job.memory_mb, 4 * _COPIES * len(series.bands))
            for tile, result in map_tiles(executor, worker.explain, window, side):
                writers.write(within(tile, window), result)
                rows, cols = result.rows + int(tile.row_off), result.cols + int(tile.col_off)
                classes = labels.classes_at(rows, cols) if labels else np.zeros(len(rows), dtype=np.int64)
                keys = rows * np.int64(series.grid.width) + cols
                profiles.add(classes, result.values, result.importance, keys)
                known = np.isfinite(result.combined)
                sums += np.where(known, result.combined, 0).sum(0, dtype=np.float64)
                counts += known.sum(0)
                if result.untrained is not None:
                    plain += np.nan_to_num(result.untrained).sum(0, dtype=np.float64)
                pixels += len(rows)
                if result.anomaly_residual is not None and result.anomaly is not None:
                    residual += float(np.abs(result.anomaly_residual).sum())
                    score += float(result.anomaly.sum())
        if not pixels:
            raise no_data(series)
        if not profiles.importance():
            raise InputError(
                "No labelled pixel in the extent has data; choose other labels or another extent."
            )
        writers.write_styles(profiles.limit())
        mean = sums / np.where(counts > 0, counts, np.nan)
        top = [series.dates[t] for t in np.argsort(-np.nan_to_num(mean, nan=-np.inf))[:_TOP]]
        threshold = writers.anomaly_threshold()
        alike = _correlation(mean, plain / np.where(counts > 0, counts, np.nan)) if others else None
        if alike is not None and alike > _ALIKE:
            context.warn(
                f"Networks that learnt nothing rank the dates nearly alike (rank correlation {alike:.2f}): "
                "they matter because the series is unusual then. See BEYOND_UNTRAINED for what was learnt."
            )
        found = {
            "pixels": pixels,
            "most_important_dates": top,
            "dates_that_layers_see": _reach(model),
            "untrained_networks": len(others),
            "untrained_correlation": alike,
            "anomaly_threshold": threshold,
            "anomaly_mean_residual": residual / score if job.anomaly_dates and score else None,
        }
        if job.plot:
            title = f"Importance of dates, {job.variant.replace('_', '-')} Grad-SLAM"
            channel = series.channels.index(job.plot_channel) if job.plot_channel else 0
            plot_profiles(outputs.stage(job.plot), profiles.panels(channel), title)
        record = run_record(job, context, {**facts, **found})
        stage_records(outputs, job.output_paths(), record)
    numbers = {"PIXELS": pixels, "ANOMALY_THRESHOLD": threshold, "UNTRAINED_CORRELATION": alike}
    return {
        "files": job.wanted(),
        "tables": {"PROFILES": profiles.table(), "DEPENDENCE": _dependence(series, model, device)},
        "numbers": {name: value for name, value in numbers.items() if value is not None},
        "strings": {"TOP_DATES": ", ".join(top)},
        "warnings": context.warnings,
        "record": record,
    }


def _check(job: GradSlamJob, series: Series, model: Model) -> None:
    for name, value, known in (("variant", job.variant, VARIANTS), ("scaling", job.scaling, SCALINGS)):
        if value not in known:
            raise InputError(f"There is no {name} '{value}'; choose one of {', '.join(known)}.")
    if job.plot_channel and job.plot_channel not in series.channels:
        raise InputError(
            f"The series has no channel '{job.plot_channel}' to plot; choose one of "
            f"{', '.join(series.channels)}."
        )
    convolutions = cast(Autoencoder, model.network).convolutions
    if wrong := [layer for layer in job.layers if not 1 <= layer <= convolutions]:
        raise InputError(
            f"The encoder has no layer {wrong[0]}; its {convolutions} convolutions are counted from 1."
        )
    channels = cast(Autoencoder, model.network).channels
    if job.channel_share and channels > MOST_CHANNELS:
        raise InputError(
            f"The shares of {channels} channels would take all their coalitions; CHANNEL_SHARE is for "
            f"{MOST_CHANNELS} or fewer. Train a model on fewer CHANNELS, or leave it empty."
        )
    if job.beyond_untrained and job.scaling not in _SIZES:
        raise InputError(
            f"BEYOND_UNTRAINED is told in shares of sizes, which the scaling '{job.scaling}' does not give; "
            f"choose {' or '.join(_SIZES)}, or leave it empty."
        )
    if job.beyond_untrained and job.untrained < 1:
        raise InputError(f"There can't be {job.untrained} untrained networks; choose 1 or more.")
    if job.anomaly_steps < 1:
        raise InputError(f"There can't be {job.anomaly_steps} steps; choose 1 or more.")


def _untrained(
    job: GradSlamJob, context: Context, series: Series, model: Model, labels: SeriesLabels | None, device: str
) -> list[tuple[Model, Directions]]:
    """Return the networks that learnt nothing, and their directions; none where they are not wanted."""
    if not job.beyond_untrained:
        return []
    seeds = np.random.SeedSequence([job.seed, _FRESH]).generate_state(job.untrained)
    models = [untrained(model, int(seed)) for seed in seeds]
    return [(fresh, directions_of(job, context, series, fresh, labels, device)) for fresh in models]


def _correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Return Spearman's rank correlation over the dates known to both; None where one is constant."""
    known = np.isfinite(one) & np.isfinite(other)
    if known.sum() < 2 or np.ptp(one[known]) == 0 or np.ptp(other[known]) == 0:
        return None
    return float(spearmanr(one[known], other[known]).statistic)


def _reach(model: Model) -> dict[str, int]:
    """Return for each convolution how many dates an entry of its map sees: maps are no sharper than that."""
    network = cast(Autoencoder, model.network)
    windows = {layer: receptive(network, layer) for layer in range(1, network.convolutions + 1)}
    return {f"layer {layer}": int((w[:, 1] - w[:, 0]).max()) + 1 for layer, w in windows.items()}


@torch.no_grad()
def _dependence(series: Series, model: Model, device: str) -> dict:
    """Return the table of how much each reconstructed date depends on each date, over training series."""
    network = cast(Autoencoder, model.network.to(device))
    found = date_dependence(network, network.prepare(model.spectra.background.to(device))).cpu()
    columns = [
        ("reconstructed_date", "string", "Reconstructed date"), ("date", "string", "Date"),
        ("dependence", "double", "Mean size of the derivative"),
    ]  # fmt: skip
    rows = [
        [out, day, float(found[o, t])]
        for o, out in enumerate(series.dates)
        for t, day in enumerate(series.dates)
    ]
    return {"columns": [dict(zip(("name", "type", "alias"), c)) for c in columns], "rows": rows}
