"""The confusion matrix of the errors: a cell per pair of classes, chosen by mouse or keyboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qgis.PyQt.QtCore import QEvent, QRect, QRectF, QSize, Qt, pyqtSignal
from qgis.PyQt.QtGui import (
    QFontMetricsF,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
)
from qgis.PyQt.QtWidgets import QSizePolicy, QToolTip, QWidget

from ...algorithms._text import tr
from . import colours

Pair = tuple[str, str]  # the true and the predicted class
_ARROWS = {
    Qt.Key.Key_Left: (0, -1), Qt.Key.Key_Right: (0, 1), Qt.Key.Key_Up: (-1, 0), Qt.Key.Key_Down: (1, 0),
}  # fmt: skip
_SIDE, _LEAST_SIDE = 2.2, 1.4  # of a cell, in heights of a line
_CHOOSE = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space)


@dataclass
class PairCount:
    """How many errors a pair of classes has, how many pixels they cover, and how many have a verdict."""

    errors: int = 0
    pixels: int = 0
    reviewed: int = 0

    def add(self, pixels: int, reviewed: bool) -> None:
        """Count one more error."""
        self.errors += 1
        self.pixels += pixels
        self.reviewed += reviewed


class ConfusionMatrix(QWidget):
    """Rows are true classes, columns predicted ones; the diagonal, what is right, is not in the layer.

    `chosen` tells the pair of the cell that was clicked, or None when it was clicked again.
    """

    chosen = pyqtSignal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.setAccessibleName(tr("Confusion matrix of the errors"))
        self.classes: tuple[str, ...] = ()
        self._counts: Mapping[Pair, PairCount] = {}
        self._pair: Pair | None = None
        self._at = (0, 0)

    def show_counts(self, classes: Sequence[str], counts: Mapping[Pair, PairCount]) -> None:
        """Draw `counts` of the pairs of `classes`."""
        self.classes, self._counts = tuple(classes), counts
        last = max(0, len(classes) - 1)
        self._at = min(self._at[0], last), min(self._at[1], last)
        self.updateGeometry()
        self.update()

    def set_pair(self, pair: Pair | None) -> None:
        """Mark the cell of `pair`, without telling anyone."""
        self._pair = pair
        if pair and all(name in self.classes for name in pair):
            self._at = self._place(pair)
        self.update()

    def cell(self, row: int, column: int) -> QRect:
        """Return where a cell lies."""
        left, top, side = self._layout()
        return QRect(round(left + column * side), round(top + row * side), round(side), round(side))

    def sizeHint(self) -> QSize:
        return self._size(_SIDE)

    def minimumSizeHint(self) -> QSize:
        return self._size(_LEAST_SIDE)

    def _size(self, side: float) -> QSize:
        left, top, _ = self._layout()
        room = len(self.classes) * side * self.fontMetrics().height()
        return QSize(round(left + room) + 2, round(top + room) + 2)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        base, text, muted = colours.base_colour(self), colours.text_colour(self), colours.muted(self)
        metrics = QFontMetricsF(self.font())
        left, top, side = self._layout()
        painter.fillRect(QRectF(0, 0, self.width(), top + len(self.classes) * side + 2), base)
        most = max((count.errors for count in self._counts.values()), default=0)
        for row, true in enumerate(self.classes):
            self._draw_names(painter, metrics, row, true, left, top, side)
            for column, predicted in enumerate(self.classes):
                cell = QRectF(self.cell(row, column)).adjusted(0.5, 0.5, -0.5, -0.5)
                count = self._counts.get((true, predicted))
                share = (count.errors / most) ** 0.5 if count and most else 0.0
                fill = colours.blended(colours.highlight(self), base, 0.85 * share) if share else base
                painter.fillRect(cell, fill)
                if row == column:
                    painter.fillRect(cell, colours.blended(muted, base, 0.25))
                if count:
                    light = colours.contrast(text, fill) >= colours.contrast(base, fill)
                    painter.setPen(text if light else base)
                    painter.drawText(cell, Qt.AlignmentFlag.AlignCenter, _short(count.errors))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if self._pair and all(name in self.classes for name in self._pair):
            row, column = self._place(self._pair)
            painter.setPen(QPen(text, 2))
            painter.drawRect(self.cell(row, column).adjusted(1, 1, -1, -1))
        if self.hasFocus() and self.classes:
            painter.setPen(QPen(text, 1, Qt.PenStyle.DotLine))
            painter.drawRect(self.cell(*self._at).adjusted(3, 3, -3, -3))
        corner = QRectF(0, 0, left - 4, top - 2)
        painter.setPen(muted)
        flags = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignBottom | Qt.TextFlag.TextWordWrap
        painter.drawText(corner, flags, tr("true ↓\npredicted →"))

    def _draw_names(
        self, painter: QPainter, metrics: QFontMetricsF, index: int, name: str, left: float, top: float,
        side: float,
    ) -> None:  # fmt: skip
        """Write a class before its row, and upright above its column."""
        painter.setPen(colours.text_colour(self))
        shown = metrics.elidedText(name, Qt.TextElideMode.ElideRight, left - 6)
        flags = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(QRectF(0, top + index * side, left - 4, side), flags, shown)
        painter.save()
        painter.translate(left + index * side, top - 4)
        painter.rotate(-90)
        shown = metrics.elidedText(name, Qt.TextElideMode.ElideRight, top - 6)
        painter.drawText(QRectF(0, 0, top - 4, side), Qt.AlignmentFlag.AlignVCenter, shown)
        painter.restore()

    def _layout(self) -> tuple[float, float, float]:
        """Return the widths of the row names, of the column names, and of a cell."""
        metrics = QFontMetricsF(self.font())
        em = metrics.height()
        widest = max((metrics.horizontalAdvance(name) for name in self.classes), default=em) + 8
        corner = metrics.horizontalAdvance(tr("predicted →")) + 8
        left, top = max(corner, min(widest, 9 * em)), max(2.4 * em, min(widest, 7 * em))
        room = (self.width() - left) / max(1, len(self.classes))
        return left, top, min(_SIDE * em, max(_LEAST_SIDE * em, room))

    # Choosing

    def mousePressEvent(self, event: QMouseEvent) -> None:
        at = self._cell_at(event.pos())
        if at:
            self._at = at
            self._choose()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in _ARROWS and self.classes:
            step, last = _ARROWS[event.key()], len(self.classes) - 1
            row, column = self._at[0] + step[0], self._at[1] + step[1]
            self._at = min(last, max(0, row)), min(last, max(0, column))
            self.setAccessibleDescription(self._words(self._at))
            QToolTip.showText(
                self.mapToGlobal(self.cell(*self._at).bottomLeft()), self._words(self._at), self
            )
            self.update()
        elif event.key() in _CHOOSE and self.classes:
            self._choose()
        else:
            super().keyPressEvent(event)

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            at = self._cell_at(event.pos())
            QToolTip.showText(event.globalPos(), self._words(at) if at else "", self)
            return True
        return super().event(event)

    def _choose(self) -> None:
        pair = self.classes[self._at[0]], self.classes[self._at[1]]
        if pair not in self._counts:
            return
        self._pair = None if pair == self._pair else pair
        self.update()
        self.chosen.emit(self._pair)

    def _cell_at(self, position) -> tuple[int, int] | None:
        for row in range(len(self.classes)):
            for column in range(len(self.classes)):
                if self.cell(row, column).contains(position):
                    return row, column
        return None

    def _place(self, pair: Pair) -> tuple[int, int]:
        return self.classes.index(pair[0]), self.classes.index(pair[1])

    def words(self, pair: Pair) -> str:
        """Return in words what the cell of `pair` holds."""
        return self._words(self._place(pair))

    def _words(self, at: tuple[int, int]) -> str:
        true, predicted = (self.classes[index] for index in at)
        count = self._counts.get((true, predicted))
        if not count:
            return tr("No errors: {true} seen as {predicted}").format(true=true, predicted=predicted)
        return tr(
            "{true} seen as {predicted}: {errors} errors of {pixels} pixels, {reviewed} with a verdict"
        ).format(
            true=true, predicted=predicted, errors=count.errors, pixels=count.pixels, reviewed=count.reviewed
        )


def _short(count: int) -> str:
    """Return a count that fits a cell."""
    return str(count) if count < 1000 else f"{count / 1000:.0f}k"
