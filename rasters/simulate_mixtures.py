"""Pixels mixed of materials whose shares, varying spectra and nonlinearity are known.

A pixel is M a + its nonlinear part + white noise. Abundances `a` come from smooth fields, so that some pixels
are pure. Spectra vary from pixel to pixel in scale and shape. Mixing is `linear`; `bilinear`, light that met
two materials, sum over i < j of strength a_i a_j m_i m_j (Fan et al. 2009; Halimi et al. 2011, DOI
10.1109/TGRS.2010.2098414); or `post_nonlinear`, strength (M a)^2 (Altmann et al. 2012, DOI
10.1109/TIP.2012.2187668), which changes pure pixels too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from rasterio.windows import Window

from .simulate_layout import RandomField, SmoothField

KINDS = ("linear", "bilinear", "post_nonlinear")
# Abundances under this are none: the material is absent.
_FLOOR = 0.03
# Pure plots: one per material in the middle of the first strip, of this share of the scene's side.
_PLOT_SHARE = 1 / 16
_SMALLEST_PLOT = 3


@dataclass(frozen=True)
class Mixing:
    """How a strip of the scene mixes: one of `KINDS`, and how strongly."""

    kind: str
    strength: float = 0.0


@dataclass(frozen=True)
class Design:
    """What a scene is mixed of.

    `spectra` (material, band), reflectance. `strips` lie below each other, each as high. `scale_spread` is
    the standard deviation of the logarithm of a material's brightness from pixel to pixel, `shape_spread` of
    its relative slope and of its curvature over the bands. `sharpness`: with more, there are fewer materials
    in a pixel. No abundance is over `highest`. `noise`: standard deviation of the sensor's, reflectance.
    """

    spectra: np.ndarray
    strips: tuple[Mixing, ...] = (Mixing("linear"), Mixing("bilinear", 1.0), Mixing("post_nonlinear", 0.2))
    scale_spread: float = 0.08
    shape_spread: float = 0.03
    sharpness: float = 3.0
    highest: float = 1.0
    noise: float = 0.004


@dataclass(frozen=True)
class Mixed:
    """Pixels of a scene and what they are made of, float64.

    `abundances` (n, material); `endmembers` (n, material, band), of each pixel; `linear`, `nonlinear` and
    `noise` (n, band), which add up to the reflectance; `strips` (n,), places in the design's.
    """

    abundances: np.ndarray
    endmembers: np.ndarray
    linear: np.ndarray
    nonlinear: np.ndarray
    noise: np.ndarray
    strips: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """Reflectance (n, band)."""
        return self.linear + self.nonlinear + self.noise

    @property
    def nonlinearity(self) -> np.ndarray:
        """How large the nonlinear part is, (n,): its norm over the sum of its and the linear part's."""
        nonlinear, linear = (np.linalg.norm(part, axis=1) for part in (self.nonlinear, self.linear))
        total = linear + nonlinear
        return np.divide(nonlinear, total, out=np.zeros_like(total), where=total > 0)


