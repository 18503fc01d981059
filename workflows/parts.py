"""What an output is divided among, and thereby what the bands of an attribution raster stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..models.card import Card
from ..models.segmentation_networks import SegmentationNetwork
from ..rasters.errors import InputError
from ..rasters.scene import Scene, describe_band
from ..rasters.wavelengths import Band

PARTS = ("bands", "rings", "regions")
BRIGHTNESS = Band("logarithm of the brightness")
ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class Parts:
    """`bands` of the attribution raster with their `descriptions`; values go to those at `places`."""

    bands: tuple[Band, ...]
    descriptions: tuple[str, ...]
    places: tuple[int, ...]


def band_parts(scene: Scene, card: Card, network: object) -> Parts:
    """Return the scene's bands, of which the model reads some, and the brightness where it reads that."""
    bands, places = scene.bands, tuple(card.used_bands)
    if isinstance(network, SegmentationNetwork) and network.brightness:
        bands, places = (*bands, BRIGHTNESS), (*places, len(bands))
    return Parts(bands, tuple(describe_band(i, band) for i, band in enumerate(bands)), places)


def ring_parts(limits: Sequence[int]) -> Parts:
    """Return the rings up to each of `limits` (pixels, rising from 0 or more), and what is beyond.

    Raises InputError where the limits do not rise.
    """
    if not limits or any(b <= a for a, b in zip((-1, *limits), limits)):
        raise InputError(
            f"The ring limits {', '.join(map(str, limits))} do not rise from 0 on; write such as 0,3,10."
        )
    lows = (0, *(limit + 1 for limit in limits))
    names = [
        "the pixel itself" if high == 0 else f"{low} px" if low == high else f"{low} to {high} px"
        for low, high in zip(lows, limits)
    ]
    return _named([*names, f"beyond {limits[-1]} px"])


def region_parts(names: Sequence[str]) -> Parts:
    """Return the named regions, and all that lies in none."""
    return _named([*names, ELSEWHERE])


def _named(names: Sequence[str]) -> Parts:
    return Parts(tuple(map(Band, names)), tuple(names), tuple(range(len(names))))
