"""explain:demodata: a simulated scene whose true evidence is known."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputFile,
    QgsProcessingOutputFolder,
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
        return ["demo", "simulate", "synthetic", "hyperspectral", "sar", "radar", "evidence", "test data"]

    def shortHelpString(self) -> str:
        return tr(
            "Simulates a scene whose classes share everything but what was planted, so it is known what "
            "an explanation must find. 'hyperspectral': spectra with absorption bands. 'sar_scenes': radar "
            "chips (VV and VH) with a line, a strip, a building, points or an edge in speckle, for "
            "classifiers of whole chips.\n"
            "Outputs: A folder with the scene, labels, a class raster, and a truth file. For 'sar_scenes' "
            "also chips in a folder per class to train (train, and train_spurious with a misleading corner "
            "reflector) and to test (test), with masks of the evidence.\n"
            "Example: qgis_process run explain:demodata --SCENE=hyperspectral --SIZE=128 --SEED=1 "
            "--FOLDER=/tmp/demo"
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.addParameter(
            choice("SCENE", tr("Kind of scene"), ("hyperspectral", "sar_scenes"), "hyperspectral",
                   tr("What to simulate: 'hyperspectral' is a raster of reflectance with planted "
                      "absorption bands, 'sar_scenes' are radar chips with planted structures, and a "
                      "raster that holds more of them."))
        )  # fmt: skip
        self.addParameter(
            whole(
                "SIZE",
                tr("Side of the scene (pixels)"),
                DemoDataJob.size,
                32,
                4096,
                tr(
                    "Width and height in pixels. For 'sar_scenes' 64 or more; there are half as many "
                    "training chips of each class, 512 at most."
                ),
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
        self.addOutput(QgsProcessingOutputVectorLayer("LABELS", tr("Labels as points or footprints")))
        self.addOutput(QgsProcessingOutputRasterLayer("LABEL_RASTER", tr("Labels as class raster")))
        self.addOutput(QgsProcessingOutputFile("TRUTH", tr("Known evidence")))
        self.addOutput(QgsProcessingOutputVectorLayer("EVIDENCE", tr("Evidence on the scene (sar_scenes)")))
        self.addOutput(QgsProcessingOutputFolder("PATCHES", tr("Training chips (sar_scenes)")))
        self.addOutput(QgsProcessingOutputFolder("TEST_PATCHES", tr("Test chips (sar_scenes)")))
        self.addOutput(QgsProcessingOutputFolder("MASKS", tr("Masks of the test chips (sar_scenes)")))

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
