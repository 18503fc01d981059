"""Series: rasters of one grid with dates, read as one scene of dates x channels without gaps.

Values are converted as told (power or amplitude to decibels), then gaps are filled by linear interpolation
in time; which values were observed is told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from rasterio.windows import Window

from .dates import day_number, given_date
from .errors import InputError, first_of
from .gaps import fill_gaps
from .scene import Scene
from .series_channels import UNNAMED, Arrangement, arrangement, unknown_channels
from .series_files import Raster, open_rasters, place_of, polarisation
from .wavelengths import Band

VALUES = ("as_is", "power", "amplitude", "db")
FLOOR_DB = -50.0
# Files beyond these are opened anew for each window: systems allow a process some 1,000 open files.
_KEPT_OPEN = 64


@dataclass(frozen=True)
class Conversion:
    """How stored numbers become values: `values` is one of VALUES, `calibration` is added to decibels."""

    values: str = "as_is"
    calibration: float = 0.0

    def apply(self, stored: np.ndarray, scale: float, offset: float) -> None:
        """Convert float32 numbers in place.

        Power becomes 10 log10(x) + calibration, amplitude 20 log10(x) + calibration, neither less than
        FLOOR_DB. The file's own scale and offset come first, unless numbers are taken as they are.
        """
        if self.values == "as_is":
            return
        if (scale, offset) != (1.0, 0.0):
            stored *= np.float32(scale)
            stored += np.float32(offset)
        if self.values != "db":
            np.maximum(stored, np.finfo(np.float32).tiny, out=stored)
            np.log10(stored, out=stored)
            stored *= 10 if self.values == "power" else 20
        stored += np.float32(self.calibration)
        if self.values != "db":
            np.maximum(stored, FLOOR_DB, out=stored)


@dataclass(frozen=True, kw_only=True)
class Series(Scene):
    """A scene whose bands are dates x channels, date by date: band = date * len(channels) + channel.

    `path` is the first file and `paths` are all. `notes` are sentences about how it was put together.
    """

    dates: tuple[str, ...]
    channels: tuple[str, ...]
    paths: tuple[str, ...]
    notes: tuple[str, ...] = ()
    _rasters: tuple[Raster, ...] = field(repr=False)
    # Per band the raster and its band; None where no raster holds that channel on that date.
    _places: tuple[tuple[int, int] | None, ...] = field(repr=False)
    _conversion: Conversion = Conversion()

    def read(self, window: Window, halo: int = 0, bands: Sequence[int] | None = None) -> np.ndarray:
        """Return float32 (band, y, x) as `Scene.read` does, its values converted and without gaps.

        Gaps are filled linearly in time, by true days, per pixel and channel; beyond the first and the last
        observed date the nearest value holds. NaN is left where a channel has fewer than 2 observed dates.
        """
        wanted = list(range(len(self.bands))) if bands is None else [int(band) for band in bands]
        values = self._read_observed(window, halo, wanted)
        count = len(self.channels)
        gaps = {band % count for place, band in enumerate(wanted) if np.isnan(values[place]).any()}
        for channel in sorted(gaps):
            every = list(range(channel, len(self.bands), count))
            places = [place for place, band in enumerate(wanted) if band % count == channel]
            if [wanted[place] for place in places] == every:
                whole = values[places]
            else:
                whole = self._read_observed(window, halo, every)
            fill_gaps(whole, self._days)
            values[places] = whole[[wanted[place] // count for place in places]]
        return values

    def read_observed(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Return what `read` does, and bool (band, y, x): False where a value was filled in or is missing."""
        values = self._read_observed(window, 0, list(range(len(self.bands))))
        observed = ~np.isnan(values)
        for channel in range(len(self.channels)):
            own = slice(channel, None, len(self.channels))
            if not observed[own].all():
                whole = np.ascontiguousarray(values[own])
                fill_gaps(whole, self._days)
                values[own] = whole
        observed &= ~np.isnan(values)
        return values, observed

    @property
    def _days(self) -> np.ndarray:
        return np.array([day_number(date) for date in self.dates])

    def _read_observed(self, window: Window, halo: int, bands: Sequence[int]) -> np.ndarray:
        """Return converted values with NaN for gaps; each raster is read once."""
        wanted: dict[int, list[tuple[int, int]]] = {}
        for place, band in enumerate(bands):
            if where := self._places[band]:
                wanted.setdefault(where[0], []).append((place, where[1]))
        shape = (len(bands), int(window.height) + 2 * halo, int(window.width) + 2 * halo)
        values = np.full(shape, np.nan, np.float32)
        for number, pairs in wanted.items():
            raster = self._rasters[number]
            scene = raster.scene
            if number >= _KEPT_OPEN:
                # With nothing else that holds it, this copy's file closes right after.
                scene = replace(scene, _datasets=type(scene._datasets)())
            read = scene.read(window, halo, [band for _, band in pairs])
            for (place, band), stored in zip(pairs, read):
                self._conversion.apply(stored, raster.scales[band], raster.offsets[band])
                values[place] = stored
        return values


