"""Simulated SAR chips whose class is decided by one planted thing: texture, evidence, decoy, speckle.

A chip is drawn in decibels relative to its own level and brought to power. Its mean before speckle is that
level in every class, and so is the brightness of the decoy, a disc that every chip holds: neither says
anything about the class. Levels, textures and places are drawn alike for all classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rasterio.windows import Window

from .styles import Colour

SIDE = 64
BANDS = ("VV", "VH")
LOOKS = 4.4
LEVEL_DB, LEVEL_SPREAD_DB = -11.0, 2.0  # VV
CROSS_DB, CROSS_SPREAD_DB = -7.0, 0.7  # VH relative to VV
CROSS_CONTRAST = 0.75  # of a VV contrast in dB remains in VH
SMOOTH = (8.0, 0.7)  # spacing in pixels and standard deviation in dB of the two textures
ROUGH = (3.0, 1.8)
DECOY_SIDE, DECOY_DB = 7, 10.0
REFLECTOR_SIDE, REFLECTOR_DB = 9, (16.0, 10.0)  # its centre and its arms
LINE_DB, POINTS_DB, STRIP_DB, BOUNCE_DB, STEP_DB = 7.0, 11.0, -8.0, 9.0, 4.0
EDGE_REACH = 4.0  # pixels to each side of the edge of two textures that count as evidence

_ROWS, _COLUMNS = np.mgrid[:SIDE, :SIDE].astype(np.float64)


@dataclass(frozen=True)
class Evidence:
    """What decides a class, each (y, x): contrast in dB, pixels of evidence, pixels of the other texture."""

    contrast: np.ndarray
    mask: np.ndarray
    far_side: np.ndarray


@dataclass(frozen=True)
class SarClass:
    """One class: its name, which is a folder's, what its evidence is, and how that is drawn."""

    name: str
    description: str
    colour: Colour
    draw: Callable[[np.random.Generator], Evidence]


