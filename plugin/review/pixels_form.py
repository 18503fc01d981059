"""The widgets of the page of pixels: what is asked, which pixels there are, and their charts."""

from __future__ import annotations

from qgis.core import Qgis, QgsSettings
from qgis.gui import QgsFileWidget, QgsMapLayerComboBox
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QColor, QIcon, QPixmap
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QScrollArea,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from ...algorithms._explaining import EXPLAINERS
from ...algorithms._text import tr
from ...engine.jobs import ExplainPixelsJob
from .chart import ProfileChart
from .filters import narrow
from .pictures import ChipView, ProbabilityBars

_MODEL = "explanation_layers/clicked_model"
_AUTOENCODER = "series_autoencoder"  # a task of the card
_COLUMNS = 2  # charts side by side


class PixelsForm(QWidget):
    """Raster, model, explainer and target above; the list of pixels; one chart for all or one for each."""

    def __init__(self) -> None:
        super().__init__()
        self.raster, self.explainer, self.target = QgsMapLayerComboBox(), QComboBox(), QComboBox()
        self.raster.setFilters(Qgis.LayerFilter.RasterLayer)
        for combo in (self.raster, self.explainer, self.target):
            narrow(combo)
        self.model = QgsFileWidget()
        self.model.setFilter(tr("Model files") + " (*.safetensors)")
        self.model.setFilePath(QgsSettings().value(_MODEL, "", type=str))
        for name in EXPLAINERS:
            self.explainer.addItem(name, name)
        self.explainer.setCurrentText(ExplainPixelsJob.explainer)
        self.tool = QPushButton(tr("Explain at a click"))
        self.tool.setCheckable(True)
        self.tool.setToolTip(
            tr("Click a pixel on the map; drag for the mean of a rectangle; hold Shift to compare")
        )
        self.place = QLineEdit()
        self.place.setPlaceholderText(tr("x, y in the raster's CRS, Enter"))
        self.place.setToolTip(tr("Explains the pixel at these coordinates; needs no mouse"))
        self.polygons = QPushButton(tr("Selected polygons"))
        self.polygons.setToolTip(tr("Explains the mean of each selected polygon of the active layer"))
        self.keep = QCheckBox(tr("Compare"))
        self.keep.setToolTip(tr("Adds every click to the pixels before, as Shift does"))
        self.apart = QCheckBox(tr("Side by side"))
        self.apart.setToolTip(tr("A chart for each pixel, with its own attribution"))
        self.remove, self.clear = QPushButton(tr("Remove")), QPushButton(tr("Clear"))
        self.clear.setToolTip(tr("Removes all pixels"))
        self.remove.setToolTip(tr("Removes the pixel that is chosen in the list (Del)"))
        self.pixels = QListWidget()
        self.pixels.setAccessibleName(tr("Pixels"))
        self.pixels.setMaximumHeight(6 * self.fontMetrics().height())
        self.chart, self.bars, self.chip = ProfileChart(), ProbabilityBars(), ChipView()
        self.several = QWidget()
        self.grid = QGridLayout(self.several)
        self.grid.setContentsMargins(0, 0, 0, 0)
        self.charts: list[ProfileChart] = []
        self._lay_out()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow(tr("Raster"), self.raster)
        form.addRow(tr("Model file"), self.model)
        form.addRow(tr("Explainer"), self.explainer)
        form.addRow(tr("Target"), self.target)
        ways, shown, below = QHBoxLayout(), QHBoxLayout(), QHBoxLayout()
        for widget in (self.tool, self.polygons):
            ways.addWidget(widget)
        for widget in (self.keep, self.apart, self.remove, self.clear):
            shown.addWidget(widget)
        form.addRow(tr("Coordinates"), self.place)
        below.addWidget(self.bars, 1)
        below.addWidget(self.chip)
        scrolled = QScrollArea()
        scrolled.setWidget(self.several)
        scrolled.setWidgetResizable(True)
        self.stack = QStackedWidget()
        self.stack.addWidget(self.chart)
        self.stack.addWidget(scrolled)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addLayout(ways)
        layout.addLayout(shown)
        layout.addWidget(self.pixels)
        layout.addWidget(self.stack, 1)
        layout.addLayout(below)

    def charts_for(self, count: int) -> list[ProfileChart]:
        """Return `count` charts side by side."""
        while len(self.charts) < count:
            chart = ProfileChart()
            self.grid.addWidget(chart, len(self.charts) // _COLUMNS, len(self.charts) % _COLUMNS)
            self.charts.append(chart)
        for number, chart in enumerate(self.charts):
            chart.setVisible(number < count)
        return self.charts[:count]

    def show_targets(self, card: dict) -> None:
        """Offer the predicted class, it against the runner-up, and each class of the model.

        An autoencoder predicts none: its classes are the dimensions of its embedding.
        """
        before = self.target.currentData()
        self.target.clear()
        if card.get("task") != _AUTOENCODER:
            self.target.addItem(tr("predicted class"), ("predicted", None))
            self.target.addItem(tr("predicted class against the next"), ("contrast", None))
        for entry in card.get("classes") or []:
            self.target.addItem(entry["name"], ("class", entry["name"]))
        for index in range(self.target.count()):
            if before is not None and tuple(self.target.itemData(index)) == tuple(before):
                self.target.setCurrentIndex(index)

    def remember_model(self) -> None:
        """Offer the same model file the next time."""
        QgsSettings().setValue(_MODEL, self.model.filePath())

    def list_pixels(self, texts: list[str], pixel_colours: list[QColor], chosen: int) -> None:
        """List the pixels with their colours, without telling that the choice changed."""
        self.pixels.blockSignals(True)
        self.pixels.clear()
        side = round(self.fontMetrics().height() * 0.7)
        for text, colour in zip(texts, pixel_colours):
            swatch = QPixmap(side, side)
            swatch.fill(colour)
            item = QListWidgetItem(QIcon(swatch), text)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
            self.pixels.addItem(item)
        self.pixels.setCurrentRow(chosen)
        self.pixels.blockSignals(False)
