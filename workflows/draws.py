"""Pixels drawn evenly over a window, block by block, however large the raster is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
from rasterio.windows import Window

from ..rasters.tiles import plan_tiles

# Pixels are read by blocks of this side.
BLOCK = 64
# A draw takes from so many blocks, and looks at _TRIES times as many where many pixels have no data.
_BLOCKS, _TRIES = 256, 8
_SPARE = 4


class Pixels(Protocol):
    """Some pixels, of which others can be chosen by their places."""

    def __len__(self) -> int: ...

    def __getitem__(self, chosen: np.ndarray) -> Pixels: ...


P = TypeVar("P", bound=Pixels)


def draw_from_blocks(
    window: Window, count: int, generator: np.random.Generator, check: Callable[[], None],
    read: Callable[[Window], P | None],
) -> list[P]:  # fmt: skip
    """Return `count` pixels or more of a window, fewer where it has no more, in parts from random blocks.

    `read` gives the pixels with data of a block, None where it has none; `check` may raise to stop.
    """
    blocks = _shuffled_blocks(window, generator)
    every = len(blocks) <= _BLOCKS
    # Blocks that are partly empty give less than their share: where there are no others, all give more.
    share = -(-count * (_SPARE if every else 1) // min(len(blocks), _BLOCKS))
    parts: list[P] = []
    found = 0
    for block in blocks:
        if found >= count and not every:
            break
        check()
        pixels = read(block)
        if pixels is None or not len(pixels):
            continue
        parts.append(pixels[np.sort(generator.permutation(len(pixels))[:share])])  # type: ignore[arg-type]
        found += len(parts[-1])
    return parts


def _shuffled_blocks(window: Window, generator: np.random.Generator) -> list[Window]:
    """Return blocks of a window in random order: all of a small one, enough to try of a large one."""
    across, down = -(-int(window.width) // BLOCK), -(-int(window.height) // BLOCK)
    if across * down <= _BLOCKS * _TRIES:
        blocks = list(plan_tiles(window, BLOCK))
        return [blocks[i] for i in generator.permutation(len(blocks))]
    places = np.unique(generator.integers(0, across * down, _BLOCKS * _TRIES))
    chosen = []
    for place in generator.permutation(places):
        top, left = int(place) // across * BLOCK, int(place) % across * BLOCK
        height, width = min(BLOCK, int(window.height) - top), min(BLOCK, int(window.width) - left)
        chosen.append(Window(window.col_off + left, window.row_off + top, width, height))
    return chosen
