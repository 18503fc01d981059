"""Tiles of a scene as a segmentation network reads them, so that tiles and one piece give the same numbers.

The canvas is the raster, mirrored at its right and bottom edge up to a multiple of the network's alignment.
Beyond the canvas the convolutions pad zeros. A tile is read with a halo of the network's reach, which starts
and ends at multiples of the alignment, counted from the raster's corner, or at the edges of the canvas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from rasterio.windows import Window
from torch import Tensor

from ..models.card import Card
from ..models.segmentation_networks import SegmentationNetwork
from ..rasters.grid import Grid
from ..rasters.scene import Scene
from .tiling import BLOCK

# A side of the largest tiles: beyond it the halo costs little, and progress would come seldom.
_LARGEST_TILE = 8 * BLOCK
_SMALLEST_TILE = 32


class CanvasTile(NamedTuple):
    """A tile (y, x) in its surroundings (Y, X), sides of which are multiples of the alignment.

    `values` float32 (prepared band, Y, X), prepared; `raw` (band, Y, X), as stored. `real` bool (Y, X):
    inside the raster, and with data in every band that the model reads. `valid` bool (y, x) is that of the
    tile itself. `inner`: where the tile lies in its surroundings.
    """

    values: Tensor
    real: np.ndarray
    valid: np.ndarray
    inner: tuple[slice, slice]
    raw: Tensor


def read_canvas_tile(
    scene: Scene, card: Card, network: SegmentationNetwork, tile: Window, fill: Tensor
) -> CanvasTile:
    """Return `tile` of a scene, prepared, with all around it that its logits depend on.

    Nodata becomes `fill` (band,), the training mean, in the raster's values.
    """
    return read_canvas_bands(scene, card.used_bands, network, tile, fill)


def read_canvas_bands(
    scene: Scene, bands: Sequence[int], network: SegmentationNetwork, tile: Window, fill: Tensor
) -> CanvasTile:
    """Return what `read_canvas_tile` does, of the scene's `bands` (from 0) that the network reads."""
    around = canvas_window(scene.grid, network, tile)
    values, valid = read_filled(scene, bands, around, fill)
    real = valid.copy()
    real[scene.grid.height - int(around.row_off) :] = False
    real[:, scene.grid.width - int(around.col_off) :] = False
    top, left = int(tile.row_off - around.row_off), int(tile.col_off - around.col_off)
    inner = (slice(top, top + int(tile.height)), slice(left, left + int(tile.width)))
    with torch.no_grad():
        return CanvasTile(network.prepare(values[None])[0], real, real[inner], inner, values)


def read_filled(
    scene: Scene, bands: Sequence[int], window: Window, fill: Tensor
) -> tuple[Tensor, np.ndarray]:
    """Return the values (band, y, x) of a window, nodata as `fill` (band,), and bool (y, x): has data."""
    raw = scene.read(window, bands=bands)
    valid = np.isfinite(raw).all(0)
    values = torch.from_numpy(raw)
    torch.where(torch.from_numpy(valid), values, fill.to(values)[:, None, None], out=values)
    return values, valid


def crop_window(grid: Grid, network: SegmentationNetwork, row: int, col: int) -> Window:
    """Return a window of the canvas that holds all that a pixel's logits depend on.

    As large for all pixels of a raster: at an edge of the canvas, beyond which the convolutions pad zeros as
    they do there, it is moved inward, so that the pixel is not in its middle.
    """
    top, height = _crop(row, grid.height, network)
    left, width = _crop(col, grid.width, network)
    return Window(left, top, width, height)


def canvas_window(grid: Grid, network: SegmentationNetwork, tile: Window) -> Window:
    """Return the window of the canvas that the logits of `tile` depend on; it may end beyond the raster."""
    top, bottom = _around(int(tile.row_off), int(tile.height), grid.height, network)
    left, right = _around(int(tile.col_off), int(tile.width), grid.width, network)
    return Window(left, top, right - left, bottom - top)


def canvas_side(memory_mb: int, bytes_per_pixel: int, reach: int) -> int:
    """Return a tile side that keeps a tile with its halo in the budget.

    A multiple of the writer's block where one fits, at least 32 pixels: with a wide halo, large tiles are
    what saves work. `bytes_per_pixel` are those of the halo too.
    """
    widest = int((memory_mb * 2**20 / bytes_per_pixel) ** 0.5) - 2 * reach
    if widest >= BLOCK:
        return min(widest // BLOCK * BLOCK, _LARGEST_TILE)
    side = BLOCK
    while side > max(widest, _SMALLEST_TILE):
        side //= 2
    return side


def _crop(place: int, size: int, network: SegmentationNetwork) -> tuple[int, int]:
    """Return the first pixel of a pixel's crop along one axis, and how many it has."""
    cell = network.alignment
    canvas = -(-size // cell) * cell
    length = min(2 * network.reach + cell, canvas)
    return min(max(0, (place - network.reach) // cell * cell), canvas - length), length


def _around(first: int, count: int, size: int, network: SegmentationNetwork) -> tuple[int, int]:
    """Return the first pixel, and one past the last, of a tile's surroundings along one axis."""
    cell, reach = network.alignment, network.reach
    end = -(-(first + count + reach) // cell) * cell
    return max(0, (first - reach) // cell * cell), min(end, -(-size // cell) * cell)
