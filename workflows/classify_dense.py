"""Classify a scene with a segmentation network, in tiles that give what one piece would."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import torch
from rasterio.windows import Window
from torch import Tensor

from ..engine.jobs import ClassifyJob
from ..models.files import Model
from ..models.segmentation_networks import SegmentationNetwork
from ..rasters.scene import Scene
from .canvas import CanvasTile, canvas_side, read_canvas_tile
from .chip_batches import stoppable
from .context import Context
from .tiling import map_tiles, tile_count

# Maps of the first level's width that are in memory at a time: skip, upsampled, both joined, two of a block,
# those of the levels below, and what the convolutions put into another order.
_MAPS = 8
# The values as stored, prepared, scaled, and with the channels last.
_COPIES = 4


def dense_tiles(
    job: ClassifyJob, context: Context, scene: Scene, model: Model, window: Window, device: str
) -> Iterator[tuple[Window, np.ndarray, np.ndarray]]:
    """Yield tiles with probabilities (class, y, x) of their pixels, and which of these have data."""
    network = cast(SegmentationNetwork, model.network.to(device))
    side = canvas_side(job.memory_mb, dense_bytes(network), network.reach)
    total = tile_count(window, side)

    def work(tile: Window) -> tuple[np.ndarray, np.ndarray]:
        context.check()
        read = read_canvas_tile(scene, model.card, network, tile, model.spectra.mean)
        return dense_logits(network, read).softmax(0).cpu().numpy(), read.valid

    with stoppable(network, context), ThreadPoolExecutor(1) as executor:
        for number, (tile, found) in enumerate(map_tiles(executor, work, window, side), 1):
            yield tile, *found
            context.progress(number / total, f"Classifying tile {number} of {total}")


@torch.no_grad()
def dense_logits(network: SegmentationNetwork, tile: CanvasTile) -> Tensor:
    """Return the logits (class, y, x) of a tile's own pixels, on the network's device."""
    values = tile.values[None].to(network.scaling.offset.device)
    return network.logits(values)[0, :, *tile.inner]


def dense_bytes(network: SegmentationNetwork) -> int:
    """Return about how many bytes a pixel takes while a network classifies it."""
    channels = _COPIES * network.prepared_bands + _MAPS * network.head.in_channels + network.classes
    return 4 * channels
