"""Unmix a scene: what its pixels are made of, and in what shares."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import cast

from ..engine.unmix_jobs import UnmixJob
from ..models.card import UNMIXING, Card
from ..models.files import Model, save_model
from ..models.unmixers import UNMIXERS, AbundanceNetwork
from ..rasters.errors import InputError, first_of
from ..rasters.outputs import Outputs
from ..rasters.scene import Scene, open_scene
from .context import Context
from .devices import resolve_device
from .fitting import check_has_data, no_data, open_pair
from .record import lineage_tags, run_record, stage_records, with_records
from .tiling import map_tiles, tile_side, within
from .unmix_summary import UnmixSummary
from .unmix_training import learn
from .unmix_worker import UnmixWorker
from .unmix_writers import UnmixWriters, bands_of, given, lacking

PARTS_OF = ("mean", "bands")
# Share of the progress at which learning has ended.
_LEARNT = 0.7
# A tile is in memory as stored, as reflectance, and as rows.
_COPIES = 3


def unmix(job: UnmixJob, context: Context) -> dict:
    """Unmix the scene that `job` names, with a model that it learns or with a trained one."""
    _check(job)
    device = resolve_device(job.device)
    inputs = [path for path in (job.scene, job.spectra, job.trained_model) if path]
    with Outputs(context.job_id, with_records(job.output_paths()), inputs) as outputs:
        scene, model, facts, begun = _model(job, context, device)
        window = scene.grid.window_of(job.extent)
        card = model.card
        check_has_data(scene, window, card.used_bands[0])
        _warn_of_missing(job, card, context)
        if job.model and not job.trained_model:
            card = save_model(outputs.stage(job.model), model.network, model.spectra, card)
        facts = {
            "model_digest": card.digest, "scale": card.training["scale"],
            "any_brightness": bool(card.options.get("any_brightness")), **facts,
        }  # fmt: skip
        network = cast(AbundanceNetwork, model.network)
        spectra = (model.spectra.class_means.double() / float(card.training["scale"])).numpy()
        summary = UnmixSummary(card, spectra, job.seed)
        grid = scene.grid.sub(window)
        worker = UnmixWorker(
            job, context, scene, model, network, summary, grid.width * grid.height, device, begun
        )
        with ExitStack() as stack:
            writers = UnmixWriters(job, outputs, scene, card, grid, lineage_tags(job, facts), stack)
            executor = stack.enter_context(ThreadPoolExecutor(1))
            for tile, found in map_tiles(executor, worker.unmix, window, _side(job, scene, model)):
                writers.write(within(tile, window), found)
        if not summary.pixels:
            raise no_data(scene)
        summary.warn(context)
        writers.write_styles(summary.limits)
        record = run_record(job, context, {**facts, **summary.facts()})
        files = {**given(job, card), **({"model": job.model} if job.model and not job.trained_model else {})}
        stage_records(outputs, list(files.values()), record)
    return {
        "files": files,
        "tables": {"ENDMEMBERS_TABLE": summary.table(scene)},
        "numbers": summary.numbers(),
        "strings": {},
        "warnings": context.warnings,
        "record": record,
    }


def _check(job: UnmixJob) -> None:
    if job.method not in UNMIXERS:
        raise InputError(f"There is no method '{job.method}'; choose one of {', '.join(UNMIXERS)}.")
    if job.parts_of not in PARTS_OF:
        raise InputError(f"Parts can't be of '{job.parts_of}'; choose one of {', '.join(PARTS_OF)}.")
    if job.endmembers < 0 or job.endmembers == 1:
        raise InputError(
            f"There can't be {job.endmembers} endmember(s); choose 2 or more, or 0 for as many as the scene "
            "shows."
        )
    if not 0 <= job.scale < float("inf"):
        raise InputError(f"The scale can't be {job.scale:g}; choose a number above 0, or 0 to have it told.")
    for name, count, least in (
        ("number of epochs", job.epochs, 1), ("sample", job.sample, 1), ("bundle size", job.bundle_size, 1),
        ("seed", job.seed, 0),
    ):  # fmt: skip
        if count < least:
            raise InputError(f"The {name} can't be {count}; choose {least} or more.")


def _warn_of_missing(job: UnmixJob, card: Card, context: Context) -> None:
    missing: dict[str, list[str]] = {}
    for name, reason in lacking(card).items():
        if reason and name in job.wanted():
            missing.setdefault(reason, []).append(name.upper())
    for reason, names in missing.items():
        context.warn(f"{reason} {first_of(names)}.")


def _model(job: UnmixJob, context: Context, device: str) -> tuple[Scene, Model, dict, float]:
    """Return the scene, its model, what the record is to tell of it, and the share of the work done."""
    if not job.trained_model:
        scene = open_scene(job.scene)
        window = scene.grid.window_of(job.extent)
        return (scene, *learn(job, context, scene, window, device), _LEARNT)
    scene, model = open_pair(job.scene, job.trained_model, UNMIXING)
    if model.card.architecture != job.method:
        raise InputError(
            f"The model file {job.trained_model} unmixes by {model.card.architecture}, and METHOD is "
            f"{job.method}; choose METHOD {model.card.architecture}, or another model."
        )
    if job.model:
        context.warn("MODEL is not written again: TRAINED_MODEL is the model.")
    return scene, model, {}, 0.0


def _side(job: UnmixJob, scene: Scene, model: Model) -> int:
    """Return the side of tiles that memory allows: their values, and planes of the outputs, twice."""
    bands = bands_of(model.card, scene, job.parts_of)
    planes = sum(len(bands[name]) for name in given(job, model.card))
    return tile_side(job.memory_mb, 4 * (_COPIES * len(scene.bands) + 2 * planes))
