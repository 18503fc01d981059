"""What the pixels of each class look like, and what was attributed to their bands: running sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Pixels whose sums are taken at a time, so that float64 copies of them stay small.
_ROWS = 4096


class SpectralTile(NamedTuple):
    """What is known of the pixels of a tile, over the bands that are read.

    `classes` int (y, x) are -1 for pixels that do not count. `spectra` and `attribution` (band, y, x);
    `exposure` (band, y, x), the size of what each differs by from its baseline. `legs` (2, y, x): what
    absorptions and what level and slope did to the output, where the baseline is the continuum.
    """

    classes: np.ndarray
    spectra: np.ndarray
    attribution: np.ndarray
    exposure: np.ndarray
    legs: np.ndarray | None = None


class ClassSpectra:
    """Sums over the pixels of each class, in memory that does not grow with them.

    `wavelengths` (band,) in nm, NaN where unknown; `ranges` as of `ranges_of`.
    """

    def __init__(self, count: int, wavelengths: np.ndarray, ranges: Sequence[np.ndarray]) -> None:
        shape = (count, len(wavelengths))
        self.pixels = np.zeros(count, dtype=np.int64)
        self._places, self._weights = _neighbours(wavelengths, ranges)
        self._sums = {name: np.zeros(shape) for name in ("value", "square", "signed", "absolute", "exposure")}
        # Of the first pixel of all: sums of squares about it lose no digits.
        self._origin: np.ndarray | None = None
        self._wiggles = np.zeros((2, count, len(self._places)))
        self._ranges = ranges
        self._legs = np.zeros((count, 2))
        self.two_legs = False

    def add(self, tile: SpectralTile) -> None:
        """Add the pixels of a tile that have a class."""
        rows, cols = np.nonzero(tile.classes >= 0)
        for start in range(0, len(rows), _ROWS):
            chosen = (rows[start : start + _ROWS], cols[start : start + _ROWS])
            self._add(tile.classes[chosen], tile, chosen)

    def _add(self, classes: np.ndarray, tile: SpectralTile, chosen: tuple[np.ndarray, np.ndarray]) -> None:
        present, places = np.unique(classes, return_inverse=True)
        members = (places == np.arange(len(present))[:, None]).astype(np.float64)
        values = tile.spectra[:, *chosen].T.astype(np.float64)
        attribution = tile.attribution[:, *chosen].T.astype(np.float64)
        if self._origin is None:
            self._origin = values[0].copy()
        values -= self._origin
        self.pixels[present] += members.sum(1).astype(np.int64)
        for name, each in (
            ("value", values), ("square", values**2), ("signed", attribution),
            ("absolute", np.abs(attribution)), ("exposure", tile.exposure[:, *chosen].T.astype(np.float64)),
        ):  # fmt: skip
            self._sums[name][present] += members @ each
        wiggle = np.einsum("npk,pk->np", values[:, self._places], self._weights)
        self._wiggles[0, present] += members @ wiggle
        self._wiggles[1, present] += members @ wiggle**2
        if tile.legs is not None:
            self.two_legs = True
            self._legs[present] += members @ np.abs(np.nan_to_num(tile.legs[:, *chosen].T))

    def mean(self, number: int) -> np.ndarray:
        """Return the mean spectrum (band,) of a class."""
        return self._origin + self._sums["value"][number] / self.pixels[number]

    def noise(self, number: int) -> np.ndarray:
        """Return the standard error (band,) of a class's mean spectrum, from one band to the next.

        It is that of each band's departure from the line through its two neighbours, over all pixels: level
        and slope, in which pixels differ too, are not in it. Bands of no range have none.
        """
        pixels = max(self.pixels[number], 1)
        first, second = self._wiggles[:, number] / pixels
        deviation = np.sqrt(np.maximum(second - first**2, 0) / (self._weights**2).sum(1) / pixels)
        found = np.zeros(self._sums["value"].shape[1])
        found[self._places[:, 1]] = deviation
        for bands in self._ranges:
            found[bands[[0, -1]]] = found[bands[[1, -2]]]
        return found

    def deviation(self) -> np.ndarray:
        """Return the standard deviation (band,) of all pixels together."""
        pixels = max(self.pixels.sum(), 1)
        mean = self._sums["value"].sum(0) / pixels
        return np.sqrt(np.maximum(self._sums["square"].sum(0) / pixels - mean**2, 0))

    def departure(self, number: int) -> np.ndarray:
        """Return how far (band,) a class's pixels are from the mean of all, as root mean square."""
        mean = self._sums["value"].sum(0) / max(self.pixels.sum(), 1)
        pixels = max(self.pixels[number], 1)
        first, second = (self._sums[name][number] / pixels for name in ("value", "square"))
        return np.sqrt(np.maximum(second - 2 * mean * first + mean**2, 0))

    def attribution(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and the mean absolute attribution (band,) of a class."""
        pixels = max(self.pixels[number], 1)
        return self._sums["signed"][number] / pixels, self._sums["absolute"][number] / pixels

    def exposure(self, number: int) -> np.ndarray:
        """Return the mean exposure (band,) of a class."""
        return self._sums["exposure"][number] / max(self.pixels[number], 1)

    def absorption_share(self, number: int | None = None) -> float | None:
        """Return what part absorptions have in the change of a class's outputs, of all without a number.

        None where the baseline is no continuum, or nothing changed.
        """
        legs = self._legs.sum(0) if number is None else self._legs[number]
        return float(legs[0] / legs.sum()) if self.two_legs and legs.sum() > 0 else None


def _neighbours(wavelengths: np.ndarray, ranges: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the bands (place, 3) of three that follow each other in a range, and weights that sum to 0.

    The weighted sum is how far the middle one is from the line through the others.
    """
    triples = [np.stack([part[:-2], part[1:-1], part[2:]], axis=1) for part in ranges]
    places = np.concatenate([*triples, np.empty((0, 3), dtype=np.int64)]).astype(np.int64)
    left, middle, right = wavelengths[places].T
    along = np.divide(middle - left, right - left, where=right > left, out=np.full(len(places), 0.5))
    return places, np.stack([along - 1, np.ones(len(places)), -along], axis=1)
