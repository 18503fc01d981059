"""Run a function over the tiles of a window on an executor, a few tiles ahead, results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

import numpy as np
import torch
from rasterio.windows import Window

from ..models.card import Card
from ..models.networks import PatchNetwork
from ..rasters.scene import Scene
from ..rasters.tiles import plan_tiles

S = TypeVar("S")
T = TypeVar("T")

# Side of the largest tile, and of the blocks of the outputs: with tiles smaller than blocks, those of a wide
# raster would be written several times. Tiles of 256 took 100 MB more at 50 bands.
BLOCK = 128
_SMALLEST_TILE = 32


def tile_side(memory_mb: int, bytes_per_pixel: int) -> int:
    """Return a tile side, a power of two up to the writer's block, that keeps three tiles in the budget."""
    side = BLOCK
    while side > _SMALLEST_TILE and 3 * side * side * bytes_per_pixel > memory_mb * 2**20:
        side //= 2
    return side


def map_tiles(
    executor: Executor, function: Callable[[Window], T], window: Window, side: int
) -> Iterator[tuple[Window, T]]:
    """Yield (tile, result) in the order of the tiles; one tile is computed while one is written."""
    return in_order(executor, function, plan_tiles(window, side), 2)


def in_order(
    executor: Executor, function: Callable[[S], T], items: Iterable[S], ahead: int
) -> Iterator[tuple[S, T]]:
    """Yield (item, result) in the order of the items, of which `ahead` are in work at a time."""
    pending: deque[tuple[S, Future[T]]] = deque()
    try:
        for item in items:
            pending.append((item, executor.submit(function, item)))
            if len(pending) == ahead:
                done, future = pending.popleft()
                yield done, future.result()
        while pending:
            done, future = pending.popleft()
            yield done, future.result()
    finally:
        for _, future in pending:
            future.cancel()


def tile_count(window: Window, side: int) -> int:
    """Return how many tiles a window has."""
    return -(-int(window.width) // side) * -(-int(window.height) // side)


def within(tile: Window, window: Window) -> Window:
    """Return `tile` relative to the corner of `window`."""
    return Window(tile.col_off - window.col_off, tile.row_off - window.row_off, tile.width, tile.height)


def read_tile(
    scene: Scene, card: Card, network: PatchNetwork, tile: Window, fill: torch.Tensor
) -> tuple[torch.Tensor, np.ndarray]:
    """Return what `read_raw_tile` does, prepared."""
    raw, valid = read_raw_tile(scene, card, network.patch_size // 2, tile, fill)
    with torch.no_grad():
        return network.prepare(raw[None])[0], valid


def read_raw_tile(
    scene: Scene, card: Card, halo: int, tile: Window, fill: torch.Tensor
) -> tuple[torch.Tensor, np.ndarray]:
    """Return a tile (band, y, x) with halo over the bands that the model reads, and where it has data (y, x).

    A pixel has data if every band that the model reads has. Nodata becomes `fill` (band,), the training mean.
    """
    values = scene.read(tile, halo, card.used_bands)
    valid = np.isfinite(values).all(0)
    tensor = torch.from_numpy(values)
    tensor = torch.where(torch.from_numpy(valid), tensor, fill[:, None, None])
    inner = (slice(halo, halo + int(tile.height)), slice(halo, halo + int(tile.width)))
    return tensor, valid[inner]