class Mixtures:
    """A scene of `size` x `size` pixels: everything that is drawn once, and windows made from it."""

    def __init__(self, design: Design, size: int, seed: int) -> None:
        self.design, self.size, self._seed = design, size, seed
        rng = np.random.default_rng([seed])
        materials = len(design.spectra)
        self._shares = [SmoothField(size, max(6, size // 10), rng) for _ in range(materials)]
        self._varying = [
            [RandomField(size, max(8, size // 5), rng) for _ in range(3)] for _ in range(materials)
        ]

    def tile(self, window: Window) -> Mixed:
        """Return the pixels of a window, row by row."""
        rng = np.random.default_rng([self._seed, window.row_off, window.col_off])
        abundances = self.abundances(window)
        endmembers = self._endmembers(window, rng)
        linear = np.einsum("nk,nkb->nb", abundances, endmembers)
        strips = np.repeat(self.strips(window), int(window.width))
        nonlinear = np.zeros_like(linear)
        for number, mixing in enumerate(self.design.strips):
            members = strips == number
            nonlinear[members] = nonlinear_part(endmembers[members], abundances[members], mixing)
        noise = self.design.noise * rng.standard_normal(linear.shape)
        return Mixed(abundances, endmembers, linear, nonlinear, noise, strips)

    def strips(self, window: Window) -> np.ndarray:
        """Return which strip each row (y,) of a window lies in."""
        rows = np.arange(window.height) + int(window.row_off)
        return rows * len(self.design.strips) // self.size

    def abundances(self, window: Window) -> np.ndarray:
        """Return the abundances (n, material) of a window."""
        fields = np.stack([field.read(window).ravel() for field in self._shares], axis=1)
        found = shares_of(fields, self.design.sharpness)
        rows, cols = np.divmod(np.arange(len(found)), int(window.width))
        plot = self._plot(rows + int(window.row_off), cols + int(window.col_off))
        inside = plot >= 0
        found[inside] = np.eye(found.shape[1])[plot[inside]]
        even = 1 / found.shape[1]
        return even + (found - even) * (self.design.highest - even) / (1 - even)

    def _plot(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Return whose pure plot pixels (n,) lie in, -1 for none."""
        count = len(self.design.spectra)
        side = max(_SMALLEST_PLOT, int(_PLOT_SHARE * self.size))
        top = self.size // (2 * len(self.design.strips)) - side // 2
        lefts = ((np.arange(count) + 0.5) * self.size / count).astype(int) - side // 2
        plot = np.full(len(rows), -1)
        for material, left in enumerate(lefts):
            inside = (rows >= top) & (rows < top + side) & (cols >= left) & (cols < left + side)
            plot[inside] = material
        return plot

    def _endmembers(self, window: Window, rng: np.random.Generator) -> np.ndarray:
        design = self.design
        along = np.linspace(-1, 1, design.spectra.shape[1])
        every = []
        for spectrum, fields in zip(design.spectra, self._varying):
            scale, slope, bend = (field.read(window, rng).ravel()[:, None] for field in fields)
            shape = 1 + design.shape_spread * (slope * along + bend * (1.5 * along**2 - 0.5))
            every.append(spectrum * np.exp(design.scale_spread * scale) * shape)
        return np.stack(every, axis=1)


def shares_of(fields: np.ndarray, sharpness: float) -> np.ndarray:
    """Return abundances (n, material) from standard normal fields (n, material): small ones are none."""
    weights = np.exp(sharpness * (fields - fields.max(axis=1, keepdims=True)))
    shares = np.clip(weights / weights.sum(axis=1, keepdims=True) - _FLOOR, 0, None)
    return shares / shares.sum(axis=1, keepdims=True)


def nonlinear_part(endmembers: np.ndarray, abundances: np.ndarray, mixing: Mixing) -> np.ndarray:
    """Return the nonlinear part (n, band) of pixels of `endmembers` (n, material, band).

    Raises ValueError where there is no such kind of mixing.
    """
    n, materials, bands = endmembers.shape
    if mixing.kind == "linear":
        return np.zeros((n, bands))
    if mixing.kind == "post_nonlinear":
        return mixing.strength * np.einsum("nk,nkb->nb", abundances, endmembers) ** 2
    if mixing.kind != "bilinear":
        raise ValueError(f"There is no mixing '{mixing.kind}'.")
    part = np.zeros((n, bands))
    for i, j in combinations(range(materials), 2):
        part += (abundances[:, i] * abundances[:, j])[:, None] * endmembers[:, i] * endmembers[:, j]
    return mixing.strength * part


def mixed_scene(design: Design, size: int, seed: int, snr_db: float | None = None) -> Mixed:
    """Return a whole scene, its noise scaled to a signal-to-noise ratio in dB of power where one is given."""
    found = Mixtures(design, size, seed).tile(Window(0, 0, size, size))
    if snr_db is None:
        return found
    clean = found.linear + found.nonlinear
    deviation = np.sqrt(np.mean(clean**2) / 10 ** (snr_db / 10))
    noise = deviation * np.random.default_rng([seed, 1]).standard_normal(clean.shape)
    return Mixed(found.abundances, found.endmembers, found.linear, found.nonlinear, noise, found.strips)


def make_bilinear_scene(endmembers: np.ndarray, size: int = 50, snr_db: float = 30.0, seed: int = 0) -> Mixed:
    """Return the scene that accuracy is measured on: y = M a + sum over i < j of a_i a_j m_i m_j + noise.

    `endmembers` (material, band) are the same at all pixels.
    """
    design = Design(endmembers, (Mixing("bilinear", 1.0),), scale_spread=0, shape_spread=0)
    return mixed_scene(design, size, seed, snr_db)
