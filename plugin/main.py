"""The plugin as QGIS sees it: the provider always; menu and settings page where there is a window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QAction, QIcon

from ..algorithms._text import tr
from ..engine.client import shutdown_all
from .provider import ICON, ROOT, ExplanationLayersProvider

if TYPE_CHECKING:
    from .review.dock import ReviewDock
    from .settings_page import SettingsPageFactory

MENU = "Explanation Layers"
# The steps of an analyst, in their order.
_ENTRIES = (
    "trainclassifier", "trainsceneclassifier", "classify", "attribution", "evaluateexplainers",
    "segmentationcontributions", "absorptionfeatures", "trainautoencoder", "clusterseries", "gradslam",
    "comparesensors", "unmix", "misclassifications", "setupengine",
)  # fmt: skip


class ExplanationLayersPlugin:
    """Adds the provider, a menu and a settings page; `iface` is None without a window."""

    def __init__(self, iface) -> None:
        self.iface = iface
        self.provider = ExplanationLayersProvider()
        self.actions: list[QAction] = []
        self.toolbar_actions: list[QAction] = []
        self.settings_factory: SettingsPageFactory | None = None
        self.review_dock: ReviewDock | None = None

    def initProcessing(self) -> None:
        """Called alone by qgis_process, and by `initGui`."""
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:
        """Called by QGIS when it has a window."""
        from .settings_page import SettingsPageFactory  # widgets: not for qgis_process

        self.initProcessing()
        self.settings_factory = SettingsPageFactory(self.open_algorithm)
        self.iface.registerOptionsWidgetFactory(self.settings_factory)
        for name in _ENTRIES:
            algorithm = self.provider.algorithm(name)
            action = QAction(QIcon(ICON), algorithm.displayName() + "…", self.iface.mainWindow())
            action.triggered.connect(lambda checked=False, name=name: self.open_algorithm(name))
            self._add(action)
        self._add_review()
        settings = QAction(tr("Settings…"), self.iface.mainWindow())
        settings.triggered.connect(
            lambda: self.iface.showOptionsDialog(self.iface.mainWindow(), SettingsPageFactory.KEY)
        )
        self._add(settings)

    def open_algorithm(self, name: str, parameters: dict | None = None) -> None:
        """Open the dialog of one of our algorithms, with these parameters filled in."""
        from processing import execAlgorithmDialog

        execAlgorithmDialog(f"explain:{name}", parameters or {})

    def dock(self) -> ReviewDock:
        """Return the dock of reviews, made when it is first wanted."""
        from .review.dock import ReviewDock

        if self.review_dock is None:
            self.review_dock = ReviewDock(self.iface, self.open_algorithm)
            self.iface.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.review_dock)
        return self.review_dock

    def unload(self) -> None:
        """Take everything back and end the engine."""
        if self.review_dock is not None:
            self.review_dock.shut()
            self.iface.removeDockWidget(self.review_dock)
            self.review_dock.deleteLater()
            self.review_dock = None
        for action in self.toolbar_actions:
            self.iface.removeToolBarIcon(action)
        self.toolbar_actions = []
        for action in self.actions:
            self.iface.removePluginMenu(MENU, action)
        self.actions = []
        if self.settings_factory:
            self.iface.unregisterOptionsWidgetFactory(self.settings_factory)
            self.settings_factory = None
        QgsApplication.processingRegistry().removeProvider(self.provider)
        shutdown_all()

    def _add_review(self) -> None:
        """Add the two ways into the dock, to the toolbar too."""
        for icon, text, tip, act in (
            ("review.svg", tr("Review mistakes"),
             tr("Step through the errors of a model on the map"), lambda: self.dock().review()),
            ("click.svg", tr("Explain at a click"),
             tr("Click a pixel to see what a model makes of it, and why"),
             lambda: self.dock().explain_clicks()),
        ):  # fmt: skip
            action = QAction(QIcon(str(ROOT / "resources" / "icons" / icon)), text, self.iface.mainWindow())
            action.setToolTip(tip)
            action.triggered.connect(lambda checked=False, act=act: act())
            self._add(action)
            self.iface.addToolBarIcon(action)
            self.toolbar_actions.append(action)

    def _add(self, action: QAction) -> None:
        self.iface.addPluginToMenu(MENU, action)
        self.actions.append(action)
