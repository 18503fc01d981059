"""Two small pictures of a pixel: the probabilities of the classes as bars, and its surroundings."""

from __future__ import annotations

import math

from qgis.PyQt.QtCore import QRectF, QSize, Qt
from qgis.PyQt.QtGui import QColor, QFontMetricsF, QImage, QPainter, QPaintEvent, QPen
from qgis.PyQt.QtWidgets import QSizePolicy, QWidget

from ...algorithms._text import tr
from . import colours
from .profile import Pixel

_MOST_BARS = 6


class ProbabilityBars(QWidget):
    """The most probable classes of a pixel, the likeliest on top; the reference's class is marked."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setAccessibleName(tr("Probabilities"))
        self.rows: list[tuple[str, float, str]] = []
        self._true_class: str | None = None

    def show_pixel(self, pixel: Pixel | None, true_class: str | None = None) -> None:
        """Draw the probabilities of `pixel`, nothing for None."""
        self._true_class, self.rows = true_class, []
        if pixel:
            known = [
                row for row in zip(pixel.classes, pixel.probabilities, pixel.colours) if row[1] == row[1]
            ]
            known.sort(key=lambda row: -row[1])
            self.rows = known[:_MOST_BARS]
            marked = [row for row in known[_MOST_BARS:] if row[0] == true_class]
            if marked:
                self.rows[-1] = marked[0]
        text = ", ".join(f"{name} {share:.1%}" for name, share, _ in self.rows)
        self.setToolTip(text)
        self.setAccessibleDescription(text)
        self.update()

    def sizeHint(self) -> QSize:
        em = self.fontMetrics().height()
        return QSize(14 * em, round(_MOST_BARS * 1.25 * em))

    def minimumSizeHint(self) -> QSize:
        em = self.fontMetrics().height()
        return QSize(9 * em, round(_MOST_BARS * 1.25 * em))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        base = colours.base_colour(self)
        painter.fillRect(self.rect(), base)
        metrics = QFontMetricsF(self.font())
        em = metrics.height()
        names = max((metrics.horizontalAdvance(self._title(row[0])) for row in self.rows), default=0.0)
        names = min(names, self.width() * 0.45)
        numbers = metrics.horizontalAdvance("100.0 %")
        room = max(1.0, self.width() - names - numbers - em * 1.2)
        for number, (name, share, colour) in enumerate(self.rows):
            y = number * em * 1.25 + em * 0.1
            painter.setPen(colours.text_colour(self))
            title = metrics.elidedText(self._title(name), Qt.TextElideMode.ElideRight, names + 1)
            flags = Qt.AlignmentFlag.AlignVCenter
            painter.drawText(QRectF(em * 0.2, y, names + 2, em), flags, title)
            bar = QRectF(names + em * 0.6, y + em * 0.15, room * share, em * 0.7)
            painter.fillRect(bar, colours.readable(QColor(colour), base))
            right = QRectF(self.width() - numbers - em * 0.2, y, numbers, em)
            painter.drawText(right, flags | Qt.AlignmentFlag.AlignRight, f"{share:.1%}".replace("%", " %"))

    def _title(self, name: str) -> str:
        return f"{name} ◂" if name == self._true_class else name


class ChipView(QWidget):
    """The surroundings of a pixel as a picture, with the pixel marked."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(tr("Surroundings"))
        self.setToolTip(tr("The surroundings of the pixel, which is framed"))
        self._chip: QImage | None = None

    def show_chip(self, chip: QImage | None) -> None:
        """Draw `chip`, nothing for None."""
        self._chip = chip
        self.update()

    def sizeHint(self) -> QSize:
        side = round(7.5 * self.fontMetrics().height())
        return QSize(side, side)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), colours.base_colour(self))
        chip = self._chip
        if chip is None:
            painter.setPen(colours.muted(self))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "–")
            return
        scale = min(self.width() / chip.width(), self.height() / chip.height())
        area = QRectF(0, 0, chip.width() * scale, chip.height() * scale)
        area.moveCenter(QRectF(self.rect()).center())
        painter.drawImage(area, chip)  # not smoothed: these are pixels
        column, row = chip.width() // 2, chip.height() // 2
        pixel = QRectF(area.left() + column * scale, area.top() + row * scale, scale, scale)
        room = max(2.0, math.ceil(scale / 4))
        # Two frames, of base and of highlight: one of them stands out from any picture.
        for colour, wider in ((colours.base_colour(self), room + 1.5), (colours.highlight(self), room)):
            painter.setPen(QPen(colour, 1.5))
            painter.drawRect(pixel.adjusted(-wider, -wider, wider, wider))
