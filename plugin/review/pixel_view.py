"""One pixel in full: its profile with the attribution, its probabilities, and its surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qgis.PyQt.QtWidgets import QCheckBox, QHBoxLayout, QVBoxLayout, QWidget

from ...algorithms._text import tr
from .chart import ProfileChart
from .legend import Curve
from .pictures import ChipView, ProbabilityBars
from .profile import Axis, Explanation, Pixel

_WIDE = 2.0  # width of the pixel's own line, before the means of the classes


class PixelView(QWidget):
    """A chart above, bars and a chip below it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.chart, self.bars, self.chip = ProfileChart(), ProbabilityBars(), ChipView()
        self.differences = QCheckBox(tr("Differences only"))
        self.differences.setToolTip(
            tr("Draws every line less the middle of both means, which sets apart what lies close (D)")
        )
        self.differences.toggled.connect(self._draw)
        self._shown: tuple[Explanation, str, str] | None = None
        below = QHBoxLayout()
        below.addWidget(self.bars, 1)
        below.addWidget(self.chip)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.chart, 1)
        layout.addWidget(self.differences)
        layout.addLayout(below)

    def show_note(self, text: str) -> None:
        """Show a sentence in place of a pixel."""
        self._shown = None
        self.chart.show_note(text)
        self.bars.show_pixel(None)
        self.chip.show_chip(None)

    def show_error(self, explanation: Explanation, true_class: str, predicted: str) -> None:
        """Show a wrong pixel between the means of the two classes that it was taken for and should be."""
        self._shown = explanation, true_class, predicted
        pixel = explanation.pixels[0]
        self.bars.show_pixel(pixel, true_class)
        self.chip.show_chip(pixel.chip)
        self._draw()

    def _draw(self, *_: object) -> None:
        if self._shown is None:
            return
        explanation, true_class, predicted = self._shown
        pixel = explanation.pixels[0]
        means = mean_curves(explanation, pixel, (predicted, true_class))
        curves = [*means, Curve(tr("this pixel"), pixel.values, width=_WIDE)]
        if self.differences.isChecked() and len(means) == 2:
            middle = [(one + other) / 2 for one, other in zip(means[0].values, means[1].values)]
            curves = [_less(curve, middle) for curve in curves]
        self.chart.show_curves(explanation.axis, curves, pixel.attribution, (true_class, predicted))


def _less(curve: Curve, middle: Sequence[float]) -> Curve:
    """Return the curve less `middle`."""
    return replace(curve, values=[value - other for value, other in zip(curve.values, middle)])


def mean_curves(explanation: Explanation, pixel: Pixel, names: tuple[str, ...]) -> list[Curve]:
    """Return the class means that the model keeps, in the classes' colours; the second one dashed."""
    colour = dict(zip(pixel.classes, pixel.colours))
    return [
        Curve(
            tr("mean of {name}").format(name=name),
            explanation.means[name],
            colour.get(name),
            dashed=bool(number),
        )
        for number, name in enumerate(dict.fromkeys(names))
        if name in explanation.means
    ]


def common_range(axis: Axis, pixels: list[Pixel]) -> tuple[float, float] | None:
    """Return the lowest and highest value of all pixels, so that charts side by side compare."""
    bands = [band for panel in axis.bands for band in panel]
    values = [p.values[band] for p in pixels for band in bands if p.values[band] == p.values[band]]
    return (min(values), max(values)) if values and axis.panels == 1 else None
