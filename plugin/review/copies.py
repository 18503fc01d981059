"""A copy of an error layer with every verdict, also those that its own file would not take."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from qgis.core import (
    Qgis,
    QgsCoordinateTransformContext,
    QgsFeature,
    QgsFeatureRequest,
    QgsField,
    QgsFields,
    QgsGeometry,
    QgsVectorFileWriter,
    QgsVectorLayerFeatureSource,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QMetaType

from ...algorithms._text import tr
from .records import COUNTS, NUMBERS
from .store import ReviewError, ReviewStore

# The columns as `misclassifications` orders them.
_ORDER = (
    "error_id", "true_class", "predicted_class", "confidence", "margin", "pixels", "area_m2", "x", "y",
    "evidence", "nearest_distance", "nearest_class", "suspicion", "rule", "instructive", "verdict",
    "corrected_class", "comment", "reviewed_at",
)  # fmt: skip


class ErrorCopy:
    """The errors as they stand, taken on the thread that owns the layer; `run` may be called on another.

    Where the layer's file is gone, an error is the point that it was explained at.
    """

    def __init__(self, store: ReviewStore) -> None:
        self._records = list(store.records.values())
        layer = store.layer
        self._source = QgsVectorLayerFeatureSource(layer) if layer else None
        self._kind = QgsWkbTypes.flatType(layer.wkbType()) if layer else Qgis.WkbType.Point
        self._crs = store.crs
        self._record_file = store.path.with_suffix(".json")

    def run(self, path: str, is_cancelled: Callable[[], bool] = lambda: False) -> str:
        """Write a GeoPackage to `path`, with the run record beside it, and return the path."""
        partial = Path(path).with_name(f".part-{Path(path).name}")
        partial.unlink(missing_ok=True)
        fields = _fields()
        options = QgsVectorFileWriter.SaveVectorOptions()
        options.driverName, options.layerName = "GPKG", "errors"
        writer = QgsVectorFileWriter.create(
            str(partial), fields, self._kind, self._crs, QgsCoordinateTransformContext(), options
        )
        shapes = self._shapes()
        for record in self._records:
            feature = QgsFeature(fields)
            values = [getattr(record, name) for name in _ORDER]
            feature.setAttributes([None, *(_cell(value) for value in values)])
            point = QgsGeometry.fromWkt(f"POINT({record.x!r} {record.y!r})")
            feature.setGeometry(shapes.get(record.fid, point) if self._source else point)
            if is_cancelled() or not writer.addFeature(feature):
                reason = writer.errorMessage() or tr("cancelled")
                del writer
                partial.unlink(missing_ok=True)
                raise ReviewError(
                    tr("The copy {path} can't be written: {reason}.").format(path=path, reason=reason)
                )
        del writer
        os.replace(partial, path)
        if self._record_file.is_file():
            shutil.copy(self._record_file, Path(path).with_suffix(".json"))
        return path

    def _shapes(self) -> dict[int, QgsGeometry]:
        if self._source is None:
            return {}
        request = QgsFeatureRequest().setNoAttributes()
        return {
            feature.id(): QgsGeometry(feature.geometry()) for feature in self._source.getFeatures(request)
        }


def _fields() -> QgsFields:
    fields = QgsFields()
    fields.append(QgsField("fid", QMetaType.Type.LongLong))
    for name in _ORDER:
        kind = QMetaType.Type.Double if name in NUMBERS else QMetaType.Type.QString
        fields.append(QgsField(name, QMetaType.Type.LongLong if name in COUNTS else kind))
    return fields


def _cell(value: str | float | int) -> str | float | int | None:
    """Return a value for a column: an empty text or NaN is an empty cell."""
    if isinstance(value, float) and math.isnan(value):
        return None
    return None if value == "" else value
