"""A chart of profiles: values over wavelength, date or band, on a background coloured by attribution."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from qgis.PyQt.QtCore import QLineF, QPointF, QRectF, QSize, Qt
from qgis.PyQt.QtGui import (
    QFontMetricsF,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
    QPolygonF,
)
from qgis.PyQt.QtWidgets import QSizePolicy, QToolTip, QWidget

from ...algorithms._text import tr
from . import colours
from .legend import Curve, draw_legend, draw_scale, draw_title, pen_of
from .profile import DATE, WAVELENGTH, Axis
from .ticks import label, place_ticks, round_ticks

_GAP = 3.0  # steps between neighbours, in medians, from which on a profile of wavelengths is broken
_PANEL = 1.4  # the least height of a panel, in lines of text: the verdicts below stay in sight
_TITLE = 5.0  # the most room for the names of channels, likewise
_HEAD = 0.06  # of the values' range, left free above and below


class ProfileChart(QWidget):
    """Draws curves over one axis, a panel per channel, with the attribution as stripes behind them.

    Every colour comes from the palette or is moved until it stands out from it. The arrow keys and the mouse
    move a cursor that names the band and its numbers.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName(tr("Profile"))
        self._axis: Axis | None = None
        self._curves: tuple[Curve, ...] = ()
        self._attribution: tuple[float, ...] = ()
        self._sides = ("", "")
        self._note = ""
        self._range: tuple[float, float] | None = None
        self._cursor: int | None = None
        self._area = QRectF()  # of all panels
        self._picture: QPixmap | None = None
        self._look: tuple = ()

    # What is shown

    def show_curves(
        self,
        axis: Axis,
        curves: Sequence[Curve],
        attribution: Sequence[float] = (),
        sides: tuple[str, str] = ("", ""),
        value_range: tuple[float, float] | None = None,
    ) -> None:
        """Draw `curves` before the colours of `attribution`, a number per band.

        `sides` say what negative and positive attributions speak for.
        """
        self._axis, self._curves = axis, tuple(curves)
        self._attribution, self._sides, self._note = tuple(attribution), sides, ""
        self._range, self._picture = value_range, None
        self.updateGeometry()  # as many panels as there are channels
        if self._cursor is not None and self._cursor >= len(axis.places):
            self._cursor = None
        self._describe()
        self.update()

    def show_note(self, text: str) -> None:
        """Draw nothing but a sentence."""
        self._axis, self._note, self._cursor, self._picture = None, text, None, None
        self.setAccessibleDescription(text)
        self.update()

    def sizeHint(self) -> QSize:
        em = self.fontMetrics().height()
        return QSize(24 * em, round(max(11.0, 7 + 1.3 * self._least_panels()) * em))

    def minimumSizeHint(self) -> QSize:
        em = self.fontMetrics().height()
        return QSize(12 * em, round(max(9.0, 5.5 + self._least_panels()) * em))

    def _least_panels(self) -> float:
        """Return the least height of all panels, in lines of text."""
        return _PANEL * (self._axis.panels if self._axis else 1)

    # Drawing

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the picture, which is kept until it changes, and the cursor on top."""
        ratio = self.devicePixelRatioF()
        look = (
            self.size(),
            ratio,
            colours.base_colour(self).name(),
            colours.text_colour(self).name(),
            self.font(),
        )
        if self._picture is None or look != self._look:
            self._picture, self._look = QPixmap(self.size() * ratio), look
            self._picture.setDevicePixelRatio(ratio)
            picture = QPainter(self._picture)
            self._draw(picture)
            picture.end()
        painter = QPainter(self)
        painter.drawPixmap(0, 0, self._picture)
        if self._axis is not None and self._cursor is not None and not self._area.isNull():
            painter.setPen(QPen(colours.text_colour(self), 1, Qt.PenStyle.DotLine))
            x = self._x(self._axis.places[self._cursor], self._area)
            painter.drawLine(QLineF(x, self._area.top(), x, self._area.bottom()))

    def _draw(self, painter: QPainter) -> None:
        painter.setFont(self.font())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), colours.base_colour(self))
        self._area = QRectF()
        if self._axis is None or not self._axis.places:
            painter.setPen(colours.muted(self))
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            em = self.fontMetrics().height()
            painter.drawText(self.rect().adjusted(em, em, -em, -em), flags, self._note)
            return
        metrics = QFontMetricsF(self.font())
        left, right = self._left(metrics), self.width() - metrics.height() * 0.6
        top = draw_legend(painter, self, self._curves, left, right)
        if limit := self._limit():
            scale = QRectF(left, top, right - left, metrics.height())
            top = draw_scale(painter, self, self._sides, limit, scale)
        top += metrics.height() * 0.3
        bottom = self.height() - metrics.height() * 1.5
        height = (bottom - top) / self._axis.panels
        for panel in range(self._axis.panels):
            gap = metrics.height() * 0.4 if panel else 0.0
            area = QRectF(left, top + panel * height + gap, right - left, height - gap)
            self._draw_panel(painter, metrics, area, panel)
        self._area = QRectF(left, top, right - left, bottom - top)
        self._draw_places(painter, metrics, self._area)

    def _draw_panel(self, painter: QPainter, metrics: QFontMetricsF, area: QRectF, panel: int) -> None:
        axis, muted = self._known_axis(), colours.muted(self)
        low, high = self._values_range(panel)
        self._draw_shading(painter, area, panel)
        ticks = round_ticks(low, high, max(2, int(area.height() / (metrics.height() * 2.2))))
        lowest = math.inf  # of the numbers so far, from the bottom up
        for tick in ticks:
            y = area.bottom() - (tick - low) / (high - low) * area.height()
            painter.setPen(QPen(colours.blended(muted, colours.base_colour(self), 0.35), 0.5))
            painter.drawLine(QLineF(area.left(), y, area.right(), y))
            painter.setPen(muted)
            room = QRectF(0, y - metrics.height() / 2, area.left() - 4, metrics.height())
            # Numbers stay beside their own panel, else those of two low panels would meet.
            room.moveTop(min(max(room.top(), area.top() - 1), area.bottom() + 1 - room.height()))
            if room.bottom() > lowest:
                continue
            lowest = room.top() + metrics.descent()
            flags = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            painter.drawText(room, flags, label(tick, ticks))
        painter.setPen(QPen(muted, 1))
        painter.drawRect(area)
        painter.save()
        painter.setClipRect(area)
        for curve in self._curves:
            painter.setPen(pen_of(curve, self))
            for run in self._runs(axis.of_panel(curve.values, panel)):
                points = [
                    QPointF(
                        self._x(place, area), area.bottom() - (value - low) / (high - low) * area.height()
                    )
                    for place, value in run
                ]
                if len(points) == 1:
                    painter.drawEllipse(points[0], 1.5, 1.5)
                painter.drawPolyline(QPolygonF(points))
        painter.restore()
        if axis.panels == 1:
            draw_title(painter, self, self._title(0), area)
            return
        # Beside the panels where there are several: low ones have no room for it.
        flags = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        title = metrics.elidedText(self._title(panel), Qt.TextElideMode.ElideRight, _TITLE * metrics.height())
        painter.setPen(colours.text_colour(self))
        painter.drawText(QRectF(metrics.height() * 0.2, area.top(), area.left(), area.height()), flags, title)

    def _draw_shading(self, painter: QPainter, area: QRectF, panel: int) -> None:
        """Colour each band from half-way to its neighbours, or one median step where there is a gap."""
        if not (limit := self._limit()):
            return
        axis, base = self._known_axis(), colours.base_colour(self)
        half = self._median_step() / 2
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        places = axis.places
        for index, value in enumerate(axis.of_panel(self._attribution, panel)):
            if not math.isfinite(value):
                continue
            place = places[index]
            before = (place - places[index - 1]) / 2 if index else half
            after = (places[index + 1] - place) / 2 if index + 1 < len(places) else half
            if axis.kind == WAVELENGTH:
                before, after = (half if gap > _GAP * half else gap for gap in (before, after))
            left = max(area.left(), self._x(place - before, area))
            right = min(area.right(), self._x(place + after, area))
            box = QRectF(left, area.top(), right - left, area.height())
            painter.fillRect(box, colours.shade(value, limit, base))
        painter.restore()

    def _draw_places(self, painter: QPainter, metrics: QFontMetricsF, area: QRectF) -> None:
        """Draw the ticks below the last panel."""
        axis = self._known_axis()
        low, high = self._bounds()
        widest = metrics.horizontalAdvance("0000-00 0" if axis.kind == DATE else "00000 ")
        ticks = place_ticks(axis, low, high, max(1, int(area.width() / widest)))
        painter.setPen(colours.muted(self))
        unit = {WAVELENGTH: "nm", DATE: ""}.get(axis.kind, tr("band"))
        unit_room = metrics.horizontalAdvance(unit) + metrics.height() * 0.4
        for place, text in ticks:
            x = self._x(place, area)
            painter.drawLine(QLineF(x, area.bottom(), x, area.bottom() + 3))
            half = metrics.horizontalAdvance(text) / 2
            if x + half < area.right() - (unit_room if unit else -half):
                room = QRectF(x - half - 2, area.bottom() + 3, 2 * half + 4, metrics.height())
                painter.drawText(room, Qt.AlignmentFlag.AlignCenter, text)
        room = QRectF(area.left(), area.bottom() + 3, area.width(), metrics.height())
        painter.drawText(room, Qt.AlignmentFlag.AlignRight, unit)

    # Where things lie

    def _known_axis(self) -> Axis:
        assert self._axis is not None  # nosec B101
        return self._axis

    def _left(self, metrics: QFontMetricsF) -> float:
        texts = [""]
        for panel in range(self._known_axis().panels):
            ticks = round_ticks(*self._values_range(panel), 5)
            texts += [label(tick, ticks) for tick in ticks]
        numbers = max(metrics.horizontalAdvance(text) for text in texts) + metrics.height() * 0.8
        panels = self._known_axis().panels
        titles = [metrics.horizontalAdvance(self._title(panel)) for panel in range(panels)]
        return numbers + (min(max(titles), _TITLE * metrics.height()) if panels > 1 else 0.0)

    def _title(self, panel: int) -> str:
        """Return the name of a channel, and the unit where it is known."""
        axis = self._known_axis()
        return " ".join((*axis.channels[panel : panel + 1], *filter(None, (axis.unit,))))

    def _bounds(self) -> tuple[float, float]:
        places, half = self._known_axis().places, self._median_step() / 2
        return min(places) - half, max(places) + half

    def _x(self, place: float, area: QRectF) -> float:
        low, high = self._bounds()
        return area.left() + (place - low) / (high - low) * area.width()

    def _values_range(self, panel: int) -> tuple[float, float]:
        """Return the lowest and highest value of a channel, with a little room."""
        if self._range:
            low, high = self._range
        else:
            axis = self._known_axis()
            finite = [v for c in self._curves for v in axis.of_panel(c.values, panel) if math.isfinite(v)]
            low, high = min(finite, default=0.0), max(finite, default=1.0)
        room = (high - low) * _HEAD or abs(high) * _HEAD or 1.0
        return low - room, high + room

    def _median_step(self) -> float:
        places = self._known_axis().places
        steps = [abs(b - a) for a, b in zip(places, places[1:]) if a != b]
        return statistics.median(steps) if steps else 1.0

    def _limit(self) -> float:
        """Return the attribution that has full colour, 0 where there is none."""
        return max((abs(value) for value in self._attribution if math.isfinite(value)), default=0.0)

    def _runs(self, values: Sequence[float]) -> list[list[tuple[float, float]]]:
        """Return the pieces of a line: it is broken at nodata, and where bands were taken out."""
        axis = self._known_axis()
        widest = _GAP * self._median_step() if axis.kind == WAVELENGTH else math.inf
        runs: list[list[tuple[float, float]]] = [[]]
        for place, value in zip(axis.places, values):
            gap = bool(runs[-1]) and abs(place - runs[-1][-1][0]) > widest
            if runs[-1] and (gap or not math.isfinite(value)):
                runs.append([])
            if math.isfinite(value):
                runs[-1].append((place, value))
        return [run for run in runs if run]

    # The cursor

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._axis is None or not self._axis.places:
            return
        metrics = QFontMetricsF(self.font())
        left, right = self._left(metrics), self.width() - metrics.height() * 0.6
        low, high = self._bounds()
        place = low + (event.pos().x() - left) / max(1.0, right - left) * (high - low)
        places = self._axis.places
        self._move_to(min(range(len(places)), key=lambda index: abs(places[index] - place)))
        QToolTip.showText(self.mapToGlobal(event.pos()), self.accessibleDescription(), self)

    def leaveEvent(self, event: object) -> None:
        self._cursor = None
        self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        steps = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
        step = steps.get(event.key())
        if step is None or self._axis is None or not self._axis.places:
            super().keyPressEvent(event)
            return
        last = len(self._axis.places) - 1
        start = (-1 if step > 0 else last + 1) if self._cursor is None else self._cursor
        self._move_to(min(last, max(0, start + step)))
        QToolTip.showText(self.mapToGlobal(self.rect().center()), self.accessibleDescription(), self)

    def _move_to(self, index: int) -> None:
        self._cursor = index
        self._describe()
        self.update()

    def _describe(self) -> None:
        """Say in words what the cursor points at, for the tip and for screen readers."""
        if self._axis is None or self._cursor is None:
            self.setAccessibleDescription(" – ".join(filter(None, self._sides)))
            return
        lines, axis = [], self._axis
        for panel in range(axis.panels):
            band = axis.bands[panel][self._cursor]
            lines.append(axis.names[band])
            numbers = [(curve.name, curve.values) for curve in self._curves]
            if self._attribution:
                numbers.append((tr("attribution"), self._attribution))
            lines += [f"{name}: {values[band]:.4g}" for name, values in numbers if band < len(values)]
        self.setAccessibleDescription("\n".join(lines))
