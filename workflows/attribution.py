"""Explain a classifier at every pixel of a scene, an extent or a mask."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from rasterio.windows import Window

from ..engine.jobs import AttributionJob
from ..explainers.dense import Dense
from ..explainers.registry import check_serves, make_explainer
from ..explainers.two_legs import TwoLegs
from ..models.card import PIXEL_CLASSIFICATION, SCENE_CLASSIFICATION, UNMIXING
from ..models.files import Model, load_model
from ..rasters.errors import InputError
from ..rasters.labels import window_of_features
from ..rasters.outputs import Outputs, check_space
from ..rasters.scene import Scene
from ..rasters.series import paths_of
from .attribution_outputs import AttributionWriters, Summary, saliency_bands
from .attribution_sums import summarise_sums
from .attribution_worker import AttributionWorker, TileResult
from .chip_attribution import explain_chips
from .chip_batches import stoppable
from .context import Context
from .dense_parts import divided
from .dense_worker import DenseWorker
from .devices import resolve_device, workers
from .explainer_options import options_of
from .fitting import check_has_data, no_data, open_pair
from .pixel_baselines import pixel_baseline
from .record import lineage_tags, run_record, stage_records, with_records
from .series_reading import open_series_pair
from .targets import AUTO, REFERENCE, Target
from .tiling import map_tiles, tile_count, tile_side, within
from .truth_windows import TruthWindows

# A tile is in memory as input, in parts, and as attribution: this many float32 copies of its bands. The part
# of the continuum and what it starts from are as many more.
_COPIES, _COPIES_OF_LEG = 5, 2


def explain(job: AttributionJob, context: Context) -> dict:
    """Explain what `job` asks for and summarise it per class and band."""
    if sum(map(bool, (job.scene, job.series, job.patches))) != 1:
        raise InputError(
            "What is explained is the raster INPUT, the rasters SERIES or the chips in PATCHES; give one."
        )
    _check_reference(job, context)
    if job.series:
        return _explain_pixels(job, context, *open_series_pair(job.series, job.model, context))
    tasks = (PIXEL_CLASSIFICATION, SCENE_CLASSIFICATION, UNMIXING)
    if not job.scene:
        model = load_model(job.model, *tasks)
        if model.card.task != SCENE_CLASSIFICATION:
            raise InputError(
                f"The model file {job.model} classifies pixels, not chips; give a raster as INPUT."
            )
        return explain_chips(job, context, model, None)
    scene, model = open_pair(job.scene, job.model, *tasks)
    if model.card.task == SCENE_CLASSIFICATION:
        return explain_chips(job, context, model, scene)
    return _explain_pixels(job, context, scene, model)


def _explain_pixels(job: AttributionJob, context: Context, scene: Scene, model: Model) -> dict:
    check_serves(job.explainer, model.network)
    window = explained_window(scene, job.extent, job.mask_features)
    target = Target(job, model.card, _truth(job, context, scene, model, window))
    device, options = resolve_device(job.device), options_of(job, model)
    explainer = make_explainer(job.explainer, model.network, options)
    baseline = pixel_baseline(job, scene, model, explainer.uses_baseline)
    legs = TwoLegs(job.explainer, model.network, options) if baseline.reference is not None else None
    explainer = legs.absorption if legs else explainer
    model.network.to(device)
    _warn_of_idle(job, context, legs)
    if job.chip_folder:
        raise InputError(
            "CHIP_FOLDER takes a raster per chip, and the model classifies pixels; leave it empty."
        )
    dense = isinstance(explainer, Dense)
    parts, divider = divided(job, context, scene, model, explainer)
    inputs = _inputs(job, scene)
    with Outputs(context.job_id, with_records(job.output_paths()), inputs) as outputs:
        grid = scene.grid.sub(window)
        pixels = grid.width * grid.height
        bands = {
            "attribution": len(parts.bands), "saliency": len(saliency_bands(dense)),
            "continuum_part": len(parts.bands),
        }  # fmt: skip
        check_space({path: 4 * bands[name] * pixels for name in bands if (path := getattr(job, name))})
        context.progress(0.0, "Looking for data")
        check_has_data(scene, window, model.card.used_bands[0])
        facts: dict = {"model_digest": model.card.digest, **baseline.facts}
        summary = Summary(model.card, parts, scene.grid.width, explainer, job.seed)
        with ExitStack() as stack:
            if target.truth:
                context.progress(0.0, "Looking through the reference")
                facts["reference_pixels"] = stack.enter_context(target.truth).pixels
            writers = AttributionWriters(job, outputs, parts, grid, dense, lineage_tags(job, facts), stack)
            executor = stack.enter_context(ThreadPoolExecutor(1))
            worker: AttributionWorker | DenseWorker
            if divider:
                stack.enter_context(stoppable(model.network, context))
                worker = DenseWorker(job, context, scene, model, target, baseline, divider, pixels)
                side = worker.side(job.memory_mb)
            else:
                pool = stack.enter_context(workers(device))
                worker = AttributionWorker(
                    job, context, scene, model, target, baseline, legs or explainer, pixels, pool
                )
                worker.learn()
                copies = _COPIES + (_COPIES_OF_LEG if legs else 0)
                side = tile_side(job.memory_mb, 4 * copies * len(scene.bands))
            if job.table_only and explainer.sums_share_work and isinstance(worker, AttributionWorker):
                summarise_sums(worker, summary, executor, window, side)
            else:
                total, work = tile_count(window, side), _where_named(worker, target)
                for number, (tile, result) in enumerate(map_tiles(executor, work, window, side), 1):
                    if result:
                        writers.write(within(tile, window), result)
                        summary.add(result, tile)
                    context.log(f"Tile {number} of {total} done") if total > 1 else None
        if not summary.pixels:
            raise _nothing_named(scene) if target.truth else no_data(scene)
        summary.warn(context)
        writers.write_styles(summary)
        record = run_record(job, context, {**facts, **summary.facts()})
        stage_records(outputs, job.output_paths(), record)
    return {
        "files": job.wanted(),
        "tables": {"BAND_TABLE": summary.band_table()},
        "numbers": summary.numbers(),
        "strings": {},
        "warnings": context.warnings,
        "record": record,
    }


def _where_named(
    worker: AttributionWorker | DenseWorker, target: Target
) -> Callable[[Window], TileResult | None]:  # fmt: skip
    """Return what explains a tile; of one that a reference says nothing of, None: it stays nodata."""
    if target.truth is None:
        return worker.explain

    def explain_named(tile: Window) -> TileResult | None:
        named = target.named(tile)
        if named is None or (named >= 0).any():
            return worker.explain(tile)
        worker.skip(tile)
        return None

    return explain_named


def _check_reference(job: AttributionJob, context: Context) -> None:
    given = job.reference_features or job.reference_raster
    if job.target == REFERENCE and not given:
        raise InputError(
            "The target 'reference' needs REFERENCE: points or polygons with a class, or a raster of classes."
        )
    if given and job.target != REFERENCE:
        context.warn(f"REFERENCE is not used with TARGET={job.target}.")


def _truth(
    job: AttributionJob, context: Context, scene: Scene, model: Model, window: Window
) -> TruthWindows | None:
    if job.target != REFERENCE or model.card.task != PIXEL_CLASSIFICATION:
        return None
    return TruthWindows(job, context, model.card, scene.grid, window)


def _nothing_named(scene: Scene) -> InputError:
    return InputError(
        f"No pixel that the reference names a class of has data in all bands of {scene.path}, or lies in the "
        "mask; choose another reference, extent or mask."
    )


def _inputs(job: AttributionJob, scene: Scene) -> list[str]:
    given = (job.region_features, job.region_raster, job.reference_features, job.reference_raster)
    return [path for path in (*paths_of(scene), job.model, *given) if path]


def explained_window(scene: Scene, extent: list[float] | None, mask: str | None) -> Window:
    """Return the pixels of an extent and of a mask's features; InputError where they have none in common."""
    window = scene.grid.window_of(extent)
    if not mask:
        return window
    masked = window_of_features(mask, scene.grid)
    left, top = max(window.col_off, masked.col_off), max(window.row_off, masked.row_off)
    right = min(window.col_off + window.width, masked.col_off + masked.width)
    bottom = min(window.row_off + window.height, masked.row_off + masked.height)
    if right <= left or bottom <= top:
        raise InputError("The mask and the extent do not overlap; change one of them.")
    return Window(left, top, right - left, bottom - top)


def _warn_of_idle(job: AttributionJob, context: Context, legs: TwoLegs | None) -> None:
    if job.continuum_part and not legs:
        raise InputError(
            "CONTINUUM_PART is what level and slope did, which only the baseline 'continuum' tells apart; "
            "choose that and an explainer that starts from a baseline, or leave CONTINUUM_PART empty."
        )
    if job.wavelengths and job.baseline == AUTO and not legs:
        context.warn("WAVELENGTHS is not used: the baseline is the mean here.")
    for name, default in (("chip_stride", AttributionJob.chip_stride), ("merge", AttributionJob.merge)):
        if getattr(job, name) != default:
            context.warn(f"{name.upper()} is not used: the model classifies pixels, not chips.")
