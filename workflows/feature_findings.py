"""What is found in the spectrum of a class: its absorptions by name, and which of them a network follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..explainers.feature_scores import (
    Peak,
    Score,
    atmospheric_share,
    feature_scores,
    joined_range,
    peaks,
    set_scores,
)
from ..rasters.absorption import Absorption, absorptions, continuum_removed
from ..rasters.absorption_table import Match, NamedFeature, match
from ..rasters.continuum import ATMOSPHERE_NM, inside, untrusted, upper_hull

# A parabola through three bands tells a centre to about this part of the distance between them.
_CENTRE_OF_BAND = 0.1
# At this rate of false discoveries a feature counts as one that the network follows.
SIGNIFICANT = 0.05
USED, UNUSED, SPURIOUS = "used and present", "present, not used", "used, not present (spurious)"
BY_CHANCE, UNNAMED, IN_ATMOSPHERE = "not beyond chance", "unnamed peak", "atmospheric"


@dataclass(frozen=True)
class Finding:
    """An absorption of a class's mean spectrum, or a peak of its attributions where there is none.

    `bands` bool (band,) are those that its `score` is of. `local_depth` is by the continuum of the table's
    intervals, None where it has none. `flag` says why it may not be the ground's, "" where nothing does.
    """

    wavelength_nm: float
    absorption: Absorption | None
    peak: Peak | None
    match: Match
    bands: np.ndarray
    local_depth: float | None
    score: Score
    verdict: str
    flag: str


@dataclass(frozen=True)
class ClassFindings:
    """What is found of a class; arrays are (band,).

    `removed` is the mean spectrum over its continuum, `share` each band's part of the absolute attributions
    of all bands. `overlap` is the score of the bands of all absorptions together, `atmosphere` the share of
    the attributions in the atmosphere's windows. None where nothing is attributed, or nothing is known.
    """

    name: str
    pixels: int
    mean: np.ndarray
    hull: np.ndarray
    removed: np.ndarray
    share: np.ndarray
    signed: np.ndarray
    features: tuple[Finding, ...]
    overlap: Score | None
    atmosphere: float | None
    absorption_share: float | None

    @property
    def absorbed(self) -> np.ndarray:
        """Bool (band,): the bands of its absorptions, at half their depth and deeper."""
        return absorbed_bands([each.bands for each in self.features if each.absorption], len(self.mean))


class Scored(NamedTuple):
    """What scores are of: mean absolute attributions, exposure and absorbed bands of a class, all (band,)."""

    profile: np.ndarray
    exposure: np.ndarray | None
    absorbed: np.ndarray


class Finder:
    """Finds what spectra of the same bands hold.

    `at` (band,) in nm, NaN where unknown; `ranges` as of `ranges_of`; `fwhm_nm` the sensor's width, 0 where
    it is not known. The same `seed` gives the same p.
    """

    def __init__(
        self, at: np.ndarray, ranges: Sequence[np.ndarray], table: Sequence[NamedFeature], fwhm_nm: float,
        shifts: int, seed: int,
    ) -> None:  # fmt: skip
        self.at, self.ranges, self.table, self.fwhm_nm = at, list(ranges), table, fwhm_nm
        self._shifts, self._seed = shifts, seed
        self._usable = np.zeros(len(at), dtype=bool)
        for bands in ranges:
            self._usable[bands] = True

    def find(
        self, name: str, pixels: int, mean: np.ndarray, noise: np.ndarray, attribution: np.ndarray,
        absolute: np.ndarray, exposure: np.ndarray | None, absorption_share: float | None,
    ) -> ClassFindings:  # fmt: skip
        """Return what is found of a class; arrays (band,): see `ClassSpectra`."""
        found = absorptions(mean, self.at, self.ranges, noise)
        sets = np.array([self._within(each.half_nm) for each in found], dtype=bool).reshape(-1, len(self.at))
        absorbed = absorbed_bands(sets, len(self.at))
        scored = Scored(absolute, exposure, absorbed)
        features = self._absorptions(found, sets, mean, scored)
        features += self._peaks(found, mean, scored)
        overlap = None
        if len(found):
            overlap = set_scores(
                absolute, absorbed[None], joined_range(self.ranges), exposure, self._shifts, self._seed
            )[0]
        total = absolute.sum()
        return ClassFindings(
            name=name, pixels=pixels, mean=mean, hull=upper_hull(mean, self.at, self.ranges),
            removed=continuum_removed(mean, self.at, self.ranges),
            share=absolute / total if total > 0 else np.zeros(len(absolute)), signed=attribution,
            features=tuple(sorted(features, key=lambda each: each.wavelength_nm)), overlap=overlap,
            atmosphere=atmospheric_share(absolute, self.at), absorption_share=absorption_share,
        )  # fmt: skip

    def _absorptions(
        self, found: Sequence[Absorption], sets: np.ndarray, mean: np.ndarray, scored: Scored
    ) -> list[Finding]:
        scores = self._scores(scored, sets)
        return [
            Finding(
                each.centre_nm, each, None, named := self._named(each.centre_nm), bands,
                self._local_depth(mean, named, each.centre_nm), score,
                USED if score.q is not None and score.q <= SIGNIFICANT else UNUSED,
                self._flag(each.centre_nm, named),
            )
            for each, bands, score in zip(found, sets, scores, strict=True)
        ]  # fmt: skip

    def _peaks(self, found: Sequence[Absorption], mean: np.ndarray, scored: Scored) -> list[Finding]:
        """Return the peaks of the attributions that lie in no absorption.

        Those that the table has a name for are tested with the table's own window.
        """
        lone = [
            peak for peak in peaks(scored.profile, self.at, self.ranges, self.fwhm_nm)
            if not any(each.ends_nm[0] <= peak.wavelength_nm <= each.ends_nm[1] for each in found)
        ]  # fmt: skip
        matches = [self._named(peak.wavelength_nm) for peak in lone]
        # Two peaks in the window of one feature are one finding, that of the higher.
        first = {named.name: number for number, named in reversed(list(enumerate(matches)))}
        kept = [n for n, named in enumerate(matches) if not named.candidates or first[named.name] == n]
        sets = np.array(
            [
                self._within(matches[n].candidates[0].window) if matches[n].candidates
                else self._around(lone[n], scored.profile)
                for n in kept
            ], dtype=bool,
        ).reshape(-1, len(self.at))  # fmt: skip
        tested = np.array([bool(matches[n].candidates) for n in kept], dtype=bool)
        by_window = iter(self._scores(scored, sets[tested]))
        plain = self._scores(scored, sets)
        features = []
        for number, bands, named_one, untested in zip(kept, sets, tested, plain, strict=True):
            peak, named = lone[number], matches[number]
            # What a peak's own place says of chance says nothing: it was chosen for being high.
            score = next(by_window) if named_one else untested._replace(p=None, q=None)
            features.append(
                Finding(
                    peak.wavelength_nm, None, peak, named, bands,
                    self._local_depth(mean, named, peak.wavelength_nm), score,
                    self._verdict_of_peak(named, score), self._flag(peak.wavelength_nm, named),
                )
            )  # fmt: skip
        return features

    def _named(self, wavelength_nm: float) -> Match:
        """Return what a wavelength may stand for."""
        steps = np.sort(np.abs(self.at[self._usable] - wavelength_nm))[:2].sum()
        return match(wavelength_nm, self.table, _CENTRE_OF_BAND * float(steps))

    def _scores(self, scored: Scored, sets: np.ndarray) -> list[Score]:
        return feature_scores(
            scored.profile, sets, scored.absorbed, self.ranges, scored.exposure, self._shifts, self._seed
        )

    @staticmethod
    def _verdict_of_peak(named: Match, score: Score) -> str:
        if not named.candidates:
            return IN_ATMOSPHERE if named.atmospheric else UNNAMED
        return SPURIOUS if score.q is not None and score.q <= SIGNIFICANT else BY_CHANCE

    def _within(self, window: tuple[float, float]) -> np.ndarray:
        return inside(self.at, [window]) & self._usable

    def _around(self, peak: Peak, profile: np.ndarray) -> np.ndarray:
        """Return the bands around a peak that have at least half of its attribution."""
        (bands,) = [part for part in self.ranges if peak.band in part]
        high = np.abs(profile[bands]) >= np.abs(profile[peak.band]) / 2
        place = int(np.flatnonzero(bands == peak.band)[0])
        first, last = place, place
        while first > 0 and high[first - 1]:
            first -= 1
        while last < len(bands) - 1 and high[last + 1]:
            last += 1
        found = np.zeros(len(self.at), dtype=bool)
        found[bands[first : last + 1]] = True
        return found

    def _local_depth(self, mean: np.ndarray, named: Match, wavelength_nm: float) -> float | None:
        """Return the depth below the line between the nearest candidate's intervals, None without any."""
        feature = named.candidates[0] if named.candidates else None
        if feature is None or feature.left is None or feature.right is None:
            return None
        ends = []
        for interval in (feature.left, feature.right):
            bands = self._within(interval)
            if not bands.any():
                return None
            ends.append((float(self.at[bands].mean()), float(mean[bands].mean())))
        near = np.where(self._usable, np.abs(self.at - wavelength_nm), np.inf)
        band = int(np.nanargmin(near))
        (left, low), (right, high) = ends
        line = low + (high - low) * (self.at[band] - left) / (right - left)
        return float(1 - mean[band] / line) if line > 0 else None

    def _flag(self, wavelength_nm: float, named: Match) -> str:
        if named.atmospheric or inside([wavelength_nm], ATMOSPHERE_NM)[0]:
            return "atmosphere"
        return "end of the sensor" if untrusted([wavelength_nm])[0] else ""


def absorbed_bands(sets: Sequence[np.ndarray] | np.ndarray, count: int) -> np.ndarray:
    """Return bool (band,): the bands that are in any of the sets."""
    return np.any(np.asarray(sets, dtype=bool).reshape(-1, count), axis=0)
