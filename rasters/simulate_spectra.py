"""Reflectance spectra whose classes differ in planted absorption features and in nothing else.

The continuum (a soil-like rise with random level, slope and curvature), the decoy absorption and the
noise have one distribution for all classes. A class multiplies the continuum by `1 - depth * shape`
of its own features. Centres follow the named features of Hunt 1977, Curran 1989 and Clark 1999.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEVEL_SPREAD = 0.26  # standard deviation of the logarithm of the level: illumination and brightness
SLOPE_SPREAD = 0.05  # relative, from the middle to either end of the range
CURVATURE_SPREAD = 0.03
NOISE = 0.004  # standard deviation of the white sensor noise, reflectance
EVIDENCE_SHARE = 0.5  # a band is evidence inside the full width at half depth
TRACE_SHARE = 0.02  # and none where it is under this share
LATENTS = ("level", "slope", "curvature", "decoy", "first_feature", "second_feature")


@dataclass(frozen=True)
class Feature:
    """An absorption: two half-Gaussians that meet at the centre, the right one `asymmetry` times as wide."""

    name: str
    centre_nm: float
    fwhm_nm: float
    asymmetry: float
    depth: tuple[float, float] = (0.1, 0.3)

    def shape(self, wavelengths: np.ndarray) -> np.ndarray:
        """Return the depth relative to the centre's, 0 to 1, at `wavelengths` in nm."""
        left = self.fwhm_nm / (1 + self.asymmetry)
        half_width = np.where(wavelengths < self.centre_nm, left, self.fwhm_nm - left)
        return np.exp2(-(((wavelengths - self.centre_nm) / half_width) ** 2))


@dataclass(frozen=True)
class SpectralClass:
    """A class of the scene: its name, colour and own features (one or two)."""

    name: str
    colour: tuple[int, int, int]
    features: tuple[Feature, ...]


CLASSES = (
    SpectralClass("chlorophyll", (58, 146, 58), (Feature("chlorophyll red", 678, 40, 1.4),)),
    SpectralClass("ferric iron", (192, 80, 77), (Feature("ferric iron", 880, 50, 1.2),)),
    SpectralClass(
        "leaf water",
        (50, 116, 161),
        (Feature("liquid water 975", 975, 40, 1.5), Feature("liquid water 1190", 1190, 60, 1.4)),
    ),
    SpectralClass("plastic", (147, 114, 178), (Feature("C-H overtone", 1725, 55, 1.2),)),
    SpectralClass("clay", (225, 129, 44), (Feature("Al-OH", 2200, 45, 0.8),)),
    SpectralClass("carbonate", (227, 197, 103), (Feature("CO3", 2335, 50, 0.8),)),
)
DECOY = Feature("water and hydroxyl", 1450, 70, 1.5, depth=(0.05, 0.3))


def spectrometer() -> tuple[np.ndarray, np.ndarray]:
    """Return centre wavelengths and FWHM in nm of an imaging spectrometer, 420 to 2450 nm.

    Spacing grows from 7 to 10 nm to 1000 nm and falls from 15 to 10 nm beyond, much as in EnMAP. The bands
    in the two water-vapour windows are left out, as they are in delivered products.
    """
    centres = [420.0]
    spacing: list[float] = []
    while centres[-1] < 2450:
        at = centres[-1]
        spacing.append(7 + 3 * (at - 420) / 580 if at < 1000 else 15 - 5 * (at - 1000) / 1450)
        centres.append(at + spacing[-1])
    wavelengths, fwhm = np.round(centres[:-1], 1), np.round(np.multiply(spacing, 1.1), 1)
    vapour = ((wavelengths > 1345) & (wavelengths < 1425)) | ((wavelengths > 1795) & (wavelengths < 1955))
    return wavelengths[~vapour], fwhm[~vapour]


def reflectance(wavelengths: np.ndarray, classes: np.ndarray, latents: np.ndarray) -> np.ndarray:
    """Return noise-free reflectance (n, band), float32.

    `classes` (n,) are indices into `CLASSES`, -1 for the plain continuum with the decoy; `latents`
    (latent, n) are standard normal, in the order of `LATENTS`.
    """
    level, slope, curvature, decoy, *own = np.asarray(latents, np.float32)[:, :, None]
    along = np.linspace(-1, 1, 2031, dtype=np.float32)[np.rint(wavelengths - 420).astype(int)]
    spectra = np.exp(LEVEL_SPREAD * level) * soil(wavelengths).astype(np.float32)
    spectra *= 1 + SLOPE_SPREAD * slope * along + CURVATURE_SPREAD * curvature * (1.5 * along**2 - 0.5)
    spectra *= 1 - depths(DECOY, decoy) * DECOY.shape(wavelengths).astype(np.float32)
    for index, spectral_class in enumerate(CLASSES):
        members = classes == index
        for feature, latent in zip(spectral_class.features, own, strict=False):
            dip = depths(feature, latent[members]) * feature.shape(wavelengths).astype(np.float32)
            spectra[members] *= 1 - dip
    return spectra


def evidence(wavelengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (own, unplanted): own bands (class, band) and bands with a trace of no class (band,), bool."""
    share = np.stack([np.max([f.shape(wavelengths) for f in c.features], axis=0) for c in CLASSES])
    return share > EVIDENCE_SHARE, share.max(axis=0) < TRACE_SHARE


def soil(wavelengths: np.ndarray) -> np.ndarray:
    """Return a smooth soil-like continuum: steep in the visible, flat later, falling a little at the end."""
    along = (wavelengths - 420) / 2030
    return 0.12 + 0.26 * (1 - np.exp(-3.2 * along)) - 0.06 * along**3


def depths(feature: Feature, latent: np.ndarray) -> np.ndarray:
    """Return depths between the feature's limits from standard normal values, nearly uniform."""
    low, high = feature.depth
    return low + (high - low) / (1 + np.exp(-1.702 * latent))
