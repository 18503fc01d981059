"""explain:trainsceneclassifier: classifiers of whole chips from folders or from a labelled scene."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
)

from ..engine.jobs import TrainSceneClassifierJob as Job
from ._chips import LabelledChipAlgorithm, skip_unreadable
from ._choices import Rules
from ._destinations import check_model, model, report, table
from ._labels import label_inputs, unlabelled_value
from ._parameters import choice, device, folder, memory, real, scene, seed, switch, whole, words
from ._text import tr
from ._training import epochs, test_share

ARCHITECTURES = ("resnet18", "resnet50", "resnet101")
VALUES = ("as_is", "power", "amplitude", "db")
SPECKLE_FILTERS = ("none", "boxcar", "lee")
AUGMENTATIONS = ("none", "shift", "shift_flip", "shift_flip_rotate")
SCHEDULES = ("cosine", "one_cycle", "step", "constant")


class TrainSceneClassifier(LabelledChipAlgorithm):
    """Trains classifiers of chips and says how well they do on chips that they have not seen."""

    ID = "trainsceneclassifier"
    GROUP = "classification"
    FILES = ("MODEL", "REPORT")
    TABLES = ("CONFUSION",)
    RULES = Rules(used_with={"LOOKS": ("SPECKLE_FILTER", ("lee",))})

    def displayName(self) -> str:
        return tr("Train a scene classifier")

    def shortDescription(self) -> str:
        return tr(
            "Trains a residual network that gives whole chips a class, from a folder of chips or from a "
            "labelled scene."
        )

    def tags(self) -> list[str]:
        return ["train", "classification", "deep learning", "resnet", "sar", "radar", "chips", "target"]

    def group_title(self) -> str:
        return tr("Training on {scene}").format(scene=self.source_name)

    def shortHelpString(self) -> str:
        return tr(
            "Trains a residual network (ResNet) that gives a chip, a small square image, one class. The "
            "chips are the rasters of PATCHES, a folder with a sub-folder for each class, or are cut from "
            "INPUT where LABELS say. The defaults suit radar chips: VALUES says what their numbers are; "
            "power and amplitude go to decibels. BAND=each trains a model for each polarisation on the "
            "same chips.\n"
            "Outputs: A model file per model (.safetensors, nothing executable inside), the confusion table "
            "and an HTML report of the test chips, and their overall accuracy.\n"
            "Example: qgis_process run explain:trainsceneclassifier --PATCHES=chips/train "
            "--TEST_PATCHES=chips/test --PATCH_SIZE=64 --VALUES=amplitude --MODEL=model.safetensors "
            "--CONFUSION=confusion.csv --REPORT=report.html"
        )

    def _inputs(self) -> list:
        return [
            folder("PATCHES", tr("Folder of chips"),
                   tr("Folder with a sub-folder of rasters for each class. Either this or a scene with "
                      "labels.")),
            folder("TEST_PATCHES", tr("Folder of test chips"),
                   tr("The same for chips that only test. Empty: a part of the chips tests.")),
            scene(tr("Raster to cut chips from."), optional=True),
            *label_inputs(
                tr("Where the chips of the scene are, in any CRS: around points, side by side in polygons, "
                   "or where a class raster has one class on seven tenths of a chip.")
            ),
            words("BAND", tr("Band"),
                  tr("Number or name of the band to read, such as VV. 'each' trains a model for each band. "
                     "Empty: one model reads all.")),
            choice("ARCHITECTURE", tr("Architecture"), ARCHITECTURES, Job.architecture,
                   tr("'resnet18' suits hundreds to thousands of chips; the larger ones take 3 to 6 times as "
                      "long.")),
            whole("PATCH_SIZE", tr("Chip size (pixels)"), Job.patch_size, 0, 4096,
                  tr("Side of the chips, 16 or more. Of a larger raster of a folder the middle is used. 0: "
                     "the size that all rasters of the folder have.")),
            choice("VALUES", tr("Values"), VALUES, Job.values,
                   tr("What the stored numbers are. 'power' (intensity, sigma or gamma nought) and "
                      "'amplitude' go to decibels; 'db' is in decibels; 'as_is' is read as it is.")),
            epochs(Job.epochs, tr("Passes over the training chips.")),
            test_share(Job.test_share, tr("Fraction of the chips that is kept for the test."), False),
            seed(),
        ]  # fmt: skip

    def _advanced(self) -> list:
        return [
            unlabelled_value(Job.unlabelled_value),
            words("CLIP", tr("Clip"),
                  tr("Values that become 0 and 1, in decibels where VALUES leads there: low,high for all "
                     "bands, or for each as in -25,5;-32,0. Empty: percentiles 1 and 99 of training chips."),
                  True),
            choice("SPECKLE_FILTER", tr("Speckle filter"), SPECKLE_FILTERS, Job.speckle_filter,
                   tr("Filter of 5 x 5 pixels before the network. It is part of the model, and of what is "
                      "explained."), True),
            real("LOOKS", tr("Looks"), Job.looks, 0.1, 10000,
                 tr("Equivalent number of looks, for the Lee filter."), True),
            choice("AUGMENTATION", tr("Augmentation"), AUGMENTATIONS, Job.augmentation,
                   tr("How training chips are changed at random: shifted by up to a sixteenth of their side; "
                      "flipped upside down, along the azimuth of most radar images; and flipped and turned "
                      "any way, for optical images only."), True),
            real("LEARNING_RATE", tr("Learning rate"), Job.learning_rate, 1e-7, 1.0,
                 tr("Largest step of the training."), True),
            choice("SCHEDULE", tr("Schedule"), SCHEDULES, Job.schedule,
                   tr("How the step changes over the epochs, after a rise."), True),
            whole("BATCH_SIZE", tr("Batch size"), Job.batch_size, 2, 65536,
                  tr("Chips per training step."), True),
            switch("CLASS_WEIGHTS", tr("Balance classes"), Job.class_weights,
                   tr("Shows chips of all classes equally often, so that rare classes count as much."), True),
            skip_unreadable(Job.skip_unreadable),
            device(),
            memory(),
        ]  # fmt: skip

    def _destinations(self) -> list:
        return [
            model(tr("The trained network with its card. With BAND=each a file per band, with the band's "
                     "name before the ending.")),
            table("CONFUSION", tr("Confusion"),
                  tr("Table of the test chips: a row per model and reference class, a column per predicted "
                     "class.")),
            report(tr("Page with accuracy, confusion and figures per class, and how the chips were "
                      "prepared.")),
        ]  # fmt: skip

    def _results(self) -> list:
        return [
            QgsProcessingOutputString("MODELS", tr("Model files")),
            QgsProcessingOutputNumber("OVERALL_ACCURACY", tr("Overall accuracy")),
            QgsProcessingOutputNumber("BALANCED_ACCURACY", tr("Balanced accuracy")),
            QgsProcessingOutputNumber("KAPPA", tr("Kappa")),
        ]

    def job(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        outputs: dict[str, Any],
    ) -> Job:
        check_model(outputs["model"])
        if self.text("TEST_PATCHES", parameters, context):
            self.warn_unused("TEST_SHARE", "TEST_PATCHES", parameters, feedback)
        return Job(
            **self.choices("ARCHITECTURE", "VALUES", "SPECKLE_FILTER", "AUGMENTATION", "SCHEDULE"),
            **self.numbers(("PATCH_SIZE", "EPOCHS", "BATCH_SIZE"), parameters, context),
            **self.fractions(("LOOKS", "LEARNING_RATE", "TEST_SHARE"), parameters, context),
            **self.switches(("CLASS_WEIGHTS", "SKIP_UNREADABLE"), parameters, context),
            band=self.text("BAND", parameters, context) or "",
            clip=_limits(self.text("CLIP", parameters, context)),
            **self._chips(parameters, context, feedback),
            **self.common(parameters, context),
            **outputs,
        )

    def _chips(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Return the job fields that say where the chips come from: a folder, or a scene with labels."""
        self.take_labelled(parameters, context, feedback)
        test_patches = self.path("TEST_PATCHES", parameters, context)
        if self.patches:
            return {"patches": self.patches, "test_patches": test_patches}
        if not test_patches:
            self.warn_unused("SKIP_UNREADABLE", "INPUT", parameters, feedback)
        return {
            "scene": self.scene(context, feedback),
            "test_patches": test_patches,
            **self.labels(parameters, context, feedback),
        }


def _limits(text: str | None) -> list[float] | None:
    """Return the numbers of CLIP, low and high in turn, None where it is empty."""
    if text is None:
        return None
    try:
        pairs = [[float(number) for number in pair.split(",")] for pair in text.split(";")]
    except ValueError:
        pairs = [[]]
    if any(len(pair) != 2 for pair in pairs):
        raise QgsProcessingException(
            tr("CLIP is '{value}'; write low,high, or low,high;low,high for several bands.").format(
                value=text
            )
        )
    return [number for pair in pairs for number in pair]