def open_series(
    paths: Sequence[str],
    *,
    dates: Sequence[str] = (),
    layer_dates: Sequence[Sequence[str]] = (),
    date_pattern: str = "",
    channels: Sequence[str] = (),
    start: str = "",
    end: str = "",
    values: str = "as_is",
    calibration: float = 0.0,
) -> Series:
    """Open rasters of one grid as a series; only headers are read.

    `paths` are rasters, netCDF files, GDAL's names of netCDF variables, or one folder of rasters. `dates`
    are those of the files or of the bands (`datings` says how they are told apart); without them, dates come
    from `layer_dates` (per path none, one, or one per band), metadata, band descriptions or file names,
    whichever first dates all bands so that no channel has a date twice. `date_pattern` says how
    descriptions and names hold them, as strptime reads it; empty, usual ways are looked for. `channels`
    chooses and orders channels (`arranged` says how these are told), `start` and `end`, both inclusive, the
    dates. `values` and `calibration` as in `Conversion`.
    Raises InputError where the rasters make no series.
    """
    if not paths:
        raise InputError("The series has no raster; choose two or more, or a folder.")
    if values not in VALUES:
        raise InputError(f"The values '{values}' are not one of {', '.join(VALUES)}.")
    rasters = open_rasters(paths, layer_dates, channels)
    found = arrangement(rasters, dates, date_pattern)
    chosen = _chosen_channels(found, channels, rasters[0].file)
    within = _within(found.dates, start, end)
    places = [found.places.get((date, channel)) for date in within for channel in chosen]
    return _series(
        rasters,
        within,
        chosen,
        [(p.raster, p.band) if p else None for p in places],
        _notes(found, within, chosen),
        Conversion(values, calibration),
    )


def paths_of(scene: Scene) -> tuple[str, ...]:
    """Return the files of a scene, of a series all of them."""
    return scene.paths if isinstance(scene, Series) else (scene.path,)


def filled_in(scene: Scene, window: Window) -> np.ndarray | None:
    """Return bool (band, y, x): which values of a window were filled in; None where there are no dates."""
    return ~scene.read_observed(window)[1] if isinstance(scene, Series) else None


def of_model(series: Series, dates: Sequence[str], channels: Sequence[str]) -> Series:
    """Return the series cut to a model's dates and channels, named as the model names them.

    Gaps are then filled from the model's dates alone, as in training. The only channel of a series serves
    a model of one channel under any name, unless the two are different polarisations.
    Raises InputError where dates or channels are missing.
    """
    missing = [date for date in dates if date not in series.dates]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(
            f"The model was trained on {len(dates)} dates, of which {series.path} lacks "
            f"{', '.join(missing[:3])}{more}; add the rasters of these dates, or train a model on the dates "
            f"that there are ({series.dates[0]} to {series.dates[-1]})."
        )
    places = [_place_in(series, channel, len(channels)) for channel in channels]
    notes = list(series.notes)
    if len(dates) < len(series.dates):
        notes.append(
            f"Of {len(series.dates)} dates, the {len(dates)} that the model was trained on are used."
        )
    names = [series.channels[place] for place in places]
    if [name.lower() for name in names] != [name.lower() for name in channels]:
        notes.append(f"The channel(s) {', '.join(names)} serve as the model's {', '.join(channels)}.")
    elif len(names) < len(series.channels):
        notes.append(f"Of {len(series.channels)} channels, the model uses {', '.join(names)}.")
    count = len(series.channels)
    cut = [series._places[series.dates.index(date) * count + place] for date in dates for place in places]
    return _series(series._rasters, list(dates), list(channels), cut, notes, series._conversion)


def _series(
    rasters: Sequence[Raster],
    dates: Sequence[str],
    channels: Sequence[str],
    places: Sequence[tuple[int, int] | None],
    notes: Sequence[str],
    conversion: Conversion,
) -> Series:
    bands = []
    for number, place in enumerate(places):
        date, channel = dates[number // len(channels)], channels[number % len(channels)]
        source = rasters[place[0]].scene.bands[place[1]] if place else Band("")
        name = date if channel == UNNAMED else f"{date} {channel}"
        bands.append(replace(source, name=name, good=True, date=date))
    files = tuple(dict.fromkeys(raster.file for raster in rasters))
    return Series(
        path=files[0],
        bands=tuple(bands),
        grid=rasters[0].scene.grid,
        nodata=(None,) * len(bands),
        dtype="float32",
        dates=tuple(dates),
        channels=tuple(channels),
        paths=files,
        notes=tuple(notes),
        _rasters=tuple(rasters),
        _places=tuple(places),
        _conversion=conversion,
    )


def _chosen_channels(found: Arrangement, names: Sequence[str], path: str) -> list[str]:
    if not names:
        return found.channels
    places = {name: place_of(name, found.channels) for name in names}
    if unknown := [name for name, place in places.items() if place is None]:
        raise unknown_channels(unknown, found.channels, path)
    return list(dict.fromkeys(found.channels[place] for place in places.values() if place is not None))


def _within(dates: Sequence[str], start: str, end: str) -> list[str]:
    first = given_date(start) if start else dates[0]
    last = given_date(end) if end else dates[-1]
    within = [date for date in dates if first <= date <= last]
    if len(within) < 2:
        raise InputError(
            f"{len(within)} of the {len(dates)} dates lie from {first} to {last}, and a series needs two or "
            f"more; choose START_DATE and END_DATE within {dates[0]} to {dates[-1]}."
        )
    return within


def _notes(found: Arrangement, dates: Sequence[str], channels: Sequence[str]) -> list[str]:
    notes = list(found.notes)
    for channel in channels:
        gaps = [date for date in dates if (date, channel) not in found.places]
        if gaps:
            notes.append(f"{channel} has no raster of {first_of(gaps)}; these dates are filled in.")
    return notes


def _place_in(series: Series, channel: str, wanted: int) -> int:
    place = place_of(channel, series.channels)
    if place is not None:
        return place
    theirs, ours = polarisation(series.channels[0]), polarisation(channel)
    if wanted == len(series.channels) == 1 and not (theirs and ours):
        return 0
    raise InputError(
        f"The model needs the channel {channel}, and {series.path} has {', '.join(series.channels)}; "
        "add its rasters, or choose a model of these channels."
    )
