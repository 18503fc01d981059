"""Reflectance of materials that mix within pixels, 420 to 2450 nm: smooth, with named absorptions.

No measured spectra: simple forms with the features of Hunt 1977, Curran 1989 and Clark 1999, so that every
number of them is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .simulate_spectra import Feature
from .styles import Colour

_GREEN = Feature("chlorophyll beside the green peak", 490, 110, 1.0)
_RED = Feature("chlorophyll red", 678, 70, 1.0)
_LEAF_WATER = (
    (Feature("liquid water 975", 975, 60, 1.5), 0.08),
    (Feature("liquid water 1190", 1190, 90, 1.4), 0.15),
    (Feature("liquid water 1450", 1450, 190, 1.2), 0.6),
    (Feature("liquid water 1940", 1940, 260, 1.3), 0.75),
    (Feature("liquid water 2600", 2600, 500, 1.0), 0.7),
)
_SOIL = ((Feature("ferric iron", 880, 120, 1.2), 0.12), (Feature("Al-OH", 2200, 50, 0.8), 0.15))
_SHEET = ((Feature("C-H overtone", 1725, 55, 1.2), 0.3), (Feature("C-H combination", 2310, 70, 1.0), 0.35))
_ROCK = ((Feature("CO3", 2335, 70, 0.8), 0.3), (Feature("CO3 weak", 1875, 60, 1.0), 0.05))


@dataclass(frozen=True)
class Material:
    """A material: its name, its colour on maps, and its reflectance as a function of wavelengths in nm."""

    name: str
    colour: Colour
    reflectance: Callable[[np.ndarray], np.ndarray]


def _with_features(
    continuum: np.ndarray, features: tuple[tuple[Feature, float], ...], wavelengths: np.ndarray
) -> np.ndarray:
    for feature, depth in features:
        continuum = continuum * (1 - depth * feature.shape(wavelengths))
    return continuum


def _vegetation(wavelengths: np.ndarray) -> np.ndarray:
    edge = 0.09 + 0.43 / (1 + np.exp(-(wavelengths - 716) / 16))
    pigments = (1 - 0.55 * _GREEN.shape(wavelengths)) * (1 - 0.6 * _RED.shape(wavelengths))
    return _with_features(edge * pigments, _LEAF_WATER, wavelengths)


def _soil(wavelengths: np.ndarray) -> np.ndarray:
    rise = 0.08 + 0.36 * (1 - np.exp(-(wavelengths - 400) / 700))
    return _with_features(rise, _SOIL, wavelengths)


def _water(wavelengths: np.ndarray) -> np.ndarray:
    return 0.006 + 0.09 * np.exp(-(((wavelengths - 520) / 150) ** 2))


def _roof(wavelengths: np.ndarray) -> np.ndarray:
    return _with_features(0.56 - 0.12 * (wavelengths - 420) / 2030, _SHEET, wavelengths)


def _asphalt(wavelengths: np.ndarray) -> np.ndarray:
    return 0.06 + 0.07 * (wavelengths - 420) / 2030


def _limestone(wavelengths: np.ndarray) -> np.ndarray:
    rise = 0.35 + 0.3 * (1 - np.exp(-(wavelengths - 400) / 250))
    return _with_features(rise, _ROCK, wavelengths)


MATERIALS = (
    Material("vegetation", (58, 146, 58), _vegetation),
    Material("soil", (192, 120, 60), _soil),
    Material("water", (50, 116, 191), _water),
    Material("roof", (200, 70, 80), _roof),
    Material("limestone", (227, 205, 130), _limestone),
    Material("asphalt", (110, 110, 118), _asphalt),
)


def material_spectra(wavelengths: np.ndarray, count: int) -> np.ndarray:
    """Return the reflectance (material, band) of the first `count` of `MATERIALS`."""
    return np.stack([material.reflectance(wavelengths) for material in MATERIALS[:count]])
