"""The dock: a page of mistakes, a page of pixels, and the keys of both."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from qgis.core import Qgis, QgsProject, QgsVectorLayer
from qgis.gui import QgsDockWidget
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QKeySequence, QShortcut
from qgis.PyQt.QtWidgets import QScrollArea, QTabWidget, QWidget

from ...algorithms._text import tr
from ...engine.jobs import ProbeJob
from .click_tool import ClickTool
from .corrections import Corrections
from .mistakes import MistakesPage
from .on_map import OnMap
from .pixels import PixelsPage
from .records import VERDICTS
from .requests import PixelRequests
from .store import is_error_layer

_SECONDS_BETWEEN = 10.0  # of the same sentence
_MISTAKES, _MATRIX, _PIXELS = range(3)  # the pages
NAME = "ExplanationLayersReview"  # by which QGIS remembers where the dock was


class ReviewDock(QgsDockWidget):
    """Reviews errors and explains clicked pixels; `open_dialog` opens an algorithm with parameters."""

    def __init__(self, iface, open_dialog: Callable[[str, dict], None]) -> None:
        super().__init__(tr("Explanation Layers: review"), iface.mainWindow())
        self.setObjectName(NAME)
        self._iface = iface
        self._said = ("", 0.0)
        canvas = iface.mapCanvas()
        self.requests = PixelRequests()
        self._maps = OnMap(canvas), OnMap(canvas)
        self.mistakes = MistakesPage(self._maps[0], self.requests, self.say)
        self.pixels = PixelsPage(self._maps[1], self.requests, self.say, iface.activeLayer)
        self.corrections = Corrections(self, lambda: self.mistakes.store, self.say, self.tell, open_dialog)
        self.mistakes.menu.setMenu(self.corrections.menu)
        self.pages = QTabWidget()
        self.pages.addTab(_scrolled(self.mistakes), tr("Mistakes"))
        self.pages.addTab(_scrolled(self.mistakes.table), tr("Matrix"))
        self.pages.addTab(_scrolled(self.pixels), tr("Pixels"))
        self.mistakes.see.clicked.connect(lambda: self._show(_MISTAKES))
        self.setWidget(self.pages)
        self.tool = ClickTool(canvas)
        self.tool.clicked.connect(self._clicked)
        self.tool.activated.connect(lambda: self.pixels.tool.setChecked(True))
        self.tool.deactivated.connect(lambda: self.pixels.tool.setChecked(False))
        self.pixels.tool.clicked.connect(self._use_tool)
        self._add_keys()

    def say(self, text: str) -> None:
        """Show in the message bar what went wrong; not again and again while one steps on."""
        now = time.monotonic()
        said, self._said = self._said, (text, now)
        if text != said[0] or now - said[1] > _SECONDS_BETWEEN:
            self._iface.messageBar().pushMessage("Explanation Layers", text, Qgis.MessageLevel.Warning, 0)

    def tell(self, text: str) -> None:
        """Show in the message bar what was done; it goes away by itself."""
        self._iface.messageBar().pushMessage("Explanation Layers", text, Qgis.MessageLevel.Success, -1)

    def review(self) -> None:
        """Show the page of mistakes, with the active layer or else the only one of errors."""
        self._show(_MISTAKES)
        if self.mistakes.store is not None:
            return
        layers = [layer for layer in QgsProject.instance().mapLayers().values() if is_error_layer(layer)]
        active = self._iface.activeLayer()
        if is_error_layer(active):
            self.open(active)
        elif len(layers) == 1:
            self.open(layers[0])

    def open(self, layer: QgsVectorLayer) -> None:
        """Review `layer`."""
        self._show(_MISTAKES)
        self.mistakes.open(layer)

    def explain_clicks(self) -> None:
        """Show the page of pixels and take up the map tool; the engine is started meanwhile."""
        self._show(_PIXELS)
        self._iface.mapCanvas().setMapTool(self.tool)
        self.requests.ask(None, ProbeJob)

    def shut(self) -> None:
        """Let go of layers, map and engine; the dock is not used again."""
        if self._iface.mapCanvas().mapTool() is self.tool:
            self._iface.mapCanvas().unsetMapTool(self.tool)
        self.tool.deleteLater()
        self.mistakes.shut()
        self.requests.close()
        for on_map in self._maps:
            on_map.clear()

    def _show(self, page: int) -> None:
        self.pages.setCurrentIndex(page)
        self.setUserVisible(True)

    def _show_matrix(self) -> None:
        self._show(_MATRIX)
        self.mistakes.matrix.setFocus()

    def _use_tool(self, wanted: bool) -> None:
        if wanted:
            self.explain_clicks()
        else:
            self._iface.mapCanvas().unsetMapTool(self.tool)

    def _clicked(self, shape, beside: bool) -> None:
        crs = self._iface.mapCanvas().mapSettings().destinationCrs()
        self.pixels.add(shape, crs, beside)

    def _add_keys(self) -> None:
        """Give the page of mistakes its keys; they work wherever in it the focus is, but not in a text."""
        page = self.mistakes
        keys: dict[str, Callable[[], None]] = {
            "N": lambda: page.step(1), "P": lambda: page.step(-1), "Z": page.zoom, "F": page.flash,
            "D": page.view.differences.toggle,
            "C": page.verdicts.comment.setFocus, "M": self._show_matrix,
        }  # fmt: skip
        for number, verdict in enumerate(VERDICTS):
            keys[str(number + 1)] = partial(page.verdicts.judge, verdict)
        for key, act in keys.items():
            shortcut = QShortcut(QKeySequence(key), page)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(act)


def _scrolled(page: QWidget) -> QScrollArea:
    """Return `page` in an area that scrolls where the window is small."""
    area = QScrollArea()
    area.setWidget(page)
    area.setWidgetResizable(True)
    area.setMinimumWidth(page.minimumSizeHint().width() + area.verticalScrollBar().sizeHint().width())
    area.setFrameShape(QScrollArea.Shape.NoFrame)
    return area
