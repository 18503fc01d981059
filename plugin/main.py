"""The plugin as QGIS sees it: the provider always; menu and settings page where there is a window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgis.core import QgsApplication
from qgis.PyQt.QtGui import QAction, QIcon

from ..algorithms._text import tr
from ..engine.client import shutdown_all
from .provider import ICON, ExplanationLayersProvider

if TYPE_CHECKING:
    from .settings_page import SettingsPageFactory

MENU = "Explanation Layers"
# The steps of an analyst, in their order.
_ENTRIES = (
    "trainclassifier", "trainsceneclassifier", "classify", "attribution", "evaluateexplainers",
    "segmentationcontributions", "absorptionfeatures", "trainautoencoder", "clusterseries", "gradslam",
    "comparesensors", "unmix", "setupengine",
)  # fmt: skip


class ExplanationLayersPlugin:
    """Adds the provider, a menu and a settings page; `iface` is None without a window."""

    def __init__(self, iface) -> None:
        self.iface = iface
        self.provider = ExplanationLayersProvider()
        self.actions: list[QAction] = []
        self.settings_factory: SettingsPageFactory | None = None

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
        settings = QAction(tr("Settings…"), self.iface.mainWindow())
        settings.triggered.connect(
            lambda: self.iface.showOptionsDialog(self.iface.mainWindow(), SettingsPageFactory.KEY)
        )
        self._add(settings)

    def open_algorithm(self, name: str) -> None:
        """Open the dialog of one of our algorithms."""
        from processing import execAlgorithmDialog

        execAlgorithmDialog(f"explain:{name}", {})

    def unload(self) -> None:
        """Take everything back and end the engine."""
        for action in self.actions:
            self.iface.removePluginMenu(MENU, action)
        self.actions = []
        if self.settings_factory:
            self.iface.unregisterOptionsWidgetFactory(self.settings_factory)
            self.settings_factory = None
        QgsApplication.processingRegistry().removeProvider(self.provider)
        shutdown_all()

    def _add(self, action: QAction) -> None:
        self.iface.addPluginToMenu(MENU, action)
        self.actions.append(action)
