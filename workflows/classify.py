"""Classify a scene: classes, confidence and probabilities, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import cast

import numpy as np
import torch
from rasterio.windows import Window

from ..engine.jobs import ClassifyJob
from ..models.card import PIXEL_CLASSIFICATION, SCENE_CLASSIFICATION
from ..models.files import Model
from ..models.networks import PatchNetwork
from ..models.segmentation_networks import SegmentationNetwork
from ..rasters.errors import InputError
from ..rasters.outputs import Outputs, check_space
from ..rasters.scene import Grid, Scene
from ..rasters.series import paths_of
from ..rasters.styles import qml_path, write_classes_qml, write_sequential_qml
from ..rasters.writers import RasterWriter, class_dtype
from .classify_dense import dense_tiles
from .classify_slide import SlideClassifier
from .context import Context
from .devices import resolve_device
from .fitting import check_has_data, no_data, open_pair
from .record import lineage_tags, run_record, stage_records, with_records
from .series_reading import open_series_pair
from .tiling import BLOCK, map_tiles, read_tile, tile_count, tile_side, within

# Activations of all layers at once, in bytes a pixel, for the widest of our networks.
_BYTES_PER_PIXEL = 16_384
_STRIP = 16
_SPECTRA = 128


def classify(job: ClassifyJob, context: Context) -> dict:
    """Classify the scene, the series or the extent that `job` names."""
    scene, model = _opened(job, context)
    window = scene.grid.window_of(job.extent)
    card, device = model.card, resolve_device(job.device)
    if not job.output_paths():
        raise InputError("No output is wanted; choose classes, confidence or probabilities.")
    slide = SlideClassifier(job, scene, model, device) if card.task == SCENE_CLASSIFICATION else None
    with Outputs(context.job_id, with_records(job.output_paths()), [*paths_of(scene), job.model]) as outputs:
        grid = scene.grid.sub(window)
        pixels = grid.width * grid.height
        bytes_each = {"classes": 1, "confidence": 4, "probabilities": 4 * len(card.classes)}
        check_space({path: bytes_each[name] * pixels for name in job.OUTPUTS if (path := getattr(job, name))})
        context.progress(0.0, "Looking for data")
        check_has_data(scene, window, card.used_bands[0])
        facts = {"model_digest": card.digest, "classes": card.class_names}
        counts = np.zeros(len(card.classes), dtype=np.int64)
        with ExitStack() as stack:
            writers = _open_writers(job, outputs, grid, model, lineage_tags(job, facts), stack)
            if slide:
                facts |= slide.facts(window)
                tiles = slide.tiles(window, context)
            else:
                _warn_of_slide(job, context)
                dense = isinstance(model.network, SegmentationNetwork)
                tiles = (dense_tiles if dense else _tiles)(job, context, scene, model, window, device)
            for tile, shares, valid in tiles:
                predicted = np.where(valid, shares.argmax(0) + 1, 0)
                counts += np.bincount(predicted.ravel(), minlength=len(counts) + 1)[1:]
                results = {
                    "classes": predicted,
                    "confidence": np.where(valid, shares.max(0), np.nan),
                    "probabilities": np.where(valid, shares, np.nan),
                }
                for name, writer in writers.items():
                    writer.write(within(tile, window), results[name])
        if not counts.any():
            raise no_data(scene)
        _write_styles(job, outputs, model)
        record = run_record(job, context, {**facts, "pixels": dict(zip(card.class_names, counts.tolist()))})
        stage_records(outputs, job.output_paths(), record)
    return {
        "files": job.wanted(),
        "tables": {},
        "numbers": {"PIXELS": int(counts.sum())},
        "strings": {},
        "warnings": context.warnings,
        "record": record,
    }


def _opened(job: ClassifyJob, context: Context) -> tuple[Scene, Model]:
    if bool(job.scene) == bool(job.series):
        raise InputError("What is classified is the raster INPUT or the rasters SERIES; give one of the two.")
    if job.series:
        return open_series_pair(job.series, job.model, context, PIXEL_CLASSIFICATION)
    return open_pair(job.scene or "", job.model, PIXEL_CLASSIFICATION, SCENE_CLASSIFICATION)


def _tiles(
    job: ClassifyJob, context: Context, scene: Scene, model: Model, window: Window, device: str
) -> Iterator[tuple[Window, np.ndarray, np.ndarray]]:
    """Yield tiles with a patch network's probabilities (class, y, x), and which pixels have data."""
    network = cast(PatchNetwork, model.network.to(device))
    side = tile_side(job.memory_mb, _BYTES_PER_PIXEL)
    total = tile_count(window, side)

    def work(tile: Window) -> tuple[np.ndarray, np.ndarray]:
        context.check()
        values, valid = read_tile(scene, model.card, network, tile, model.spectra.mean)
        return class_logits(network, values.to(device), context).softmax(0).cpu().numpy(), valid

    with ThreadPoolExecutor(1) as executor:
        for number, (tile, found) in enumerate(map_tiles(executor, work, window, side), 1):
            yield tile, *found
            context.progress(number / total, f"Classifying tile {number} of {total}")


