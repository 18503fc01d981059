"""Reflectance of the materials of a simulated street, 600 to 975 nm, and the classes made of them.

Spectra are smooth, but for a paint: it changes three bands of the material under it, by amounts whose sum is
zero, so that a division of each spectrum by its sum leaves the other bands alike too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WAVELENGTHS = 600 + np.arange(25) * 15.625  # nm, as of a 5 x 5 mosaic snapshot camera in the near infrared
FWHM = 12.0  # nm
PAINT_BANDS = (6, 7, 8)  # counted from 0: B7 to B9
PAINT = (0.12, -0.24, 0.12)  # relative to the mean of the material under it in these bands
BRIGHTNESS_SPREAD = 0.15  # standard deviation of the logarithm of the brightness, alike for all classes
NOISE = 0.002  # standard deviation of the white sensor noise, reflectance
SHADOW = (0.2, 0.5)  # limits of the factor on reflectance


@dataclass(frozen=True)
class StreetClass:
    """A class of the street: its name, colour and what decides it."""

    name: str
    colour: tuple[int, int, int]
    evidence: str


CLASSES = (
    StreetClass("Road", (110, 110, 118), "its spectrum: dark, rising slowly"),
    StreetClass("Road marks", (245, 245, 235), "brightness: 2.5 times the road, almost of its shape"),
    StreetClass("Vegetation", (66, 146, 58), "its spectrum: the red edge"),
    StreetClass("Sky", (112, 172, 222), "its spectrum: bright, falling"),
    StreetClass("Other", (150, 110, 80), "no paint in bands B7 to B9, unlike 'Painted other'"),
    StreetClass("Painted other", (200, 80, 60), "paint in bands B7 to B9, and nothing else unlike 'Other'"),
    StreetClass("Barrier open", (147, 114, 178), "no signal 6 pixels away, unlike 'Barrier closed'"),
    StreetClass(
        "Barrier closed", (90, 40, 130), "a signal 6 pixels away, and nothing else unlike 'Barrier open'"
    ),
    StreetClass("Signal", (240, 190, 40), "its spectrum: a peak at 640 nm"),
)
# Values of class rasters; 0 is no label.
ROAD, MARK, VEGETATION, SKY, OTHER, PAINTED, OPEN, CLOSED, SIGNAL = range(1, len(CLASSES) + 1)


def reflectances() -> np.ndarray:
    """Return the reflectance (class, band) of all classes in the sun, float32."""
    along = (WAVELENGTHS - WAVELENGTHS[0]) / (WAVELENGTHS[-1] - WAVELENGTHS[0])
    road = 0.15 + 0.05 * along
    mark = 2.5 * road * (1.04 - 0.08 * along)
    vegetation = 0.06 + 0.44 / (1 + np.exp(-(WAVELENGTHS - 715) / 14))
    sky = 0.8 - 0.35 * along
    other = 0.26 + 0.06 * np.sin(np.pi * along)
    painted = other.copy()
    painted[list(PAINT_BANDS)] += np.multiply(PAINT, other[list(PAINT_BANDS)].mean())
    barrier = 0.34 * (1 - 0.5 * _bell(880, 50))
    signal = 0.12 + 0.5 * _bell(640, 40)
    spectra = [road, mark, vegetation, sky, other, painted, barrier, barrier, signal]
    return np.stack(spectra).astype(np.float32)


def _bell(centre: float, spread: float) -> np.ndarray:
    return np.exp(-(((WAVELENGTHS - centre) / spread) ** 2) / 2)
