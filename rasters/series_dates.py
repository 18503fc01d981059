"""Which date each band of a series' rasters is of: given, told by layers, metadata, descriptions or names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .dates import find_dates, given_date, parse_date
from .errors import InputError, first_of
from .series_files import Raster, polarisation


@dataclass(frozen=True)
class Layer:
    """One band of one raster of a series, both from 0; `rank` is its place among the raster's of one date."""

    raster: int
    band: int
    date: str
    rank: int = 0


@dataclass(frozen=True)
class Dating:
    """A date for each band: `source` says where from, for a sentence."""

    source: str
    layers: list[Layer]


def datings(rasters: Sequence[Raster], dates: Sequence[str], date_pattern: str) -> Iterator[Dating]:
    """Yield ways to date all bands, the best first; only those that leave no band without a date.

    `dates`, where given, are the only way. They are one per file, one per band of each raster, one per
    band of all rasters together, or, for one raster, a part of its bands: then each date has as many bands
    as the next. Those lie date by date, unless their descriptions repeat only after all dates.
    Raises InputError where the count of dates fits none of these, or more than one.
    """
    if dates:
        yield Dating("the parameter DATES", _given(rasters, [given_date(text) for text in dates]))
        return
    columns: dict[str, list[Sequence[str | None]]] = {
        "the layers' temporal properties": [_spread(raster, raster.layer_dates) for raster in rasters],
        "the bands' metadata": [[raster.scene.bands[i].date for i in raster.bands] for raster in rasters],
        "the files' metadata": [_spread(raster, [raster.date]) for raster in rasters],
        "the files' TIFFTAG_DATETIME": [_spread(raster, [raster.tiff_date]) for raster in rasters],
    }
    for source, found in columns.items():
        yield from _complete(source, rasters, found)
    texts = [[raster.descriptions[i] for i in raster.bands] for raster in rasters]
    for in_texts in _found_in(texts, date_pattern):
        yield from _complete("the bands' descriptions", rasters, in_texts)
    for in_names in _found_in([[raster.name] for raster in rasters], date_pattern):
        spread = [_spread(raster, dates) for raster, dates in zip(rasters, in_names)]
        yield from _complete("the files' names", rasters, spread)
    for in_texts in _found_in(
        [[raster.sources[i] for i in raster.bands] for raster in rasters], date_pattern
    ):
        yield from _complete("the names of the files behind the virtual raster", rasters, in_texts)


def no_dates(rasters: Sequence[Raster], date_pattern: str) -> InputError:
    """Return the error of a series whose dates nothing tells."""
    searched = f"nor the pattern {date_pattern} in" if date_pattern else "nor"
    return InputError(
        f"No dates were found for {first_of(list(dict.fromkeys(raster.file for raster in rasters)))}: "
        "neither layers' temporal properties, metadata (such as TIFFTAG_DATETIME), "
        f"{searched} band descriptions or file names tell one for each; give them in DATES, "
        "one per file or one per band, or say in DATE_PATTERN how the names hold them, such as %Y%m%d."
    )


def _complete(
    source: str, rasters: Sequence[Raster], found: Sequence[Sequence[str | None]]
) -> Iterator[Dating]:
    """Yield the dating where it gives each band a date; `found` has a row per raster."""
    layers = []
    for number, (raster, dates) in enumerate(zip(rasters, found)):
        bands = raster.bands
        if len(dates) != len(bands) or not all(dates):
            return
        layers += _ranked(number, bands, [date for date in dates if date])
    yield Dating(source, layers)


def _ranked(raster: int, bands: Sequence[int], dates: Sequence[str]) -> list[Layer]:
    seen: dict[str, int] = {}
    layers = []
    for band, date in zip(bands, dates, strict=True):
        layers.append(Layer(raster, band, date, seen.get(date, 0)))
        seen[date] = layers[-1].rank + 1
    return layers


def _spread(raster: Raster, dates: Sequence[str | None]) -> list[str | None]:
    """Return a date per band: those of the bands, or the only one for all."""
    count = len(raster.bands)
    told = [parse_date(date) if date else None for date in dates]
    return told * count if len(told) == 1 else told


def _found_in(texts: Sequence[Sequence[str]], pattern: str) -> Iterator[list[list[str]]]:
    """Yield a date for each text: the first in all of them, the second, as far as all have one.

    A name often holds the date of acquisition and that of processing.
    """
    found = [[find_dates(text, pattern) for text in row] for row in texts]
    for place in range(min(len(dates) for row in found for dates in row)):
        yield [[dates[place] for dates in row] for row in found]


def _given(rasters: Sequence[Raster], dates: Sequence[str]) -> list[Layer]:
    counts = [len(raster.bands) for raster in rasters]
    files = 1 + max(raster.index for raster in rasters)
    rows: Sequence[Sequence[str | None]]
    per_file = files > 1 and len(dates) == files
    per_band = all(count == len(dates) for count in counts)
    if per_file and per_band:
        raise InputError(
            f"{len(dates)} dates were given for {files} files of {len(dates)} bands each, so that they may "
            "be those of the files or of the bands; write the dates into the files' names or the bands' "
            "descriptions, and give none."
        )
    if per_file:
        rows = [_spread(raster, [dates[raster.index]]) for raster in rasters]
    elif per_band:
        rows = [list(dates)] * len(rasters)
    elif len(rasters) == 1 and counts[0] % len(dates) == 0:
        rows = [_steps(rasters[0], dates)]
    elif len(dates) == sum(counts):
        starts = [sum(counts[:number]) for number in range(len(counts))]
        rows = [list(dates[start : start + count]) for start, count in zip(starts, counts)]
    else:
        raise _wrong_count(rasters, files, counts, len(dates))
    return next(_complete("", rasters, rows)).layers


def _steps(raster: Raster, dates: Sequence[str]) -> list[str]:
    """Return a date per band of a raster that has several bands for each date."""
    texts = [raster.descriptions[i] for i in raster.bands]
    names = [polarisation(text) or text for text in texts]
    channels = len(names) // len(dates)
    block = [names[start] for start in range(0, len(names), len(dates))]
    by_channel = len(set(block)) == channels and names == [name for name in block for _ in dates]
    return list(dates) * channels if by_channel else [date for date in dates for _ in range(channels)]


def _wrong_count(rasters: Sequence[Raster], files: int, counts: Sequence[int], given: int) -> InputError:
    has = f"{rasters[0].file} has {counts[0]} band(s)"
    if files > 1:
        spread = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
        has = f"the {files} files from {rasters[0].file} on have {spread} band(s) each"
    return InputError(
        f"{given} date(s) were given in DATES, but {has}; give one date per file or one per band."
    )
