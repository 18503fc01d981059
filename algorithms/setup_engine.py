"""explain:setupengine: makes, repairs or removes the engine's environment, or takes one as it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from qgis.core import (
    Qgis,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputString,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFile,
)

from ..engine.client import shutdown_all
from ..engine.locate import VARIABLE, managed_python
from ..engine.setup import SetupError, create, plan, remove
from . import _settings
from ._base import ExplanationAlgorithm
from ._parameters import choice, described, device
from ._run import keep_versions, versions_of
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
        return [
            "engine",
            "install",
            "torch",
            "environment",
            "python",
            "offline",
            "wheels",
            "repair",
            "remove",
        ]

    def shortHelpString(self) -> str:
        return tr(
            "Networks run in an engine: a Python of its own, apart from QGIS, with torch, captum and "
            "rasterio. This makes it under your QGIS profile, after you agree to its size and place; "
            "or takes a Python that you have. The environment variable EXPLANATION_LAYERS_PYTHON wins "
            "over both.\n"
            "Outputs: The engine's interpreter, its version of torch, and the device it will use.\n"
            "Example: qgis_process run explain:setupengine --CONSENT=true"
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        kinds = Qgis.ProcessingFileParameterBehavior
        self.addParameter(
            choice("ACTION", tr("Action"), ACTIONS, "create",
                   tr("'create' makes the environment, or keeps it where it is whole; 'repair' makes it "
                      "anew; 'remove' deletes it and forgets a Python that was given before."))
        )  # fmt: skip
        self.addParameter(
            described(
                QgsProcessingParameterBoolean("CONSENT", tr("I agree to the download"), False),
                tr(
                    "Nothing is downloaded or written until this is ticked; without it the size and place "
                    "are stated."
                ),
            )
        )
        # QGIS's own filter for "all files" is *.*, which most interpreters' names do not match.
        self.addParameter(
            described(
                QgsProcessingParameterFile(
                    "PYTHON", tr("Python to use as it is"), kinds.File, optional=True, fileFilter="Python (*)"
                ),
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

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        self.require_valid(parameters)
        action = self.parameterAsEnumString(parameters, "ACTION", context)
        given = self.parameterAsString(parameters, "PYTHON", context).strip()
        device = self.parameterAsEnumString(parameters, "DEVICE", context)
        if os.environ.get(VARIABLE):
            feedback.pushWarning(
                tr("{variable} is set to {python} and wins over what is set up here.").format(
                    variable=VARIABLE, python=os.environ[VARIABLE]
                )
            )
        try:
            if action == "remove":
                return self._remove(feedback)
            if given:
                python = os.path.abspath(given)
                versions = versions_of(python, feedback.isCanceled)
            else:
                python, versions = self._make(action, parameters, context, feedback)
        except SetupError as error:
            raise QgsProcessingException(str(error)) from None
        if device == "cuda" and not versions["device"].startswith("cuda"):
            raise QgsProcessingException(
                tr("The engine's torch {torch} finds no CUDA device; choose DEVICE=auto or cpu.").format(
                    torch=versions["torch"]
                )
            )
        _settings.set_python(python if given else "")
        _settings.set_device(device)
        feedback.pushInfo(", ".join(f"{name} {version}" for name, version in versions.items()))
        return {
            "PYTHON": python,
            "TORCH": versions["torch"],
            "DEVICE": "cpu" if device == "cpu" else versions["device"],
        }

    def _make(
        self,
        action: str,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> tuple[str, dict[str, str]]:
        """Make the managed environment or keep the one that is whole; return its interpreter and versions."""
        folder = _settings.profile_folder()
        there = managed_python(folder)
        if there and action == "create":
            feedback.pushInfo(
                tr("The engine in {folder} is kept; use ACTION=repair to make it anew.").format(folder=folder)
            )
            return there, versions_of(there, feedback.isCanceled)
        wheels = self.parameterAsString(parameters, "WHEELS", context).strip()
        work = plan(
            folder,
            Path(wheels) if wheels else None,
            self.parameterAsEnumString(parameters, "DEVICE", context),
        )
        if not self.parameterAsBoolean(parameters, "CONSENT", context):
            raise QgsProcessingException(
                tr("{plan} Tick 'I agree' (CONSENT=true) to go on.").format(plan=work.summary)
            )
        feedback.pushInfo(work.summary)

        def on_progress(fraction: float, text: str) -> None:
            feedback.setProgress(100 * fraction)
            feedback.setProgressText(text)

        shutdown_all()
        python, versions = create(work, on_progress, feedback.pushConsoleInfo, feedback.isCanceled)
        keep_versions(versions)
        return python, versions

    def _remove(self, feedback: QgsProcessingFeedback) -> dict[str, Any]:
        """Remove the managed environment and forget a given interpreter."""
        shutdown_all()
        folder = _settings.profile_folder()
        there = remove(folder)
        _settings.set_python("")
        _settings.set_versions("")
        feedback.pushInfo(
            tr("The engine in {folder} is removed.").format(folder=folder)
            if there
            else tr("There was no engine to remove; an interpreter that was given is forgotten.")
        )
        return {"PYTHON": "", "TORCH": "", "DEVICE": ""}
