"""Spectra of two sensors, VNIR and SWIR: which classes differ in which is planted.

Level, slope, the decoy of each sensor and the noise have one distribution for all classes. Three classes have
an absorption in the VNIR alone, three in the SWIR alone. The last two, the pair, have one in the VNIR in half
of their pixels and one in the SWIR in half of them: `both or neither` has them together, `one of the two`
never, so that either sensor alone sees the same of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .simulate_spectra import EVIDENCE_SHARE, TRACE_SHARE, Feature, SpectralClass, depths, soil

LEVEL_SPREAD = 0.2  # of the logarithm of the level that both sensors see, standard deviation
GAIN_SPREAD = 0.1  # and of each sensor's own
SLOPE_SPREAD = 0.05  # relative, from the middle of a sensor's range to either end
NOISE = 0.004  # standard deviation of the white sensor noise, reflectance
LATENTS = ("gain", "slope", "decoy", "feature")  # of each sensor


@dataclass(frozen=True)
class Sensor:
    """A spectrometer: its range and spacing in nm, and the pixels of the fine grid that one of its own spans.

    `pair` is the absorption of the pair of classes that both sensors are needed for, `decoy` that which all
    classes share. Bands in the water-vapour windows are left out.
    """

    name: str
    first_nm: float
    last_nm: float
    spacing_nm: float
    pixel: int
    decoy: Feature
    pair: Feature

    def wavelengths(self) -> np.ndarray:
        """Return the centres (band,) of the bands in nm."""
        centres = np.arange(self.first_nm, self.last_nm + 1, self.spacing_nm)
        vapour = ((centres > 1345) & (centres < 1425)) | ((centres > 1795) & (centres < 1955))
        return centres[~vapour]

    @property
    def fwhm_nm(self) -> float:
        """Full width at half maximum of each band."""
        return round(1.1 * self.spacing_nm, 1)


VNIR = Sensor(
    "VNIR", 420, 988, 8, 1, Feature("decoy 780", 780, 50, 1.3, depth=(0.05, 0.3)),
    Feature("phycocyanin 615", 615, 36, 1.2, depth=(0.2, 0.35)),
)  # fmt: skip
SWIR = Sensor(
    "SWIR", 1010, 2438, 14, 2, Feature("decoy 1200", 1200, 70, 1.4, depth=(0.05, 0.3)),
    Feature("N-H 1510", 1510, 70, 1.2, depth=(0.2, 0.35)),
)  # fmt: skip
SENSORS = (VNIR, SWIR)

CLASSES = (
    SpectralClass("chlorophyll", (58, 146, 58), (Feature("chlorophyll red", 678, 40, 1.3),)),
    SpectralClass("ferric iron", (192, 80, 77), (Feature("ferric iron", 890, 50, 1.2),)),
    SpectralClass("carotenoid", (235, 150, 40), (Feature("carotenoid", 490, 40, 1.2),)),
    SpectralClass("plastic", (147, 114, 178), (Feature("C-H overtone", 1725, 60, 1.2),)),
    SpectralClass("clay", (150, 100, 60), (Feature("Al-OH", 2200, 50, 0.8),)),
    SpectralClass("carbonate", (120, 180, 210), (Feature("CO3", 2335, 55, 0.8),)),
    SpectralClass("both or neither", (227, 197, 103), (VNIR.pair, SWIR.pair)),
    SpectralClass("one of the two", (90, 90, 90), (VNIR.pair, SWIR.pair)),
)
PAIR = (6, 7)  # in CLASSES


def sensors_of(spectral_class: SpectralClass) -> tuple[Sensor, ...]:
    """Return the sensors whose range holds a feature of the class."""
    return tuple(
        sensor
        for sensor in SENSORS
        if any(sensor.first_nm <= feature.centre_nm <= sensor.last_nm for feature in spectral_class.features)
    )


def reflectance(
    sensor: Sensor, classes: np.ndarray, level: np.ndarray, latents: np.ndarray, present: np.ndarray
) -> np.ndarray:
    """Return noise-free reflectance (n, band) in a sensor's bands, float32.

    `classes` (n,) are indices into `CLASSES`, -1 for none. `level` (n,), which both sensors share, and
    `latents` (latent, n), in the order of `LATENTS`, are standard normal. `present` bool (n,): whether pixels
    of the pair have this sensor's feature.
    """
    wavelengths = sensor.wavelengths()
    gain, slope, decoy, own = np.asarray(latents, np.float32)[:, :, None]
    along = np.linspace(-1, 1, len(wavelengths), dtype=np.float32)
    spectra = np.exp(LEVEL_SPREAD * np.asarray(level, np.float32)[:, None] + GAIN_SPREAD * gain)
    spectra = spectra * soil(wavelengths).astype(np.float32) * (1 + SLOPE_SPREAD * slope * along)
    spectra *= 1 - depths(sensor.decoy, decoy) * sensor.decoy.shape(wavelengths).astype(np.float32)
    for index, spectral_class in enumerate(CLASSES):
        members = classes == index
        if index in PAIR:
            members &= present
        for feature in spectral_class.features:
            shape = feature.shape(wavelengths).astype(np.float32)
            spectra[members] *= 1 - depths(feature, own[members]) * shape
    return spectra


def evidence() -> tuple[np.ndarray, np.ndarray]:
    """Return (own, unplanted) over both sensors' bands, the VNIR's first.

    The own bands of each class (class, band), and those with a trace of no class (band,), bool.
    """
    wavelengths = np.concatenate([sensor.wavelengths() for sensor in SENSORS])
    share = np.stack([np.max([f.shape(wavelengths) for f in c.features], axis=0) for c in CLASSES])
    return share > EVIDENCE_SHARE, share.max(axis=0) < TRACE_SHARE
