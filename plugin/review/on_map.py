"""What the dock does to the map canvas: zoom, flash, outline, and marks of pixels."""

from __future__ import annotations

from qgis.core import (
    Qgis,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsProject,
    QgsRectangle,
)
from qgis.gui import QgsMapCanvas, QgsRubberBand, QgsVertexMarker
from qgis.PyQt.QtGui import QColor

from . import colours

_AROUND = 8.0  # times the size of an error is shown around it
_LEAST_SHARE = 0.5  # of the map's width as it is, where an error is a point


class OnMap:
    """The canvas as the dock uses it; what it drew is gone after `clear`."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        self.canvas = canvas
        self._outline: QgsRubberBand | None = None
        self._marks: list[QgsVertexMarker | QgsRubberBand] = []

    def transform(self, crs: QgsCoordinateReferenceSystem) -> QgsCoordinateTransform:
        """Return the transform from `crs` to that of the map."""
        return QgsCoordinateTransform(crs, self.canvas.mapSettings().destinationCrs(), QgsProject.instance())

    def point_at(self, geometry: QgsGeometry, crs: QgsCoordinateReferenceSystem) -> bool:
        """Move the map to `geometry` and outline it; False where it can't be brought into the map's CRS."""
        shape = self._on_map(geometry, crs)
        if shape is None:
            return False
        box = shape.boundingBox()
        extent = self.canvas.extent()
        side = max(box.width(), box.height()) * _AROUND
        if side <= 0:  # a point: come nearer, but not without end
            side = extent.width() if self._outline else extent.width() * _LEAST_SHARE
        self.outline(geometry, crs)
        self.canvas.setExtent(QgsRectangle.fromCenterAndSize(box.center(), side, side))
        self.canvas.refresh()
        return True

    def flash(self, geometry: QgsGeometry, crs: QgsCoordinateReferenceSystem) -> None:
        """Let `geometry` blink."""
        self.canvas.flashGeometries([geometry], crs)

    def outline(self, geometry: QgsGeometry, crs: QgsCoordinateReferenceSystem) -> None:
        """Draw a line around `geometry`, in place of the one before."""
        self._forget(self._outline)
        self._outline = self._band(geometry, crs, colours.highlight(self.canvas))

    def mark(self, shape: QgsGeometry, crs: QgsCoordinateReferenceSystem, colour: QColor) -> None:
        """Mark a pixel that is compared, or a polygon, in its colour."""
        if shape.type() == Qgis.GeometryType.Point:
            placed = self._on_map(shape, crs)
            if placed is not None:
                marker = QgsVertexMarker(self.canvas)
                marker.setIconType(QgsVertexMarker.IconType.ICON_CROSS)
                marker.setColor(colour)
                marker.setPenWidth(3)
                marker.setIconSize(14)
                marker.setCenter(placed.asPoint())
                self._marks.append(marker)
            return
        self._marks.append(self._band(shape, crs, colour))

    def clear_marks(self) -> None:
        """Take the marks of pixels away."""
        for mark in self._marks:
            self._forget(mark)
        self._marks = []

    def clear(self) -> None:
        """Take everything away."""
        self.clear_marks()
        self._forget(self._outline)
        self._outline = None

    def _on_map(self, geometry: QgsGeometry, crs: QgsCoordinateReferenceSystem) -> QgsGeometry | None:
        shape = QgsGeometry(geometry)
        try:
            shape.transform(self.transform(crs))
        except QgsCsException:
            return None
        return shape

    def _band(self, shape: QgsGeometry, crs: QgsCoordinateReferenceSystem, colour: QColor) -> QgsRubberBand:
        band = QgsRubberBand(self.canvas, shape.type())
        band.setToGeometry(shape, crs)
        band.setWidth(2)
        band.setStrokeColor(colour)
        inside = QColor(colour)
        inside.setAlpha(0)
        band.setFillColor(inside)
        band.setIcon(QgsRubberBand.IconType.ICON_CIRCLE)
        band.setIconSize(12)
        band.setSecondaryStrokeColor(colours.base_colour(self.canvas))
        return band

    def _forget(self, item: QgsVertexMarker | QgsRubberBand | None) -> None:
        if item is not None:
            self.canvas.scene().removeItem(item)
