"""What is drawn: read back from pictures, on light and dark palettes, at 100 and 200 %."""

from __future__ import annotations

import math

import pytest
from qgis.PyQt.QtCore import QCoreApplication, QPoint, Qt
from qgis.PyQt.QtGui import QColor, QImage, QPainter, QPalette
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QWidget

from explanation_layers.plugin.review import colours
from explanation_layers.plugin.review.chart import ProfileChart
from explanation_layers.plugin.review.legend import Curve
from explanation_layers.plugin.review.matrix import ConfusionMatrix, PairCount
from explanation_layers.plugin.review.pictures import ChipView, ProbabilityBars
from explanation_layers.plugin.review.profile import Axis, Explanation
from explanation_layers.plugin.review.ticks import label, place_ticks, round_ticks

NAMES = tuple(f"B{n}" for n in range(1, 7))
LIGHT, DARK = ("#ffffff", "#202020"), ("#1e1e1e", "#e0e0e0")


def spectrum_axis(*places: float | None) -> Axis:
    return Axis.from_result(
        {
            "kind": "wavelength",
            "values": list(places),
            "names": NAMES[: len(places)],
            "channels": [],
            "unit": "nm",
        }
    )


def with_palette(widget, base: str, text: str):
    palette = QPalette()
    for role, colour in (
        (QPalette.ColorRole.Base, base),
        (QPalette.ColorRole.Text, text),
        (QPalette.ColorRole.Highlight, "#3080d0"),
    ):
        palette.setColor(role, QColor(colour))
    widget.setPalette(palette)
    return widget


def picture(widget, width: int = 400, height: int = 260, scale: float = 1.0) -> QImage:
    """Draw a widget as a screen of that scale would."""
    widget.resize(width, height)
    image = QImage(round(width * scale), round(height * scale), QImage.Format.Format_RGB32)
    image.setDevicePixelRatio(scale)
    image.fill(QColor("#ff00ff"))  # a colour that nothing here is drawn in
    painter = QPainter(image)
    widget.render(painter, QPoint())
    painter.end()
    return image


def colours_of(image: QImage) -> dict[str, int]:
    found: dict[str, int] = {}
    for y in range(image.height()):
        for x in range(image.width()):
            name = image.pixelColor(x, y).name()
            found[name] = found.get(name, 0) + 1
    return found


@pytest.fixture
def chart(qgis_app) -> ProfileChart:
    return with_palette(ProfileChart(), *LIGHT)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_curves_and_background_have_the_palettes_colours(qgis_app, palette, scale, pictures):
    chart = with_palette(ProfileChart(), *palette)
    curves = [Curve("mean", [0.2, 0.4, 0.3], "#e69f00"), Curve("pixel", [0.1, 0.5, 0.2], width=2.0)]
    chart.show_curves(spectrum_axis(400, 500, 600), curves, [1.0, -1.0, 0.0], ("corn", "oats"))
    image = picture(chart, scale=scale)
    if pictures:
        image.save(str(pictures / f"chart_{palette[0][1:]}_{scale:g}.png"))
    found, base = colours_of(image), QColor(palette[0])
    full = image.width() * image.height()
    assert "#ff00ff" not in found and found[base.name()] > 0.2 * full
    favoured, against = colours.shade(1, 1, base).name(), colours.shade(-1, 1, base).name()
    assert found[favoured] > 0.05 * full and found[against] > 0.05 * full
    assert found[palette[1]] > 50 * scale  # the pixel's own line is drawn in the colour of text
    assert found[colours.readable(QColor("#e69f00"), base).name()] > 20 * scale
    for hard_coded in ("#000000", "#ffffff"):
        assert hard_coded == base.name() or hard_coded not in found


def test_the_background_lies_where_its_bands_are(chart):
    """The first of three bands is for, the last against: red left, blue right, base in the middle."""
    axis = spectrum_axis(400, 500, 600)
    chart.show_curves(axis, [Curve("pixel", [math.nan] * 3)], [2.0, 0.0, -2.0])
    image = picture(chart)
    row = image.height() // 2 + 10
    colour = [image.pixelColor(x, row) for x in range(image.width())]
    red = [x for x, c in enumerate(colour) if c == colours.shade(1, 1, QColor("#ffffff"))]
    blue = [x for x, c in enumerate(colour) if c == colours.shade(-1, 1, QColor("#ffffff"))]
    assert red and blue and max(red) < min(blue)
    assert len(red) == pytest.approx(len(blue), abs=3)
    assert min(blue) - max(red) == pytest.approx(len(red), abs=4)


def test_wavelengths_in_any_order_and_without_a_place(chart):
    axis = spectrum_axis(600, None, 400, 500)
    assert axis.places == (400, 500, 600) and axis.bands == ((2, 3, 0),)
    assert axis.of_panel([6.0, 9.0, 4.0, 5.0], 0) == [4.0, 5.0, 6.0]


def test_a_line_is_broken_where_bands_were_taken_out(chart):
    axis = spectrum_axis(400, 410, 420, 600, 610)
    chart.show_curves(axis, [])
    assert [len(run) for run in chart._runs([1.0, 2.0, 3.0, 4.0, 5.0])] == [3, 2]
    assert [len(run) for run in chart._runs([1.0, math.nan, 3.0, 4.0, math.nan])] == [1, 1, 1]


