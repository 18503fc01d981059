"""The card of a model: what it was made for, in plain values, stored inside the model file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from ..rasters.errors import InputError
from ..rasters.wavelengths import Band

PIXEL_CLASSIFICATION = "pixel_classification"
SCENE_CLASSIFICATION = "scene_classification"
SERIES_AUTOENCODER = "series_autoencoder"
UNMIXING = "unmixing"
POLARISATIONS = ("VV", "VH", "HV", "HH")

# Colours that stay apart for colour-blind readers first (Okabe & Ito 2008), then others.
PALETTE = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442",
    "#7b3294", "#8c510a", "#01665e", "#b2df8a", "#fb9a99", "#636363", "#4d4dff",
    "#c51b7d", "#7fbc41", "#fdb863", "#80b1d3", "#bf812d", "#35978f",
)  # fmt: skip

# A wavelength may differ by this from the one that the model was trained on: less than any band's width.
WAVELENGTH_TOLERANCE_NM = 1.5


@dataclass(frozen=True)
class CardBand:
    """A band of the scene that the model was trained on; unused ones held no data.

    `date`, as in ISO 8601, is that of a band of a series.
    """

    name: str
    wavelength_nm: float | None
    fwhm_nm: float | None
    used: bool
    date: str | None = None


@dataclass(frozen=True)
class CardClass:
    """A class: its name and its colour as "#rrggbb"."""

    name: str
    colour: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0 to 255."""
        red, green, blue = bytes.fromhex(self.colour[1:])
        return red, green, blue


@dataclass(frozen=True)
class Card:
    """Task, architecture with its options, bands, classes and training record of a model.

    `options` are the keyword arguments that build the architecture again. `digest` is the SHA-256 of
    the weights and of the rest of the card, set when the model is written.
    """

    task: str
    architecture: str
    options: dict
    bands: tuple[CardBand, ...]
    classes: tuple[CardClass, ...]
    training: dict = field(default_factory=dict)
    digest: str = ""

    @property
    def used_bands(self) -> list[int]:
        """Indices (from 0) of the scene's bands that the model reads."""
        return [index for index, band in enumerate(self.bands) if band.used]

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of the logits."""
        return [entry.name for entry in self.classes]

    def class_index(self, name: str) -> int:
        """Return the place of a class given by its name, or by its number from 1 as in class rasters.

        Raises InputError where there is no such class.
        """
        if name in self.class_names:
            return self.class_names.index(name)
        if name.isdecimal() and 1 <= int(name) <= len(self.classes):
            return int(name) - 1
        raise InputError(f"The model has no class '{name}'; its classes are {', '.join(self.class_names)}.")

    @property
    def of_series(self) -> bool:
        """Whether the bands are dates and channels of a series."""
        return any(band.date for band in self.bands)

    def check_bands(self, bands: Sequence[Band], place: str, series: bool = False) -> None:
        """Raise InputError where the `bands` of the scene, or `series`, at `place` are not the training's.

        A series is converted and filled as it is read, so that no scene of the same bands can stand for it.
        """
        if self.of_series and not series:
            raise InputError(
                f"The model was trained on a series, and {place} is read as one raster; give the rasters "
                "with their dates as SERIES, or choose a model of single rasters."
            )
        self._check_dates(bands, place)
        if len(bands) != len(self.bands):
            raise InputError(
                f"{place} has {len(bands)} bands, the model was trained on {len(self.bands)}; "
                "choose a raster of the same sensor and processing."
            )
        for number, (here, trained) in enumerate(zip(bands, self.bands), start=1):
            ours, theirs = polarisation(trained.name), polarisation(here.name)
            if ours and theirs and ours != theirs:
                raise InputError(
                    f"Band {number} of {place} is {theirs}, the model's is {ours}; choose a model of that "
                    "polarisation, or put the bands into the order of the training raster."
                )
            if here.wavelength_nm is None or trained.wavelength_nm is None:
                continue
            if abs(here.wavelength_nm - trained.wavelength_nm) > WAVELENGTH_TOLERANCE_NM:
                raise InputError(
                    f"Band {number} of {place} is at {here.wavelength_nm:g} nm, the model's at "
                    f"{trained.wavelength_nm:g} nm; put the bands into the order of the training raster."
                )

    def _check_dates(self, bands: Sequence[Band], place: str) -> None:
        for number, (here, trained) in enumerate(zip(bands, self.bands), start=1):
            if trained.date is None or (here.date, here.name) == (trained.date, trained.name):
                continue
            theirs = f"'{here.name}' of {here.date}" if here.date else f"'{here.name}' without a date"
            raise InputError(
                f"Band {number} of {place} is {theirs}, the model's is '{trained.name}' of {trained.date}; "
                "choose a series of the dates and channels that the model was trained on."
            )

    def to_dict(self) -> dict:
        """Return the card as JSON-ready values."""
        values = asdict(self)
        for band in values["bands"]:
            # Models of before bands had dates keep their digests.
            if band["date"] is None:
                del band["date"]
        return values

    @classmethod
    def from_dict(cls, values: dict) -> Card:
        """Build a card from what `to_dict` gave; TypeError or KeyError where something is missing."""
        bands = tuple(CardBand(**band) for band in values["bands"])
        classes = tuple(CardClass(**entry) for entry in values["classes"])
        return cls(**{**values, "bands": bands, "classes": classes})


def polarisation(name: str) -> str | None:
    """Return the polarisation that a band's name tells, "VV", "VH", "HV" or "HH", or None."""
    found = [word for word in re.split(r"[^A-Z]+", name.upper()) if word in POLARISATIONS]
    return found[0] if len(found) == 1 else None


def card_classes(names: Sequence[str]) -> tuple[CardClass, ...]:
    """Return classes with colours of the palette, which repeats after its 20 colours."""
    return tuple(CardClass(name, PALETTE[i % len(PALETTE)]) for i, name in enumerate(names))
