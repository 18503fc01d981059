"""Explain a scene classifier's decisions, chip by chip, and put them back on the map."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
from rasterio.windows import Window

from ..engine.jobs import AttributionJob
from ..explainers.base import Explainer
from ..explainers.gradients import PassExplainer
from ..explainers.registry import check_serves, make_explainer
from ..models.files import Model
from ..rasters.errors import InputError
from ..rasters.outputs import Outputs, check_space
from ..rasters.scene import Scene
from .chip_baselines import chip_baseline
from .chip_batches import CHIPS_AT_ONCE, batches_ahead, stoppable
from .chip_outputs import ChipFolder, Layout, MapWriters
from .chip_sources import ChipSource, chips_of
from .chip_summary import ChipSummary
from .chip_worker import ChipWorker, Explained
from .context import Context
from .devices import resolve_device, workers
from .explainer_options import options_of, warn_of_coarse_layer
from .fitting import check_has_data, no_data
from .merge import Plan, merge_weights, merged
from .record import lineage_tags, run_record, stage_records, with_records
from .slide import Chips
from .targets import AUTO, OF_A_CHIP, Target, baseline_spectrum, model_units
from .tiling import in_order, within

# Methods that run a chip's many inputs through the network in batches of their own.
_FEW_AT_ONCE = 4


def explain_chips(job: AttributionJob, context: Context, model: Model, scene: Scene | None) -> dict:
    """Explain the chips of `scene`, or where it is None those of the job's folder."""
    check_serves(job.explainer, model.network)
    target = Target(job, model.card)
    baseline = chip_baseline(job.baseline, job.baseline_class, model, job.baseline_spectrum, job.seed)
    weights = merge_weights(job.merge, model.patch_size)
    device, options = resolve_device(job.device), options_of(job, model)
    if job.continuum_part:
        raise InputError("CONTINUUM_PART is of pixels, and this model classifies chips; leave it empty.")
    facts = _facts(job, model)
    explainer = make_explainer(job.explainer, model.network.to(device), options)
    _check_chip_folder(job)
    found = chips_of(job, context, model, scene)
    _warn_of_idle(job, context, found)
    if found.no_map and (job.attribution or job.saliency):
        context.warn(f"There is no attribution or saliency of all chips together, because {found.no_map}.")
    warn_of_coarse_layer([job.explainer], job.layer, [model], context)
    job = replace(job, attribution=None, saliency=None) if found.no_map else job
    layout = Layout(model.card, found.bands, None if explainer.per_band else f"Grad-CAM {job.layer}")
    summary = ChipSummary(model.card, layout, explainer, job.seed)
    inputs = [job.model, *([scene.path] if scene else _paths(found))]
    folders = [job.chip_folder] if job.chip_folder else []
    with Outputs(context.job_id, with_records(job.output_paths()), inputs, folders) as outputs:
        _check_space(job, found, layout)
        if scene:
            context.progress(0.0, "Looking for data")
            check_has_data(scene, found.window, model.card.used_bands[0])
        tags = lineage_tags(job, facts)
        with ExitStack() as stack:
            grid = found.whole.sub(found.window)
            maps = None if found.no_map else MapWriters(job, outputs, layout, grid, tags, stack)
            files = None
            if job.chip_folder and found.chips:
                staged = outputs.stage_folder(job.chip_folder)
                files = ChipFolder(staged, found.chips, found.grids, layout, tags)
            seen = _listener(context, found, summary, files)
            plan = Plan(
                weights=weights, channels=len(layout.places) + 1, memory_mb=job.memory_mb,
                values_per_pixel=4 * len(layout.places) + 2 * len(model.card.used_bands) + layout.count,
                size=_batch(explainer), ahead=batches_ahead(),
            )  # fmt: skip
            worker = ChipWorker(model, target, baseline, explainer)
            stack.enter_context(stoppable(model.network, context))
            for tile, values in _explained(found, plan, device, worker, seen):
                if maps:
                    maps.write(within(tile, found.window), values)
        if not summary.chips:
            raise no_data(scene) if scene else _no_chip(job)
        summary.warn(context, found.total)
        place, limit, sum_limit = summary.style()
        if maps:
            maps.write_styles(place, limit, sum_limit)
        if files:
            files.write_styles(place, limit)
        record = run_record(job, context, {**facts, **summary.facts()})
        stage_records(outputs, job.output_paths(), record)
    return {
        "files": job.wanted(),
        "tables": summary.tables(),
        "numbers": summary.numbers(),
        "strings": {},
        "warnings": context.warnings,
        "record": record,
    }


