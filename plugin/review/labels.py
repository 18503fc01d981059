"""Corrected labels: the reference with the reviewed errors put right, as a GeoPackage to train with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from qgis.core import (
    Qgis,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCoordinateTransformContext,
    QgsFeature,
    QgsFeatureRequest,
    QgsField,
    QgsFields,
    QgsGeometry,
    QgsProject,
    QgsSpatialIndex,
    QgsVariantUtils,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsVectorLayerFeatureSource,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QMetaType

from ...algorithms._rasters import known_crs
from ...algorithms._text import tr
from .records import ErrorRecord
from .store import ReviewError, ReviewStore

CLASS_FIELD = "class"
_DOUBTFUL = ("both plausible", "unsure")
_NEAR = 1e-6  # in units of the CRS: an error's point and the reference's, once transformed, are the same


@dataclass(frozen=True)
class Exported:
    """How many labels were written: as reviewed, as the reference has them, and how many were left out."""

    path: str
    reviewed: int
    reference: int
    left_out: int


def reviewed_class(record: ErrorRecord) -> str | None:
    """Return the class that the review leaves an error with, None where it leaves none or is open.

    A corrected class counts whatever the verdict; a model error without one leaves the reference's class.
    """
    if record.corrected_class:
        return record.corrected_class
    return record.true_class if record.verdict == "model error" else None


def takes_away(record: ErrorRecord) -> bool:
    """Tell whether the reference's label may not stay: it was corrected, or the reviewer doubts it."""
    left = reviewed_class(record)
    return left != record.true_class if left else record.verdict in _DOUBTFUL


class LabelExport:
    """Everything that the export needs, taken on the thread that owns the layers.

    `reference` are polygons or points with a class in `field`; where it is None, a raster for example, only
    what was reviewed is written. `run` may be called on another thread.
    """

    def __init__(self, store: ReviewStore, reference: QgsVectorLayer | None, field: str | None) -> None:
        if store.layer is None:
            raise ReviewError(tr("The layer '{name}' can no longer be read.").format(name=store.name))
        self._records = list(store.records.values())
        self._errors = QgsVectorLayerFeatureSource(store.layer)
        self._kind = store.layer.wkbType()
        self._crs: QgsCoordinateReferenceSystem = store.crs
        self._reference = None
        if reference is not None:
            index = reference.fields().lookupField(field or "")
            if index < 0:
                raise ReviewError(
                    tr("The reference '{layer}' has no field '{field}' with the classes.").format(
                        layer=reference.name(), field=field
                    )
                )
            context = QgsProject.instance().transformContext()
            self._reference = QgsVectorLayerFeatureSource(reference)
            self._class_index = index
            self._transform = QgsCoordinateTransform(known_crs(reference.crs()), self._crs, context)
            self._points = QgsWkbTypes.geometryType(reference.wkbType()) == Qgis.GeometryType.Point
            self._kind = reference.wkbType()

    def run(self, path: str, is_cancelled: Callable[[], bool] = lambda: False) -> Exported:
        """Write the labels to `path`, under a temporary name until they are whole."""
        if not any(reviewed_class(record) or takes_away(record) for record in self._records):
            raise ReviewError(tr("Nothing is reviewed yet: give errors a verdict first."))
        partial = Path(path).with_name(f".part-{Path(path).name}")
        partial.unlink(missing_ok=True)
        counts = {"review": 0, "reference": 0}
        fields = _fields()
        writer = self._writer(str(partial), fields)
        for geometry, name, source, error_id in self._labels():
            if is_cancelled():
                del writer
                partial.unlink(missing_ok=True)
                raise ReviewError(tr("Cancelled."))
            feature = QgsFeature(fields)
            feature.setAttributes([None, name, source, error_id])
            feature.setGeometry(geometry)
            if not writer.addFeature(feature):
                raise ReviewError(
                    tr("The labels can't be written to {path}: {reason}.").format(
                        path=path, reason=writer.errorMessage()
                    )
                )
            counts[source] += 1
        del writer
        os.replace(partial, path)
        left_out = sum(takes_away(record) and not reviewed_class(record) for record in self._records)
        return Exported(path, counts["review"], counts["reference"], left_out)

    def _labels(self) -> Iterator[tuple[QgsGeometry, str, str, int | None]]:
        """Yield geometry, class, where it is from, and the error that it was."""
        wanted = {r.fid: r for r in self._records if reviewed_class(r) or takes_away(r)}
        shapes: dict[int, QgsGeometry] = {}
        request = QgsFeatureRequest(list(wanted)).setNoAttributes()
        for feature in self._errors.getFeatures(request):
            record = wanted[feature.id()]
            shapes[feature.id()] = QgsGeometry(feature.geometry())
            # What the reference says already is in the reference itself.
            if (name := reviewed_class(record)) and (self._reference is None or takes_away(record)):
                yield self._fitted(feature.geometry()), name, "review", record.error_id
        if self._reference is not None:
            gone = {fid: shape for fid, shape in shapes.items() if takes_away(wanted[fid])}
            yield from self._kept(self._reference, gone)

    def _kept(
        self, reference: QgsVectorLayerFeatureSource, gone: dict[int, QgsGeometry]
    ) -> Iterator[tuple[QgsGeometry, str, str, None]]:
        """Yield the reference's features without what lies in the shapes that are `gone`."""
        index = QgsSpatialIndex()
        for fid, shape in gone.items():
            index.addFeature(fid, shape.boundingBox())
        for feature in reference.getFeatures(QgsFeatureRequest()):
            name = _class_name(feature.attribute(self._class_index))
            geometry = feature.geometry()
            if name is None or geometry.isEmpty():
                continue
            geometry.transform(self._transform)
            for fid in index.intersects(geometry.boundingBox().buffered(_NEAR)):
                shape = gone[fid]
                if self._points:
                    geometry = QgsGeometry() if geometry.distance(shape) <= _NEAR else geometry
                else:
                    geometry = geometry.difference(shape)
                if geometry.isEmpty():
                    break
            if not geometry.isEmpty():
                yield self._fitted(geometry), name, "reference", None

    def _fitted(self, geometry: QgsGeometry) -> QgsGeometry:
        """Return the geometry as the multi-part type of the file."""
        geometry = QgsGeometry(geometry)
        geometry.convertToMultiType()
        return geometry

    def _writer(self, path: str, fields: QgsFields) -> QgsVectorFileWriter:
        kind = QgsWkbTypes.multiType(QgsWkbTypes.flatType(self._kind))
        options = QgsVectorFileWriter.SaveVectorOptions()
        options.driverName, options.layerName = "GPKG", "labels"
        writer = QgsVectorFileWriter.create(
            path, fields, kind, self._crs, QgsCoordinateTransformContext(), options
        )
        if writer.hasError() != QgsVectorFileWriter.WriterError.NoError:
            raise ReviewError(
                tr("The labels can't be written to {path}: {reason}.").format(
                    path=path, reason=writer.errorMessage()
                )
            )
        return writer


def _fields() -> QgsFields:
    fields = QgsFields()
    fields.append(QgsField("fid", QMetaType.Type.LongLong))
    fields.append(QgsField(CLASS_FIELD, QMetaType.Type.QString))
    fields.append(QgsField("source", QMetaType.Type.QString))
    fields.append(QgsField("error_id", QMetaType.Type.LongLong))
    return fields


def _class_name(value: object) -> str | None:
    """Return a class as the engine names it: text as it is, whole numbers without decimals."""
    if QgsVariantUtils.isNull(value) or value == "":
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
