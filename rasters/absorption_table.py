"""The table of named absorption features: what an absorption or a peak of attributions may stand for."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .errors import InputError

BUILT_IN = Path(__file__).resolve().parents[1] / "resources" / "absorption_features.csv"
COLUMNS = (
    "name", "kind", "centre_nm", "window_nm", "left_continuum_nm", "right_continuum_nm", "source",
)  # fmt: skip
# What is no absorption of the ground: light that the air takes, and the rise from red to infrared.
ATMOSPHERE, EDGE = "atmosphere", "edge"
_INTERVAL = re.compile(r"(\d+(?:\.\d+)?)(?:\s*[-–]\s*(\d+(?:\.\d+)?))?")

Interval = tuple[float, float]


@dataclass(frozen=True)
class NamedFeature:
    """A row of the table; wavelengths in nm.

    Its centre lies in one of `centres`; `window` is where a centre is taken for it. `left` and `right` are
    the intervals that a local continuum is drawn between, None where the table knows none. `kind` is a word
    such as mineral, vegetation or water; `atmosphere` for light that the air takes, `edge` for a slope.
    """

    name: str
    kind: str
    centres: tuple[Interval, ...]
    window: Interval
    left: Interval | None
    right: Interval | None
    source: str

    def covers(self, wavelength_nm: float) -> bool:
        """Whether a wavelength lies in the window."""
        return self.window[0] <= wavelength_nm <= self.window[1]

    def distance(self, wavelength_nm: float) -> float:
        """How far a wavelength is from the nearest centre, 0 inside of it."""
        return min(max(low - wavelength_nm, wavelength_nm - high, 0.0) for low, high in self.centres)

    @cached_property
    def uncertainty(self) -> float:
        """The widest of its centres, in nm."""
        return max(high - low for low, high in self.centres)


@dataclass(frozen=True)
class Match:
    """What a wavelength may stand for.

    `candidates` are the features whose window it is in, the nearest centre first, of equally near ones that
    which is known best. `atmospheric`: the air takes light there, so that it may be neither.
    """

    candidates: tuple[NamedFeature, ...]
    atmospheric: bool

    @property
    def name(self) -> str:
        """The nearest candidate's name; "atmospheric" or "unnamed" where there is none."""
        if self.candidates:
            return self.candidates[0].name
        return "atmospheric" if self.atmospheric else "unnamed"


def match(wavelength_nm: float, table: Sequence[NamedFeature], tolerance_nm: float = 0.0) -> Match:
    """Return what an absorption or a peak at a wavelength may stand for by the table.

    Centres no farther than the tolerance, which the wavelength is known to, are equally near.
    """
    inside = [feature for feature in table if feature.covers(wavelength_nm)]
    named = [feature for feature in inside if feature.kind not in (ATMOSPHERE, EDGE)]
    named.sort(
        key=lambda feature: (
            max(feature.distance(wavelength_nm) - tolerance_nm, 0.0), feature.uncertainty, feature.name,
        )
    )  # fmt: skip
    return Match(tuple(named), any(feature.kind == ATMOSPHERE for feature in inside))


def load_table(own: str | None = None) -> list[NamedFeature]:
    """Return the built-in features and those of a CSV file of the user's `own`, with the same columns.

    A row of a name that there is already takes that one's place. Raises InputError where the file can't be
    read, or a row says something that can't be.
    """
    table = {feature.name: feature for feature in _read(str(BUILT_IN))}
    if own:
        table |= {feature.name: feature for feature in _read(own)}
    return list(table.values())


def _read(path: str) -> list[NamedFeature]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The table of features {path} can't be read as a CSV file ({error}).") from error
    rows = [[cell.strip() for cell in row] for row in rows]
    lines = [(number, row) for number, row in enumerate(rows, 1) if any(row)]
    titles = lines[0][1] if lines else []
    if missing := [name for name in COLUMNS if name not in titles]:
        raise InputError(
            f"The table of features {path} has no column {missing[0]}; its first line must name the columns "
            f"{', '.join(COLUMNS)}."
        )
    features: dict[str, NamedFeature] = {}
    for number, row in lines[1:]:
        place = f"Line {number} of {path}"
        if len(row) != len(titles):
            raise InputError(f"{place} has {len(row)} values for {len(titles)} columns; give one for each.")
        feature = _feature(dict(zip(titles, row)), place)
        if feature.name in features:
            raise InputError(f"{place} names '{feature.name}' a second time; give it another name.")
        features[feature.name] = feature
    return list(features.values())


def _feature(row: dict[str, str], place: str) -> NamedFeature:
    for column in ("name", "kind"):
        if not row[column]:
            raise InputError(f"{place} has no {column}; give one.")
    centres = _intervals(row, "centre_nm", place)
    windows = _intervals(row, "window_nm", place)
    left, right = (_intervals(row, f"{side}_continuum_nm", place) for side in ("left", "right"))
    if not centres or len(windows) != 1:
        raise InputError(f"{place} needs a centre and one window in nm, such as 2206 and 2130-2240.")
    if len(left) > 1 or len(right) > 1 or len(left) != len(right):
        raise InputError(f"{place} needs one interval of the continuum on either side, or none on both.")
    low, high = windows[0]
    if high <= low:
        raise InputError(f"{place} has a window without width; write it such as 2130-2240.")
    if any(end < low or start > high for start, end in centres):
        raise InputError(f"{place} has a centre outside of its window; change one of them.")
    if left and right and left[0][1] >= right[0][0]:
        raise InputError(f"{place} has its left continuum right of the right one; exchange them.")
    return NamedFeature(
        row["name"], row["kind"].lower(), centres, windows[0], left[0] if left else None,
        right[0] if right else None, row["source"],
    )  # fmt: skip


def _intervals(row: dict[str, str], column: str, place: str) -> tuple[Interval, ...]:
    """Return the intervals of a cell such as "430; 460-480"; a number alone is an interval of no width."""
    found = []
    for text in filter(None, (part.strip() for part in row[column].split(";"))):
        numbers = _INTERVAL.fullmatch(text)
        if not numbers:
            raise InputError(
                f"{place} has '{text}' as {column}; write wavelengths in nm, such as 2206 or 2130-2240."
            )
        low, high = float(numbers[1]), float(numbers[2] or numbers[1])
        if not 100 <= low <= high <= 20000:
            raise InputError(
                f"{place} has '{text}' as {column}; write wavelengths in nm, between 100 and 20000, the "
                "shorter one first."
            )
        found.append((low, high))
    return tuple(found)
