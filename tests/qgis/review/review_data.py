"""Error layers written by hand, and an engine's answer to match, for tests of the review."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsFeature,
    QgsField,
    QgsFields,
    QgsGeometry,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QMetaType

WEST, NORTH, PIXEL = 300_000.0, 5_800_000.0, 30.0
CLASSES = {"water": "#0072b2", "forest": "#009e73", "crop": "#e69f00"}
WAVELENGTHS = (450.0, 550.0, 650.0)
_TYPES = {
    "error_id": int, "true_class": str, "predicted_class": str, "confidence": float, "margin": float,
    "pixels": int, "area_m2": float, "x": float, "y": float, "evidence": str, "nearest_distance": float,
    "nearest_class": str, "suspicion": str, "rule": str, "instructive": float, "verdict": str,
    "corrected_class": str, "comment": str, "reviewed_at": str,
}  # fmt: skip
_FIELDS = {int: QMetaType.Type.LongLong, float: QMetaType.Type.Double, str: QMetaType.Type.QString}


def pixel_box(row: int, column: int, rows: int = 1, columns: int = 1) -> QgsGeometry:
    """Return the outline of pixels of the scene of the fixtures."""
    left, top = WEST + column * PIXEL, NORTH - row * PIXEL
    right, bottom = left + columns * PIXEL, top - rows * PIXEL
    return QgsGeometry.fromWkt(
        f"POLYGON(({left} {top},{right} {top},{right} {bottom},{left} {bottom},{left} {top}))"
    )


def error(number: int, true: str, predicted: str, shape: QgsGeometry, **more) -> dict:
    """Return a row of the error layer, with its geometry under `shape`."""
    point = shape.pointOnSurface().asPoint()
    row = {
        "error_id": number, "true_class": true, "predicted_class": predicted,
        "confidence": 0.9 - number / 100, "margin": 0.5,
        "pixels": max(1, round(shape.area() / PIXEL**2)), "area_m2": shape.area(),
        "x": point.x(), "y": point.y(), "evidence": "550 nm (+0.41), 650 nm (-0.12)",
        "nearest_distance": 1.0, "nearest_class": predicted, "suspicion": "genuine confusion",
        "rule": "No other rule holds.", "instructive": 1 - number / 100,
    }  # fmt: skip
    return {**row, **more, "shape": shape}


def rows() -> list[dict]:
    """Return five errors of three pairs of classes."""
    return [
        error(1, "water", "forest", pixel_box(1, 2, 2, 2), suspicion="label error"),
        error(2, "water", "forest", pixel_box(5, 4)),
        error(3, "forest", "water", pixel_box(2, 10, 1, 3), confidence=None, margin=None),
        error(4, "crop", "water", pixel_box(7, 12), confidence=0.95),
        error(5, "water", "forest", pixel_box(8, 18, 2, 1), suspicion="edge"),
    ]


def write_errors(path: Path, errors: list[dict], sources: dict | None = None, crs: str = "EPSG:32633") -> str:
    """Write an error layer with its run record and return its path."""
    fields = QgsFields()
    fields.append(QgsField("fid", QMetaType.Type.LongLong))
    for name, kind in _TYPES.items():
        fields.append(QgsField(name, _FIELDS[kind]))
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName, options.layerName = "GPKG", "errors"
    kind = errors[0]["shape"].wkbType() if errors else QgsWkbTypes.Type.Polygon
    writer = QgsVectorFileWriter.create(
        str(path), fields, kind, QgsCoordinateReferenceSystem(crs), QgsCoordinateTransformContext(), options
    )
    for row in errors:
        feature = QgsFeature(fields)
        feature.setAttributes([None, *(row.get(name) for name in _TYPES)])
        feature.setGeometry(row["shape"])
        assert writer.addFeature(feature), writer.errorMessage()
    del writer
    names = [{"name": name, "colour": colour} for name, colour in CLASSES.items()]
    facts = {"class_names": names, "explainer": "integrated_gradients", **(sources or {})}
    path.with_suffix(".json").write_text(json.dumps({"review": facts}))
    return str(path)


def open_errors(path: str) -> QgsVectorLayer:
    """Open an error layer as QGIS does."""
    layer = QgsVectorLayer(path, "errors", "ogr")
    assert layer.isValid()
    return layer


def answer(job, predicted: str = "forest") -> dict:
    """Return what the engine says of the points of `job`: three bands, three classes."""
    shares = {"water": 0.2, "forest": 0.2, "crop": 0.2, predicted: 0.6}
    count = len(job.points) or 1
    places = job.points or ((WEST, NORTH),)
    return {
        "pixels": [
            {
                "x": places[number][0], "y": places[number][1], "row": 0, "col": 0,
                "values": [0.1 + number / 10, 0.3, None], "classes": list(CLASSES),
                "colours": list(CLASSES.values()), "probabilities": list(shares.values()),
                "predicted": predicted, "target": f"{predicted} against water",
                "attribution": [0.4, -0.2, None], "residual": 0.001, "pixels": 1,
                "chip": {"width": 2, "height": 2, "rgb_base64": base64.b64encode(bytes(range(12))).decode()},
            }
            for number in range(count)
        ],
        "axis": {"kind": "wavelength", "values": list(WAVELENGTHS), "channels": [], "unit": "nm",
                 "names": [f"B{n} {nm:.0f} nm" for n, nm in enumerate(WAVELENGTHS, 1)]},
        "means": {"water": [0.1, 0.2, None], "forest": [0.2, 0.4, None], "crop": [0.3, 0.3, None]},
        "files": {}, "tables": {}, "numbers": {}, "strings": {}, "warnings": [], "record": {},
    }  # fmt: skip
