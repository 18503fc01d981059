"""What the pixels of a scene say together: endmembers and their spread, errors, what no model explains."""

from __future__ import annotations

import numpy as np

from ..models.card import Card
from ..rasters.errors import first_of
from ..rasters.scene import Scene
from ..rasters.tables import BandStatistics
from .context import Context
from .unmix_methods import Batch

# A pixel says something of a material's spectrum where it has this abundance of it or more.
PRESENT = 0.1
# Beyond this share of the nonlinear stream in the abundances, they are no longer those of a mixture.
_CORRECTED = 0.5
_FEW_OUTSIDE = 0.1
_PERCENTILES = (0.05, 0.95)
_SIGNIFICANT = 7


class UnmixSummary:
    """Sums over the pixels, in memory that does not grow with them."""

    def __init__(self, card: Card, spectra: np.ndarray, seed: int) -> None:
        self._card, self._spectra = card, spectra
        self._fence = float(card.training["error_fence"])
        self._statistics = BandStatistics(spectra.shape[0], spectra.shape[1], seed=seed)
        self._present = np.zeros(len(spectra), np.int64)
        self._abundances = np.zeros(len(spectra))
        self._errors = self._nonlinear = 0.0
        self._outside = 0
        self.pixels = 0
        # The largest 99th percentile of a tile's values, by output, for the styles.
        self.limits: dict[str, float] = {}

    def add(self, batch: Batch, keys: np.ndarray) -> None:
        """Add n pixels, each with a number of its own as `keys` int64 (n,)."""
        errors = batch.error
        outside = errors > self._fence
        for material in range(batch.abundances.shape[1]):
            chosen = batch.abundances[:, material] >= PRESENT
            self._present[material] += int(chosen.sum())
            values = batch.endmembers[chosen, material]
            self._statistics.add(np.full(len(values), material), values, keys[chosen])
        if batch.shares is not None:
            outside |= batch.shares[:, 1] > _CORRECTED
            self._nonlinear += float(batch.shares[:, 0].sum())
        self._abundances += batch.abundances.sum(axis=0)
        self._errors += float(errors.sum())
        self._outside += int(outside.sum())
        self.pixels += len(errors)
        for name, values in (("reconstruction_error", errors), ("endmember_spread", batch.spread),
                             ("uncertainty", batch.sd), ("nonlinearity", batch.shares),
                             ("brightness", batch.brightness)):  # fmt: skip
            if values is not None:
                shown = values if values.ndim == 1 else values[:, 0]
                self.limits[name] = max(self.limits.get(name, 0.0), float(np.percentile(shown, 99)))

    def warn(self, context: Context) -> None:
        """Say which materials are nowhere, and whether many pixels are outside of what the model explains."""
        absent = [name for name, count in zip(self._card.class_names, self._present) if not count]
        if absent:
            context.warn(
                f"No pixel has {PRESENT:.0%} or more of {first_of(absent)}: there may be too many endmembers."
            )
        if self._outside > _FEW_OUTSIDE * self.pixels:
            context.warn(
                f"{self._outside / self.pixels:.0%} of the pixels are outside of what the model explains: "
                f"their reconstruction error is over {self._fence:g}, or the nonlinear stream makes more "
                "than half of the abundances. Endmembers may be too few, or values no reflectance of this "
                "sensor."
            )

    def numbers(self) -> dict[str, float]:
        """Return the numbers worth scripting."""
        found = {
            "MATERIALS": len(self._card.classes),
            "PIXELS": self.pixels,
            "MEAN_RECONSTRUCTION_ERROR": self._errors / self.pixels,
            "OUTSIDE_SHARE": self._outside / self.pixels,
        }
        if "nonlinearity" in self.limits:
            found["MEAN_NONLINEARITY"] = self._nonlinear / self.pixels
        return found

    def facts(self) -> dict:
        """Return what the run record keeps."""
        names = self._card.class_names
        return {
            **{name.lower(): value for name, value in self.numbers().items()},
            "mean_abundances": dict(zip(names, (self._abundances / self.pixels).round(6).tolist())),
            "present_pixels": dict(zip(names, self._present.tolist())),
        }

    def table(self, scene: Scene) -> dict:
        """Return ENDMEMBERS_TABLE: a row per material and band, as `read_spectra_table` takes it back."""
        columns = [
            ("material", "string", "Material"), ("band", "int", "Band number"),
            ("wavelength_nm", "double", "Wavelength (nm)"), ("mean", "double", "Mean reflectance"),
            ("p5", "double", "5th percentile"), ("p95", "double", "95th percentile"),
            ("model", "double", "Reflectance that the model starts from"),
            ("pixels", "int", "Pixels with 10 % or more of the material"),
        ]  # fmt: skip
        means = {(row.class_index, row.band): row.mean for row in self._statistics.rows()}
        low_high = self._statistics.percentiles(_PERCENTILES)
        rows = [
            [name, number + 1, scene.bands[number].wavelength_nm, _rounded(means.get((k, place))),
             *(_rounded(value) for value in low_high[k, :, place]), _rounded(self._spectra[k, place]),
             int(self._present[k])]
            for k, name in enumerate(self._card.class_names)
            for place, number in enumerate(self._card.used_bands)
        ]  # fmt: skip
        return {"columns": [dict(zip(("name", "type", "alias"), c)) for c in columns], "rows": rows}


def _rounded(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(f"{value:.{_SIGNIFICANT}g}")
