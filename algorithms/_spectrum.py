"""A number per band given as text: the values, or a file that holds one per line."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from qgis.core import QgsProcessingException

from ._text import tr

_BETWEEN = re.compile(r"[,;\s]+")


def read_spectrum(text: str, parameter: str = "BASELINE_SPECTRUM") -> list[float]:
    """Return the values of a `parameter`: numbers between commas, or the path of a text or CSV file.

    A file holds one value per line, one per band of the model, with an optional title in the first line,
    or all values in one line.
    """
    if not os.path.isfile(text):
        return [
            _number(part, tr("value {n}").format(n=i), text, parameter)
            for i, part in enumerate(_parts(text), 1)
        ]
    try:
        lines = Path(text).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise QgsProcessingException(
            tr("{name}: the file {path} cannot be read as text.").format(name=parameter, path=text)
        ) from None
    rows = [(number, _parts(line)) for number, line in enumerate(lines, 1) if line.strip()]
    if len(rows) > 1 and not _is_number(rows[0][1][0]):
        rows = rows[1:]
    if len(rows) == 1:
        number, parts = rows[0]
        return [_number(part, tr("line {n}").format(n=number), text, parameter) for part in parts]
    values = []
    for number, parts in rows:
        where = tr("line {n}").format(n=number)
        if len(parts) != 1:
            raise QgsProcessingException(
                tr("{name}: {where} of {path} holds {count} values; give one value per band.").format(
                    name=parameter, where=where, path=text, count=len(parts)
                )
            )
        values.append(_number(parts[0], where, text, parameter))
    if not values:
        raise QgsProcessingException(
            tr("{name}: the file {path} is empty.").format(name=parameter, path=text)
        )
    return values


def _parts(line: str) -> list[str]:
    return _BETWEEN.split(line.strip(" \t\r\n,;"))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _number(text: str, where: str, source: str, parameter: str) -> float:
    if not _is_number(text):
        raise QgsProcessingException(
            tr(
                "{name}: {where} of '{source}' is '{text}', which is no number; give numbers "
                "between commas, or the path of a file with one value per band."
            ).format(name=parameter, where=where, source=source, text=text)
        )
    return float(text)
