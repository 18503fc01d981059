"""Which channel each band of a series' rasters is of: by variable, polarisation, description or file name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .dates import without_dates
from .errors import InputError, first_of
from .series_dates import Dating, Layer, datings, no_dates
from .series_files import Raster, polarisation

UNNAMED = "value"
# What GDAL calls the variables of a netCDF file that it makes of bands: their number, not what they are.
_GDALS_NAME = re.compile(r"Band\d+")
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")


@dataclass(frozen=True)
class Arrangement:
    """The bands of a series by date and channel; a pair that no raster holds is not in `places`.

    `notes` are sentences about where the dates are from.
    """

    dates: list[str]
    channels: list[str]
    places: dict[tuple[str, str], Layer]
    notes: tuple[str, ...]


def arrangement(rasters: Sequence[Raster], dates: Sequence[str], date_pattern: str) -> Arrangement:
    """Return dates x channels by the first way to date the bands that makes a series (see `datings`).

    Raises InputError that says what is wrong where none does.
    """
    problems: list[tuple[int, InputError]] = []
    found, source = None, ""
    for dating in datings(rasters, dates, date_pattern):
        try:
            other = arranged(rasters, dating, date_pattern)
        except InputError as error:
            problems.append((len({layer.date for layer in dating.layers}), error))
            continue
        if found is None:
            found, source = other, dating.source
        elif dating.source != source:
            # Metadata may hold dates of processing; whoever looks at the names then wonders.
            return found if found.dates == other.dates else _with_doubt(found, dating.source, other.dates)
    if found is not None:
        return found
    if not problems:
        raise no_dates(rasters, date_pattern)
    # One date for all is what processing leaves in metadata: any other source says more.
    raise max(problems, key=lambda problem: problem[0])[1]


def arranged(rasters: Sequence[Raster], dating: Dating, date_pattern: str) -> Arrangement:
    """Return dated bands as dates x channels.

    A band's channel is the first of these that tells apart the bands of one date: its variable of a netCDF
    file; its polarisation, by its description or its file's name; its description without the date, or its
    place among the bands that its file has for the date; none, where all bands have dates of their own;
    what its file's name has apart from dates, years and what all names share; the last two together.
    Raises InputError where nothing tells them apart, naming two, or where there is only one date.
    """
    layers = dating.layers
    dates = sorted({layer.date for layer in layers})
    if len(dates) < 2:
        raise InputError(
            f"{rasters[0].file} {'and the other files hold' if len(rasters) > 1 else 'holds'} one date only "
            f"({dates[0]}, in {dating.source}); a series needs two or more: add rasters of other dates, or, "
            "where they are of several, give these in DATES or say in DATE_PATTERN how file names hold them."
        )
    for names, firm in _namings(rasters, layers, date_pattern):
        places = {(layer.date, name): layer for layer, name in zip(layers, names)}
        if len(places) < len(layers):
            continue
        counts = {channel: names.count(channel) for channel in dict.fromkeys(names)}
        lone = [channel for channel, count in counts.items() if count < 2]
        if lone and firm:
            raise InputError(
                f"The channel {lone[0]} of {rasters[0].file} has one date only; a series needs two or more: "
                "add rasters, or leave the channel out."
            )
        if not lone:
            notes = _notes(dating, dates, _in_order(layers, names))
            return Arrangement(dates, list(counts), places, notes)
    raise _twice(rasters, layers)


def _notes(dating: Dating, dates: Sequence[str], in_order: bool) -> tuple[str, ...]:
    told = f"The dates were read from {dating.source}: {len(dates)} from {dates[0]} to {dates[-1]}."
    return (told,) if in_order else (told, "The rasters were put into the order of their dates.")


def _with_doubt(found: Arrangement, source: str, dates: Sequence[str]) -> Arrangement:
    doubt = (
        f"The dates in {source} are others, {dates[0]} to {dates[-1]}; if these are right, give them "
        "in DATES."
    )
    return replace(found, notes=(*found.notes, doubt))


def _namings(
    rasters: Sequence[Raster], layers: Sequence[Layer], date_pattern: str
) -> Iterator[tuple[list[str], bool]]:
    """Yield a channel's name per band in several ways, and whether the names stand for what they say."""
    variables = [rasters[layer.raster].variables[layer.band] for layer in layers]
    descriptions = [
        without_dates(rasters[layer.raster].descriptions[layer.band], date_pattern) for layer in layers
    ]
    files = [_file_part(rasters[layer.raster], date_pattern) for layer in layers]
    several = any(layer.rank for layer in layers)
    parts = [
        text or (f"Band {layer.rank + 1}" if several else "") for text, layer in zip(descriptions, layers)
    ]
    if all(variables):
        named = not all(_GDALS_NAME.fullmatch(name) for name in variables)
        yield [" ".join(filter(None, pair)) for pair in zip(variables, descriptions)], named
    polarisations = [polarisation(text) or polarisation(file) for text, file in zip(descriptions, files)]
    if all(polarisations):
        yield [name or "" for name in polarisations], True
    if all(parts):
        yield parts, False
    several_files = len({layer.raster for layer in layers}) > 1
    yield [_shared(files) if several_files else UNNAMED] * len(layers), True
    own = _own_parts(files)
    if all(own):
        yield own, False
    yield [" ".join(filter(None, pair)) or UNNAMED for pair in zip(own, parts)], False


