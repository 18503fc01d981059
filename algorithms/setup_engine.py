"""explain:setupengine: makes, repairs or removes the engine's environment, or takes one as it is."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    Qgis,
    QgsProcessingOutputString,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFile,
)

from ._base import ExplanationAlgorithm
from ._parameters import choice, described, device
from ._text import tr

ACTIONS = ("create", "repair", "remove")


class SetupEngine(ExplanationAlgorithm):
    """Sets up the process that runs the networks."""

    ID = "setupengine"
    GROUP = "setup"

    def displayName(self) -> str:
        return tr("Set up the engine")

    def shortDescription(self) -> str:
        return tr("Makes, repairs or removes the Python environment in which networks run, apart from QGIS.")

    def tags(self) -> list[str]:
        return ["engine", "install", "torch", "environment", "python", "offline", "wheels", "repair", "remove"]

    def shortHelpString(self) -> str:
        return tr(
            "<p>Networks run in an engine: a Python of its own, apart from QGIS, with torch, captum and rasterio. "
            "This makes it under your QGIS profile, after you agree to its size and place; or takes a Python that "
            "you have. The environment variable EXPLANATION_LAYERS_PYTHON wins over both.</p>"
            "<h3>Outputs</h3><p>The engine's interpreter, its version of torch, and the device it will use.</p>"
            "<h3>Example</h3><p><code>qgis_process run explain:setupengine --CONSENT=true</code></p>"
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        kinds = Qgis.ProcessingFileParameterBehavior
        self.addParameter(
            choice("ACTION", tr("Action"), ACTIONS, "create",
                   tr("'create' makes the environment, or keeps it where it is whole; 'repair' makes it anew; "
                      "'remove' deletes it and forgets a Python that was given before."))
        )  # fmt: skip
        self.addParameter(
            described(
                QgsProcessingParameterBoolean("CONSENT", tr("I agree to the download"), False),
                tr("Nothing is downloaded or written until this is ticked; without it the size and place are stated."),
            )
        )
        self.addParameter(
            described(
                QgsProcessingParameterFile("PYTHON", tr("Python to use as it is"), kinds.File, optional=True),
                tr("An interpreter that has torch, captum and rasterio already; nothing is installed then."),
            )
        )
        self.addParameter(
            described(
                QgsProcessingParameterFile("WHEELS", tr("Folder of wheels"), kinds.Folder, optional=True),
                tr("Installs from the wheels in this folder, without a network."),
            )
        )
        self.addParameter(device(advanced=False))
        self.addOutput(QgsProcessingOutputString("PYTHON", tr("Interpreter")))
        self.addOutput(QgsProcessingOutputString("TORCH", tr("Version of torch")))
        self.addOutput(QgsProcessingOutputString("DEVICE", tr("Device")))
