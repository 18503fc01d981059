"""Tiles: how a window is cut into pieces that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator

from rasterio.windows import Window


def plan_tiles(window: Window, side: int) -> Iterator[Window]:
    """Yield the tiles of `window`, row by row, `side` pixels wide and high or less at the far edges.

    They start at the window's own corner, so that a `side` that is a multiple of the block size of an
    output of this window makes every block be written once.
    """
    if side < 1:
        raise ValueError(f"A tile is at least one pixel wide, not {side}.")
    left, top = int(window.col_off), int(window.row_off)
    right, bottom = left + int(window.width), top + int(window.height)
    for row in range(top, bottom, side):
        for column in range(left, right, side):
            yield Window(column, row, min(side, right - column), min(side, bottom - row))
