"""explain:evaluateexplainers: which explainer to trust, scored on a sample of chips or labelled pixels."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    Qgis,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
)

from ..engine.jobs import EvaluateExplainersJob as Job
from . import _explaining
from ._chips import LabelledChipAlgorithm, skip_unreadable
from ._destinations import picture, report, table
from ._explaining import OWN_BASELINES, READ_BY, grad_cam_layer, steps
from ._features import export_features
from ._labels import label_inputs, unlabelled_value
from ._parameters import (
    choice,
    choices,
    device,
    folder,
    layers,
    mask,
    memory,
    real,
    scene,
    seed,
    whole,
)
from ._text import tr

# Those of Su et al. 2022.
DEFAULT_EXPLAINERS = (
    "saliency", "input_x_gradient", "integrated_gradients", "guided_backpropagation", "deconvolution",
    "grad_cam", "guided_grad_cam", "occlusion",
)  # fmt: skip
EXPLAINERS = tuple(dict.fromkeys((*DEFAULT_EXPLAINERS, *_explaining.EXPLAINERS)))
_NUMBERS = (
    "CHIPS", "SAMPLES", "STEPS", "SEGMENTS", "OCCLUSION_WINDOW", "OCCLUSION_STRIDE", "RANDOMISED_CHIPS",
)  # fmt: skip


class EvaluateExplainers(LabelledChipAlgorithm):
    """Scores explainers of one model or several, and ranks them."""

    ID = "evaluateexplainers"
    GROUP = "explanation"
    FILES = ("MONTAGE", "REPORT")
    TABLES = ("METRICS",)

    def displayName(self) -> str:
        return tr("Evaluate explainers")

    def shortDescription(self) -> str:
        return tr("Scores and ranks explainers on your own chips or labelled pixels: which one to trust.")

    def tags(self) -> list[str]:
        return [
            "explain", "explainability", "xai", "evaluation", "sensitivity", "infidelity", "faithfulness",
            "ranking", "saliency", "grad-cam", "occlusion", "sar",
        ]  # fmt: skip

    def group_title(self) -> str:
        return tr("Explainers on {scene}").format(scene=self.source_name)

    def shortHelpString(self) -> str:
        return tr(
            "Scores explainers on a sample of chips (scene classifiers) or of labelled pixels (pixel "
            "classifiers and U-Nets), for one model or several, such as one per polarisation. Robustness: "
            "Max-Sensitivity, and sensitivity to speckle. Faithfulness: infidelity, deletion, insertion, "
            "completeness. Randomisation of the network's weights. Complexity: size of the picture (XAI "
            "entropy), sparsity. Localisation, where masks say where the evidence is. Means come with "
            "bootstrap intervals, and explainers that can't be told apart are named.\n"
            "Outputs: The table of scores, a row per model and explainer; a montage of example chips with "
            "all maps; an HTML report with ranking, tables and settings.\n"
            "Example: qgis_process run explain:evaluateexplainers --PATCHES=chips/test "
            "--MODEL=model.safetensors --EXPLAINERS=saliency,grad_cam,occlusion --CHIPS=50 "
            "--METRICS=metrics.csv --MONTAGE=montage.png --REPORT=report.html"
        )

    def _inputs(self) -> list:
        return [
            folder("PATCHES", tr("Folder of chips"),
                   tr("Folder with a sub-folder of rasters for each class, or with rasters alone. Either "
                      "this or a scene with labels.")),
            scene(tr("Raster to cut chips from, or whose labelled pixels are explained."), optional=True),
            *label_inputs(
                tr("Where the chips or the pixels of the scene are, in any CRS: points, polygons or a class "
                   "raster."),
                field_help=tr("Field that holds the class; needed for pixels. Chips may go without."),
            ),
            layers("MODEL", tr("Model files"), Qgis.ProcessingSourceType.File,
                   tr("One or more .safetensors files that a training algorithm of this plugin wrote, all "
                      "of scene classifiers or all of pixel classifiers.")),
            choices("EXPLAINERS", tr("Explainers"), EXPLAINERS, DEFAULT_EXPLAINERS,
                    tr("The methods to score. Each must serve all models; pixel classifiers have no "
                       "grad_cam, scene classifiers no deeplift, U-Nets neither, and no occlusion.")),
            folder("MASKS", tr("Folder of masks"),
                   tr("With a folder of chips: rasters of the same names in the same sub-folders, not 0 "
                      "where the evidence is.")),
            mask(tr("With a scene: polygons, in any CRS, around the evidence.")),
            whole("CHIPS", tr("Chips"), Job.chips, 1, 100000,
                  tr("How many chips or pixels to draw, from all classes in turn.")),
            real("RADIUS", tr("Radius"), Job.radius, 1e-6, 1000,
                 tr("How far Max-Sensitivity changes each pixel, at the network's input: chips are scaled to "
                    "0 to 1, pixels counted in standard deviations. The report gives decibels too.")),
            whole("SAMPLES", tr("Samples"), Job.samples, 1, 10000,
                  tr("Random changes of each chip, and as many of its speckle.")),
            seed(),
        ]  # fmt: skip

    def _advanced(self) -> list:
        return [
            unlabelled_value(Job.unlabelled_value),
            real("SPECKLE_LOOKS", tr("Looks of the speckle"), Job.speckle_looks, 0, 10000,
                 tr("Speckle added to chips is that of so many looks; fewer are rougher. 0: none is added."),
                 True),
            steps(Job.steps),
            whole("SEGMENTS", tr("Secant segments"), Job.segments, 0, 4096,
                  tr("Chips: secants that integrated_gradients takes along the path in place of STEPS; 16 "
                     "are about as exact as 50 steps, in half the time. 0: STEPS."), True),
            choice("BASELINE", tr("Baseline"), OWN_BASELINES, Job.baseline,
                   tr("What stands for 'no evidence', also where parts are removed: 'zero' (of chips the "
                      "lower clip limit), the 'mean' of the training, for chips also their own mean "
                      "('chip_mean') or that with speckle ('speckle')."), True),
            grad_cam_layer(Job.layer),
            whole("OCCLUSION_WINDOW", tr("Occlusion window (pixels)"), Job.occlusion_window, 1, 999,
                  tr("Side of the square that occlusion replaces in chips."), True),
            whole("OCCLUSION_STRIDE", tr("Occlusion stride (pixels)"), Job.occlusion_stride, 1, 999,
                  tr("From one square to the next."), True),
            real("BRIGHT_SHARE", tr("Bright share"), Job.bright_share, 1e-4, 0.9,
                 tr("Share of a chip's pixels, the brightest, that count as its bright return."), True),
            whole("RANDOMISED_CHIPS", tr("Chips for the randomisation"), Job.randomised_chips, 0, 100000,
                  tr("How many chips are explained again with randomised weights, once per stage of the "
                     "network; 0: none."), True),
            skip_unreadable(Job.skip_unreadable),
            device(),
            memory(),
        ]  # fmt: skip

    def _destinations(self) -> list:
        return [
            table("METRICS", tr("Metrics"),
                  tr("Table with a row per model and explainer: place, points, scores with intervals.")),
            picture("MONTAGE", tr("Montage"),
                    tr("Picture of chips of different classes with the map of every explainer.")),
            report(tr("Page with ranking, tables, montage and settings, to read or to print.")),
        ]  # fmt: skip

    def job(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        outputs: dict[str, Any],
    ) -> Job:
        models = self.paths("MODEL", parameters, context)
        if not models:
            raise QgsProcessingException(tr("MODEL is missing: choose one or more model files."))
        for name, methods in READ_BY.items():
            if not set(methods) & set(self.several["EXPLAINERS"]):
                self.warn_unused(name, tr("these EXPLAINERS"), parameters, feedback)
        return Job(
            models=models,
            explainers=self.several["EXPLAINERS"],
            baseline=self.chosen["BASELINE"],
            layer=self.chosen["GRAD_CAM_LAYER"],
            **self.switches(("SKIP_UNREADABLE",), parameters, context),
            **self.numbers(_NUMBERS, parameters, context),
            **self.fractions(("RADIUS", "SPECKLE_LOOKS", "BRIGHT_SHARE"), parameters, context),
            **self._chips(parameters, context, feedback),
            **self.common(parameters, context),
            **outputs,
        )

    def _chips(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Return the job fields of the chips and of their masks: from folders, or on a scene."""
        self.take_labelled(parameters, context, feedback)
        if self.patches:
            self.warn_unused("MASK", "PATCHES", parameters, feedback)
            return {"patches": self.patches, "masks": self.path("MASKS", parameters, context)}
        for name in ("SKIP_UNREADABLE", "MASKS"):
            self.warn_unused(name, "INPUT", parameters, feedback)
        return {
            "scene": self.scene(context, feedback),
            "mask_features": self.mask_features(context, feedback),
            **self._label_fields(parameters, context, feedback),
        }

    def _label_fields(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Return the job fields of the labels; chips need no class."""
        features = self.label_sources["LABELS"].features
        if features is None or self.text("LABEL_FIELD", parameters, context):
            return self.labels(parameters, context, feedback)
        return {"label_features": export_features(features, self.raster, context, feedback)}
