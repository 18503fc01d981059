"""What stored values are divided by to be reflectance."""

from __future__ import annotations

import numpy as np

from .errors import InputError

# Of the values, this percentile says how large they are: single glints and errors do not.
_HIGH = 99.9
# Reflectance of sunlit slopes and glints goes beyond 1.
_LARGEST = 1.5
_BYTES, _SHORTS = 255.0, 65_535.0


def reflectance_scale(values: np.ndarray, dtype: str, place: str) -> float:
    """Return what `values` of a raster or table at `place`, stored as `dtype`, are to be divided by.

    By the 99.9th percentile of their sizes: of whole numbers of one byte 255, of others 10,000, or 65,535
    where they go beyond 15,000; of fractions 1 up to 1.5, 100 (per cent) up to 150, and 10,000 up to 15,000.
    Raises InputError where they are larger.
    """
    known = np.abs(values[np.isfinite(values)])
    high = float(np.percentile(known, _HIGH)) if known.size else 0.0
    kind = np.dtype(dtype)
    candidates = [1.0, 100.0, 10_000.0]
    if kind.kind in "iub":
        candidates = [_BYTES] if kind.itemsize == 1 else [10_000.0, _SHORTS]
    for scale in candidates:
        if high <= (scale if scale in (_BYTES, _SHORTS) else _LARGEST * scale):
            return scale
    raise InputError(
        f"{place} has values up to {high:g}, which no usual scale makes reflectance; give SCALE, the number "
        "that they are to be divided by."
    )