@dataclass(frozen=True)
class SarChip:
    """One chip: power float32 (band, y, x), its evidence (y, x), its level in dB per band, and places.

    `decoy` and `reflector` are the row and column of the upper left pixel of their squares; the reflector is
    not in `power`, `with_reflector` puts it there.
    """

    power: np.ndarray
    mask: np.ndarray
    level_db: np.ndarray
    decoy: tuple[int, int]
    reflector: tuple[int, int]

    def with_reflector(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the power with a corner reflector in it, and the pixels (y, x) of the reflector."""
        row, col = self.reflector
        shape = reflector_shape()
        pixels = np.zeros((SIDE, SIDE), dtype=bool)
        pixels[row : row + REFLECTOR_SIDE, col : col + REFLECTOR_SIDE] = shape > 0
        power = self.power.copy()
        power[:, pixels] = (to_power(self.level_db)[:, None] * shape[shape > 0]).astype(np.float32)
        return power, pixels


class Texture:
    """A smooth standard normal field, correlated over about `spacing` pixels, made from a small lattice."""

    def __init__(self, size: int, spacing: float, rng: np.random.Generator) -> None:
        self._spacing = spacing
        knots = int(np.ceil(size / spacing)) + 4
        self._lattice = rng.standard_normal((knots, knots))

    def read(self, window: Window) -> np.ndarray:
        """Return the field (y, x) in `window`; neighbouring windows join without a seam."""
        down = self._weights(int(window.row_off), int(window.height))
        across = self._weights(int(window.col_off), int(window.width))
        return down @ self._lattice @ across.T

    def _weights(self, first: int, count: int) -> np.ndarray:
        position = (np.arange(first, first + count) + 0.5) / self._spacing + 1.5
        weights = np.exp(-2 * (position[:, None] - np.arange(len(self._lattice))) ** 2)
        return weights / np.linalg.norm(weights, axis=1, keepdims=True)


def draw_chip(sar_class: SarClass, rng: np.random.Generator) -> SarChip:
    """Return a chip of a class."""
    levels = (
        LEVEL_DB
        + LEVEL_SPREAD_DB * rng.standard_normal()
        + np.array([0, CROSS_DB + CROSS_SPREAD_DB * rng.standard_normal()])
    )
    evidence = sar_class.draw(rng)
    decoy, reflector = free_places(evidence.mask, rng)
    near, far = (SMOOTH, ROUGH) if rng.random() < 0.5 else (ROUGH, SMOOTH)
    whole = Window(0, 0, SIDE, SIDE)
    textures = [spread * Texture(SIDE, spacing, rng).read(whole) for spacing, spread in (near, far)]
    decibels = np.where(evidence.far_side, textures[1], textures[0])[None]
    relative = to_power(decibels + contrasts(evidence.contrast))
    pixels = disc_at(decoy)
    # What the decoy adds is taken from all else, so that every chip has the mean of its level.
    share = (SIDE**2 - pixels.sum() * to_power(DECOY_DB)) / relative[:, ~pixels].sum(axis=1)
    relative *= share[:, None, None]
    relative[:, pixels] = to_power(DECOY_DB)
    power = to_power(levels)[:, None, None] * relative * speckle(relative.shape, rng)
    return SarChip(power.astype(np.float32), evidence.mask, levels, decoy, reflector)


def contrasts(contrast: np.ndarray) -> np.ndarray:
    """Return the contrast in dB (band, y, x) that a VV contrast (y, x) stands for."""
    return np.stack([contrast, CROSS_CONTRAST * contrast])


def speckle(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return multiplicative speckle: gamma distributed, mean 1, of `LOOKS` looks."""
    return rng.gamma(LOOKS, 1 / LOOKS, size=shape)


def to_power(decibels: np.ndarray | float) -> np.ndarray:
    """Return power from decibels."""
    return np.power(10.0, np.asarray(decibels) / 10)


def free_places(mask: np.ndarray, rng: np.random.Generator) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the corners of decoy and reflector, which touch neither the evidence (y, x) nor each other."""
    taken = mask.copy()
    decoy = _free_corner(taken, DECOY_SIDE, rng)
    taken[decoy[0] : decoy[0] + DECOY_SIDE, decoy[1] : decoy[1] + DECOY_SIDE] = True
    return decoy, _free_corner(taken, REFLECTOR_SIDE, rng)


def disc_at(corner: tuple[int, int]) -> np.ndarray:
    """Return the pixels (y, x) of the decoy's disc in the square at `corner`."""
    radius = DECOY_SIDE // 2
    return (_ROWS - corner[0] - radius) ** 2 + (_COLUMNS - corner[1] - radius) ** 2 <= radius**2


def reflector_shape() -> np.ndarray:
    """Return a corner reflector (y, x), a bright core with four arms, in units of the chip's level."""
    shape = np.zeros((REFLECTOR_SIDE, REFLECTOR_SIDE))
    middle = REFLECTOR_SIDE // 2
    shape[middle, :] = shape[:, middle] = to_power(REFLECTOR_DB[1])
    shape[middle - 1 : middle + 2, middle - 1 : middle + 2] = to_power(REFLECTOR_DB[0])
    return shape


def _bright_line(rng: np.random.Generator) -> Evidence:
    mask = _turned_rectangle(rng, length=rng.uniform(28, 40), width=2)
    return _of_contrast(LINE_DB * mask)


def _dark_strip(rng: np.random.Generator) -> Evidence:
    mask = _turned_rectangle(rng, length=rng.uniform(34, 44), width=7)
    return _of_contrast(STRIP_DB * mask)


def _point_cluster(rng: np.random.Generator) -> Evidence:
    contrast = np.zeros((SIDE, SIDE))
    row, col = rng.integers(10, SIDE - 10, size=2)
    # Points of 2 x 2 pixels on every other place of a lattice stay apart.
    places = rng.choice(25, size=8, replace=False)
    for place in places:
        top, left = row - 8 + 3 * (place // 5), col - 8 + 3 * (place % 5)
        contrast[top : top + 2, left : left + 2] = POINTS_DB
    return _of_contrast(contrast)


def _double_bounce(rng: np.random.Generator) -> Evidence:
    contrast = np.zeros((SIDE, SIDE))
    length = int(rng.integers(14, 19))
    top, left = int(rng.integers(2, SIDE - length - 2)), int(rng.integers(2, SIDE - 13))
    contrast[top : top + length, left : left + 3] = BOUNCE_DB
    contrast[top : top + length, left + 3 : left + 11] = STRIP_DB
    return _of_contrast(contrast)


def _texture_edge(rng: np.random.Generator) -> Evidence:
    angle = rng.uniform(0, 2 * np.pi)
    row, col = rng.uniform(SIDE / 4, 3 * SIDE / 4, size=2)
    distance = (_COLUMNS - col) * np.cos(angle) + (_ROWS - row) * np.sin(angle)
    far_side = distance > 0
    return Evidence(STEP_DB * far_side, np.abs(distance) <= EDGE_REACH, far_side)


def _of_contrast(contrast: np.ndarray) -> Evidence:
    return Evidence(contrast, contrast != 0, np.zeros(contrast.shape, dtype=bool))


def _turned_rectangle(rng: np.random.Generator, length: float, width: float) -> np.ndarray:
    """Return the pixels (y, x) of a rectangle at a random angle and place, inside the chip."""
    angle = rng.uniform(0, np.pi)
    along, beside = np.cos(angle), np.sin(angle)
    reach_x = (length * abs(along) + width * abs(beside)) / 2
    reach_y = (length * abs(beside) + width * abs(along)) / 2
    x = _COLUMNS - rng.uniform(reach_x, SIDE - 1 - reach_x)
    y = _ROWS - rng.uniform(reach_y, SIDE - 1 - reach_y)
    return (np.abs(x * along + y * beside) <= length / 2) & (np.abs(y * along - x * beside) <= width / 2)


def _free_corner(taken: np.ndarray, side: int, rng: np.random.Generator) -> tuple[int, int]:
    """Return the upper left pixel of a square of free pixels, each such square equally likely."""
    sums = np.pad(taken, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    free = np.argwhere(inside == 0)
    row, col = free[rng.integers(len(free))]
    return int(row), int(col)


CLASSES = (
    SarClass("bright_line", "a bright line, 2 pixels wide, at any angle", (230, 159, 0), _bright_line),
    SarClass("dark_strip", "a dark strip, 7 pixels wide, at any angle", (0, 114, 178), _dark_strip),
    SarClass(
        "double_bounce",
        "a bright rectangle with a dark one, its shadow, on the right",
        (213, 94, 0),
        _double_bounce,
    ),
    SarClass("point_cluster", "eight bright points close together", (204, 121, 167), _point_cluster),
    SarClass(
        "texture_edge",
        "the edge of a smooth and a rough texture of different level",
        (0, 158, 115),
        _texture_edge,
    ),
)
