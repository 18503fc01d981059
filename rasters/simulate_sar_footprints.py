"""A simulated SAR scene: footprints of chips with evidence, scattered over one texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from affine import Affine
from rasterio.features import shapes
from rasterio.windows import Window

from . import simulate_sar_chips as sar
from .simulate_sar_chips import BANDS, CLASSES, SIDE, Evidence

_CELL = SIDE + 8  # pixels that a footprint gets where there is room
_FADE = 12  # pixels over which the far side of an edge fades out where a footprint ends


@dataclass(frozen=True)
class Footprint:
    """An instance of a class in the scene: its window, and the seed that the rest is drawn from each time."""

    class_index: int
    window: Window
    seed: tuple[int, ...]

    def draw(self) -> tuple[Evidence, tuple[int, int]]:
        """Return the evidence and the upper left pixel of the decoy."""
        rng = np.random.default_rng(self.seed)
        evidence = CLASSES[self.class_index].draw(rng)
        return evidence, sar.free_places(evidence.mask, rng)[0]

    def outline(self) -> dict:
        """Return the window as a GeoJSON polygon in (column, row) of the scene."""
        left, top = self.window.col_off, self.window.row_off
        corners = [(0, 0), (SIDE, 0), (SIDE, SIDE), (0, SIDE), (0, 0)]
        return {"type": "MultiPolygon", "coordinates": [[[(left + x, top + y) for x, y in corners]]]}

    def evidence_outline(self) -> dict:
        """Return the pixels of the evidence as GeoJSON polygons in (column, row) of the scene."""
        mask = self.draw()[0].mask
        place = Affine.translation(self.window.col_off, self.window.row_off)
        parts = [part["coordinates"] for part, _ in shapes(mask.astype(np.uint8), mask, transform=place)]
        return {"type": "MultiPolygon", "coordinates": parts}


class SarScene:
    """The scene before it is written: everything that is drawn once, and tiles made from it."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self._seed = size, seed
        rng = np.random.default_rng([seed, 3])
        self._textures = [
            (spread, sar.Texture(size, spacing, rng)) for spacing, spread in (sar.SMOOTH, sar.ROUGH)
        ]
        self.footprints = _scattered(size, seed, rng)

    def tile(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Return power float32 (band, y, x) and classes uint8 (y, x), 0 outside footprints."""
        smooth, rough = (spread * texture.read(window) for spread, texture in self._textures)
        decibels = np.stack([smooth] * len(BANDS))
        classes = np.zeros(smooth.shape, np.uint8)
        decoys = np.zeros(smooth.shape, dtype=bool)
        for footprint in self.footprints:
            overlap = _overlap(window, footprint.window)
            if overlap is None:
                continue
            at, of = overlap
            evidence, decoy = footprint.draw()
            far = _faded(evidence.far_side)
            contrast = np.where(evidence.far_side, far * evidence.contrast, evidence.contrast)
            decibels[:, *at] += sar.contrasts(contrast)[:, *of] + far[of] * (rough - smooth)[at]
            classes[at] = footprint.class_index + 1
            decoys[at] |= sar.disc_at(decoy)[of]
        relative = sar.to_power(decibels)
        relative[:, decoys] = sar.to_power(sar.DECOY_DB)
        levels = sar.to_power(np.array([sar.LEVEL_DB, sar.LEVEL_DB + sar.CROSS_DB]))
        rng = np.random.default_rng([self._seed, 4, window.row_off, window.col_off])
        power = levels[:, None, None] * relative * sar.speckle(relative.shape, rng)
        return power.astype(np.float32), classes


def _scattered(size: int, seed: int, rng: np.random.Generator) -> list[Footprint]:
    """Place a footprint somewhere in each cell of a lattice, classes in random order."""
    across = max(1, (size + 2 * (_CELL - SIDE)) // _CELL)  # two fit into 128 pixels, without room
    edges = np.linspace(0, size, across + 1).astype(int)
    footprints = []
    for place, class_index in enumerate(rng.permutation(np.arange(across**2) % len(CLASSES))):
        row, col = (
            int(rng.integers(edges[cell], edges[cell + 1] - SIDE + 1)) for cell in divmod(place, across)
        )
        footprints.append(Footprint(int(class_index), Window(col, row, SIDE, SIDE), (seed, 2, place)))
    return footprints


def _faded(far_side: np.ndarray) -> np.ndarray:
    """Return how much (y, x), 0 to 1, the far side of an edge shows: nothing where the footprint ends."""
    reach = np.minimum(np.arange(SIDE), np.arange(SIDE)[::-1])
    return far_side * np.clip(np.minimum(reach[:, None], reach) / _FADE, 0, 1)


def _overlap(tile: Window, window: Window) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Return where the two overlap, in pixels of the tile and of the window; None where they don't."""
    top, left = max(tile.row_off, window.row_off), max(tile.col_off, window.col_off)
    bottom = min(tile.row_off + tile.height, window.row_off + window.height)
    right = min(tile.col_off + tile.width, window.col_off + window.width)
    if top >= bottom or left >= right:
        return None
    at, of = (
        (slice(top - w.row_off, bottom - w.row_off), slice(left - w.col_off, right - w.col_off))
        for w in (tile, window)
    )
    return at, of