def test_a_series_of_two_channels_has_two_panels(chart):
    axis = Axis.from_result(
        {"kind": "date", "values": [d for d in ("2017-01-05", "2017-03-05", "2017-06-05") for _ in range(2)],
         "names": NAMES, "channels": ["VV", "VH"], "unit": "dB"}
    )  # fmt: skip
    assert axis.panels == 2 and len(axis.places) == 3
    assert axis.of_panel([1, 2, 3, 4, 5, 6], 1) == [2, 4, 6]
    assert [text for _, text in place_ticks(axis, axis.places[0], axis.places[-1], 6)] == [
        "2017-02", "2017-03", "2017-04", "2017-05", "2017-06",
    ]  # fmt: skip
    chart.show_curves(axis, [Curve("pixel", [1, 2, 3, 4, 5, 6], "#0072b2")], [1, 0, 0, 0, 0, -1])
    assert colours_of(picture(chart))["#0072b2"] > 50


def test_the_cursor_names_band_and_numbers_by_keyboard(chart):
    chart.show_curves(spectrum_axis(400, 500, 600), [Curve("pixel", [0.1, 0.5, 0.2])], [0.0, -0.25, 0.0])
    QTest.keyClick(chart, Qt.Key.Key_Right)
    QTest.keyClick(chart, Qt.Key.Key_Right)
    assert chart.accessibleDescription() == "B2\npixel: 0.5\nattribution: -0.25"
    for _ in range(5):
        QTest.keyClick(chart, Qt.Key.Key_Right)
    assert chart.accessibleDescription().startswith("B3")


def test_a_note_and_numbers_that_are_all_unknown_can_be_drawn(chart):
    chart.show_note("Asking the engine…")
    picture(chart)
    assert chart.accessibleDescription() == "Asking the engine…"
    chart.show_curves(spectrum_axis(400, 500), [Curve("pixel", [math.nan, math.nan])], [math.nan, math.nan])
    picture(chart)
    chart.show_curves(spectrum_axis(400), [Curve("pixel", [7.0])], [0.0])
    picture(chart, 80, 60)


def test_under_a_style_sheet_that_sees_through_the_parents_colour_counts(qgis_app):
    """As QGIS's own dark theme does it."""
    outer = with_palette(QWidget(), "#323232", "#dddddd")
    inner = with_palette(QWidget(outer), "#323232", "#dddddd")
    clear = QPalette(inner.palette())
    clear.setColor(QPalette.ColorRole.Base, QColor(0, 0, 0, 0))
    inner.setPalette(clear)
    chart = ProfileChart(inner)
    assert colours.base_colour(chart) == QColor("#323232")
    chart.show_curves(spectrum_axis(400, 500), [Curve("pixel", [0.1, 0.5])], [0.0, 1.0])
    found = colours_of(picture(chart))
    assert "#ff00ff" not in found and "#000000" not in found and found["#323232"] > 10_000


def test_bars_show_the_likeliest_and_mark_the_reference(qgis_app, data, model):
    class Job:
        points = ((0.0, 0.0),)

    explanation = Explanation.from_result(data.answer(Job))
    bars = with_palette(ProbabilityBars(), *DARK)
    bars.show_pixel(explanation.pixels[0], "crop")
    assert bars.rows[0][:2] == ("forest", 0.6) and "forest 60.0%" in bars.accessibleDescription()
    found = colours_of(picture(bars, 260, 120))
    assert found[colours.readable(QColor("#009e73"), QColor(DARK[0])).name()] > 200
    chip = with_palette(ChipView(), *DARK)
    chip.show_chip(explanation.pixels[0].chip)
    found = colours_of(picture(chip, 100, 100))
    assert found["#000102"] > 500  # the first pixel of the chip, not smoothed
    assert explanation.pixels[0].values[2] != explanation.pixels[0].values[2]  # null is NaN


def test_matrix_draws_counts_on_a_dark_palette(qgis_app):
    matrix = with_palette(ConfusionMatrix(), *DARK)
    matrix.show_counts(("a", "b"), {("a", "b"): PairCount(9, 20, 1), ("b", "a"): PairCount(1, 1, 0)})
    image = picture(matrix, 220, 160)
    strong = image.pixelColor(matrix.cell(0, 1).topLeft() + QPoint(4, 4))
    weak = image.pixelColor(matrix.cell(1, 0).topLeft() + QPoint(4, 4))
    base = QColor(DARK[0])
    assert colours.contrast(strong, base) > colours.contrast(weak, base) > 1.05
    assert matrix.words(("a", "b")) == "a seen as b: 9 errors of 20 pixels, 1 with a verdict"


@pytest.mark.parametrize("base", ["#ffffff", "#1e1e1e", "#808080"])
@pytest.mark.parametrize("colour", ["#ffff00", "#000000", "#ffffff", "#0072b2", "#808080"])
def test_lines_stand_out_from_any_base(base, colour):
    seen = colours.readable(QColor(colour), QColor(base))
    assert colours.contrast(seen, QColor(base)) >= 2.5


@pytest.mark.parametrize(
    ("low", "high", "most", "texts"),
    [
        (0.0, 1.0, 5, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (480.0, 2520.0, 6, ["500", "1000", "1500", "2000", "2500"]),
        (-0.013, 0.011, 4, ["-0.01", "0.00", "0.01"]),
        (1.0, 1.0, 4, []),
        (math.nan, 1.0, 4, []),
    ],
)
def test_round_ticks(low, high, most, texts):
    ticks = round_ticks(low, high, most)
    assert [label(tick, ticks) for tick in ticks] == texts


def test_nothing_is_left_to_paint(qgis_app):
    """Painting twice gives the same picture: no state is kept in it."""
    chart = with_palette(ProfileChart(), *LIGHT)
    chart.show_curves(spectrum_axis(400, 500, 600), [Curve("pixel", [0.1, 0.5, 0.2])], [1.0, 0.0, -1.0])
    assert picture(chart) == picture(chart)
    QCoreApplication.processEvents()
