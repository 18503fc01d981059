"""Tables of spectra as CSV files, and spectra brought to the bands of a scene.

A table has one of three forms: a column of wavelengths (or band numbers) and a column per material; a row per
spectrum, with the material's name and a column per wavelength; or a row per material and band, as `unmix`
writes its own. Several spectra of one material are its bundle.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import InputError, first_of
from .wavelengths import Band, to_nanometres

# A band's centre may lie this far outside of the table, or half its width.
TOLERANCE_NM = 1.5
# Values this far apart, in nm, say nothing of a band between them.
_WIDEST_GAP = 100.0
# With fewer values within a band's width a weighted mean is coarser than a line between them.
_FEWEST_INSIDE = 3
_FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))
_WAVELENGTH = re.compile(r"^(wavelengths?|wl|lambda)\W*_?\s*\(?(nm|um|µm|μm)?\)?$", re.IGNORECASE)
_BAND = re.compile(r"^(band|bands|band_number|channel)$", re.IGNORECASE)
_MATERIAL = re.compile(r"^(material|endmember|name|class|spectrum)$", re.IGNORECASE)
_VALUE = re.compile(r"^(mean|value|reflectance)$", re.IGNORECASE)
_NUMBERED = re.compile(r"(?:^|[^\d.])(\d+(?:\.\d+)?)\s*_?(nm|um|µm|μm)?$", re.IGNORECASE)


@dataclass(frozen=True)
class SpectraTable:
    """Spectra (n, value) with the `names` of their materials (n,) and their wavelengths in nm (value,).

    `wavelengths` is None where the table tells none: values are then of bands, in their order.
    """

    path: str
    names: tuple[str, ...]
    wavelengths: np.ndarray | None
    values: np.ndarray

    @property
    def materials(self) -> tuple[str, ...]:
        """The materials, in the order of their first spectra."""
        return tuple(dict.fromkeys(self.names))


def read_spectra_table(path: str) -> SpectraTable:
    """Read the CSV file at `path`; InputError where it is none of the three forms, or has gaps."""
    header, rows = _read_csv(path)
    kinds = {"wavelength": _WAVELENGTH, "band": _BAND, "material": _MATERIAL, "value": _VALUE}
    columns = {kind: _column(header, pattern) for kind, pattern in kinds.items()}
    along = columns["wavelength"] if columns["wavelength"] is not None else columns["band"]
    if along is not None and columns["material"] is not None and columns["value"] is not None:
        table = _long(path, header, rows, columns)
    elif along is not None:
        table = _by_columns(path, header, rows, columns["wavelength"], columns["band"])
    else:
        table = _by_rows(path, header, rows, columns["material"])
    if not np.isfinite(table.values).all():
        name = table.names[int(np.flatnonzero(~np.isfinite(table.values).all(1))[0])]
        raise InputError(f"The spectrum of '{name}' in {path} has gaps; give a number in every row.")
    return table


def resampled(table: SpectraTable, bands: Sequence[Band], place: str) -> np.ndarray:
    """Return the table's spectra (n, band) at the `bands` of the raster at `place`.

    Where the band's width is known and three or more values lie within it: their mean, weighed by a Gaussian
    of that full width at half maximum and by the spacing of the values. Else a straight line between the two
    values around the centre. Raises InputError where that needs values that the table does not have, or a
    band has no wavelength; ValueError where the table has none.
    """
    if table.wavelengths is None:
        raise ValueError(f"{table.path} tells no wavelengths")
    centres = [band.wavelength_nm for band in bands]
    missing = [band.name for band, centre in zip(bands, centres) if centre is None]
    if missing:
        raise InputError(
            f"{place} tells no wavelength of {first_of(missing)}; add it, or mark the band as bad."
        )
    order = np.argsort(table.wavelengths, kind="stable")
    known, values = table.wavelengths[order], table.values[:, order]
    _check_covered(table.path, known, bands, place)
    return np.stack([_at_band(known, values, band) for band in bands], axis=1)


def _at_band(known: np.ndarray, values: np.ndarray, band: Band) -> np.ndarray:
    """Return the value (n,) of spectra (n, value) at wavelengths (value,), rising, in a band."""
    centre = float(band.wavelength_nm or 0)
    if band.fwhm_nm:
        inside = np.abs(known - centre) <= band.fwhm_nm
        if (np.abs(known - centre) <= band.fwhm_nm / 2).sum() >= _FEWEST_INSIDE:
            near = known[inside]
            sigma = band.fwhm_nm / _FWHM_PER_SIGMA
            weights = np.exp(-(((near - centre) / sigma) ** 2) / 2) * np.gradient(near)
            return values[:, inside] @ (weights / weights.sum())
    return np.array([np.interp(centre, known, row) for row in values])


def _check_covered(path: str, known: np.ndarray, bands: Sequence[Band], place: str) -> None:
    outside, between = [], []
    for band in bands:
        centre = float(band.wavelength_nm or 0)
        slack = max(TOLERANCE_NM, (band.fwhm_nm or 0) / 2)
        right = int(np.searchsorted(known, centre))
        if centre < known[0] - slack or centre > known[-1] + slack:
            outside.append(f"{centre:g} nm")
        elif 0 < right < len(known):
            below, above = known[right - 1], known[right]
            if above - below > _WIDEST_GAP and min(centre - below, above - centre) > slack:
                between.append(f"{centre:g} nm")
    if outside:
        raise InputError(
            f"The spectra in {path} cover {known[0]:g} to {known[-1]:g} nm, {place} has {len(outside)} "
            f"band(s) outside of that ({first_of(outside)}); give spectra that cover them, or a raster "
            "without them."
        )
    if between:
        raise InputError(
            f"The spectra in {path} have no value near {len(between)} band(s) of {place} "
            f"({first_of(between)}); give spectra without such gaps, or a raster without those bands."
        )


def _read_csv(path: str) -> tuple[list[str], list[list[str]]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The table of spectra {path} can't be read as text; give a CSV file.") from error
    start = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=start.count)
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=delimiter)]
    rows = [row for row in rows if any(row)]
    if len(rows) < 2:
        raise InputError(f"The table of spectra {path} has no rows; give a CSV file with a header and rows.")
    header = rows[0]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise InputError(
                f"Row {number} of {path} has {len(row)} cells and the header {len(header)}; complete the "
                "table."
            )
    return header, rows[1:]


def _by_columns(
    path: str, header: list[str], rows: list[list[str]], wavelength: int | None, band: int | None
) -> SpectraTable:
    skipped = {wavelength, band, *(i for i, name in enumerate(header) if name.lower().startswith("fwhm"))}
    chosen = [i for i in range(len(header)) if i not in skipped and _holds_numbers(rows, i)]
    if not chosen:
        raise InputError(
            f"{path} has a column of wavelengths and no column of numbers beside it; add spectra."
        )
    values = np.array([[_number(row[i]) for row in rows] for i in chosen])
    wavelengths = None
    if wavelength is not None:
        wavelengths = _nanometres(path, [row[wavelength] for row in rows], header[wavelength])
    return SpectraTable(path, tuple(header[i] for i in chosen), wavelengths, values)


def _by_rows(path: str, header: list[str], rows: list[list[str]], material: int | None) -> SpectraTable:
    texts = [i for i in range(len(header)) if not _holds_numbers(rows, i)]
    name = material if material is not None else (texts[0] if texts else None)
    chosen = [i for i in range(len(header)) if i != name and i not in texts and _NUMBERED.search(header[i])]
    if len(chosen) < 2:
        raise InputError(
            f"{path} is no table of spectra: give a column 'wavelength_nm' and a column per material, or a "
            "row per spectrum with columns named after wavelengths, such as 842 or '842 nm'."
        )
    found = [_NUMBERED.search(header[i]) for i in chosen]
    units = {(match[2] or "") for match in found if match}
    unit = f"wavelength_{units.pop()}" if len(units) == 1 else "wavelength"
    wavelengths = _nanometres(path, [match[1] for match in found if match], unit)
    names = [row[name] if name is not None and row[name] else f"row {n}" for n, row in enumerate(rows, 1)]
    values = np.array([[_number(row[i]) for i in chosen] for row in rows])
    return SpectraTable(path, tuple(names), wavelengths, values)


def _long(
    path: str, header: list[str], rows: list[list[str]], columns: dict[str, int | None]
) -> SpectraTable:
    material, value = columns["material"] or 0, columns["value"] or 0
    names = list(dict.fromkeys(row[material] for row in rows))
    spectra = {name: [row for row in rows if row[material] == name] for name in names}
    if len({len(members) for members in spectra.values()}) > 1:
        raise InputError(
            f"The materials in {path} have different numbers of rows; give a row per band for each."
        )
    wavelengths, place = None, columns["wavelength"]
    if place is not None and any(row[place] for row in rows):
        wavelengths = _nanometres(path, [row[place] for row in spectra[names[0]]], header[place])
        for name in names:
            if [row[place] for row in spectra[name]] != [row[place] for row in spectra[names[0]]]:
                raise InputError(
                    f"'{name}' in {path} has other wavelengths than '{names[0]}'; give the same."
                )
    values = np.array([[_number(row[value]) for row in spectra[name]] for name in names])
    return SpectraTable(path, tuple(names), wavelengths, values)


def _nanometres(path: str, cells: Sequence[str], header: str) -> np.ndarray:
    unit = next((u for u in ("nm", "um", "µm", "μm") if re.search(rf"[\W_]\(?{u}\)?$", header.lower())), None)
    numbers = [_number(cell) for cell in cells]
    if unit is None and np.isfinite(numbers).all():
        # One unit for all, by the longest: 0.4 to 2.5 are micrometres, 90 nm beside 900 nm are not.
        unit = "um" if max(numbers) < 100 else "nm"
    values = [to_nanometres(number, unit) for number in numbers]
    known = np.array([np.nan if v is None else v for v in values])
    if not np.isfinite(known).all():
        raise InputError(f"The column of wavelengths in {path} has a value that is none; give nm or µm.")
    if len(np.unique(known)) < len(known):
        raise InputError(f"The table of spectra {path} has a wavelength twice; keep one row of it.")
    return known


def _column(header: list[str], pattern: re.Pattern[str]) -> int | None:
    return next((i for i, name in enumerate(header) if pattern.match(name)), None)


def _holds_numbers(rows: list[list[str]], column: int) -> bool:
    """Whether a column has a number in any row: gaps in it are then gaps of a spectrum."""
    return any(np.isfinite(_number(row[column])) for row in rows)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")
