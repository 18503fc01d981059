"""Vector features written as GeoJSON in the scene's CRS: labels with their class, and masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qgis.core import (
    Qgis,
    QgsCoordinateTransform,
    QgsCsException,
    QgsFeatureRequest,
    QgsField,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSource,
    QgsProcessingFeedback,
    QgsProcessingUtils,
    QgsVariantUtils,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QMetaType

from ._rasters import RasterSource, known_crs
from ._text import tr

_DECIMALS = 12
_TEXT_OR_NUMBER = (
    QMetaType.Type.QString, QMetaType.Type.Int, QMetaType.Type.UInt, QMetaType.Type.LongLong,
    QMetaType.Type.ULongLong, QMetaType.Type.Double, QMetaType.Type.Short, QMetaType.Type.UShort,
    QMetaType.Type.Float, QMetaType.Type.Bool,
)  # fmt: skip


def class_field(source: QgsProcessingFeatureSource, name: str) -> int:
    """Return the index of the label field `name`; a sentence where it is missing or of the wrong type."""
    fields = source.fields()
    index = fields.lookupField(name)
    if index < 0:
        raise QgsProcessingException(
            tr("The label layer '{layer}' has no field '{field}'; its fields are: {fields}.").format(
                layer=source.sourceName(), field=name, fields=", ".join(fields.names()) or tr("none")
            )
        )
    field: QgsField = fields.at(index)
    if field.type() not in _TEXT_OR_NUMBER:
        raise QgsProcessingException(
            tr("The label field '{field}' holds {type}; choose a field of text or numbers.").format(
                field=name, type=field.displayType()
            )
        )
    return index


def export_features(
    source: QgsProcessingFeatureSource,
    raster: RasterSource,
    context: QgsProcessingContext,
    feedback: QgsProcessingFeedback,
    field: int | None = None,
    keep_unlabelled: bool = False,
) -> str:
    """Write the features in the raster's CRS to a temporary GeoJSON and return its path.

    With `field`, each feature carries the property `class` and those without a class are left out, unless
    they shall be kept.
    """
    if QgsWkbTypes.geometryType(source.wkbType()) == Qgis.GeometryType.Line:
        raise QgsProcessingException(
            tr("The layer '{layer}' holds lines; use points or polygons.").format(layer=source.sourceName())
        )
    transform = _transform(source, raster, context)
    path = Path(QgsProcessingUtils.generateTempFilename("features.geojson", context))
    written = without_class = without_geometry = 0
    request = QgsFeatureRequest()
    request.setSubsetOfAttributes([] if field is None else [field])
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for feature in source.getFeatures(request):
            if feedback.isCanceled():
                raise QgsProcessingException(tr("Cancelled."))
            properties = {}
            if field is not None:
                properties["class"] = _class_of(feature.attribute(field))
                if properties["class"] is None and not keep_unlabelled:
                    without_class += 1
                    continue
            geometry = feature.geometry()
            if geometry.isNull() or geometry.isEmpty():
                without_geometry += 1
                continue
            try:
                geometry.transform(transform)
            except QgsCsException:
                raise QgsProcessingException(
                    tr(
                        "Feature {id} of '{layer}' cannot be transformed from {source} to {target}; "
                        "check the layer's CRS and the feature's coordinates."
                    ).format(
                        id=feature.id(),
                        layer=source.sourceName(),
                        source=transform.sourceCrs().userFriendlyIdentifier(),
                        target=transform.destinationCrs().userFriendlyIdentifier(),
                    )
                ) from None
            geometry.get().dropZValue()
            geometry.get().dropMValue()
            file.write(",\n" if written else "\n")
            file.write(
                '{"type": "Feature", "properties": '
                + json.dumps(properties)
                + ', "geometry": '
                + geometry.asJson(_DECIMALS)
                + "}"
            )
            written += 1
        file.write("\n]}\n")
    for count, reason in ((without_class, tr("no class")), (without_geometry, tr("no geometry"))):
        if count:
            feedback.pushWarning(
                tr("{count} features of '{layer}' left out: {reason}.").format(
                    count=count, layer=source.sourceName(), reason=reason
                )
            )
    if not written:
        raise QgsProcessingException(
            tr("The layer '{layer}' holds no feature that can be used.").format(layer=source.sourceName())
        )
    return str(path)


def _transform(
    source: QgsProcessingFeatureSource, raster: RasterSource, context: QgsProcessingContext
) -> QgsCoordinateTransform:
    """Return the transform to the raster's CRS; a sentence where only one of the two has a CRS."""
    crs = known_crs(source.sourceCrs())
    if crs.isValid() and not raster.crs.isValid():
        raise QgsProcessingException(
            tr(
                "The raster '{raster}' has no CRS but the layer '{layer}' has {crs}; set the raster's CRS "
                "in its layer properties, or remove the layer's CRS if its coordinates are those of the "
                "raster."
            ).format(raster=raster.name, layer=source.sourceName(), crs=crs.userFriendlyIdentifier())
        )
    if raster.crs.isValid() and not crs.isValid():
        raise QgsProcessingException(
            tr(
                "The layer '{layer}' has no CRS but the raster '{raster}' has {crs}; set the layer's CRS "
                "in its layer properties."
            ).format(raster=raster.name, layer=source.sourceName(), crs=raster.crs.userFriendlyIdentifier())
        )
    return QgsCoordinateTransform(crs, raster.crs, context.transformContext())


def _class_of(value: Any) -> str | int | float | None:
    """Return the class as text or number, a whole float as int; None where the cell is empty."""
    if QgsVariantUtils.isNull(value) or value == "":
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else str(value)
