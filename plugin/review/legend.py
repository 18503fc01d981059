"""The legend of a chart of profiles: its lines by name, and the colours of the attribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qgis.PyQt.QtCore import QLineF, QRectF, Qt
from qgis.PyQt.QtGui import QColor, QFontMetricsF, QPainter, QPen
from qgis.PyQt.QtWidgets import QWidget

from . import colours

_STEPS = 9  # colours in the scale of the attribution
_GROUND = 0.8  # how far the title of a panel covers what is behind it


@dataclass(frozen=True)
class Curve:
    """A line of the chart: a value per band, NaN where there is none; no colour means that of text."""

    name: str
    values: Sequence[float]
    colour: str | None = None
    width: float = 1.4
    dashed: bool = False


def pen_of(curve: Curve, widget: QWidget) -> QPen:
    """Return the pen of a curve, in a colour that stands out from the widget's base."""
    colour = QColor(curve.colour) if curve.colour else colours.text_colour(widget)
    pen = QPen(colours.readable(colour, colours.base_colour(widget)), curve.width)
    if curve.dashed:
        pen.setStyle(Qt.PenStyle.DashLine)
    return pen


def draw_legend(
    painter: QPainter, widget: QWidget, curves: Sequence[Curve], left: float, right: float
) -> float:
    """Draw the names of curves in as many rows as they need, and return where the last row ends."""
    metrics = QFontMetricsF(widget.font())
    em = metrics.height()
    x, y = left, em * 0.3
    for curve in curves:
        width = em * 1.9 + metrics.horizontalAdvance(curve.name)
        if x > left and x + width > right:
            x, y = left, y + em
        painter.setPen(pen_of(curve, widget))
        painter.drawLine(QLineF(x, y + em * 0.5, x + em * 1.1, y + em * 0.5))
        painter.setPen(colours.text_colour(widget))
        room = QRectF(x + em * 1.4, y, right - x - em * 1.4, em)
        text = metrics.elidedText(curve.name, Qt.TextElideMode.ElideRight, room.width())
        painter.drawText(room, Qt.AlignmentFlag.AlignVCenter, text)
        x += width + em * 0.6
    return y + em * 1.1


def draw_scale(
    painter: QPainter, widget: QWidget, sides: tuple[str, str], limit: float, area: QRectF
) -> float:
    """Draw the colours of an attribution from -limit to limit between its `sides`; return where it ends.

    A narrow area has a shorter scale, and no number.
    """
    metrics, base = QFontMetricsF(widget.font()), colours.base_colour(widget)
    em = metrics.height()
    number = f"±{limit:.2g}" if area.width() > 14 * em else ""
    scale = 3.2 * em if area.width() > 18 * em else 2 * em
    room = max(0.0, area.width() - scale - metrics.horizontalAdvance(number) - 1.8 * em)
    middle = Qt.AlignmentFlag.AlignVCenter
    painter.setPen(colours.text_colour(widget))
    x = area.left()
    for side, text in enumerate(sides):
        other = metrics.horizontalAdvance(sides[1 - side])
        shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, max(room / 2, room - other))
        width = metrics.horizontalAdvance(shown)
        painter.drawText(QRectF(x, area.top(), width + 2, em), middle, shown)
        x += width + 0.5 * em
        if side == 0:
            for step in range(_STEPS):
                value = (2 * step / (_STEPS - 1) - 1) * limit
                box = QRectF(
                    x + step * scale / _STEPS, area.top() + em * 0.2, scale / _STEPS + 0.5, em * 0.65
                )
                painter.fillRect(box, colours.shade(value, limit, base))
            x += scale + 0.5 * em
    painter.setPen(colours.muted(widget))
    painter.drawText(area, middle | Qt.AlignmentFlag.AlignRight, number)
    return area.bottom()


def draw_title(painter: QPainter, widget: QWidget, title: str, area: QRectF) -> None:
    """Name a panel in its corner, on a ground of its own: lines and colours don't run through the name."""
    if not title:
        return
    metrics, ground = QFontMetricsF(widget.font()), colours.base_colour(widget)
    room = QRectF(area.left() + 1, area.top() + 1, metrics.horizontalAdvance(title) + 6, metrics.height())
    ground.setAlphaF(_GROUND)
    painter.fillRect(room, ground)
    painter.setPen(colours.muted(widget))
    painter.drawText(room, Qt.AlignmentFlag.AlignCenter, title)
