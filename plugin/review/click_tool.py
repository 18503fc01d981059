"""The map tool of Explain at a click: a click is a pixel, dragging draws a rectangle."""

from __future__ import annotations

from qgis.core import Qgis, QgsGeometry, QgsPointXY
from qgis.gui import QgsMapCanvas, QgsMapMouseEvent, QgsMapTool, QgsRubberBand
from qgis.PyQt.QtCore import QPoint, Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtWidgets import QApplication

from . import colours


class ClickTool(QgsMapTool):
    """Tells of a point or a rectangle in the map's CRS, and whether it is added to those before (Shift)."""

    clicked = pyqtSignal(QgsGeometry, bool)

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas)
        self.setCursor(Qt.CursorShape.CrossCursor)
        self._start: QPoint | None = None
        self._band: QgsRubberBand | None = None

    def canvasPressEvent(self, event: QgsMapMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self._start = QPoint(event.pos())

    def canvasMoveEvent(self, event: QgsMapMouseEvent) -> None:
        if self._start is None or not self._dragged(event.pos()):
            return
        if self._band is None:
            self._band = QgsRubberBand(self.canvas(), Qgis.GeometryType.Polygon)
            self._band.setStrokeColor(colours.highlight(self.canvas()))
            inside = QColor(colours.highlight(self.canvas()))
            inside.setAlpha(40)
            self._band.setFillColor(inside)
        self._band.setToGeometry(self._rectangle(event.pos()), None)

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        if self._start is None or event.button() != Qt.MouseButton.LeftButton:
            return
        if self._dragged(event.pos()):
            shape = self._rectangle(event.pos())
        else:
            shape = QgsGeometry.fromPointXY(self.toMapCoordinates(self._start))
        self._forget()
        added = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        self.clicked.emit(shape, added)

    def deactivate(self) -> None:
        self._forget()
        super().deactivate()

    def _dragged(self, position: QPoint) -> bool:
        assert self._start is not None  # nosec B101
        return (position - self._start).manhattanLength() >= QApplication.startDragDistance()

    def _rectangle(self, end: QPoint) -> QgsGeometry:
        """Return the rectangle on the screen, which on a rotated map is no rectangle of coordinates."""
        assert self._start is not None  # nosec B101
        start = self._start
        corners = (start, QPoint(end.x(), start.y()), end, QPoint(start.x(), end.y()), start)
        ring: list[QgsPointXY] = [self.toMapCoordinates(corner) for corner in corners]
        return QgsGeometry.fromPolygonXY([ring])

    def _forget(self) -> None:
        self._start = None
        if self._band is not None:
            self.canvas().scene().removeItem(self._band)
            self._band = None
