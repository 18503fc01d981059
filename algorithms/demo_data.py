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
        return [
            "demo", "simulate", "synthetic", "hyperspectral", "sar", "radar", "evidence", "segmentation",
            "time series", "crops", "unmixing", "test data", "sensor fusion",
        ]  # fmt: skip

    def shortHelpString(self) -> str:
        return tr(
            "Simulates a scene whose classes share everything but what was planted, so it is known what "
            "an explanation must find. 'hyperspectral': spectra with absorption bands. 'dual_sensor': a VNIR "
            "and a coarser SWIR sensor, with classes that differ in one of them, or only in both together. "
            "'sar_scenes': radar chips (VV and VH) with a line, a strip, a building, points or an edge in "
            "speckle, for classifiers of whole chips. 'sar_series': a year of VV and VH over parcels, each "
            "crop brighter or darker than the others on a few dates, for autoencoders of series. "
            "'segmentation': a street in 25 bands, with two classes that differ only in three bands and two "
            "that differ only in a signal 6 pixels away, for networks that classify all pixels at once. "
            "'mixed_pixels': spectra of four materials mixed in known shares, linearly and not, for "
            "unmixing.\n"
            "Outputs: A folder with the scene, labels, a class raster, and a truth file. For 'mixed_pixels' "
            "no labels, but rasters of abundances, of nonlinearity and its kind, and a table of spectra. For "
            "'sar_scenes' also chips in a folder per class to train (train, and train_spurious with a "
            "misleading corner reflector) and to test (test), with masks of the evidence. For 'sar_series' "
            "the labels are parcels. For 'dual_sensor' the raster of each sensor beside the stack of both. "
            "For 'segmentation' no points; a second scene to test on, and rasters of sun, shadow and "
            "boundaries.\n"
            "Example: qgis_process run explain:demodata --SCENE=hyperspectral --SIZE=128 --SEED=1 "
            "--FOLDER=/tmp/demo"
        )

    def _inputs(self) -> list:
        return [
            choice("SCENE", tr("Kind of scene"),
                   ("hyperspectral", "dual_sensor", "mixed_pixels", "sar_scenes", "sar_series",
                    "segmentation"), "hyperspectral",
                   tr("What to simulate: 'hyperspectral' is a raster of reflectance with planted "
                      "absorption bands, 'dual_sensor' are two rasters of reflectance and their stack, "
                      "'mixed_pixels' are spectra mixed in known shares, "
                      "'sar_scenes' are radar chips with planted structures, and a "
                      "raster that holds more of them, 'sar_series' is a year of radar over parcels of "
                      "crops, 'segmentation' are two rasters of a street, with every pixel labelled.")),
            whole("SIZE", tr("Side of the scene (pixels)"), DemoDataJob.size, 32, 4096,
                  tr("Width and height in pixels, 64 or more for 'dual_sensor', 'sar_scenes' and "
                     "'segmentation'. For 'sar_scenes' there are half as many training chips of each class, "
                     "512 at most.")),
            seed(),
        ]  # fmt: skip

    def _destinations(self) -> list:
        folder = QgsProcessingParameterFolderDestination("FOLDER", tr("Folder"))
        return [
            described(folder, tr("Folder that takes the scene, its labels and the truth; files of an earlier "
                                 "run are replaced.")),
        ]  # fmt: skip

    def _results(self) -> list:
        rasters = (
            ("VNIR", tr("Raster of the VNIR sensor (dual_sensor)")),
            ("SWIR", tr("Raster of the SWIR sensor (dual_sensor)")),
            ("STRATA", tr("Sun, shadow and boundary (segmentation)")),
            ("TEST_RASTER", tr("Simulated scene to test on (segmentation)")),
            ("TEST_LABEL_RASTER", tr("Labels of the scene to test on (segmentation)")),
            ("TEST_STRATA", tr("Sun, shadow and boundary of the scene to test on (segmentation)")),
            ("ABUNDANCES", tr("True abundances (mixed_pixels)")),
            ("NONLINEARITY", tr("True nonlinearity (mixed_pixels)")),
            ("MIXING", tr("Kind of mixing (mixed_pixels)")),
        )
        return [
            QgsProcessingOutputRasterLayer("RASTER", tr("Simulated scene")),
            QgsProcessingOutputVectorLayer("LABELS", tr("Labels as points, footprints or parcels")),
            QgsProcessingOutputRasterLayer("LABEL_RASTER", tr("Labels as class raster")),
            QgsProcessingOutputFile("TRUTH", tr("Known evidence")),
            QgsProcessingOutputVectorLayer("EVIDENCE", tr("Evidence on the scene (sar_scenes)")),
            QgsProcessingOutputFolder("PATCHES", tr("Training chips (sar_scenes)")),
            QgsProcessingOutputFolder("TEST_PATCHES", tr("Test chips (sar_scenes)")),
            QgsProcessingOutputFolder("MASKS", tr("Masks of the test chips (sar_scenes)")),
            *(QgsProcessingOutputRasterLayer(name, title) for name, title in rasters),
            QgsProcessingOutputFile("SPECTRA", tr("Table of the materials' spectra (mixed_pixels)")),
        ]

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
