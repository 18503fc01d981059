"""Colours that stand out from the user's palette, light or dark."""

from __future__ import annotations

from qgis.PyQt.QtGui import QColor, QPalette
from qgis.PyQt.QtWidgets import QApplication, QWidget

# ColorBrewer's RdBu, as in the attribution rasters: told apart by the colour-blind too.
FOR, AGAINST = QColor("#d6604d"), QColor("#4393c3")
# Okabe and Ito's colours, for pixels that are compared.
PIXEL_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#d55e00", "#0072b2")
_LEAST_CONTRAST = 2.5  # between a line and what it is drawn on; WCAG asks for 3 of large shapes
_SHADE = 0.8  # opacity of the strongest attribution
_OPAQUE = 255
_STEP = 12  # of 255, by which a colour is moved until it stands out


def text_colour(widget: QWidget) -> QColor:
    """Return the colour of text on the widget's base."""
    return widget.palette().color(QPalette.ColorRole.Text)


def base_colour(widget: QWidget) -> QColor:
    """Return the colour that charts are drawn on; where a style sheet sees through it, the parent's."""
    behind: QWidget | None = widget
    while behind is not None:
        colour = behind.palette().color(QPalette.ColorRole.Base)
        if colour.alpha() == _OPAQUE:
            return colour
        behind = behind.parentWidget()
    return QApplication.palette().color(QPalette.ColorRole.Base)


def muted(widget: QWidget) -> QColor:
    """Return the colour of axes and side remarks, between text and base."""
    return blended(text_colour(widget), base_colour(widget), 0.62)


def highlight(widget: QWidget) -> QColor:
    """Return the colour of what is chosen."""
    return widget.palette().color(QPalette.ColorRole.Highlight)


def blended(over: QColor, under: QColor, share: float) -> QColor:
    """Return `share` of `over` on `under`."""
    return QColor(
        *(round(share * a + (1 - share) * b) for a, b in zip(over.getRgb()[:3], under.getRgb()[:3]))
    )


def shade(value: float, limit: float, base: QColor) -> QColor:
    """Return the background of an attribution: full colour at ±limit, none at zero."""
    strength = min(1.0, abs(value) / limit) if limit else 0.0
    return blended(FOR if value > 0 else AGAINST, base, _SHADE * strength)


def readable(colour: QColor, base: QColor) -> QColor:
    """Return `colour`, moved away from `base` until the two can be told apart."""
    step = -_STEP if luminance(base) > 0.18 else _STEP
    while contrast(colour, base) < _LEAST_CONTRAST:
        moved = QColor(*(min(255, max(0, part + step)) for part in colour.getRgb()[:3]))
        if moved == colour:
            break
        colour = moved
    return colour


def contrast(one: QColor, other: QColor) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.1)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: QColor) -> float:
    """Return the relative luminance, 0 to 1 (WCAG 2.1)."""
    parts = [part / 255 for part in colour.getRgb()[:3]]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
