"""The picture of a scene around a pixel, as bytes that a message can carry."""

from __future__ import annotations

import base64

import numpy as np
from rasterio.windows import Window

from ..rasters.scene import Scene
from ..rasters.series import Series

# Wavelengths in nm of red, green and blue, and how far a band may lie from them to show them.
_RGB_NM = (665.0, 560.0, 490.0)
_FARTHEST_NM = 60.0
# Percentiles of the chip's values that become black and full colour.
_LOW, _HIGH = 2, 98
# What lies outside of the raster, or has no data.
_NOTHING = 128


def chip_of(scene: Scene, row: int, col: int, size: int) -> dict:
    """Return the `size` x `size` pixels around one: width, height, and red, green, blue bytes in base64."""
    bands = display_bands(scene)
    top, left = row - size // 2, col - size // 2
    picture = np.full((size, size, 3), _NOTHING, dtype=np.uint8)
    first_row, first_col = max(top, 0), max(left, 0)
    last_row, last_col = min(top + size, scene.grid.height), min(left + size, scene.grid.width)
    window = Window(first_col, first_row, last_col - first_col, last_row - first_row)
    # Read once each: a band may stand for several colours.
    distinct = list(dict.fromkeys(bands))
    values = scene.read(window, bands=distinct)[[distinct.index(band) for band in bands]]
    inside = picture[first_row - top : last_row - top, first_col - left : last_col - left]
    for colour, plane in enumerate(values):
        known = np.isfinite(plane)
        if known.any():
            low, high = np.percentile(plane[known], (_LOW, _HIGH))
            share = (plane - low) / max(high - low, 1e-30)
            inside[..., colour] = np.where(known, 255 * np.clip(np.nan_to_num(share), 0, 1), _NOTHING)
    return {
        "width": size, "height": size, "rgb_base64": base64.b64encode(picture.tobytes()).decode("ascii"),
    }  # fmt: skip


def display_bands(scene: Scene) -> tuple[int, int, int]:
    """Return the bands to show as red, green and blue.

    Those nearest to these colours; of a series its first channel early, midway and late; without wavelengths
    the first three bands, or one thrice.
    """
    if isinstance(scene, Series):
        last, step = len(scene.dates) - 1, len(scene.channels)
        return 0, (last // 2) * step, last * step
    known = [(band.wavelength_nm, i) for i, band in enumerate(scene.bands) if band.wavelength_nm]
    if known:
        nearest = [min(known, key=lambda pair: abs(pair[0] - wanted)) for wanted in _RGB_NM]
        far = [abs(pair[0] - wanted) for pair, wanted in zip(nearest, _RGB_NM)]
        if max(far) <= _FARTHEST_NM:
            return nearest[0][1], nearest[1][1], nearest[2][1]
    return (0, 1, 2) if len(scene.bands) >= 3 else (0, 0, 0)
