"""explain:misclassifications: where a model or a map errs, what the errors may be, where to look first."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    Qgis,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
)

from ..engine.jobs import MisclassificationsJob as Job
from ._destinations import features, report, table
from ._explaining import EXPLAINERS
from ._labels import LabelledAlgorithm, class_field_of, class_layer, unlabelled_value
from ._parameters import (
    choice,
    device,
    extent,
    memory,
    optional_model,
    optional_raster,
    scene,
    seed,
    whole,
)
from ._review_style import write_style
from ._series import SceneOrSeriesAlgorithm, series_dates, series_inputs
from ._tables import sink_file
from ._text import tr


class Misclassifications(SceneOrSeriesAlgorithm, LabelledAlgorithm):
    """Compares predictions with a reference and says of each error what it may be."""

    ID = "misclassifications"
    GROUP = "explanation"
    FILES = ("REPORT",)
    TABLES = ("ERRORS", "CONFUSION")

    def displayName(self) -> str:
        return tr("Find mistakes")

    def shortDescription(self) -> str:
        return tr(
            "Finds where a model or a map contradicts a reference, says what each error may be, and puts the "
            "most instructive first."
        )

    def tags(self) -> list[str]:
        return [
            "error", "misclassification", "confusion", "label error", "label noise", "review", "accuracy",
            "validation", "mixed pixel", "confident learning",
        ]  # fmt: skip

    def group_title(self) -> str:
        return tr("Mistakes on {scene}").format(scene=self.raster.name)

    def shortHelpString(self) -> str:
        return tr(
            "Compares what a model, or a raster of classes, says with a reference. Wrong pixels that touch "
            "and have the same true and predicted class are one error. Each gets a suspicion by stated "
            "rules: a likely label error, a mixed pixel, an edge, shadow or cloud, a spectrum unlike what "
            "was learnt, or a genuine confusion; with the numbers that it rests on. The bands or dates that "
            "spoke for the predicted class and against the true one are named.\n"
            "Outputs: The layer of errors, the most instructive first, which the review dock steps through; "
            "the confusion table; a report with map, tables and spectra. ERROR_SHARE is the share of wrong "
            "reference pixels; NEW_ERROR_SHARE that of pixels that did not train, where TRAINING is given.\n"
            "Example: qgis_process run explain:misclassifications --INPUT=scene.tif "
            "--MODEL=model.safetensors --REFERENCE=fields.gpkg --REFERENCE_FIELD=crop "
            "--ERRORS=errors.gpkg --CONFUSION=confusion.csv --REPORT=errors.html"
        )

    def _inputs(self) -> list:
        return [
            scene(tr("Raster that was classified; or give SERIES."), optional=True),
            *series_inputs(trained=False),
            *series_dates(),
            optional_model("MODEL", tr("Model file"),
                           tr("The .safetensors file of a classifier of pixels; or give CLASSES.")),
            optional_raster("CLASSES", tr("Classes"),
                            tr("A raster of class numbers to judge in place of a model, such as one of "
                               "explain:clusterseries. Classes go by their names.")),
            class_layer("REFERENCE", tr("Reference"),
                        tr("What is true: points or polygons with a class, in any CRS, or a raster of class "
                           "numbers."), optional=False),
            class_field_of("REFERENCE", "REFERENCE_FIELD", tr("Reference field"),
                           tr("Field of text or numbers that holds the class; needed where the reference is "
                              "a vector.")),
            choice("EXPLAINER", tr("Explainer"), EXPLAINERS, Job.explainer,
                   tr("How it is found which bands spoke for the predicted class and against the true one, "
                      "from the true class's mean spectrum on. Not used with CLASSES.")),
            class_layer("TRAINING", tr("Training labels"),
                        tr("The labels that trained the model, in the same classes: errors are compared with "
                           "those that the model agrees with, and pixels that trained are told from others. "
                           "Without, errors are compared with the reference's correct pixels.")),
            class_field_of("TRAINING", "TRAINING_FIELD", tr("Training field"),
                           tr("Field that holds the class; needed where TRAINING is a vector.")),
            extent(tr("Part of the scene to look at, in any CRS; empty: all of it.")),
        ]  # fmt: skip

    def _advanced(self) -> list:
        return [
            unlabelled_value(Job.unlabelled_value),
            whole("SAMPLE", tr("Sample of a class"), Job.sample, 10, 5000,
                  tr("Correct pixels of each class that errors are compared with."), True),
            whole("EXPLAINED", tr("Explained errors"), Job.explained, 0, 20000,
                  tr("How many errors, the most instructive first, get their bands or dates named. Each "
                     "takes half a second with a U-Net, much less with other models."), True),
            seed(),
            device(),
            memory(),
        ]  # fmt: skip

    def _destinations(self) -> list:
        return [
            features("ERRORS", tr("Errors"), Qgis.ProcessingSourceType.VectorAnyGeometry,
                     tr("Polygons of wrong pixels, or points where the reference is points. A GeoPackage, to "
                        "review it.")),
            table("CONFUSION", tr("Confusion"),
                  tr("Table with a row per reference class, a column per predicted class.")),
            report(tr("HTML page with map, confusion, suspicions, spectra and the most instructive errors.")),
        ]  # fmt: skip

    def _results(self) -> list:
        return [
            QgsProcessingOutputNumber("ERROR_SHARE", tr("Share of wrong pixels")),
            QgsProcessingOutputNumber("ERROR_PIXELS", tr("Wrong pixels")),
            QgsProcessingOutputNumber("ERROR_COUNT", tr("Errors")),
            QgsProcessingOutputNumber("PIXELS", tr("Reference pixels")),
            QgsProcessingOutputNumber("OVERALL_ACCURACY", tr("Overall accuracy")),
            QgsProcessingOutputNumber("KAPPA", tr("Kappa")),
            QgsProcessingOutputNumber("NEW_ERROR_SHARE", tr("Share of wrong pixels that did not train")),
            QgsProcessingOutputNumber("TRAINED_SHARE", tr("Share of reference pixels that trained")),
            QgsProcessingOutputNumber("LABEL_ERROR_COUNT", tr("Likely label errors")),
            QgsProcessingOutputNumber("MIXED_PIXEL_COUNT", tr("Mixed pixels")),
            QgsProcessingOutputNumber("EDGE_COUNT", tr("Edges")),
            QgsProcessingOutputNumber("SHADOW_OR_CLOUD_COUNT", tr("Shadows or clouds")),
            QgsProcessingOutputNumber("UNSEEN_SPECTRUM_COUNT", tr("Unseen spectra")),
            QgsProcessingOutputNumber("GENUINE_CONFUSION_COUNT", tr("Genuine confusions")),
        ]

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        given = self.parameterAsLayer(parameters, "REFERENCE", context)
        self._reference_path = given.source() if given else ""
        return super().prepareAlgorithm(parameters, context, feedback)

    def job(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        outputs: dict[str, Any],
    ) -> Job:
        model = self.path("MODEL", parameters, context)
        classes = self.raster_path("CLASSES", parameters, context, feedback)
        if bool(model) == bool(classes):
            raise QgsProcessingException(
                tr("Give one of MODEL, a classifier, and CLASSES, a raster of classes.")
            )
        if classes:
            for name in ("EXPLAINER", "DEVICE"):
                self.warn_unused(name, "CLASSES", parameters, feedback)
        reference, training = self.label_sources["REFERENCE"], self.label_sources["TRAINING"]
        if not (reference.raster or training.raster):
            self.warn_unused("UNLABELLED_VALUE", tr("vector labels"), parameters, feedback)
        field = self.text("REFERENCE_FIELD", parameters, context)
        return Job(
            **self.scene_or_series(parameters, context, feedback),
            model=model,
            classes=classes,
            **reference.fields("label", parameters, context, feedback),
            **training.fields_if_given("train", parameters, context, feedback),
            label_name=reference.raster.name if reference.raster else field or "",
            reference=self._reference_path,
            explainer=self.chosen["EXPLAINER"],
            extent=self.extent(parameters, context),
            **self.numbers(("SAMPLE", "EXPLAINED", "UNLABELLED_VALUE"), parameters, context),
            **self.common(parameters, context),
            **outputs,
        )

    def write_styles(self, outputs: dict[str, Any], result: dict) -> None:
        """Write the style of the errors."""
        errors = outputs.get("ERRORS")
        if errors and (path := sink_file(errors)):
            columns = result["tables"]["ERRORS"]["columns"]
            write_style(errors, path, result["record"], {each["name"]: each["alias"] for each in columns})
