"""The settings page: which engine, which device, how much memory, and what the engine found is."""

from __future__ import annotations

from collections.abc import Callable

from qgis.core import Qgis, QgsApplication, QgsTask
from qgis.gui import QgsFileWidget, QgsOptionsPageWidget, QgsOptionsWidgetFactory
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from ..algorithms import _settings
from ..algorithms._run import found_python, versions_of
from ..algorithms._text import tr
from .provider import ICON


class SettingsPageFactory(QgsOptionsWidgetFactory):
    """Makes the page for QGIS's options dialog; `open_algorithm` opens a dialog of ours by name."""

    KEY = "explanation_layers"

    def __init__(self, open_algorithm: Callable[[str], None]) -> None:
        super().__init__("Explanation Layers", QIcon(ICON), self.KEY)
        self._open_algorithm = open_algorithm

    def createWidget(self, parent: QWidget | None) -> QgsOptionsPageWidget:
        """Return a new page."""
        return SettingsPage(self._open_algorithm, parent)


class SettingsPage(QgsOptionsPageWidget):
    """Interpreter, device and memory budget; a button that sets up the engine."""

    def __init__(self, open_algorithm: Callable[[str], None], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(SettingsPageFactory.KEY)
        self._task: QgsTask | None = None

        self.python = QgsFileWidget()
        self.python.setStorageMode(QgsFileWidget.StorageMode.GetFile)
        self.python.setFilePath(_settings.python())
        self.python.lineEdit().setPlaceholderText(tr("Empty: the engine set up here"))
        self.device = QComboBox()
        self.device.addItems(_settings.DEVICES)
        self.device.setCurrentText(_settings.device())
        self.memory = QSpinBox()
        self.memory.setRange(128, 1_000_000)
        self.memory.setSingleStep(256)
        self.memory.setSuffix(" MB")
        self.memory.setValue(_settings.memory_mb())
        self.found = QLabel()
        self.found.setWordWrap(True)
        self.check = QPushButton(tr("Check engine"))
        self.check.clicked.connect(self._check)
        self.set_up = QPushButton(tr("Set up engine…"))
        self.set_up.clicked.connect(lambda: open_algorithm("setupengine"))

        form = QFormLayout()
        form.addRow(tr("Python of the engine"), self.python)
        form.addRow(tr("Device"), self.device)
        form.addRow(tr("Memory budget"), self.memory)
        form.addRow(tr("Engine found"), self.found)
        buttons = QHBoxLayout()
        buttons.addWidget(self.set_up)
        buttons.addWidget(self.check)
        buttons.addStretch()
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addLayout(buttons)
        layout.addStretch()
        self._show_found()

    def apply(self) -> None:
        """Called by QGIS when the user accepts the dialog."""
        _settings.set_python(self.python.filePath().strip())
        _settings.set_device(self.device.currentText())
        _settings.set_memory_mb(self.memory.value())

    def _show_found(self) -> None:
        python = found_python()
        versions = _settings.versions()
        self.found.setText("\n".join(filter(None, (python, versions))) if python else tr("none"))
        self.check.setEnabled(bool(python))

    def _check(self) -> None:
        """Ask the engine for its versions, on another thread; the path in the widget counts, saved or not."""
        _settings.set_python(self.python.filePath().strip())
        python = found_python()
        if not python:
            self._show_found()
            return
        self.check.setEnabled(False)
        self.found.setText(tr("asking {python}…").format(python=python))

        def ask(task: QgsTask) -> dict[str, str]:
            return versions_of(python, task.isCanceled)

        def answered(error: Exception | None, strings: dict[str, str] | None = None) -> None:
            self._task = None
            self._show_found()
            if error:
                self.found.setText(str(error))
                QgsApplication.messageLog().logMessage(
                    str(error), "Explanation Layers", Qgis.MessageLevel.Warning
                )

        self._task = QgsTask.fromFunction(tr("Check the engine"), ask, on_finished=answered)
        QgsApplication.taskManager().addTask(self._task)
