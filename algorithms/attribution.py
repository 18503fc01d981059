"""explain:attribution: what each band contributed to a classifier's output, at pixels or in chips."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFolderDestination,
)

from ..engine.jobs import AttributionJob as Job
from ._chips import ChipAlgorithm, skip_unreadable
from ._choices import Rules
from ._destinations import raster, table
from ._explaining import (
    BASELINES,
    EXPLAINERS,
    READ_BY,
    TARGET_AND_BASELINE,
    baseline,
    grad_cam_layer,
    steps,
)
from ._features import export_features
from ._labels import unlabelled_value
from ._parameters import (
    chip_stride,
    choice,
    described,
    device,
    extent,
    folder,
    is_empty,
    mask,
    memory,
    merge,
    model_file,
    real,
    scene,
    seed,
    whole,
    words,
)
from ._parts import PARTS, DividedAlgorithm, parts
from ._reference import REFERENCE, ReferencedAlgorithm, target_or_reference
from ._series import SceneOrSeriesAlgorithm, series_dates, series_inputs
from ._text import tr

_NUMBERS = (
    "STEPS", "MAX_STEPS", "SAMPLES", "OCCLUSION_WINDOW", "OCCLUSION_BANDS", "OCCLUSION_STRIDE", "CHIP_STRIDE",
)  # fmt: skip
# gradient_shap has baselines of its own: spectra of the training pixels.
_WITH_BASELINE = (
    "integrated_gradients", "deeplift", "occlusion", "band_ablation", "band_shapley", "secant_contributions",
)  # fmt: skip


class Attribution(ChipAlgorithm, DividedAlgorithm, ReferencedAlgorithm, SceneOrSeriesAlgorithm):
    """Explains a classifier pixel by pixel, or chip by chip, and band by band."""

    ID = "attribution"
    GROUP = "explanation"
    FILES = ("CONTINUUM_PART", "ATTRIBUTION", "SALIENCY", "CHIP_FOLDER")
    TABLES = ("BAND_TABLE", "CHIP_TABLE")
    RULES = Rules(
        used_with={
            **TARGET_AND_BASELINE.used_with,
            "BASELINE": ("EXPLAINER", _WITH_BASELINE),
            "WAVELENGTHS": ("BASELINE", ("auto", "continuum")),
            "MAX_STEPS": ("EXPLAINER", ("integrated_gradients",)),
            "TOLERANCE": ("EXPLAINER", ("integrated_gradients",)),
            "SAMPLES": ("EXPLAINER", ("gradient_shap", "band_shapley")),
            **PARTS.used_with,
            **REFERENCE.used_with,
            "OCCLUSION_BANDS": ("EXPLAINER", ("occlusion",)),
            **{name: ("EXPLAINER", methods) for name, methods in READ_BY.items()},
        },
        needed_with={**TARGET_AND_BASELINE.needed_with, **PARTS.needed_with, **REFERENCE.needed_with},
    )

    def displayName(self) -> str:
        return tr("Explain a classifier (attribution)")

    def shortDescription(self) -> str:
        return tr("Maps how much each band contributed to a classifier's output at every pixel.")

    def tags(self) -> list[str]:
        return [
            "explain", "explainability", "xai", "attribution", "saliency", "integrated gradients", "shap",
            "deeplift", "occlusion", "band importance",
        ]  # fmt: skip

    def group_title(self) -> str:
        return tr("Explanation of {scene}").format(scene=self.source_name)

    def layer_title(self, output: str) -> str:
        return f"{super().layer_title(output)} ({self.chosen['EXPLAINER']}, {self.chosen['TARGET']})"

    def shortHelpString(self) -> str:
        return tr(
            "Explains a classifier: at every pixel, how much each band pushed the output for the "
            "target class up or down, against a baseline, which is the spectrum that stands for 'no "
            "evidence'. Contributions are signed and in the unit of the network's output (logits). "
            "What they do not add up to is the residual; it is written out, never hidden. For a scene "
            "classifier, chips are explained: those of the folder PATCHES, those in the polygons of MASK, or "
            "those that slide over INPUT; overlapping ones are averaged.\n"
            "Outputs: The attribution raster, one band per band of the scene; the saliency raster "
            "with total absolute contribution, signed sum and residual; the band table with mean, "
            "mean absolute, share and percentiles per class and band. Without the two rasters the "
            "table of integrated_gradients for a patch network is much faster: its means are of all "
            "pixels, the rest of 64 of each class. For chips also a table with a row for each, and of "
            "PATCHES a raster for each. MEAN_RESIDUAL is the mean absolute residual over the mean absolute "
            "output difference. With BASELINE continuum, the default for classifiers of spectra with "
            "wavelengths, attributions are what absorptions made; what level and slope of the spectra made "
            "is in two more columns of the band table and, per pixel, in CONTINUUM_PART; ABSORPTION_SHARE "
            "tells how much of the output is due to absorptions.\n"
            "Example: qgis_process run explain:attribution --INPUT=scene.tif "
            "--MODEL=model.safetensors --EXPLAINER=integrated_gradients --TARGET=predicted "
            "--BASELINE=auto --ATTRIBUTION=attribution.tif --SALIENCY=saliency.tif "
            "--BAND_TABLE=bands.csv"
        )

    def _inputs(self) -> list:
        return [
            scene(tr("Raster to explain, with the bands that the model was trained with. Either this, "
                     "SERIES or PATCHES."), optional=True),
            *series_inputs(trained=True),
            *series_dates(),
            folder("PATCHES", tr("Folder of chips"),
                   tr("For scene classifiers: folder of rasters, or of a sub-folder of rasters for each "
                      "class, to explain chip by chip.")),
            model_file(),
            choice("EXPLAINER", tr("Explainer"), EXPLAINERS, Job.explainer,
                   tr("The method. 'integrated_gradients' and 'deeplift' add up to the output difference; "
                      "'saliency' is the plain gradient; 'occlusion' and 'band_ablation' replace input by "
                      "the baseline; 'grad_cam' and 'guided_grad_cam' are for scene classifiers. "
                      "'secant_contributions' and, with the part of the biases, 'tangent_contributions' add "
                      "up exactly at every pixel, for U-Nets too.")),
            *target_or_reference(Job.target),
            *baseline(BASELINES, Job.baseline,
                      tr("The spectrum that stands for 'no evidence': 'zero', the 'mean' of the training "
                         "pixels, the mean of one class ('class_mean'), a given 'spectrum', or the "
                         "'continuum', each pixel's own upper hull, against which only absorptions count. "
                         "'auto' is the continuum for pixel and patch classifiers with wavelengths, else the "
                         "mean; the run record says which and why. "
                         "For scene classifiers also the mean of each chip itself ('chip_mean'), and that "
                         "with 'speckle'.")),
            extent(tr("Part of the scene to explain, in any CRS; empty: all of it.")),
            mask(tr("Polygons, in any CRS: only pixels whose centre lies inside one are explained, or by a "
                    "scene classifier the chips that fill them.")),
        ]  # fmt: skip

    def _advanced(self) -> list:
        return [
            unlabelled_value(Job.unlabelled_value),
            steps(Job.steps),
            words("WAVELENGTHS", tr("Wavelengths"),
                  tr("For BASELINE continuum or auto, where neither the scene nor the model tells them: "
                     "wavelengths in nm or µm between commas, one per band; or the path of a text or CSV "
                     "file with one per line."), True),
            whole("MAX_STEPS", tr("Most steps"), Job.max_steps, 2, 4096,
                  tr("Where STEPS is 0: the steps at which a pixel is given up; such pixels are counted "
                     "in UNSETTLED."),
                  True),
            real("TOLERANCE", tr("Tolerance (fraction)"), Job.tolerance, 1e-6, 1.0,
                 tr("Where STEPS is 0: the residual that a pixel may keep, as a fraction of its output "
                    "difference; 0.01 is 1 %."), True),
            whole("SAMPLES", tr("Samples"), Job.samples, 1, 100000,
                  tr("Training spectra to start from, drawn at random, for gradient_shap; orders of the "
                     "bands, every second one the reverse of the first, for band_shapley."), True),
            *parts(Job.parts),
            whole("OCCLUSION_WINDOW", tr("Occlusion window (pixels)"), Job.occlusion_window, 0, 999,
                  tr("Side of the square that occlusion replaces; 0: bands are replaced over the whole "
                     "patch."), True),
            whole("OCCLUSION_BANDS", tr("Occlusion bands"), Job.occlusion_bands, 0, 9999,
                  tr("Neighbouring bands, of a series dates, that occlusion replaces together; 0: all."),
                  True),
            whole("OCCLUSION_STRIDE", tr("Occlusion stride"), Job.occlusion_stride, 0, 9999,
                  tr("Bands, and pixels, between one replacement and the next; 0: as wide as what is "
                     "replaced."), True),
            grad_cam_layer(Job.layer),
            chip_stride(Job.chip_stride),
            merge(Job.merge),
            skip_unreadable(Job.skip_unreadable),
            seed(),
            device(),
            memory(),
        ]  # fmt: skip

    def _destinations(self) -> list:
        return [
            raster("ATTRIBUTION", tr("Attribution"),
                   tr("GeoTIFF with one band per band of the scene: its signed contribution.")),
            raster("SALIENCY", tr("Saliency"),
                   tr("GeoTIFF of total absolute contribution, signed sum and residual; of "
                      "secant_contributions, tangent_contributions and band_shapley also of the reference, "
                      "and of what comes from beyond the scene's edge or where it has no data.")),
            raster("CONTINUUM_PART", tr("Part of the continuum"),
                   tr("With BASELINE continuum: GeoTIFF with one band per band of the scene, what level and "
                      "slope of the spectrum contributed there. With the attribution it adds up to the "
                      "output less that of the mean training spectrum."), by_default=False),
            table("BAND_TABLE", tr("Band table"),
                  tr("Table per class and band: mean, mean absolute, share, 10th and 90th percentile, "
                     "pixels.")),
            table("CHIP_TABLE", tr("Chip table"),
                  tr("For scene classifiers: a row per chip with place, classes, outputs and residual."),
                  by_default=False),
            described(
                QgsProcessingParameterFolderDestination(
                    "CHIP_FOLDER", tr("Folder of attributions"), optional=True, createByDefault=False
                ),
                tr("For PATCHES: takes an attribution raster per chip, named as the chips are."),
            ),
        ]  # fmt: skip

    def _results(self) -> list:
        return [
            QgsProcessingOutputNumber("MEAN_RESIDUAL", tr("Mean residual")),
            QgsProcessingOutputNumber("PIXELS", tr("Explained pixels")),
            QgsProcessingOutputNumber("CHIPS", tr("Explained chips")),
            QgsProcessingOutputNumber("UNSETTLED", tr("Pixels or chips that did not settle")),
            QgsProcessingOutputNumber("ABSORPTION_SHARE", tr("Share that absorptions have in the output")),
        ]

    def job(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        outputs: dict[str, Any],
    ) -> Job:
        if self.chosen["EXPLAINER"] == "integrated_gradients" and self.parameterAsInt(
            parameters, "STEPS", context
        ):
            for name in ("MAX_STEPS", "TOLERANCE"):
                self.warn_unused(name, tr("a fixed number of STEPS"), parameters, feedback)
        return Job(
            **self._explained(parameters, context, feedback),
            model=self.model(parameters, context),
            explainer=self.chosen["EXPLAINER"],
            target=self.chosen["TARGET"],
            class_name=self.text("CLASS", parameters, context),
            contrast_class=self.text("CONTRAST_CLASS", parameters, context),
            baseline=self.chosen["BASELINE"],
            baseline_class=self.text("BASELINE_CLASS", parameters, context),
            baseline_spectrum=self.spectrum("BASELINE_SPECTRUM", parameters, context),
            wavelengths=self.spectrum("WAVELENGTHS", parameters, context),
            layer=self.chosen["GRAD_CAM_LAYER"],
            **self.reference(parameters, context, feedback),
            **self.parts(parameters, context, feedback),
            merge=self.chosen["MERGE"],
            table_only=not any(outputs.values()),
            **self.fractions(("TOLERANCE",), parameters, context),
            **self.numbers(_NUMBERS, parameters, context),
            **self.common(parameters, context),
            **outputs,
        )

    def _explained(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Return the job fields that say what is explained: a folder of chips, or a raster or parts of it."""
        choice_text = tr(
            "Give one of INPUT, a raster to explain, SERIES, rasters with dates, or PATCHES, a folder of "
            "chips."
        )
        if self.layers.given():
            if not (is_empty(parameters.get("INPUT")) and is_empty(parameters.get("PATCHES"))):
                raise QgsProcessingException(choice_text)
        else:
            self.take_patches(parameters, context, choice_text)
        if self.patches:
            if self.chosen["TARGET"] == "reference":
                raise QgsProcessingException(
                    tr("TARGET reference is of pixels; with PATCHES choose predicted, class or contrast.")
                )
            for name in ("EXTENT", "MASK"):
                self.warn_unused(name, "PATCHES", parameters, feedback)
            skip = self.switches(("SKIP_UNREADABLE",), parameters, context)
            return {"scene": None, "patches": self.patches, **skip}
        self.warn_unused("SKIP_UNREADABLE", "INPUT", parameters, feedback)
        if not is_empty(parameters.get("CHIP_FOLDER")):
            raise QgsProcessingException(
                tr("CHIP_FOLDER takes a raster per chip of PATCHES; leave it empty with INPUT.")
            )
        mask = None
        if polygons := self.sources["MASK"]:
            label = polygons.fields().lookupField("class")
            mask = export_features(
                polygons, self.raster, context, feedback, label if label >= 0 else None, keep_unlabelled=True
            )
        return {
            **self.scene_or_series(parameters, context, feedback),
            "extent": self.extent(parameters, context),
            "mask_features": mask,
        }
