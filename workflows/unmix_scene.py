"""What unmixing reads of a scene: its usable bands, the scale of its values, and a sample of its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rasterio.windows import Window

from ..engine.unmix_jobs import UnmixJob
from ..models.card import CardBand
from ..rasters.errors import InputError, first_of
from ..rasters.reflectance import reflectance_scale
from ..rasters.scene import Scene, describe_band
from ..rasters.wavelengths import Band
from .context import Context
from .draws import draw_from_blocks

# A band that has data at fewer of the sampled pixels would leave hardly any pixel.
_HALF = 0.5
# Sensor noise on dark pixels goes below 0; more than this share says that a correction went too far.
_FEW_NEGATIVE = 0.01


@dataclass(frozen=True)
class _Stored:
    """Pixels with data: stored values float32 (n, band), NaN where a band has none."""

    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, chosen: np.ndarray) -> _Stored:
        return _Stored(self.values[chosen])


@dataclass(frozen=True)
class SceneSample:
    """A scene as unmixing sees it.

    `used`: places of the bands that are read. `scale`: what stored values are divided by. `pixels` (n, used
    band), float32 reflectance, with data in all of these bands.
    """

    used: tuple[int, ...]
    scale: float
    pixels: np.ndarray

    def bands(self, scene: Scene) -> list[Band]:
        """Return the scene's bands that are read."""
        return [scene.bands[index] for index in self.used]

    def card_bands(self, scene: Scene) -> tuple[CardBand, ...]:
        """Return all of the scene's bands for a card."""
        return tuple(
            CardBand(band.name, band.wavelength_nm, band.fwhm_nm, index in self.used)
            for index, band in enumerate(scene.bands)
        )


def sample_scene(job: UnmixJob, context: Context, scene: Scene, window: Window) -> SceneSample:
    """Draw up to `job.sample` pixels of a window and see which bands can be used; InputError where none."""
    good = [index for index, band in enumerate(scene.bands) if band.good]
    if not good:
        raise InputError(f"All bands of {scene.path} are marked as bad; choose another raster.")

    def read(block: Window) -> _Stored | None:
        values = scene.read(block, bands=good)
        rows = values.reshape(len(good), -1).T
        return _Stored(rows[np.isfinite(rows).any(axis=1)])

    generator = np.random.default_rng(job.seed)
    parts = draw_from_blocks(window, job.sample, generator, context.check, read)
    if not parts:
        raise InputError(
            f"{scene.path} holds no pixel with data where it was to be read; choose another raster or extent."
        )
    stored = np.concatenate([part.values for part in parts])
    used = _usable(scene, good, stored, context)
    values = stored[:, [good.index(index) for index in used]]
    values = values[np.isfinite(values).all(axis=1)]
    values = values[np.sort(generator.permutation(len(values))[: job.sample])]
    if not len(values):
        raise InputError(
            f"No pixel of {scene.path} that was looked at has data in all of its {len(used)} usable bands; "
            "choose another raster or extent."
        )
    scale = job.scale or reflectance_scale(values, scene.dtype, scene.path)
    if scale != 1:
        context.log(f"Values of {scene.path} are divided by {scale:g} to be reflectance.")
    sample = SceneSample(tuple(used), scale, values / np.float32(scale))
    _warn_of_negatives(sample, context)
    return sample


def _usable(scene: Scene, good: list[int], stored: np.ndarray, context: Context) -> list[int]:
    """Return the good bands that have data and vary over the sample, and warn of the others."""
    known = np.isfinite(stored)
    empty = known.mean(axis=0) < _HALF
    low = np.where(known, stored, np.inf).min(axis=0)
    high = np.where(known, stored, -np.inf).max(axis=0)
    constant = ~empty & (low == high) & (len(stored) > 1)
    for chosen, what in ((empty, "has no data at half of the pixels or more"), (constant, "is constant")):
        names = [describe_band(good[i], scene.bands[good[i]]) for i in np.flatnonzero(chosen)]
        if names:
            context.warn(f"{len(names)} band(s) left out, since each {what}: {first_of(names)}.")
    used = [good[i] for i in np.flatnonzero(~empty & ~constant)]
    if not used:
        raise InputError(
            f"No band of {scene.path} varies and has data at most pixels; choose another raster or extent."
        )
    return used


def _warn_of_negatives(sample: SceneSample, context: Context) -> None:
    share = float((sample.pixels < 0).mean())
    if share > _FEW_NEGATIVE:
        context.warn(
            f"{share:.0%} of the values are negative. They are unmixed as they are; check the atmospheric "
            "correction, or a nodata value that the raster does not declare."
        )
