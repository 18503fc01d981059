"""Labelled patches read from a scene by blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from rasterio.windows import Window

from ..models.samples import PatchSamples
from ..rasters.errors import InputError
from ..rasters.labels import LabelledPixels
from ..rasters.scene import Scene

_BLOCK = 256
# Beyond this many labelled pixels a class is thinned at random: more teach little and cost memory.
MOST_PIXELS_PER_CLASS = 20_000


def usable_bands(scene: Scene, labels: LabelledPixels, check: Callable[[], None]) -> list[int]:
    """Return the bands that are not marked as bad and hold data at a labelled pixel.

    Raises InputError where no band does.
    """
    good = [index for index, band in enumerate(scene.bands) if band.good]
    seen = np.zeros(len(good), dtype=bool)
    for members, window in pixels_by_block(labels.rows, labels.cols, scene):
        check()
        rows, cols = labels.rows[members] - window.row_off, labels.cols[members] - window.col_off
        values = scene.read(window, bands=good)[:, rows, cols]
        seen |= np.isfinite(values).any(1)
        if seen.all():
            break
    if not seen.any():
        raise InputError(
            f"Every labelled pixel of {scene.path} is nodata; choose other labels or another scene."
        )
    return [index for index, has_data in zip(good, seen) if has_data]


def read_samples(
    scene: Scene, labels: LabelledPixels, bands: Sequence[int], patch_size: int, seed: int,
    check: Callable[[], None], warn: Callable[[str], None], memory_mb: int = 1024,
) -> PatchSamples:  # fmt: skip
    """Read the patches of labelled pixels; memory grows with the pixels that the patches touch.

    Raises InputError where these would take more than `memory_mb`.
    Labelled pixels without data in a band are left out, and said. Such a pixel elsewhere in a patch
    becomes the mean spectrum of the patches. Beyond the scene's edge it is mirrored, as when classifying.
    Raises InputError where no labelled pixel is left.
    """
    chosen = _thinned(labels, seed, warn)
    rows, cols, classes = labels.rows[chosen], labels.cols[chosen], labels.classes[chosen]
    offsets = np.arange(patch_size) - patch_size // 2
    patch_rows = mirrored(rows[:, None, None] + offsets[None, :, None], scene.grid.height)
    patch_cols = mirrored(cols[:, None, None] + offsets[None, None, :], scene.grid.width)
    keys = (patch_rows * np.int64(scene.grid.width) + patch_cols).reshape(len(rows), -1)
    needed, index = np.unique(keys, return_inverse=True)
    need_mb = 4 * (len(needed) * len(bands) + index.size) / 2**20
    if need_mb > memory_mb:
        raise InputError(
            f"The patches of {len(rows)} labelled pixels take {need_mb:.0f} MB, more than the {memory_mb} MB "
            "that they may; raise the memory, label fewer pixels, or choose smaller patches."
        )
    spectra = np.empty((len(needed), len(bands)), dtype=np.float32)
    places = np.stack(np.divmod(needed, scene.grid.width))
    for members, window in pixels_by_block(places[0], places[1], scene):
        check()
        block_rows, block_cols = places[0, members] - window.row_off, places[1, members] - window.col_off
        spectra[members] = scene.read(window, bands=bands)[:, block_rows, block_cols].T
    index = index.reshape(keys.shape).astype(np.int32)
    valid = np.logical_and.reduce(np.isfinite(spectra), axis=1)
    with_data = valid[index[:, index.shape[1] // 2]]
    if not with_data.any():
        raise InputError(
            f"No labelled pixel of {scene.path} has data in all of its {len(bands)} bands; "
            "choose other labels or another scene."
        )
    if not with_data.all():
        warn(f"{int((~with_data).sum())} labelled pixel(s) have no data in a band and are left out.")
    spectra[~valid] = spectra[valid].mean(0, dtype=np.float64)
    return PatchSamples(
        spectra=torch.from_numpy(spectra),
        index=torch.from_numpy(index[with_data]),
        classes=torch.from_numpy(classes[with_data]),
        rows=rows[with_data],
        cols=cols[with_data],
        names=labels.names,
    )


def mirrored(indices: np.ndarray, size: int) -> np.ndarray:
    """Return indices with those outside 0..size-1 mirrored, as `Scene.read` does."""
    if size == 1:
        return np.zeros_like(indices)
    folded = indices % (2 * (size - 1))
    return np.minimum(folded, 2 * (size - 1) - folded)


def pixels_by_block(
    rows: np.ndarray, cols: np.ndarray, scene: Scene, side: int = _BLOCK
) -> Iterator[tuple[np.ndarray, Window]]:
    """Yield which pixels lie in each block of `side` pixels with any, and the window that just holds them."""
    blocks = (rows // side) * np.int64(scene.grid.width // side + 1) + cols // side
    order = np.argsort(blocks, kind="stable")
    starts = np.flatnonzero(np.diff(blocks[order], prepend=-1))
    for members in np.split(order, starts[1:]):
        row, col = rows[members], cols[members]
        top, left = int(row.min()), int(col.min())
        yield members, Window(left, top, int(col.max()) - left + 1, int(row.max()) - top + 1)


def _thinned(labels: LabelledPixels, seed: int, warn: Callable[[str], None]) -> np.ndarray:
    generator = np.random.default_rng(seed)
    parts = []
    for number, name in enumerate(labels.names):
        members = np.flatnonzero(labels.classes == number)
        if len(members) > MOST_PIXELS_PER_CLASS:
            warn(
                f"Class '{name}' has {len(members)} labelled pixels; "
                f"{MOST_PIXELS_PER_CLASS} at random are used."
            )
            members = generator.choice(members, MOST_PIXELS_PER_CLASS, replace=False)
        parts.append(members)
    return np.sort(np.concatenate(parts))
