"""Pages of a scene around its labelled pixels, read for the training of a segmentation network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from rasterio.windows import Window

from ..models.segmentation_samples import SegmentationSamples
from ..rasters.errors import InputError
from ..rasters.labels import LabelledPixels
from ..rasters.scene import Scene


def read_pages(
    scene: Scene, labels: LabelledPixels, bands: Sequence[int], tile: int, alignment: int,
    check: Callable[[], None], warn: Callable[[str], None], memory_mb: int = 1024,
) -> SegmentationSamples:  # fmt: skip
    """Read what crops of `tile` x `tile` pixels need that hold a page with a labelled pixel.

    Memory grows with the number of such pages; InputError where they would take more than `memory_mb`.
    A raster smaller than the tile is mirrored up to a multiple of `alignment`.
    Labelled pixels without data in a band are left out, and said; InputError where none is left.
    """
    size = (scene.grid.height, scene.grid.width)
    canvas = tuple(-(-side // alignment) * alignment for side in size)
    crop = tuple(min(tile, side) for side in canvas)
    page = tuple(side // 2 for side in crop)
    down, across = (-(-side // half) for side, half in zip(canvas, page))
    numbers = _pages_around(labels.rows // page[0], labels.cols // page[1], down, across)
    need_mb = 4 * len(numbers) * page[0] * page[1] * len(bands) / 2**20
    if need_mb > memory_mb:
        raise InputError(
            f"The surroundings of {len(labels.rows)} labelled pixels take {need_mb:.0f} MB, more than the "
            f"{memory_mb} MB that they may; raise the memory, label fewer places, or choose smaller tiles."
        )
    pages = torch.empty(len(numbers), len(bands), *page)
    for place, number in enumerate(numbers):
        check()
        row, col = divmod(int(number), across)
        window = Window(col * page[1], row * page[0], page[1], page[0])
        pages[place] = torch.from_numpy(scene.read(window, bands=bands))
    missing = torch.stack([~page.isfinite().all(0) for page in pages])
    samples = SegmentationSamples(
        pages, missing, numbers, across, (canvas[0], canvas[1]), (crop[0], crop[1]),
        torch.from_numpy(labels.classes), labels.rows, labels.cols, labels.names,
    )  # fmt: skip
    return _with_data(samples, scene, warn)


def _with_data(
    samples: SegmentationSamples, scene: Scene, warn: Callable[[str], None]
) -> SegmentationSamples:
    has_data = samples.has_data()
    if not has_data.any():
        raise InputError(
            f"No labelled pixel of {scene.path} has data in all of its {samples.pages.shape[1]} bands; "
            "choose other labels or another scene."
        )
    if has_data.all():
        return samples
    warn(f"{int((~has_data).sum())} labelled pixel(s) have no data in a band and are left out.")
    return samples.only(np.flatnonzero(has_data))


def _pages_around(rows: np.ndarray, cols: np.ndarray, down: int, across: int) -> np.ndarray:
    """Return the numbers, in order, of the pages at `rows` and `cols` and of the eight around each."""
    row, col = np.divmod(np.unique(rows * across + cols), across)
    offsets = np.arange(-1, 2)
    around_rows = (row[:, None, None] + offsets[:, None]).repeat(3, axis=2)
    around_cols = (col[:, None, None] + offsets[None, :]).repeat(3, axis=1)
    inside = (around_rows >= 0) & (around_rows < down) & (around_cols >= 0) & (around_cols < across)
    return np.unique(around_rows[inside] * across + around_cols[inside])
