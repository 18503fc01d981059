"""QGIS layer styles (QML) for the rasters that jobs write."""

from __future__ import annotations

import html
import math
import os
from collections.abc import Sequence

Colour = tuple[int, int, int]

# ColorBrewer's RdBu, reversed: blue against, white neither, red for; told apart by the colour-blind too.
_AGAINST = ("053061", "2166ac", "4393c3", "92c5de", "d1e5f0")
_FOR = ("fddbc7", "f4a582", "d6604d", "b2182b", "67001f")
_DIVERGING = (*_AGAINST, "f7f7f7", *_FOR)
VIRIDIS = (
    "440154",
    "482878",
    "3e4989",
    "31688e",
    "26828e",
    "1f9e89",
    "35b779",
    "6ece58",
    "b5de2b",
    "fde725",
)


def qml_path(raster: str) -> str:
    """Return where QGIS looks for the style of a raster file."""
    return os.path.splitext(raster)[0] + ".qml"


def write_diverging_qml(path: str, band: int, limit: float) -> None:
    """Write a style for signed values of `band` (counted from 1): white at zero, full colour at ±limit."""
    write_style(path, diverging(band, limit))


def write_sequential_qml(path: str, band: int, low: float, high: float) -> None:
    """Write a style for values of `band` (counted from 1) that run from `low` to `high`."""
    write_style(path, sequential(band, low, high))


def write_classes_qml(path: str, names: Sequence[str], colours: Sequence[Colour]) -> None:
    """Write a style for a raster of classes, numbered from 1 in the order of `names`."""
    entries = "".join(
        f'\n        <paletteEntry value="{value}" color="{_hex(colour)}" alpha="255" '
        f'label="{html.escape(name)}"/>'
        for value, (name, colour) in enumerate(zip(names, colours), start=1)
    )
    write_style(
        path,
        '<rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" nodataColor="">\n'
        f"      <colorPalette>{entries}\n      </colorPalette>\n    </rasterrenderer>",
    )


def diverging(band: int, limit: float) -> str:
    """Return the renderer of signed values; a limit that says nothing counts as 1."""
    limit = limit if math.isfinite(limit) and limit > 0 else 1.0
    return _pseudocolour(band, -limit, limit, _DIVERGING)


def sequential(band: int, low: float, high: float) -> str:
    """Return the renderer of values that run from `low` to `high`; an empty range is made 1 wide."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        low, high = (low, low + 1.0) if math.isfinite(low) else (0.0, 1.0)
    return _pseudocolour(band, low, high, VIRIDIS)


def _pseudocolour(band: int, low: float, high: float, ramp: Sequence[str]) -> str:
    shares = [i / (len(ramp) - 1) for i in range(len(ramp))]
    items = "".join(
        f'\n          <item value="{low + share * (high - low):.9g}" '
        f'label="{low + share * (high - low):.4g}" color="#{colour}" alpha="255"/>'
        for share, colour in zip(shares, ramp)
    )
    stops = ":".join(f"{share:.4g};{_rgba(colour)}" for share, colour in zip(shares[1:-1], ramp[1:-1]))
    options = {"color1": _rgba(ramp[0]), "color2": _rgba(ramp[-1]), "discrete": "0", "stops": stops}
    gradient = "".join(
        f'\n              <Option type="QString" name="{name}" value="{value}"/>'
        for name, value in {**options, "rampType": "gradient"}.items()
    )
    return (
        f'<rasterrenderer type="singlebandpseudocolor" band="{band}" opacity="1" alphaBand="-1" '
        f'nodataColor="" classificationMin="{low:.9g}" classificationMax="{high:.9g}">\n'
        "      <rastershader>\n"
        '        <colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0" '
        f'minimumValue="{low:.9g}" maximumValue="{high:.9g}">\n'
        '          <colorramp type="gradient" name="[source]">\n'
        f'            <Option type="Map">{gradient}\n            </Option>\n'
        f"          </colorramp>{items}\n"
        "        </colorrampshader>\n      </rastershader>\n    </rasterrenderer>"
    )


def write_style(path: str, renderer: str, temporal: str = "") -> None:
    """Write a style of a renderer and, where the layer plays in time, of its temporal properties."""
    categories = "Symbology|Temporal" if temporal else "Symbology"
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(
            f'<qgis version="3.40.0" styleCategories="{categories}">\n'
            f"{temporal}  <pipe>\n    {renderer}\n  </pipe>\n  <blendMode>0</blendMode>\n</qgis>\n"
        )


def _rgba(colour: str) -> str:
    return ",".join(str(int(colour[i : i + 2], 16)) for i in (0, 2, 4)) + ",255"


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
