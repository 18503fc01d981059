"""Which named feature holds most of each pixel's attributions, as a raster of classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from rasterio.windows import Window

from ..models.card import card_classes
from ..rasters.grid import Grid
from ..rasters.outputs import Outputs
from ..rasters.styles import qml_path, write_classes_qml
from ..rasters.writers import RasterWriter, class_dtype
from .context import Context
from .feature_findings import ClassFindings
from .tiling import BLOCK, map_tiles, within


def named_bands(found: Sequence[ClassFindings]) -> dict[str, np.ndarray]:
    """Return bool (band,) by name: the bands of the named absorptions of all classes together."""
    sets: dict[str, np.ndarray] = {}
    for one in found:
        for each in one.features:
            if each.absorption and each.match.candidates:
                name = each.match.name
                sets[name] = sets[name] | each.bands if name in sets else each.bands.copy()
    return dict(sorted(sets.items(), key=lambda item: float(np.flatnonzero(item[1]).mean())))


def write_dominant(
    path: str, outputs: Outputs, grid: Grid, sets: dict[str, np.ndarray], tags: dict[str, str],
    read: Callable[[Window], np.ndarray], window: Window, side: int, context: Context,
) -> dict[str, int]:  # fmt: skip
    """Write the raster, and return the pixels of each feature.

    `read` gives the attributions (band, y, x) of a window, NaN where there are none. A pixel's number is that
    of the feature, from 1, whose bands hold the largest part of its absolute attributions; 0 where none does.
    """
    classes = card_classes(list(sets))
    names, colours = [entry.name for entry in classes], [entry.rgb for entry in classes]
    masks = np.array(list(sets.values()), dtype=np.float32)
    counts = np.zeros(len(names) + 1, dtype=np.int64)

    def dominant(tile: Window) -> np.ndarray:
        context.check()
        size = np.nan_to_num(np.abs(read(tile)))
        held = np.tensordot(masks, size, 1)
        return np.where(held.max(0) > 0, held.argmax(0) + 1, 0)

    writer = RasterWriter(
        outputs.stage(path), grid, 1, class_dtype(len(names)), 0, descriptions=["feature"], tags=tags,
        class_names=names, class_colours=colours, block=BLOCK,
    )  # fmt: skip
    with writer, ThreadPoolExecutor(1) as executor:
        for tile, numbers in map_tiles(executor, dominant, window, side):
            writer.write(within(tile, window), numbers)
            counts += np.bincount(numbers.ravel(), minlength=len(counts))
    write_classes_qml(outputs.stage(qml_path(path)), names, colours)
    return dict(zip(names, counts[1:].tolist()))
