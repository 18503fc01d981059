"""Dates in texts and in the metadata of rasters, as ISO text such as "2017-06-12".

Known without a pattern: 2017-06-12, 2017_06_12 and the like with any one of - _ . / : between, 20170612,
each with a time of day after it; the day of the year as in A2017123; 12Jun2017. Years are 1950 to 2099.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from .errors import InputError

_YEARS = range(1950, 2100)
_DAY = r"(?P<y>(?:19|20)\d\d)(?P<s>[-_./:]?)(?P<m>\d\d)(?P=s)(?P<d>\d\d)"
_DAY_OF_YEAR = r"(?P<y>(?:19|20)\d\d){}(?P<j>\d{{3}})"
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_NAMED_MONTH = rf"(?P<d>\d\d?)[-_ ]?(?P<b>{'|'.join(_MONTHS)})[-_ ]?(?P<y>(?:19|20)\d\d)"
_TIME_AFTER = r"(?:[T_ ]?\d{6}(?!\d))?"
_WITHIN = [
    re.compile(rf"(?<!\d){_DAY}(?:(?!\d)|(?=\d{{6}}(?!\d)))", re.IGNORECASE),
    re.compile(rf"(?<!\d){_DAY_OF_YEAR.format('')}(?!\d)"),
    re.compile(rf"(?<!\d){_NAMED_MONTH}(?!\d)", re.IGNORECASE),
]
_WHOLE = [
    re.compile(rf"{form}(?:[T ]?\d\d:?\d\d.*)?", re.IGNORECASE)
    for form in (_DAY, _DAY_OF_YEAR.format("-?"), _NAMED_MONTH)
]
_DIRECTIVES = {
    "Y": r"\d{4}", "y": r"\d\d", "m": r"\d\d", "d": r"\d\d", "j": r"\d{3}", "b": "[A-Za-z]{3}",
    "B": "[A-Za-z]{3,9}", "H": r"\d\d", "M": r"\d\d", "S": r"\d\d",
}  # fmt: skip
# What producers call the time of acquisition, in upper case and with "_" for other signs.
_ACQUIRED = re.compile(
    r"ACQUI|(^|_)ACQ(_|$)|SENSING|COVERAGE_START|PRODUCT_START|START_?(TIME|DATE)|^(DATE|TIME|DATETIME)$"
)
_NOT_ACQUIRED = re.compile(r"STOP|(^|_)END|PROCESS|CREAT|PRODUCTION|GENERATION|TIFFTAG")
_CF_UNITS = re.compile(
    r"(second|minute|hour|day|week)s?\s+since\s+(\S+)(?:[T\s]+(\d\d?):(\d\d))?", re.IGNORECASE
)
_CF_HOURS = {"second": 1 / 3600, "minute": 1 / 60, "hour": 1, "day": 24, "week": 168}
_CALENDARS = ("", "standard", "gregorian", "proleptic_gregorian")


def parse_date(text: str) -> str | None:
    """Return the date that `text` as a whole is, or None; 2017-163 (day of the year) is one too."""
    for form in _WHOLE:
        if found := form.fullmatch(text.strip()):
            return _date_of(found)
    return None


def given_date(text: str) -> str:
    """Return the date that a user wrote; InputError where it is none."""
    date = parse_date(text)
    if date is None:
        raise InputError(f"'{text}' is not a date; write it as year, month and day, such as 2017-06-12.")
    return date


def find_dates(text: str, pattern: str = "") -> list[str]:
    """Return the dates within `text`, in a fixed order; `pattern` as `strptime` reads it, such as %d%m%Y.

    Raises InputError where the pattern can't stand for a date.
    """
    return [date for date, _ in _found(text, pattern)]


def without_dates(text: str, pattern: str = "") -> str:
    """Return `text` without its dates and the times of day right after them."""
    for date, found in list(_found(text, pattern)):
        if date:
            text = re.sub(re.escape(found) + _TIME_AFTER, " ", text)
    return re.sub(r"^[\W_]+|[\W_]+$", "", text)


def acquisition_date(items: Mapping[str, str]) -> str | None:
    """Return the date of acquisition that metadata items of a raster or band tell, or None."""
    for key, text in items.items():
        name = re.sub(r"[^A-Z0-9]+", "_", key.upper())
        if _ACQUIRED.search(name) and not _NOT_ACQUIRED.search(name) and (date := parse_date(text)):
            return date
    return None


def netcdf_date(items: Mapping[str, str], band_items: Mapping[str, str]) -> tuple[str | None, list[str]]:
    """Return the date of a netCDF band, None without one, and its places along other dimensions ("pol 1").

    `items` are those of the dataset, with CF units such as "days since 1990-01-01". Calendars other than
    ours, such as one of 360 days, are not dates.
    """
    date, others = None, []
    for key, text in band_items.items():
        if key.startswith("NETCDF_DIM_"):
            dimension = key.removeprefix("NETCDF_DIM_")
            units = _CF_UNITS.match(items.get(f"{dimension}#units", ""))
            if units is None:
                others.append(f"{dimension} {text}")
            elif items.get(f"{dimension}#calendar", "").lower() in _CALENDARS:
                date = _since(units, text)
    return date, others


def day_number(date: str) -> int:
    """Return the day of an ISO date, counted from the year 1 on."""
    return datetime.strptime(date, "%Y-%m-%d").toordinal()


def _found(text: str, pattern: str) -> Iterator[tuple[str, str]]:
    """Yield each date in `text` and the piece of text that is it."""
    if pattern:
        yield from _found_by_pattern(text, pattern)
        return
    for form in _WITHIN:
        for found in form.finditer(text):
            if date := _date_of(found):
                yield date, found[0]


def _found_by_pattern(text: str, pattern: str) -> Iterator[tuple[str, str]]:
    """Yield as `_found`; a part of a longer run of digits counts only where nothing else is found."""
    form = _as_regex(pattern)
    for expression in (rf"(?<!\d)({form})(?!\d)", rf"(?=({form}))"):
        dates = []
        for found in re.finditer(expression, text, re.IGNORECASE):
            try:
                moment = datetime.strptime(found[1], pattern)
            except ValueError:
                continue
            if moment.year in _YEARS and moment.strftime(pattern).lower() == found[1].lower():
                dates.append((moment.strftime("%Y-%m-%d"), found[1]))
        if dates:
            yield from dates
            return


def _as_regex(pattern: str) -> str:
    directives = re.findall("%(.)", pattern)
    unknown = [f"%{name}" for name in directives if name not in _DIRECTIVES]
    if (
        unknown
        or pattern.count("%") != len(directives)
        or not {"Y", "y"} & set(directives)
        or not {"m", "b", "B", "j"} & set(directives)
    ):
        raise InputError(
            f"The date pattern '{pattern}' does not say where year, month and day are; write it with %Y, %m "
            "and %d (or %j, the day of the year), such as %Y%m%d."
        )
    parts = re.split("%(.)", pattern)
    return "".join(_DIRECTIVES[part] if i % 2 else re.escape(part) for i, part in enumerate(parts))


def _date_of(found: re.Match[str]) -> str | None:
    parts = found.groupdict()
    year = int(parts["y"])
    if year not in _YEARS:
        return None
    try:
        if parts.get("j"):
            day = datetime.strptime(f"{year}-{parts['j']}", "%Y-%j")
        else:
            month = _MONTHS.index(parts["b"].lower()) + 1 if parts.get("b") else int(parts["m"])
            day = datetime(year, month, int(parts["d"]))
    except ValueError:
        return None
    # strptime takes day 366 of any year.
    return day.strftime("%Y-%m-%d") if day.year == year else None


def _since(units: re.Match[str], text: str) -> str | None:
    origin = re.fullmatch(r"(\d{1,4})-(\d\d?)-(\d\d?)(?:T.*)?", units[2])
    if origin is None:
        return None
    try:
        year, month, day = (int(number) for number in origin.groups())
        start = datetime(year, month, day, int(units[3] or 0), int(units[4] or 0))
        count = float(text)
        if not math.isfinite(count):
            return None
        moment = start + timedelta(hours=count * _CF_HOURS[units[1].lower()])
    except (ValueError, OverflowError):
        return None
    return moment.strftime("%Y-%m-%d")
