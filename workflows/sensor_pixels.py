"""The pixels that networks of sensors are judged and explained on: labelled ones, or of predicted classes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import cast

import numpy as np
from rasterio.windows import Window

from ..engine.jobs import CompareSensorsJob
from ..models.networks import PatchNetwork
from ..models.samples import PatchSamples
from ..rasters.errors import InputError, first_of
from ..rasters.labels import LabelledPixels, read_label_features, read_label_raster
from ..rasters.scene import Scene
from ..rasters.tables import PixelSample
from .classify import class_logits
from .context import Context
from .fitting import no_data
from .samples import read_samples
from .sensor_nets import Nets
from .tiling import map_tiles, read_tile, tile_side

# Activations of all layers at once, in bytes a pixel, for the widest of our networks.
_BYTES_PER_PIXEL = 16_384


def labelled_pixels(job: CompareSensorsJob, context: Context, scene: Scene, nets: Nets) -> PatchSamples:
    """Return the labelled pixels over the bands of the joint network, their classes as the models count.

    Raises InputError for a class that the models do not know.
    """
    if job.label_features:
        labels = read_label_features(job.label_features, scene.grid)
    else:
        labels = read_label_raster(job.label_raster or "", scene.grid, job.unlabelled_value)
    for warning in labels.warnings:
        context.warn(warning)
    known = nets.class_names
    if unknown := [name for name in labels.names if name not in known]:
        raise InputError(
            f"The models do not know the class '{unknown[0]}' of the labels; theirs are {', '.join(known)}: "
            "name the classes alike."
        )
    numbers = np.array([known.index(name) for name in labels.names])
    labels = replace(labels, classes=numbers[labels.classes], names=tuple(known), parcels=None)
    return _read(job, context, scene, nets, labels)


def predicted_pixels(
    job: CompareSensorsJob, context: Context, scene: Scene, nets: Nets, window: Window, device: str
) -> PatchSamples:
    """Return up to `sample` pixels of each class that the first joint network predicts in a window."""
    model = nets.joint.models[0]
    network = cast(PatchNetwork, model.network.to(device))
    sample = PixelSample(len(nets.class_names), job.sample, job.seed)
    width = scene.grid.width

    def classify(tile: Window) -> np.ndarray:
        context.check()
        values, valid = read_tile(scene, model.card, network, tile, model.spectra.mean)
        return np.where(valid, class_logits(network, values.to(device), context).argmax(0).cpu().numpy(), -1)

    with ThreadPoolExecutor(1) as executor:
        for tile, classes in map_tiles(
            executor, classify, window, tile_side(job.memory_mb, _BYTES_PER_PIXEL)
        ):
            rows, cols = np.nonzero(classes >= 0)
            keys = (rows + int(tile.row_off)) * np.int64(width) + cols + int(tile.col_off)
            sample.add(classes[rows, cols], keys)
            context.progress(0.0, "Looking for pixels of each class")
    keys, classes = sample.keys(), sample.classes()
    if not len(keys):
        raise no_data(scene)
    order = np.argsort(keys)
    rows, cols = np.divmod(keys[order], width)
    return _read(
        job, context, scene, nets, LabelledPixels(rows, cols, classes[order], tuple(nets.class_names))
    )


def drawn(pixels: PatchSamples, count: int, seed: int) -> np.ndarray:
    """Return the indices (n,) of up to `count` pixels of each class, drawn at random, ascending."""
    order = np.random.default_rng(seed).permutation(len(pixels))
    classes = pixels.classes.numpy()[order]
    return np.sort(np.concatenate([order[classes == number][:count] for number in np.unique(classes)]))


def subset(pixels: PatchSamples, chosen: np.ndarray) -> PatchSamples:
    """Return some of the pixels."""
    return replace(
        pixels, index=pixels.index[chosen], classes=pixels.classes[chosen], rows=pixels.rows[chosen],
        cols=pixels.cols[chosen],
    )  # fmt: skip


def warn_of_absent(pixels: PatchSamples, context: Context) -> None:
    """Name the classes that have no pixel to explain."""
    present = set(pixels.classes.unique().tolist())
    if absent := [name for number, name in enumerate(pixels.names) if number not in present]:
        context.warn(f"No pixel of {first_of(absent)} is there to explain; the tables do not tell of it.")


def _read(
    job: CompareSensorsJob, context: Context, scene: Scene, nets: Nets, labels: LabelledPixels
) -> PatchSamples:
    sides = [model.patch_size for net in nets.nets for model in net.models]
    return read_samples(
        scene, labels, nets.joint.bands, max(sides), job.seed, context.check, context.warn, job.memory_mb
    )
