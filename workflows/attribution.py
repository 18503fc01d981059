"""Explain a classifier at every pixel of a scene, an extent or a mask."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import torch
from rasterio.windows import Window
from torch import Tensor

from ..engine.jobs import AttributionJob
from ..explainers.base import Options
from ..explainers.registry import EXPLAINERS, make_explainer
from ..models.card import PIXEL_CLASSIFICATION
from ..models.files import Model
from ..rasters.errors import InputError
from ..rasters.labels import window_of_features
from ..rasters.outputs import Outputs, check_space
from ..rasters.scene import Scene
from .attribution_outputs import AttributionWriters, Summary
from .attribution_sums import summarise_sums
from .attribution_worker import AttributionWorker
from .context import Context
from .devices import resolve_device, workers
from .fitting import check_has_data, no_data, open_pair
from .record import lineage_tags, run_record, stage_records, written_paths
from .targets import Target, baseline_spectrum
from .tiling import map_tiles, tile_count, tile_side, within

# A tile is in memory as input, in parts, and as attribution: this many float32 copies of its bands.
_COPIES = 5
# A batch takes this part of the memory, divided among the workers.
_BATCHES = 4


def explain(job: AttributionJob, context: Context) -> dict:
    """Explain what `job` asks for and summarise it per class and band."""
    if job.explainer not in EXPLAINERS:
        raise InputError(f"There is no explainer '{job.explainer}'; choose one of {', '.join(EXPLAINERS)}.")
    scene, model = open_pair(job.scene, job.model, PIXEL_CLASSIFICATION)
    target = Target(job, model.card)
    baseline = baseline_spectrum(job, model)
    window = _window(job, scene)
    device = resolve_device(job.device)
    explainer = make_explainer(job.explainer, model.network.to(device), _options(job, model))
    with Outputs(context.job_id, written_paths(job), [job.scene, job.model]) as outputs:
        grid = scene.grid.sub(window)
        pixels = grid.width * grid.height
        bands = {"attribution": len(scene.bands), "saliency": 3}
        check_space({path: 4 * bands[name] * pixels for name in bands if (path := getattr(job, name))})
        context.progress(0.0, "Looking for data")
        check_has_data(scene, window, model.card.used_bands[0])
        facts = {"model_digest": model.card.digest, "baseline_values": model_units(baseline)}
        summary = Summary(model.card, scene, explainer, job.seed)
        side = tile_side(job.memory_mb, 4 * _COPIES * len(scene.bands))
        total = tile_count(window, side)
        with ExitStack() as stack:
            writers = AttributionWriters(
                job, outputs, scene, grid, model.card, lineage_tags(job, facts), stack
            )
            pool = stack.enter_context(workers(device))
            worker = AttributionWorker(job, context, scene, model, target, baseline, explainer, pixels, pool)
            worker.learn()
            executor = stack.enter_context(ThreadPoolExecutor(1))
            if job.table_only and explainer.sums_share_work:
                summarise_sums(worker, summary, executor, window, side)
            else:
                for number, (tile, result) in enumerate(map_tiles(executor, worker.explain, window, side), 1):
                    writers.write(within(tile, window), result)
                    summary.add(result, tile)
                    context.log(f"Tile {number} of {total} done") if total > 1 else None
        if not summary.pixels:
            raise no_data(scene)
        summary.warn(context)
        writers.write_styles(summary)
        record = run_record(job, context, {**facts, **summary.facts()})
        stage_records(outputs, job, record)
    return {
        "files": {name: path for name in job.OUTPUTS if (path := getattr(job, name))},
        "tables": {"BAND_TABLE": summary.band_table()},
        "numbers": summary.numbers(),
        "strings": {},
        "warnings": context.warnings,
        "record": record,
    }


def model_units(baseline: Tensor) -> list[float]:
    """Return the baseline as plain numbers for the record."""
    return [float(f"{value:.7g}") for value in baseline.tolist()]


def _window(job: AttributionJob, scene: Scene) -> Window:
    window = scene.grid.window_of(job.extent)
    if not job.mask_features:
        return window
    masked = window_of_features(job.mask_features, scene.grid)
    left, top = max(window.col_off, masked.col_off), max(window.row_off, masked.row_off)
    right = min(window.col_off + window.width, masked.col_off + masked.width)
    bottom = min(window.row_off + window.height, masked.row_off + masked.height)
    if right <= left or bottom <= top:
        raise InputError("The mask and the extent do not overlap; change one of them.")
    return Window(left, top, right - left, bottom - top)


def _options(job: AttributionJob, model: Model) -> Options:
    for name, value, least in (
        ("number of steps", job.steps, 0), ("most steps", job.max_steps, 2),
        ("number of samples", job.samples, 1),
        ("occlusion window", job.occlusion_window, 0), ("number of occlusion bands", job.occlusion_bands, 0),
        ("occlusion stride", job.occlusion_stride, 0), ("seed", job.seed, 0),
    ):  # fmt: skip
        if value < least:
            raise InputError(f"The {name} can't be {value}; choose {least} or more.")
    if not 0 < job.tolerance <= 1:
        raise InputError(f"The tolerance can't be {job.tolerance}; choose a fraction above 0, such as 0.01.")
    background = model.network.prepare(model.spectra.background[:, :, None, None])[:, :, 0, 0]
    return Options(
        steps=job.steps, max_steps=job.max_steps, tolerance=job.tolerance, samples=job.samples, seed=job.seed,
        occlusion_window=job.occlusion_window, occlusion_bands=job.occlusion_bands,
        occlusion_stride=job.occlusion_stride, background=background,
        memory=job.memory_mb * 2**20 // (_BATCHES * torch.get_num_threads()),
    )  # fmt: skip
