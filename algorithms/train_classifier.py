"""explain:trainclassifier: a pixel, patch or segmentation network from labelled pixels."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingContext, QgsProcessingFeedback, QgsProcessingOutputNumber

from ..engine.jobs import TrainClassifierJob as Job
from ._choices import Rules
from ._destinations import check_model, model, report, table
from ._labels import LabelledAlgorithm, class_field_of, class_layer, label_inputs, unlabelled_value
from ._parameters import choice, device, memory, real, scene, seed, switch, whole
from ._series import SceneOrSeriesAlgorithm, series_choice, series_dates, series_inputs, series_values
from ._text import tr
from ._training import (
    NORMALISATIONS,
    PIXEL_ARCHITECTURES,
    block_size,
    epochs,
    patch_size,
    patience,
    test_share,
)

ARCHITECTURES = (*PIXEL_ARCHITECTURES, "unet")
SPLITS = ("blocks", "parcels", "random")
_NUMBERS = (
    "PATCH_SIZE", "COMPONENTS", "DEPTH", "FILTERS", "TILE_SIZE", "EPOCHS", "PATIENCE", "BATCH_SIZE",
    "BLOCK_SIZE",
)  # fmt: skip
_OF_A_UNET = ("DEPTH", "FILTERS", "TILE_SIZE", "BRIGHTNESS", "NORMALISATION_STRENGTH")
_FRACTIONS = ("LEARNING_RATE", "TEST_SHARE", "NORMALISATION_STRENGTH")


class TrainClassifier(SceneOrSeriesAlgorithm, LabelledAlgorithm):
    """Trains a classifier and says how well it does on pixels that it has not seen."""

    ID = "trainclassifier"
    GROUP = "classification"
    FILES = ("MODEL", "REPORT")
    TABLES = ("CONFUSION",)
    RULES = Rules(
        used_with={
            "PATCH_SIZE": ("ARCHITECTURE", ("spatial_cnn", "hybrid_cnn")),
            "COMPONENTS": ("ARCHITECTURE", ("hybrid_cnn",)),
            **dict.fromkeys(_OF_A_UNET, ("ARCHITECTURE", ("unet",))),
        }
    )

    def displayName(self) -> str:
        return tr("Train a classifier")

    def shortDescription(self) -> str:
        return tr(
            "Trains a neural network that classifies pixels, from labelled points, polygons or a class "
            "raster."
        )

    def tags(self) -> list[str]:
        return ["train", "classification", "deep learning", "cnn", "hyperspectral", "hybridsn", "supervised",
                "segmentation", "u-net", "time series", "crop"]  # fmt: skip

    def group_title(self) -> str:
        return tr("Training on {scene}").format(scene=self.source_name)

    def shortHelpString(self) -> str:
        return tr(
            "Trains a network that gives each pixel a class, from labelled points or polygons in any "
            "CRS, or from a class raster. Neighbouring pixels are alike, so the pixels that test the "
            "network are kept apart in blocks by default; a random split flatters it. The report "
            "shows both figures. Of a SERIES, the values of all channels on all dates are the bands, gaps "
            "filled in time; SPLIT parcels keeps fields whole.\n"
            "Outputs: One model file (.safetensors, nothing executable inside), the confusion table, "
            "an HTML report, and the overall accuracy, kappa, and mean and weighted intersection over union "
            "of the test pixels.\n"
            "Example: qgis_process run explain:trainclassifier --INPUT=scene.tif --LABELS=points.gpkg "
            "--LABEL_FIELD=class --ARCHITECTURE=spectral_cnn --MODEL=model.safetensors "
            "--CONFUSION=confusion.csv --REPORT=report.html"
        )

    def _inputs(self) -> list:
        return [
            scene(tr("Raster to learn from; all its bands are used, except those that its header marks as "
                     "bad. Either this or SERIES."), optional=True),
            *series_inputs(trained=False),
            *series_dates(),
            *label_inputs(tr("Points or polygons with a class, in any CRS, or a raster of class numbers."),
                          optional=False),
            choice("ARCHITECTURE", tr("Architecture"), ARCHITECTURES, Job.architecture,
                   tr("'spectral_cnn' reads the spectrum of each pixel alone; 'spatial_cnn' a patch "
                      "around it; 'hybrid_cnn' a patch with spectral and spatial convolutions, as "
                      "HybridSN; 'unet' is a U-Net, which classifies all pixels of a window at once.")),
            patch_size(Job.patch_size),
            choice("NORMALISATION", tr("Normalisation"), NORMALISATIONS, Job.normalisation,
                   tr("'standard' centres and scales each band, 'per_pixel' divides each spectrum by its "
                      "sum, 'none' leaves values as they are.")),
            epochs(Job.epochs),
            test_share(Job.test_share,
                       tr("Fraction of the labelled pixels that is kept for the test; not used with "
                          "TEST_LABELS."), False),
            seed(),
        ]  # fmt: skip

    def _advanced(self) -> list:
        return [
            *series_choice(advanced=True),
            *series_values(Job.values, Job.calibration, advanced=True),
            unlabelled_value(Job.unlabelled_value),
            whole("COMPONENTS", tr("Principal components"), Job.components, 1, 1000,
                  tr("Principal components that hybrid_cnn reduces the bands to."), True),
            whole("DEPTH", tr("Depth"), Job.depth, 1, 7,
                  tr("How often a unet halves its maps. One more lets it see twice as far."), True),
            whole("FILTERS", tr("Filters"), Job.filters, 1, 1024,
                  tr("Maps of a unet at full resolution; each level below has twice as many."), True),
            whole("TILE_SIZE", tr("Tile size (pixels)"), Job.tile_size, 2, 4096,
                  tr("Side of the crops that a unet is trained on; with DEPTH 3 a multiple of 8, 4 of 16, "
                     "and so on."), True),
            switch("BRIGHTNESS", tr("Brightness as a band"), Job.brightness,
                   tr("Gives a unet with NORMALISATION=per_pixel the logarithm of each spectrum's sum as one "
                      "more band."), True),
            real("NORMALISATION_STRENGTH", tr("Normalisation strength"), Job.normalisation_strength, 0.0, 1.0,
                 tr("Power of the sum that a unet with NORMALISATION=per_pixel divides each spectrum by: 1 "
                    "takes all brightness away, 0 leaves it."), True),
            patience(Job.patience),
            real("LEARNING_RATE", tr("Learning rate"), Job.learning_rate, 1e-7, 1.0,
                 tr("Size of a training step."), True),
            whole("BATCH_SIZE", tr("Batch size"), Job.batch_size, 0, 65536,
                  tr("Pixels per training step, of a unet tiles; 0: 64 pixels, or 4 tiles."), True),
            switch("CLASS_WEIGHTS", tr("Weigh classes by rarity"), Job.class_weights,
                   tr("Lets rare classes count for more: by one over the root of their pixels' number, in a "
                      "unet by one over their number."),
                   True),
            choice("SPLIT", tr("Split"), SPLITS, Job.split,
                   tr("How test pixels are chosen: by spatial 'blocks'; by whole 'parcels', which are "
                      "polygons, or patches of one class where labels are points or a raster; or at "
                      "'random', which flatters the network."),
                   True),
            block_size(Job.block_size),
            class_layer("TEST_LABELS", tr("Test labels"),
                        tr("Labels that only test, of the same classes; LABELS then only train."),
                        advanced=True),
            class_field_of("TEST_LABELS", "TEST_LABEL_FIELD", tr("Test label field"),
                           tr("Field that holds the class; needed where TEST_LABELS are vectors."), True),
            switch("COMPARE_SPLITS", tr("Compare splits"), Job.compare_splits,
                   tr("Trains a second time with the other split, so that the report shows both figures; "
                      "takes twice the time."), True),
            device(),
            memory(),
        ]  # fmt: skip

    def _destinations(self) -> list:
        return [
            model(tr("The trained network with its card: bands, wavelengths, classes and training record.")),
            table("CONFUSION", tr("Confusion"),
                  tr("Table of the test pixels: a row per reference class, a column per predicted class.")),
            report(tr("Page with accuracy by block and by random split, confusion, and recall per class.")),
        ]  # fmt: skip

    def _results(self) -> list:
        return [
            QgsProcessingOutputNumber("OVERALL_ACCURACY", tr("Overall accuracy")),
            QgsProcessingOutputNumber("KAPPA", tr("Kappa")),
            QgsProcessingOutputNumber("MEAN_IOU", tr("Mean intersection over union")),
            QgsProcessingOutputNumber("GLOBAL_IOU", tr("Global intersection over union")),
            QgsProcessingOutputNumber("WEIGHTED_IOU", tr("Intersection over union weighted by class")),
        ]

    def job(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        outputs: dict[str, Any],
    ) -> Job:
        check_model(outputs["model"])
        switches = self.switches(("COMPARE_SPLITS", "CLASS_WEIGHTS", "BRIGHTNESS"), parameters, context)
        tests = self.label_sources["TEST_LABELS"].fields_if_given("test_label", parameters, context, feedback)
        if self.chosen["NORMALISATION"] != "per_pixel" and self.chosen["ARCHITECTURE"] == "unet":
            reason = f"NORMALISATION={self.chosen['NORMALISATION']}"
            for name in ("BRIGHTNESS", "NORMALISATION_STRENGTH"):
                self.warn_unused(name, reason, parameters, feedback)
        if tests:
            for name in ("SPLIT", "TEST_SHARE", "BLOCK_SIZE", "COMPARE_SPLITS"):
                self.warn_unused(name, "TEST_LABELS", parameters, feedback)
        elif not self._blocks(switches["compare_splits"]):
            self.warn_unused("BLOCK_SIZE", f"SPLIT={self.chosen['SPLIT']}", parameters, feedback)
        return Job(
            **self._learnt_from(parameters, context, feedback),
            **self.choices("ARCHITECTURE", "NORMALISATION", "SPLIT"),
            **switches,
            **self.numbers(_NUMBERS, parameters, context),
            **self.fractions(_FRACTIONS, parameters, context),
            **self.labels(parameters, context, feedback),
            **tests,
            **self.common(parameters, context),
            **outputs,
        )

    def _blocks(self, compare: bool) -> bool:
        """Tell whether pixels are split by blocks, in comparison at least."""
        return self.chosen["SPLIT"] == "blocks" or (compare and self.chosen["SPLIT"] == "random")

    def _learnt_from(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Return the job fields of INPUT, or of SERIES with what its numbers are."""
        found = self.scene_or_series(parameters, context, feedback)
        if not found["series"]:
            return found
        return found | self.choices("VALUES") | self.fractions(("CALIBRATION",), parameters, context)
