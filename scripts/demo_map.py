"""One A4 page: maps side by side with their legends, a chart below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qgis.core import (
    Qgis,
    QgsLayoutExporter,
    QgsLayoutItem,
    QgsLayoutItemLabel,
    QgsLayoutItemLegend,
    QgsLayoutItemMap,
    QgsLayoutItemPicture,
    QgsLayoutPoint,
    QgsLayoutSize,
    QgsLegendRenderer,
    QgsLegendStyle,
    QgsMapLayer,
    QgsMapLayerLegendUtils,
    QgsPrintLayout,
    QgsProject,
    QgsRectangle,
)
from qgis.PyQt.QtGui import QFont

MARGIN, WIDTH, GAP = 10.0, 277.0, 5.0  # mm; A4 is 297 wide
MAP_TOP, LEGEND_HEIGHT, DPI = 32.0, 16.0, 150
FONT = "DejaVu Sans"


@dataclass(frozen=True)
class Panel:
    """One map: its title, its layers from top to bottom, and the layer whose legend stands below."""

    title: str
    layers: Sequence[QgsMapLayer]
    legend: QgsMapLayer | None = None


def compose(
    project: QgsProject,
    title: str,
    subtitle: str,
    panels: Sequence[Panel],
    extent: QgsRectangle,
    chart: Path,
    caption: str,
) -> QgsPrintLayout:
    """Return a layout with `panels` in a row, all of `extent`, and the SVG `chart` below."""
    layout = QgsPrintLayout(project)
    layout.initializeDefaults()
    layout.setName("Map")
    _label(layout, title, 16, True, MARGIN, 8, WIDTH, 8)
    _label(layout, subtitle, 8, False, MARGIN, 18, WIDTH, 9)
    side = (WIDTH - GAP * (len(panels) - 1)) / len(panels)
    for index, panel in enumerate(panels):
        left = MARGIN + index * (side + GAP)
        _label(layout, panel.title, 9, True, left, MAP_TOP - 6, side, 5)
        _map(layout, panel, extent, left, side)
    top = MAP_TOP + side + LEGEND_HEIGHT
    _label(layout, caption, 9, True, MARGIN, top, WIDTH, 5)
    picture = QgsLayoutItemPicture(layout)
    picture.setPicturePath(str(chart))
    _place(layout, picture, MARGIN, top + 6, WIDTH, 210 - MARGIN - top - 6)
    return layout


def export(layout: QgsPrintLayout, path: Path) -> None:
    """Render the layout to an image; OSError where it can't be written."""
    image = QgsLayoutExporter(layout).renderPageToImage(0, dpi=DPI)
    if not image.save(str(path)):
        raise OSError(f"{path} could not be written.")


def _map(layout: QgsPrintLayout, panel: Panel, extent: QgsRectangle, left: float, side: float) -> None:
    view = QgsLayoutItemMap(layout)
    view.setLayers(list(panel.layers))
    view.setKeepLayerSet(True)
    view.setFrameEnabled(True)
    _place(layout, view, left, MAP_TOP, side, side)
    view.zoomToExtent(extent)
    if panel.legend:
        legend = QgsLayoutItemLegend(layout)
        legend.setAutoUpdateModel(False)
        legend.model().rootGroup().clear()
        node = legend.model().rootGroup().addLayer(panel.legend)
        QgsLegendRenderer.setNodeLegendStyle(node, QgsLegendStyle.Style.Hidden)
        QgsMapLayerLegendUtils.setLegendNodeOrder(node, [1])  # the colour ramp without the band's name
        legend.model().refreshLayerLegend(node)
        legend.setStyleFont(QgsLegendStyle.Style.SymbolLabel, QFont(FONT, 7))
        legend.setSymbolWidth(side - 12)
        legend.setBackgroundEnabled(False)
        _place(layout, legend, left, MAP_TOP + side + 1, side, LEGEND_HEIGHT)


def _label(
    layout: QgsPrintLayout,
    text: str,
    size: int,
    bold: bool,
    left: float,
    top: float,
    width: float,
    height: float,
) -> None:
    label = QgsLayoutItemLabel(layout)
    label.setText(text)
    font = QFont(FONT, size)
    font.setBold(bold)
    label.setFont(font)
    _place(layout, label, left, top, width, height)


def _place(
    layout: QgsPrintLayout, item: QgsLayoutItem, left: float, top: float, width: float, height: float
) -> None:
    layout.addLayoutItem(item)
    item.attemptMove(QgsLayoutPoint(left, top, Qgis.LayoutUnit.Millimeters))
    item.attemptResize(QgsLayoutSize(width, height, Qgis.LayoutUnit.Millimeters))
