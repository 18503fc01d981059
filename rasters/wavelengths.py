"""Names, wavelengths, widths, dates and good-bands list of a raster's bands, wherever its file keeps them.

Looked for in this order: the ENVI header's lists, items of the band, the band's IMAGERY domain (GDAL
rounds it to whole nanometres), the band's description; for a virtual raster without any, the same in
the file that each of its bands comes from. Dates: items of the band, its place on a netCDF's axis of time.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import rasterio
from rasterio.enums import ColorInterp

from .datasets import open_dataset
from .dates import acquisition_date, netcdf_date
from .errors import InputError

_NM_PER_UNIT = {
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns"), 1e3),
    **dict.fromkeys(("micrometer", "micrometers", "micrometre", "micrometres"), 1e3),
}
_UNITS = "|".join(sorted(_NM_PER_UNIT, key=len, reverse=True))
_IN_TEXT = re.compile(rf"(\d+(?:\.\d+)?)\s*\(?({_UNITS})\b", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_UNKNOWN_UNITS = ("", "unknown", "none")
_VRT_BAND = re.compile(r"<VRTRasterBand\b.*?</VRTRasterBand>", re.DOTALL)
_VRT_FILE = re.compile(r'<SourceFilename(?:[^>]*?relativeToVRT="(\d)")?[^>]*>([^<]+)</SourceFilename>')
_VRT_SOURCE_BAND = re.compile(r"<SourceBand>(\d+)</SourceBand>")


@dataclass(frozen=True)
class Band:
    """One band of a scene; `good` is False where the file's bad-bands list (bbl) or alpha rules it out.

    `date` is ISO text, such as "2017-06-12".
    """

    name: str
    wavelength_nm: float | None = None
    fwhm_nm: float | None = None
    good: bool = True
    date: str | None = None


def describe_band(i: int, band: Band) -> str:
    """Return what a person reads for band `i` (counted from 0), such as "B42 842 nm".

    The bands of a series are known by their dates: "2017-06-12 VV".
    """
    if band.date is not None and band.date in band.name:
        return band.name
    if band.wavelength_nm is not None:
        return f"B{i + 1} {band.wavelength_nm:.0f} nm"
    if band.date is not None:
        return f"{band.date} {band.name}"
    default = f"Band {i + 1}"
    return default if band.name == default else f"B{i + 1} {band.name}"


def read_bands(dataset: rasterio.DatasetReader) -> tuple[Band, ...]:
    """Return the bands of an open dataset."""
    bands = _own_bands(dataset)
    if dataset.driver == "VRT" and all(band.wavelength_nm is None for band in bands):
        bands = _with_sources(dataset, bands)
    return tuple(bands)


def source_files(dataset: rasterio.DatasetReader) -> list[str]:
    """Return the file that each band of a virtual raster comes from first, "" for bands of other rasters."""
    sources = _sources(dataset) if dataset.driver == "VRT" else []
    return [path for path, _ in sources] if len(sources) == dataset.count else [""] * dataset.count


def to_nanometres(value: float | None, units: str | None) -> float | None:
    """Return a wavelength in nanometres; without a unit, values under 100 are taken for micrometres."""
    if value is None or not value > 0:
        return None
    name = (units or "").strip().lower()
    if name in _UNKNOWN_UNITS:
        return value * 1e3 if value < 100 else value
    factor = _NM_PER_UNIT.get(name)
    return None if factor is None else round(value * factor, 6)


def _own_bands(dataset: rasterio.DatasetReader) -> list[Band]:
    header = {key.lower(): text for key, text in dataset.tags(ns="ENVI").items()}
    units = header.get("wavelength_units")
    lists = {name: _header_list(header.get(name), dataset.count) for name in ("wavelength", "fwhm", "bbl")}
    dataset_items = dataset.tags()
    bands = []
    for i in range(dataset.count):
        description = dataset.descriptions[i] or ""
        band_items = dataset.tags(i + 1)
        items = {key.lower(): text for key, text in band_items.items()}
        imagery = dataset.tags(i + 1, ns="IMAGERY")
        wavelength, unit = _first_wavelength(lists["wavelength"], units, i, items, imagery, description)
        width = lists["fwhm"][i] if lists["fwhm"] else _number(items.get("fwhm"))
        if width is None and (micrometres := _number(imagery.get("FWHM_UM"))):
            width, width_unit = micrometres, "um"
        else:
            # A width has no magnitude to go by: it is in the unit of its wavelength.
            width_unit = unit
        flag = lists["bbl"][i] if lists["bbl"] else _number(items.get("bbl"))
        bands.append(
            Band(
                name=description or f"Band {i + 1}",
                wavelength_nm=to_nanometres(wavelength, unit),
                fwhm_nm=to_nanometres(width, width_unit),
                good=flag != 0 and dataset.colorinterp[i] != ColorInterp.alpha,
                date=acquisition_date({**items, **imagery}) or netcdf_date(dataset_items, band_items)[0],
            )
        )
    return bands


def _first_wavelength(
    listed: Sequence[float], units: str | None, i: int, items: Mapping, imagery: Mapping, description: str
) -> tuple[float | None, str]:
    """Return the first wavelength found for band `i`, and its unit."""
    item_units = items.get("wavelength_units") or items.get("wavelength_unit")
    value: float | None
    unit: str | None
    if listed:
        value, unit = listed[i], units
    elif "wavelength" in items:
        value, unit = _number(items["wavelength"]), item_units
        if not unit and (found := _IN_TEXT.search(items["wavelength"])):
            unit = found[2]
    elif "CENTRAL_WAVELENGTH_UM" in imagery:
        value, unit = _number(imagery["CENTRAL_WAVELENGTH_UM"]), "um"
    elif found := _IN_TEXT.search(description):
        value, unit = float(found[1]), found[2]
    else:
        return None, ""
    if (unit or "").strip().lower() in _UNKNOWN_UNITS and value is not None:
        unit = "um" if value < 100 else "nm"
    return value, unit or ""


def _with_sources(dataset: rasterio.DatasetReader, bands: list[Band]) -> list[Band]:
    """Fill in wavelengths from the file and band that each band of a virtual raster comes from first."""
    known: dict[str, list[Band]] = {}
    filled = []
    for band, (path, number) in zip(bands, _sources(dataset)):
        if path:
            if path not in known:
                known[path] = _bands_of_file(path)
            if number <= len(known[path]):
                source = known[path][number - 1]
                unnamed = re.fullmatch(r"Band \d+", band.name) and not re.fullmatch(r"Band \d+", source.name)
                name = source.name if unnamed else band.name
                band = replace(source, name=name, date=band.date or source.date)
        filled.append(band)
    return filled if len(filled) == len(bands) else bands


def _sources(dataset: rasterio.DatasetReader) -> list[tuple[str, int]]:
    """Return the first file and its band (from 1) behind each band of a virtual raster, ("", 0) for none."""
    folder = os.path.dirname(os.path.abspath(dataset.name))
    sources = []
    for text in _VRT_BAND.findall(dataset.tags(ns="xml:VRT").get("xml:VRT", "")):
        file, number = _VRT_FILE.search(text), _VRT_SOURCE_BAND.search(text)
        path = html.unescape(file[2]) if file and number else ""
        if file and file[1] == "1":
            path = os.path.join(folder, path) if path else ""
        sources.append((path, int(number[1]) if path and number else 0))
    return sources


def _bands_of_file(path: str) -> list[Band]:
    try:
        with open_dataset(path) as source:
            return _own_bands(source)
    except InputError:
        return []


def _header_list(text: str | None, count: int) -> list[float]:
    """Return the numbers of an ENVI list, or none of them where their count is not the bands'."""
    numbers = [float(number) for number in _NUMBER.findall(text or "")]
    return numbers if len(numbers) == count else []


def _number(text: str | None) -> float | None:
    found = _NUMBER.search(text or "")
    return float(found[0]) if found else None
