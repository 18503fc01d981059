"""The engine's tables as feature sinks, with the run record beside those that are files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from qgis.core import (
    Qgis,
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsFeatureSink,
    QgsField,
    QgsFields,
    QgsGeometry,
    QgsPointXY,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingOutputLayerDefinition,
)
from qgis.PyQt.QtCore import QMetaType

from ._parameters import is_empty
from ._text import tr

_TYPES = {
    "string": QMetaType.Type.QString,
    "int": QMetaType.Type.LongLong,
    "double": QMetaType.Type.Double,
}


def sink_file(value: Any) -> Path | None:
    """Return the file that a sink's parameter value or destination id names; None for other stores."""
    if isinstance(value, QgsProcessingOutputLayerDefinition):
        value = value.sink.staticValue()
    if is_empty(value) or not isinstance(value, str) or value == QgsProcessing.TEMPORARY_OUTPUT:
        return None
    path = Path(value.split("|")[0])
    if not path.suffix or value.startswith(("memory:", "ogr:", "postgis:", "spatialite:")):
        return None
    return path.absolute()


def check_sink(name: str, value: Any) -> None:
    """Raise a sentence where a table's file cannot be written, before any work is done."""
    path = sink_file(value)
    if path and not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        raise QgsProcessingException(
            tr("{name} cannot be written: the folder {folder} does not exist or is read-only.").format(
                name=name, folder=path.parent
            )
        )


def write_table(
    algorithm: QgsProcessingAlgorithm,
    name: str,
    parameters: dict[str, Any],
    context: QgsProcessingContext,
    table: dict,
    record: dict,
    crs: QgsCoordinateReferenceSystem,
) -> str | None:
    """Write `table` (columns with name and type, and rows) to the sink parameter `name`.

    A table of `places` (x and y of each row) becomes points in the coordinate system `crs`, one of
    `geometries` (WKT of each row) features of the type `geometry`. The columns' aliases are for the loaded
    layer: few formats keep them, and QGIS warns of the others.
    Returns the destination id, None where the table is not wanted.
    """
    fields = QgsFields()
    for column in table["columns"]:
        fields.append(QgsField(column["name"], _TYPES[column["type"]]))
    places, geometries = table.get("places"), table.get("geometries")
    kind = Qgis.WkbType.NoGeometry if places is None else Qgis.WkbType.Point
    if geometries is not None:
        kind = Qgis.WkbType[table["geometry"]]
    crs = QgsCoordinateReferenceSystem() if kind == Qgis.WkbType.NoGeometry else crs
    sink, destination = algorithm.parameterAsSink(parameters, name, context, fields, kind, crs)
    if sink is None:
        if is_empty(parameters.get(name)):
            return None
        raise QgsProcessingException(algorithm.invalidSinkError(parameters, name))
    for number, row in enumerate(table["rows"]):
        feature = QgsFeature(fields)
        feature.setAttributes(list(row))
        if places is not None:
            feature.setGeometry(QgsGeometry.fromPointXY(QgsPointXY(*places[number])))
        if geometries is not None:
            feature.setGeometry(QgsGeometry.fromWkt(geometries[number]))
        if not sink.addFeature(feature, QgsFeatureSink.Flag.FastInsert):
            raise QgsProcessingException(algorithm.writeFeatureError(sink, parameters, name))
    sink.flushBuffer()
    if file := sink_file(destination):
        write_record(file, record)
    return destination


def write_record(beside: Path, record: dict) -> None:
    """Write the run record as JSON beside the file `beside`."""
    target = beside.with_suffix(".json" if beside.suffix != ".json" else ".run.json")
    partial = target.with_name(f".part-{target.name}")
    partial.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, target)
