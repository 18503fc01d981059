"""explain:comparesensors: what one sensor adds to another, by networks of each alone and of all together."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    Qgis,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFolderDestination,
    QgsRasterLayer,
)

from ..engine.jobs import CompareSensorsJob as Job
from ._destinations import raster, report, table
from ._labels import LabelledAlgorithm, label_inputs, unlabelled_value
from ._parameters import choice, described, device, extent, is_empty, layers, memory, seed, whole, words
from ._rasters import RasterSource
from ._text import tr
from ._training import NORMALISATIONS, PIXEL_ARCHITECTURES, block_size, epochs, patch_size, test_share

_NUMBERS = ("PATCH_SIZE", "EPOCHS", "BLOCK_SIZE", "SEEDS", "SAMPLE")
_OF_TRAINING = (
    "ARCHITECTURE", "PATCH_SIZE", "NORMALISATION", "EPOCHS", "TEST_SHARE", "BLOCK_SIZE", "SEEDS",
)  # fmt: skip


class CompareSensors(LabelledAlgorithm):
    """Compares networks that read one sensor each with one that reads them all."""

    ID = "comparesensors"
    GROUP = "explanation"
    FILES = ("SHARES_RASTER", "MODEL_FOLDER", "REPORT")
    TABLES = ("SHARES", "ACCURACY", "CORRELATION")

    def displayName(self) -> str:
        return tr("Compare sensors")

    def shortDescription(self) -> str:
        return tr(
            "Tells what one sensor adds to another: accuracy with each and with all, and which sensor's "
            "bands decide, per class and pixel."
        )

    def tags(self) -> list[str]:
        return [
            "explain", "explainability", "xai", "sensor", "fusion", "hyperspectral", "lidar", "vnir", "swir",
            "shapley", "integrated gradients", "accuracy",
        ]  # fmt: skip

    def group_title(self) -> str:
        return tr("Sensors on {scene}").format(scene=self.raster.name)

    def shortHelpString(self) -> str:
        return tr(
            "Compares networks that read one sensor each with one that reads them all. From LABELS they are "
            "trained here, several of each, with one split by spatial blocks; or give MODELS. INPUT is one "
            "raster that holds all bands, or a raster for each sensor: these are laid on one grid. The "
            "explained output is the logit of each pixel's class, by integrated gradients from the mean "
            "training spectrum. Of what changed when the other sensors joined, only that is claimed which "
            "lies beyond what changes between two seeds of one network.\n"
            "Outputs: A table of each sensor's share of the attribution per class, also per band, per nm and "
            "by Shapley values over whole sensors; a raster with a band per sensor, its share at each pixel; "
            "tables of the accuracy of every network and of how alike their band profiles are; a report; the "
            "trained model files.\n"
            "Example: qgis_process run explain:comparesensors --INPUT=stack.tif "
            '--SENSOR_BANDS="VNIR:1-72; SWIR:73-158" --LABELS=classes.tif --SHARES=shares.csv '
            "--ACCURACY=accuracy.csv --CORRELATION=profiles.csv --REPORT=report.html"
        )

    def _inputs(self) -> list:
        return [
            layers("INPUT", tr("Scene"), Qgis.ProcessingSourceType.Raster,
                   tr("One raster with the bands of all sensors, or a raster for each sensor.")),
            words("SENSOR_BANDS", tr("Bands of each sensor"),
                  tr("Sensors with their bands, such as VNIR:1-60; SWIR:61-140, or by wavelength, such as "
                     "VNIR:400-1000 nm; SWIR:1000-2500 nm. Several rasters are counted through in their "
                     "order. Empty: each raster is a sensor.")),
            *label_inputs(
                tr("Points or polygons with a class, in any CRS, or a raster of class numbers: to train "
                   "with, or with MODELS to judge them on.")
            ),
            layers("MODELS", tr("Model files"), Qgis.ProcessingSourceType.File,
                   tr("Two or more .safetensors files of pixel classifiers: of single sensors, and one of "
                      "all. Several of the same sensors are seeds. Empty: they are trained."),
                   optional=True),
            choice("ARCHITECTURE", tr("Architecture"), PIXEL_ARCHITECTURES, Job.architecture,
                   tr("'spectral_cnn' reads the spectrum of each pixel alone, the others a patch around "
                      "it.")),
            epochs(Job.epochs, tr("Most passes over the training pixels, of each network.")),
            whole("SEEDS", tr("Networks of each kind"), Job.seeds, 1, 100,
                  tr("How many networks of each sensor and of all are trained; two or more tell what changes "
                     "from one to the next, five tell it better.")),
            whole("SAMPLE", tr("Pixels to explain"), Job.sample, 1, 1000,
                  tr("How many pixels of each class are explained for the tables.")),
            extent(tr("Part of the scene to map shares of; without labels also where the pixels to explain "
                      "are. Empty: all.")),
            seed(),
        ]  # fmt: skip

    def _advanced(self) -> list:
        return [
            choice("RESAMPLING", tr("Resampling"), ("nearest", "average"), Job.resampling,
                   tr("How a raster is laid on another grid: 'nearest' takes its pixel that holds the "
                      "centre, so that coarse pixels are repeated; 'average' the mean of its pixels by "
                      "shared area."),
                   True),
            choice("GRID", tr("Grid"), ("finest", "coarsest", "first"), Job.grid,
                   tr("The raster whose grid all are laid on: that of the smallest pixels, of the largest, "
                      "or the first."), True),
            unlabelled_value(Job.unlabelled_value),
            patch_size(Job.patch_size, advanced=True),
            choice("NORMALISATION", tr("Normalisation"), NORMALISATIONS, Job.normalisation,
                   tr("'standard' centres and scales each band; 'per_pixel' divides each spectrum by its sum "
                      "first, over all sensors together; 'none' leaves values as they are."), True),
            test_share(Job.test_share,
                       tr("Fraction of the labelled pixels that is kept to judge and to explain.")),
            block_size(Job.block_size),
            device(),
            memory(),
        ]  # fmt: skip

    def _destinations(self) -> list:
        folder = QgsProcessingParameterFolderDestination(
            "MODEL_FOLDER", tr("Model folder"), optional=True, createByDefault=False
        )
        return [
            table("SHARES", tr("Shares"), tr("Table with a row per class and sensor.")),
            raster("SHARES_RASTER", tr("Shares per pixel"),
                   tr("A band per sensor: its share of the attribution at each pixel, by the first network "
                      "of all sensors.")),
            table("ACCURACY", tr("Accuracy"), tr("Table with a row per network and class.")),
            table("CORRELATION", tr("Band profiles compared"),
                  tr("Table with a row per class, network, sensor and metric.")),
            report(tr("Page with accuracy, shares, what changed, and the profiles as curves.")),
            described(folder, tr("Folder that takes the networks that were trained.")),
        ]  # fmt: skip

    def _results(self) -> list:
        return [
            QgsProcessingOutputNumber("OVERALL_ACCURACY", tr("Overall accuracy with all sensors")),
            QgsProcessingOutputNumber("BEST_SINGLE_ACCURACY", tr("Best accuracy with fewer")),
            QgsProcessingOutputNumber("ACCURACY_GAIN", tr("What all sensors gain")),
            QgsProcessingOutputNumber("FIRST_SENSOR_SHARE", tr("Share of the first sensor")),
            QgsProcessingOutputNumber("PIXELS", tr("Pixels explained")),
            QgsProcessingOutputNumber("CHANGES", tr("Classes and sensors that changed")),
        ]

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        prepared = super().prepareAlgorithm(parameters, context, feedback)
        given = self.parameterAsLayerList(parameters, "INPUT", context)
        self._scenes = [RasterSource.of(layer) for layer in given if isinstance(layer, QgsRasterLayer)]
        self.rasters["INPUT"] = self._scenes[0] if self._scenes else None
        return prepared

    def job(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        outputs: dict[str, Any],
    ) -> Job:
        models = self.paths("MODELS", parameters, context)
        if not models and is_empty(parameters.get("LABELS")):
            raise QgsProcessingException(tr("Give LABELS to train networks with, or MODELS to compare."))
        if models:
            for name in _OF_TRAINING:
                self.warn_unused(name, "MODELS", parameters, feedback)
        if self.chosen["ARCHITECTURE"] == "spectral_cnn" and not models:
            self.warn_unused("PATCH_SIZE", "ARCHITECTURE=spectral_cnn", parameters, feedback)
        labels = self.labels_if_given(parameters, context, feedback)
        if len(self._scenes) < 2:
            for name in ("RESAMPLING", "GRID"):
                self.warn_unused(name, tr("one raster"), parameters, feedback)
        return Job(
            scenes=tuple(source.path(context, feedback) for source in (self._scenes or [self.raster])),
            sensor_bands=self.text("SENSOR_BANDS", parameters, context) or "",
            models=tuple(models),
            extent=self.extent(parameters, context),
            **self.choices("RESAMPLING", "GRID", "ARCHITECTURE", "NORMALISATION"),
            **self.fractions(("TEST_SHARE",), parameters, context),
            **self.numbers(_NUMBERS, parameters, context),
            **labels,
            **self.common(parameters, context),
            **outputs,
        )
