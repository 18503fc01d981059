"""explain:demodata: a simulated scene whose true evidence is known."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputFile,
    QgsProcessingOutputRasterLayer,
    QgsProcessingOutputVectorLayer,
    QgsProcessingParameterFolderDestination,
)

from ..engine.jobs import DemoDataJob
from ._base import EngineAlgorithm
from ._parameters import choice, described, seed, whole
from ._text import tr


class DemoData(EngineAlgorithm):
    """Simulates a scene, its labels and the truth about its evidence."""

    ID = "demodata"
    GROUP = "setup"
    FILES = ("FOLDER",)

    def displayName(self) -> str:
        return tr("Make demo data")

    def shortDescription(self) -> str:
        return tr(
            "Simulates a scene whose classes differ only in planted evidence, so that explanations can be "
            "checked."
        )

    def tags(self) -> list[str]:
        return ["demo", "simulate", "synthetic", "hyperspectral", "evidence", "test data"]

    def shortHelpString(self) -> str:
        return tr(
            "Simulates a hyperspectral scene with plausible spectra. Its classes share everything but "
            "planted absorption bands, so it is known which bands an explanation must find.\n"
            "Outputs: A folder with the scene, labels as points and as a class raster, and a truth "
            "file that names the planted bands of each class.\n"
            "Example: qgis_process run explain:demodata --SCENE=hyperspectral --SIZE=128 --SEED=1 "
            "--FOLDER=/tmp/demo"
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.addParameter(
            choice("SCENE", tr("Kind of scene"), ("hyperspectral",), "hyperspectral",
                   tr("What to simulate: 'hyperspectral' is a raster of reflectance with planted "
                      "absorption bands."))
        )  # fmt: skip
        self.addParameter(
            whole(
                "SIZE",
                tr("Side of the scene (pixels)"),
                DemoDataJob.size,
                32,
                4096,
                tr("Width and height in pixels."),
            )
        )
        self.addParameter(seed())
        self.addParameter(
            described(
                QgsProcessingParameterFolderDestination("FOLDER", tr("Folder")),
                tr(
                    "Folder that takes the scene, its labels and the truth; files of an earlier run are "
                    "replaced."
                ),
            )
        )
        self.addOutput(QgsProcessingOutputRasterLayer("RASTER", tr("Simulated scene")))
        self.addOutput(QgsProcessingOutputVectorLayer("LABELS", tr("Labels as points")))
        self.addOutput(QgsProcessingOutputRasterLayer("LABEL_RASTER", tr("Labels as class raster")))
        self.addOutput(QgsProcessingOutputFile("TRUTH", tr("Known evidence")))

    def job(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        outputs: dict[str, Any],
    ) -> DemoDataJob:
        return DemoDataJob(
            scene_kind=self.chosen["SCENE"],
            size=self.parameterAsInt(parameters, "SIZE", context),
            seed=self.parameterAsInt(parameters, "SEED", context),
            **outputs,
        )