def _warn_of_slide(job: ClassifyJob, context: Context) -> None:
    for name, default in (("chip_stride", ClassifyJob.chip_stride), ("merge", ClassifyJob.merge)):
        if getattr(job, name) != default:
            context.warn(f"{name.upper()} is not used: the model classifies pixels, not chips.")


@torch.no_grad()
def class_logits(network: PatchNetwork, tile: torch.Tensor, context: Context) -> torch.Tensor:
    """Return logits (class, y, x) of a prepared tile (band, y, x) with halo.

    The convolutions read the tile as it is, in strips that keep memory and the wait for a cancel small.
    """
    halo = network.patch_size - 1
    height, width = tile.shape[1] - halo, tile.shape[2] - halo
    # Where no rows overlap, thin strips stay in the processor's cache.
    rows = _STRIP if halo else max(1, _SPECTRA // width)
    strips = []
    for top in range(0, height, rows):
        context.check()
        strips.append(network.logits(tile[None, :, top : min(top + rows, height) + halo])[0])
    return torch.cat(strips, 1)


def _open_writers(
    job: ClassifyJob, outputs: Outputs, grid: Grid, model: Model, tags: dict[str, str], stack: ExitStack
) -> dict[str, RasterWriter]:
    names, count = model.card.class_names, len(model.card.classes)
    writers = {}
    if job.classes:
        writers["classes"] = RasterWriter(
            outputs.stage(job.classes), grid, 1, class_dtype(count), 0, descriptions=["class"], tags=tags,
            class_names=names, class_colours=[entry.rgb for entry in model.card.classes], block=BLOCK,
        )  # fmt: skip
    if job.confidence:
        writers["confidence"] = RasterWriter(
            outputs.stage(job.confidence), grid, 1, descriptions=["probability of the predicted class"],
            tags=tags, block=BLOCK,
        )  # fmt: skip
    if job.probabilities:
        writers["probabilities"] = RasterWriter(
            outputs.stage(job.probabilities), grid, count, descriptions=names, tags=tags, block=BLOCK
        )
    return {name: stack.enter_context(writer) for name, writer in writers.items()}


def _write_styles(job: ClassifyJob, outputs: Outputs, model: Model) -> None:
    card = model.card
    if job.classes:
        colours = [entry.rgb for entry in card.classes]
        write_classes_qml(outputs.stage(qml_path(job.classes)), card.class_names, colours)
    if job.confidence:
        write_sequential_qml(outputs.stage(qml_path(job.confidence)), 1, 1 / len(card.classes), 1.0)
    if job.probabilities:
        write_sequential_qml(outputs.stage(qml_path(job.probabilities)), 1, 0.0, 1.0)
