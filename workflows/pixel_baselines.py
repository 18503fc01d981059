"""What pixels are explained against: one spectrum for all of them, or the continuum of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..engine.jobs import AttributionJob
from ..models.card import Card
from ..models.files import Model
from ..models.networks import PatchNetwork
from ..rasters.continuum import ranges_of, upper_hull
from ..rasters.errors import InputError
from ..rasters.scene import Scene
from ..rasters.series import Series
from ..rasters.wavelengths import to_nanometres
from .targets import AUTO, CONTINUUM, baseline_spectrum, baseline_values, model_units

# Pixels whose hulls are drawn at a time, between two looks whether the work is still wanted.
_PIXELS = 8192
# Light that imaging spectrometers see; a list in another unit, or of numbers of bands, is not that.
_SHORTEST_NM, _LONGEST_NM = 100.0, 20000.0
# With fewer bands most lie on the hull, where nothing is explained, and absorptions are a band or two.
_SPECTRUM = 20
OTHERS = "choose another BASELINE, such as mean"


class PixelBaseline(Protocol):
    """A baseline for the pixels of a scene; `facts` tell of it in the run record.

    `reference` is where a baseline of each pixel's own is itself explained from, a prepared spectrum (band,).
    """

    facts: dict
    reference: Tensor | None

    def of(self, raw: Tensor, check: Callable[[], None]) -> Tensor:
        """Return the baseline of raster values (band, y, x), prepared: (band,) for all, or (band, y, x).

        `check` is called often and may raise to stop.
        """
        ...


class OneSpectrum:
    """One prepared spectrum (band,) for all pixels."""

    def __init__(self, spectrum: Tensor) -> None:
        self._spectrum = spectrum
        self.reference: Tensor | None = None
        self.facts = {"baseline_values": model_units(spectrum)}

    def of(self, raw: Tensor, check: Callable[[], None]) -> Tensor:
        """See `PixelBaseline`."""
        return self._spectrum


class Continuum:
    """The upper hull of each pixel's spectrum, drawn through the raster's own values and then prepared.

    What is explained against it are absorptions: in bands of no range, and at the vertices of the hull, it is
    the spectrum itself. What level and slope did is the hull's own change from the mean training spectrum.
    """

    def __init__(self, model: Model, wavelengths_nm: list[float | None], ranges: list[np.ndarray]) -> None:
        self._network, self._wavelengths, self._ranges = model.network, wavelengths_nm, ranges
        self.reference: Tensor | None = baseline_values("mean", None, None, model)
        ends = [[wavelengths_nm[band] for band in part[[0, -1]]] for part in ranges]
        self.facts = {"continuum_ranges_nm": ends}

    def of(self, raw: Tensor, check: Callable[[], None]) -> Tensor:
        """See `PixelBaseline`."""
        hull = torch.empty_like(raw)
        rows = max(1, _PIXELS // raw.shape[2])
        for top in range(0, raw.shape[1], rows):
            check()
            part = raw[:, top : top + rows].movedim(0, -1).numpy()
            found = torch.from_numpy(upper_hull(part, self._wavelengths, self._ranges))
            hull[:, top : top + rows] = found.movedim(-1, 0)
        with torch.no_grad():
            return self._network.prepare(hull[None])[0]


def pixel_baseline(job: AttributionJob, scene: Scene, model: Model, read: bool = True) -> PixelBaseline:
    """Return the job's baseline; InputError where the scene or the model can't serve it.

    No continuum is drawn where the explainer does not `read` its baseline. Where the job leaves the choice,
    `facts` tell what was chosen and why.
    """
    if job.baseline == AUTO:
        name, reason = _chosen(job, scene, model, read)
        found = pixel_baseline(replace(job, baseline=name), scene, model, read)
        found.facts |= {"baseline": name, "baseline_reason": reason}
        return found
    if job.baseline == CONTINUUM and not read:
        return OneSpectrum(baseline_values("mean", None, None, model))
    if job.baseline != CONTINUUM:
        return OneSpectrum(baseline_spectrum(job, model))
    if isinstance(scene, Series):
        raise InputError(f"The bands of a series are dates, which have no continuum; {OTHERS}.")
    wavelengths = band_wavelengths(job.wavelengths, scene, model.card.used_bands, model.card)
    if not any(wavelengths):
        raise InputError(
            f"The baseline 'continuum' needs wavelengths, and {scene.path} tells none; give those of its "
            f"bands as WAVELENGTHS, or {OTHERS}."
        )
    ranges = _ranges(wavelengths, scene, model.card)
    if not ranges:
        raise InputError(
            f"No three bands of {scene.path} follow each other closely enough for a continuum outside of the "
            f"atmosphere's windows; check WAVELENGTHS, or {OTHERS}."
        )
    return Continuum(model, wavelengths, ranges)


def _chosen(job: AttributionJob, scene: Scene, model: Model, read: bool) -> tuple[str, str]:
    """Return the baseline that suits what is explained, and why: the continuum where spectra have one."""
    if not read:
        return "mean", "the explainer starts from no baseline"
    if isinstance(scene, Series):
        return "mean", "the bands of a series are dates"
    if not isinstance(model.network, PatchNetwork):
        return "mean", "the model classifies whole images, not spectra or patches"
    wavelengths = band_wavelengths(job.wavelengths, scene, model.card.used_bands, model.card)
    if not any(wavelengths):
        return "mean", "no band has a wavelength"
    ranges = _ranges(wavelengths, scene, model.card)
    bands = sum(map(len, ranges))
    if bands < _SPECTRUM:
        return "mean", f"{bands} bands in contiguous ranges are too few for a spectrum with absorptions"
    return CONTINUUM, f"the wavelengths form {len(ranges)} contiguous range(s)"


def _ranges(wavelengths: list[float | None], scene: Scene, card: Card) -> list[np.ndarray]:
    return ranges_of(wavelengths, [scene.bands[band].good for band in card.used_bands])


def band_wavelengths(
    given: list[float] | None, scene: Scene, used: list[int], card: Card | None = None
) -> list[float | None]:
    """Return the wavelengths in nm of the scene's bands in `used`: given, the scene's or the model's.

    Those given are one per band of the scene or per used band; each is in nm, or in µm where it is below 100.
    Raises InputError where they don't fit.
    """
    if not given:
        own = [scene.bands[band].wavelength_nm for band in used]
        return own if any(own) or card is None else [card.bands[band].wavelength_nm for band in used]
    if len(given) not in (len(scene.bands), len(used)):
        raise InputError(
            f"WAVELENGTHS has {len(given)} values; the scene has {len(scene.bands)} bands, of which "
            f"{len(used)} are read: give a value for each."
        )
    chosen = [given[band] for band in used] if len(given) == len(scene.bands) else given
    if not all(value > 0 for value in chosen):
        raise InputError("WAVELENGTHS has a value that is not above 0; give nanometres or micrometres.")
    found = [to_nanometres(value, None) for value in chosen]
    for value, wavelength in zip(chosen, found):
        if wavelength is None or not _SHORTEST_NM <= wavelength <= _LONGEST_NM:
            raise InputError(
                f"WAVELENGTHS has the value {value:g}, which is neither {_SHORTEST_NM:g} to {_LONGEST_NM:g} "
                f"nanometres nor {_SHORTEST_NM / 1e3:g} to {_LONGEST_NM / 1e3:g} micrometres; correct it."
            )
    return found
