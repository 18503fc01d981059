"""The band table without rasters: class sums of all pixels, and the spread of some."""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np
from rasterio.windows import Window

from ..rasters.tables import PixelSample
from .attribution_outputs import Summary
from .attribution_worker import AttributionWorker
from .tiling import map_tiles

# Pixels of a class that are explained one by one, for mean absolute values, percentiles and residuals.
PIXELS_PER_CLASS = 64


def summarise_sums(
    worker: AttributionWorker, summary: Summary, executor: Executor, window: Window, side: int
) -> None:
    """Explain the sums of all pixels of each class, then a sample of them one by one, into the summary."""
    sample = PixelSample(summary.class_count, PIXELS_PER_CLASS, summary.seed)
    worker.total += summary.class_count * PIXELS_PER_CLASS
    for tile, result in map_tiles(executor, worker.sums, window, side):
        rows, cols = np.nonzero(result.predicted >= 0)
        classes = result.predicted[rows, cols]
        sample.add(classes, summary.keys(rows, cols, tile))
        counts = np.bincount(classes, minlength=summary.class_count)
        summary.add_sums(result.sums, result.continuum, counts)
    keys = sample.keys()
    worker.total += len(keys) - summary.class_count * PIXELS_PER_CLASS
    places = np.stack(np.divmod(keys, summary.scene_width))

    def explain(tile: Window) -> None:
        rows, cols = places[0] - int(tile.row_off), places[1] - int(tile.col_off)
        inside = (rows >= 0) & (rows < tile.height) & (cols >= 0) & (cols < tile.width)
        if inside.any():
            chosen = np.zeros((int(tile.height), int(tile.width)), dtype=bool)
            chosen[rows[inside], cols[inside]] = True
            summary.add(worker.explain(tile, chosen), tile)

    for _ in map_tiles(executor, explain, window, side):
        pass
