"""What the engine says of a pixel, as plain values: its profile, its classes and its attribution."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from qgis.PyQt.QtGui import QImage

WAVELENGTH, DATE = "wavelength", "date"


@dataclass(frozen=True)
class Axis:
    """Where the bands of a profile lie: `places` in nm, days since year 1, or numbers from 1, ascending.

    `bands` holds, for each channel of a series or else once, the band at each place; bands whose wavelength
    nobody knows have no place. `unit` is that of the values, empty where it isn't known.
    """

    kind: str
    places: tuple[float, ...]
    bands: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    channels: tuple[str, ...] = ()
    unit: str = ""

    @classmethod
    def from_result(cls, values: Mapping) -> Axis:
        """Build it from the engine's `axis`, whose bands are date by date with the channel fastest."""
        kind, names = values["kind"], tuple(values["names"])
        channels = tuple(values.get("channels") or ())
        step = max(1, len(channels))
        given = list(values["values"])
        if len(given) == len(names):
            given = given[::step]
        places = [date.fromisoformat(day[:10]).toordinal() if kind == DATE else day for day in given]
        order = sorted((place, number) for number, place in enumerate(places) if place is not None)
        return cls(
            kind,
            tuple(float(place) for place, _ in order),
            tuple(tuple(number * step + channel for _, number in order) for channel in range(step)),
            names,
            channels,
            "" if kind == WAVELENGTH else values.get("unit") or "",
        )

    @property
    def panels(self) -> int:
        """How many profiles lie one above the other: one per channel."""
        return len(self.bands)

    def of_panel(self, values: Sequence[float], panel: int) -> list[float]:
        """Return the values of one channel in the order of `places`."""
        return [values[band] for band in self.bands[panel]]


@dataclass(frozen=True)
class Pixel:
    """One pixel, or the mean of `pixels`, none where there is no data; numbers per band, NaN where unknown.

    `residual` is what the attribution leaves out of the target's output; `chip` shows the surroundings.
    """

    x: float
    y: float
    values: tuple[float, ...]
    classes: tuple[str, ...]
    colours: tuple[str, ...]
    probabilities: tuple[float, ...]
    predicted: str
    target: str
    attribution: tuple[float, ...]
    residual: float
    pixels: int
    chip: QImage | None

    @classmethod
    def from_result(cls, values: Mapping) -> Pixel:
        """Build it from one of the engine's `pixels`."""
        return cls(
            x=values["x"],
            y=values["y"],
            values=_numbers(values["values"]),
            classes=tuple(values["classes"]),
            colours=tuple(values["colours"]),
            probabilities=_numbers(values["probabilities"]),
            predicted=values["predicted"] or "",
            target=values["target"],
            attribution=_numbers(values["attribution"]),
            residual=_number(values["residual"]),
            pixels=int(values.get("pixels", 1)),
            chip=_picture(values.get("chip")),
        )

    @property
    def confidence(self) -> float:
        """The probability of the predicted class."""
        return max(self.probabilities, default=math.nan)


@dataclass(frozen=True)
class Explanation:
    """The engine's answer: pixels on one axis, and the mean spectrum of each class that the model keeps."""

    axis: Axis
    pixels: tuple[Pixel, ...]
    means: Mapping[str, tuple[float, ...]]

    @classmethod
    def from_result(cls, result: Mapping) -> Explanation:
        """Build it from the value of the engine's result."""
        return cls(
            Axis.from_result(result["axis"]),
            tuple(Pixel.from_result(pixel) for pixel in result["pixels"]),
            {name: _numbers(values) for name, values in (result.get("means") or {}).items()},
        )

    def with_pixel(self, pixel: Pixel) -> Explanation:
        """Return the same axis and means with this one pixel."""
        return Explanation(self.axis, (pixel,), self.means)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _numbers(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(_number(value) for value in values)


def _picture(chip: Mapping | None) -> QImage | None:
    if not chip:
        return None
    width, height = int(chip["width"]), int(chip["height"])
    data = base64.b64decode(chip["rgb_base64"])
    if not width or len(data) != 3 * width * height:
        return None
    return QImage(data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()