def _file_part(raster: Raster, date_pattern: str) -> str:
    return _YEAR.sub(" ", without_dates(raster.name, date_pattern))


def _shared(files: Sequence[str]) -> str:
    """Return the words that several files' names share, in their order."""
    words = [_words(file) for file in files]
    shared = [word for word in words[0] if all(word in others for others in words[1:])]
    return "_".join(shared) or UNNAMED


def _own_parts(files: Sequence[str]) -> list[str]:
    """Return the words of each file's name that not all share; the whole name where one has none of these."""
    words = {file: _words(file) for file in files}
    common = set.intersection(*(set(found) for found in words.values()))
    own = {file: "_".join(w for w in found if w not in common) for file, found in words.items()}
    if not all(own.values()):
        own = {file: "_".join(found) for file, found in words.items()}
    return [own[file] for file in files]


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", text) if word]


def _in_order(layers: Sequence[Layer], names: Sequence[str]) -> bool:
    """Whether the bands of each channel come in the order of their dates."""
    by_channel = defaultdict(list)
    for layer, name in zip(layers, names):
        by_channel[name].append(layer.date)
    return all(dates == sorted(dates) for dates in by_channel.values())


def _twice(rasters: Sequence[Raster], layers: Sequence[Layer]) -> InputError:
    """Return the error of two bands of one date that nothing tells apart."""
    by_kind: dict[tuple, list[Layer]] = defaultdict(list)
    for layer in layers:
        raster = rasters[layer.raster]
        text = raster.descriptions[layer.band]
        kind = raster.variables[layer.band] or polarisation(text) or polarisation(raster.name)
        by_kind[layer.date, kind].append(layer)
    by_date: dict[tuple, list[Layer]] = defaultdict(list)
    for layer in layers:
        by_date[(layer.date,)].append(layer)
    first, second = next(group for group in (*by_kind.values(), *by_date.values()) if len(group) > 1)[:2]
    return InputError(
        f"{_called(rasters, first)} and {_called(rasters, second)} are both of {first.date}, and nothing "
        "tells them apart as two channels; leave one out, or name the channels in the files' names."
    )


def _called(rasters: Sequence[Raster], layer: Layer) -> str:
    raster = rasters[layer.raster]
    several = len(raster.scene.bands) > 1
    return f"{raster.scene.path} (band {layer.band + 1})" if several else raster.scene.path


def unknown_channels(names: Sequence[str], channels: Sequence[str], path: str) -> InputError:
    """Return the error of a channel that is not in a series."""
    return InputError(
        f"{path} has no channel {first_of(list(names))}; its channels are {', '.join(channels)}."
    )
