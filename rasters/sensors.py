"""Sensors: which bands of a scene each gave, as a person writes it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import InputError, first_of
from .scene import Scene
from .stack import Stack
from .wavelengths import Band, to_nanometres

HOW = "write them as 'VNIR:1-60; SWIR:61-140', or by wavelength as 'VNIR:400-1000 nm; SWIR:1000-2500 nm'"
_UNIT = re.compile(r"(nm|um|µm|μm)$", re.IGNORECASE)
_RANGE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(?:[-–]\s*(\d+(?:\.\d+)?))?\s*$")


@dataclass(frozen=True)
class Sensor:
    """A sensor: its name, and the indices (from 0) of its bands in the scene, ascending.

    `bands` are those of them, `named`, that the scene does not mark as bad.
    """

    name: str
    bands: tuple[int, ...]
    named: tuple[int, ...]


def sensors_of(text: str, scene: Scene) -> tuple[Sensor, ...]:
    """Return the sensors of a scene as `text` says; empty: each raster of a stack is one, by its file's name.

    Bands that the scene marks as bad are left out. Raises InputError where the text can't be read, names a
    band that there is not or one band twice, or leaves a sensor without bands; or for fewer than two sensors.
    """
    if text.strip():
        found = [_sensor(part, scene) for part in text.split(";") if part.strip()]
    elif isinstance(scene, Stack):
        found = _of_rasters(scene)
    else:
        raise InputError(f"SENSOR_BANDS is missing: it says which bands are each sensor's; {HOW}.")
    names = [sensor.name for sensor in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"There are two sensors '{twice[0]}'; give each a name of its own.")
    if len(found) < 2:
        raise InputError(f"SENSOR_BANDS names one sensor, and two or more are compared; {HOW}.")
    owner: dict[int, str] = {}
    for sensor in found:
        for band in sensor.named:
            if band in owner:
                raise InputError(
                    f"Band {band + 1} is {owner[band]}'s and {sensor.name}'s; each band has one sensor."
                )
            owner[band] = sensor.name
    if empty := [sensor.name for sensor in found if not sensor.bands]:
        raise InputError(f"All bands of {first_of(empty)} are marked as bad in {scene.path}; name others.")
    return tuple(found)


def covered_nm(bands: Sequence[Band]) -> float | None:
    """Return the nanometres that bands cover: the sum of their widths (FWHM), None without wavelengths.

    A band without a width has the median spacing.
    """
    wavelengths = [band.wavelength_nm for band in bands]
    if any(value is None for value in wavelengths):
        return None
    centres = np.sort(np.array(wavelengths, float))
    spacing = float(np.median(np.diff(centres))) if len(centres) > 1 else None
    widths = [band.fwhm_nm or spacing for band in bands]
    return None if any(width is None for width in widths) else float(sum(w or 0.0 for w in widths)) or None


def _of_rasters(stack: Stack) -> list[Sensor]:
    firsts = np.cumsum([0, *stack.counts])
    return [
        _named(Path(path).stem, range(first, first + count), stack)
        for path, first, count in zip(stack.paths, firsts.tolist(), stack.counts)
    ]


def _sensor(text: str, scene: Scene) -> Sensor:
    name, colon, ranges = text.partition(":")
    name, ranges = name.strip(), ranges.strip()
    if not colon or not name:
        raise InputError(f"SENSOR_BANDS has '{text.strip()}', which is no sensor with bands; {HOW}.")
    if not ranges:
        raise InputError(f"The sensor {name} has no bands in SENSOR_BANDS; {HOW}.")
    unit = _UNIT.search(ranges)
    parts = _UNIT.sub("", ranges).strip().split(",")
    pick = _by_wavelength if unit else _by_number
    bands = [band for part in parts for band in pick(name, part, unit[1] if unit else "", scene)]
    if len(set(bands)) < len(bands):
        raise InputError(f"The sensor {name} has a band twice in SENSOR_BANDS; name each once.")
    return _named(name, sorted(bands), scene)


def _named(name: str, bands: Sequence[int], scene: Scene) -> Sensor:
    return Sensor(name, tuple(band for band in bands if scene.bands[band].good), tuple(bands))


def _ends(name: str, part: str) -> tuple[float, float]:
    found = _RANGE.match(part)
    if not found:
        raise InputError(f"SENSOR_BANDS gives {name} '{part.strip()}', which is no range of bands; {HOW}.")
    first = float(found[1])
    return first, float(found[2]) if found[2] else first


def _by_number(name: str, part: str, unit: str, scene: Scene) -> list[int]:
    first, last = _ends(name, part)
    if first % 1 or last % 1:
        raise InputError(f"SENSOR_BANDS gives {name} '{part.strip()}'; bands have whole numbers; {HOW}.")
    count = len(scene.bands)
    for band in (first, last):
        if not 1 <= band <= count:
            raise InputError(
                f"SENSOR_BANDS gives {name} band {band:g}, and {scene.path} has bands 1 to {count}; "
                "name these."
            )
    if last < first:
        raise InputError(f"SENSOR_BANDS gives {name} bands '{part.strip()}', which run backwards; turn them.")
    return list(range(int(first) - 1, int(last)))


def _by_wavelength(name: str, part: str, unit: str, scene: Scene) -> list[int]:
    if not any(scene.wavelengths_nm):
        raise InputError(
            f"SENSOR_BANDS gives {name} by wavelength, and {scene.path} tells no wavelengths; give the "
            "numbers of the bands."
        )
    low, high = (to_nanometres(value, unit) or 0.0 for value in _ends(name, part))
    bands = [i for i, value in enumerate(scene.wavelengths_nm) if value is not None and low <= value < high]
    if not bands:
        raise InputError(
            f"{scene.path} has no band of {name} from {low:g} to below {high:g} nm; name another range."
        )
    return bands
