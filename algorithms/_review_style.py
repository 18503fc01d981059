"""How the layer of errors looks: coloured by suspicion, knowing what it was made from."""

from __future__ import annotations

import json
from pathlib import Path

from qgis.core import (
    Qgis,
    QgsCategorizedSymbolRenderer,
    QgsFillSymbol,
    QgsMarkerSymbol,
    QgsRendererCategory,
    QgsSymbol,
    QgsVectorLayer,
)

from ._text import tr

# The review dock reads what the layer was made from under this name.
PROPERTY = "explanation_layers/review"


def suspicions() -> tuple[tuple[str, str, str], ...]:
    """Return each suspicion as it is stored, its colour (Okabe & Ito 2008) and its title."""
    return (
        ("label error", "#d55e00", tr("Label error")),
        ("mixed pixel", "#cc79a7", tr("Mixed pixel")),
        ("edge", "#56b4e9", tr("Edge")),
        ("shadow or cloud", "#333333", tr("Shadow or cloud")),
        ("unseen spectrum", "#f0e442", tr("Unseen spectrum")),
        ("genuine confusion", "#0072b2", tr("Genuine confusion")),
    )


def write_style(destination: str, path: Path, record: dict, aliases: dict[str, str]) -> None:
    """Write the style of the layer at `destination` beside its file `path`.

    Whoever opens the file later has it too, and what the layer was made from.
    """
    layer = QgsVectorLayer(destination, path.stem, "ogr")
    if not layer.isValid():
        return
    point = layer.geometryType() == Qgis.GeometryType.Point
    categories = [
        QgsRendererCategory(value, _symbol(colour, point), title) for value, colour, title in suspicions()
    ]
    layer.setRenderer(QgsCategorizedSymbolRenderer("suspicion", categories))
    layer.setDisplayExpression('"error_id" || \': \' || "true_class" || \' → \' || "predicted_class"')
    for name, alias in aliases.items():
        layer.setFieldAlias(layer.fields().lookupField(name), alias)
    layer.setCustomProperty(PROPERTY, json.dumps(record["review"], ensure_ascii=False))
    layer.saveNamedStyle(str(path.with_suffix(".qml")))


def _symbol(colour: str, point: bool) -> QgsSymbol:
    outline = {"outline_color": "255,255,255", "outline_width": "0.3"}
    if point:
        return QgsMarkerSymbol.createSimple({"name": "circle", "color": colour, "size": "2.6", **outline})
    symbol = QgsFillSymbol.createSimple({"color": colour, **outline})
    symbol.setOpacity(0.75)
    return symbol