def _explained(
    found: ChipSource, plan: Plan, device: str, worker: ChipWorker,
    seen: Callable[[Chips, Explained, np.ndarray], None],
) -> Iterator[tuple[Window, np.ndarray]]:  # fmt: skip
    """Explain all chips and yield the merged maps, none where the chips have no common raster."""
    with workers(device) as pool:
        if not found.no_map:
            yield from merged(found.source, found.window, plan, pool, worker, seen)
            return
        for chips, result in in_order(
            pool, worker, found.source.batches(found.window, plan.size), plan.ahead
        ):
            seen(chips, result, np.full(len(chips.keys), True))


def _listener(
    context: Context, found: ChipSource, summary: ChipSummary, files: ChipFolder | None
) -> Callable[[Chips, Explained, np.ndarray], None]:
    """Return what is done with each batch of explained chips."""
    done, total = 0, found.total

    def seen(chips: Chips, result: Explained, new: np.ndarray) -> None:
        nonlocal done
        context.check()
        if files:
            files.write(chips, result, new)
        chips = Chips(*(values[new] for values in chips))
        summary.add(found.upper_left(chips), Explained(*(v[new] for v in result)), found.places(chips))
        done += int(new.sum())
        context.progress(done / total, f"Explaining, {done} of {total} chips done")

    return seen


def _batch(explainer: Explainer) -> int:
    most = CHIPS_AT_ONCE if isinstance(explainer, PassExplainer) else _FEW_AT_ONCE
    return min(explainer.batch_size(), most)


def _facts(job: AttributionJob, model: Model) -> dict:
    facts: dict = {"model_digest": model.card.digest, "chip_side": model.patch_size}
    if job.baseline not in OF_A_CHIP:
        facts["baseline_values"] = model_units(baseline_spectrum(job, model))
    if job.baseline == AUTO:
        facts |= {"baseline": "mean", "baseline_reason": "the model classifies chips"}
    return facts


def _check_chip_folder(job: AttributionJob) -> None:
    if not job.chip_folder:
        return
    if not job.patches:
        raise InputError("CHIP_FOLDER takes a raster per chip of PATCHES; leave it empty, or give PATCHES.")
    inside = os.path.realpath(job.chip_folder) + os.sep
    if inside.startswith(os.path.realpath(job.patches) + os.sep):
        raise InputError(
            f"CHIP_FOLDER {job.chip_folder} lies in PATCHES, whose chips it would join; choose another."
        )


def _paths(found: ChipSource) -> list[str]:
    return [chip.path for chip in found.chips.chips] if found.chips else []


def _check_space(job: AttributionJob, found: ChipSource, layout: Layout) -> None:
    pixels = int(found.window.width) * int(found.window.height)
    needed = {}
    if job.attribution:
        needed[job.attribution] = 4 * layout.count * pixels
    if job.saliency:
        needed[job.saliency] = 4 * 3 * pixels
    if job.chip_folder:
        needed[job.chip_folder] = 4 * layout.count * found.side**2 * found.total
    check_space(needed)


def _no_chip(job: AttributionJob) -> InputError:
    return InputError(f"No chip in {job.patches} has data on half of its pixels; choose other chips.")


def _warn_of_idle(job: AttributionJob, context: Context, found: ChipSource) -> None:
    if job.chip_stride and found.chips:
        place = "PATCHES" if job.patches else "MASK"
        context.warn(f"CHIP_STRIDE is not used: the chips are those of {place}.")
    if job.explainer == "occlusion" and job.occlusion_bands != AttributionJob.occlusion_bands:
        context.warn("OCCLUSION_BANDS is not used: windows on chips take all bands.")
