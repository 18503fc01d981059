"""explain:segmentationcontributions: what the last channels gave each pixel, and which explainers add up."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingContext, QgsProcessingFeedback, QgsProcessingOutputNumber

from ..engine.jobs import SegmentationContributionsJob as Job
from ._destinations import points, raster, table
from ._explaining import SPECTRA, TARGET_AND_BASELINE, baseline, target
from ._labels import LabelledAlgorithm, label_inputs, unlabelled_value
from ._parameters import (
    choice,
    choices,
    device,
    extent,
    memory,
    model_file,
    optional_model,
    scene,
    seed,
    whole,
)
from ._text import tr

METHODS = (
    "last_layer", "secant_contributions", "tangent_contributions", "band_shapley", "input_x_gradient",
    "integrated_gradients", "seg_grad_cam", "grad_cam",
)  # fmt: skip
_NUMBERS = ("AUDIT_PIXELS", "AUDIT_ERRORS", "STEPS", "SAMPLES")


class SegmentationContributions(LabelledAlgorithm):
    """Divides a segmentation network's logits among its last channels, and audits explainers on it."""

    ID = "segmentationcontributions"
    GROUP = "explanation"
    FILES = ("CAMS", "EVIDENCE", "CONTRIBUTIONS")
    TABLES = ("AUDIT", "CHANNELS", "EVIDENCE_TABLE", "CORRELATION", "WORST_PIXELS")
    RULES = TARGET_AND_BASELINE

    def displayName(self) -> str:
        return tr("Audit a segmentation (contributions)")

    def shortDescription(self) -> str:
        return tr(
            "Divides each pixel's output among a U-Net's last channels, and grades explainers by how exactly "
            "they add up."
        )

    def tags(self) -> list[str]:
        return [
            "explain", "explainability", "xai", "segmentation", "u-net", "conservative", "contributions",
            "audit", "seg-grad-cam", "grad-cam", "channels",
        ]  # fmt: skip

    def group_title(self) -> str:
        return tr("Segmentation of {scene}").format(scene=self.raster.name)

    def shortHelpString(self) -> str:
        return tr(
            "The last layer of a U-Net adds up channels of features, so that what each channel gave to "
            "each pixel's output is known exactly. This algorithm maps it, sums it up by class, and shows "
            "how much evidence for other classes each class carries. It then audits explainers on a sample "
            "of pixels: does what they give add up to the output? Grade A: exactly; B: nearly; C: no.\n"
            "Outputs: The contribution raster, a band per channel and one for the bias, which add up to the "
            "target's output; the share of evidence for other classes, per pixel and as a table; heat maps "
            "of Grad-CAM and Seg-Grad-CAM for comparison; the audit, with the worst pixels as points; the "
            "channels by class; the correlation with the channels of another model. MAX_RESIDUAL is the "
            "largest error of the contribution raster's sum, relative to the output.\n"
            "Example: qgis_process run explain:segmentationcontributions --INPUT=scene.tif "
            "--MODEL=unet.safetensors --TARGET=predicted --LABELS=labels.tif "
            "--CONTRIBUTIONS=contributions.tif --EVIDENCE=evidence.tif --AUDIT=audit.csv "
            "--CHANNELS=channels.csv --WORST_PIXELS=worst.gpkg"
        )

    def _inputs(self) -> list:
        return [
            scene(tr("Raster to explain, with the bands that the model was trained with.")),
            model_file(),
            *target(Job.target),
            *label_inputs(
                tr("What is true, where it is known: points or polygons with a class, in any CRS, or a "
                   "raster of class numbers. Without, the predicted class counts as true.")
            ),
            optional_model("OTHER_MODEL", tr("Other model file"),
                           tr("A second U-Net for the same bands: its last channels are correlated with "
                              "those of the first, and those that only one of the two has are named.")),
            choices("METHODS", tr("Methods to audit"), METHODS, Job.methods,
                    tr("The methods whose sums are checked. 'integrated_gradients' takes STEPS passes over a "
                       "window for every pixel, 'band_shapley' a pass for every band and sample.")),
            *baseline(SPECTRA, Job.baseline,
                      tr("The spectrum that stands for 'no evidence' in the audited methods: 'zero', the "
                         "'mean' of the training pixels, the mean of one class ('class_mean'), or a given "
                         "'spectrum'.")),
            extent(tr("Part of the scene to explain, in any CRS; empty: all of it.")),
        ]  # fmt: skip

    def _advanced(self) -> list:
        return [
            unlabelled_value(Job.unlabelled_value),
            choice("CAM_LAYER", tr("Layer of the heat maps"), ("bottom", "features"), Job.cam_layer,
                   tr("Maps that Grad-CAM and Seg-Grad-CAM weigh: the coarsest of the network, or those that "
                      "its last layer reads."), True),
            whole("AUDIT_PIXELS", tr("Audited pixels"), Job.audit_pixels, 1, 100000,
                  tr("How many pixels to audit, labelled ones where there are labels, drawn at random."),
                  True),
            whole("AUDIT_ERRORS", tr("Audited errors"), Job.audit_errors, 0, 100000,
                  tr("How many wrongly classified pixels to audit beside them; they need LABELS."), True),
            whole("STEPS", tr("Steps"), Job.steps, 1, 4096,
                  tr("Steps along the path of the audited integrated_gradients."), True),
            whole("SAMPLES", tr("Samples"), Job.samples, 1, 100000,
                  tr("Orders of the bands that the audited band_shapley goes through; every second one is "
                     "the reverse of the one before."), True),
            seed(),
            device(),
            memory(),
        ]  # fmt: skip

    def _destinations(self) -> list:
        return [
            raster("CONTRIBUTIONS", tr("Contributions"),
                   tr("GeoTIFF with a band per channel of the last features and one for the bias.")),
            raster("EVIDENCE", tr("Evidence for other classes"),
                   tr("GeoTIFF of the share of each pixel's positive contributions that speak for other "
                      "classes than the true one, and of which class that is most.")),
            raster("CAMS", tr("Heat maps"),
                   tr("GeoTIFF of Seg-Grad-CAM and Grad-CAM for every class, to compare with."),
                   by_default=False),
            table("AUDIT", tr("Audit"),
                  tr("Table with a row per method: grade, residuals, shares of bias and reference, "
                     "cancellation, leakage, seconds and memory.")),
            table("CHANNELS", tr("Channels"),
                  tr("Table per true class, class and channel: mean contribution, mean activation.")),
            table("EVIDENCE_TABLE", tr("Table of evidence"),
                  tr("Table per true class and class: the class's share of the evidence.")),
            table("CORRELATION", tr("Correlation of channels"),
                  tr("Table per channel of both models: the channels that match best, and how well."),
                  by_default=False),
            points("WORST_PIXELS", tr("Worst pixels"),
                   tr("Points where an audited method's sum is farthest from the output.")),
        ]  # fmt: skip

    def _results(self) -> list:
        return [
            QgsProcessingOutputNumber("MAX_RESIDUAL", tr("Largest relative residual")),
            QgsProcessingOutputNumber("PIXELS", tr("Pixels")),
            QgsProcessingOutputNumber("SPURIOUS_SHARE", tr("Share of evidence for other classes")),
        ]

    def job(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        outputs: dict[str, Any],
    ) -> Job:
        for name, method in (("STEPS", "integrated_gradients"), ("SAMPLES", "band_shapley")):
            if method not in self.several["METHODS"]:
                self.warn_unused(name, tr("these METHODS"), parameters, feedback)
        labels = self.labels_if_given(parameters, context, feedback)
        if not labels:
            self.warn_unused("AUDIT_ERRORS", tr("no LABELS"), parameters, feedback)
        return Job(
            scene=self.scene(context, feedback),
            model=self.model(parameters, context),
            other_model=self.path("OTHER_MODEL", parameters, context),
            methods=tuple(self.several["METHODS"]),
            class_name=self.text("CLASS", parameters, context),
            contrast_class=self.text("CONTRAST_CLASS", parameters, context),
            baseline_class=self.text("BASELINE_CLASS", parameters, context),
            baseline_spectrum=self.spectrum("BASELINE_SPECTRUM", parameters, context),
            extent=self.extent(parameters, context),
            **labels,
            **self.choices("CAM_LAYER", "TARGET", "BASELINE"),
            **self.numbers(_NUMBERS, parameters, context),
            **self.common(parameters, context),
            **outputs,
        )
