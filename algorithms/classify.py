"""explain:classify: a class for every pixel of a scene or a series."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingContext, QgsProcessingFeedback

from ..engine.jobs import ClassifyJob
from ._destinations import raster
from ._parameters import chip_stride, device, extent, memory, merge, model_file, scene
from ._series import SceneOrSeriesAlgorithm, series_dates, series_inputs
from ._text import tr


class Classify(SceneOrSeriesAlgorithm):
    """Applies a model file to a scene or a series."""

    ID = "classify"
    GROUP = "classification"
    FILES = ("PROBABILITIES", "CONFIDENCE", "CLASSES")

    def displayName(self) -> str:
        return tr("Classify")

    def shortDescription(self) -> str:
        return tr("Gives every pixel of a raster or a series the class that a trained model predicts.")

    def tags(self) -> list[str]:
        return ["classification", "predict", "deep learning", "probability", "confidence", "land cover"]

    def group_title(self) -> str:
        return tr("Classification of {scene}").format(scene=self.source_name)

    def shortHelpString(self) -> str:
        return tr(
            "Applies a model file to every pixel of a scene. The scene must have the bands that the "
            "model was trained with; a series, the dates and channels. Pixels without data stay without "
            "data; memory stays within the budget however large the raster is. A scene classifier, which "
            "reads chips, slides over the scene; what overlapping chips say of a pixel is averaged.\n"
            "Outputs: The classes with their names and colours; the confidence, which is the "
            "probability of the predicted class; the probabilities, one band per class.\n"
            "Example: qgis_process run explain:classify --INPUT=scene.tif --MODEL=model.safetensors "
            "--CLASSES=classes.tif"
        )

    def _inputs(self) -> list:
        return [
            scene(tr("Raster to classify, with the bands that the model was trained with. Either this or "
                     "SERIES."), optional=True),
            *series_inputs(trained=True),
            *series_dates(),
            model_file(),
            extent(tr("Part of the scene to classify, in any CRS; empty: all of it.")),
            chip_stride(ClassifyJob.chip_stride),
            merge(ClassifyJob.merge),
            device(),
            memory(),
        ]  # fmt: skip

    def _destinations(self) -> list:
        return [
            raster("CLASSES", tr("Classes"), tr("GeoTIFF of class numbers with class names and colours."),
                   optional=False),
            raster("CONFIDENCE", tr("Confidence"),
                   tr("GeoTIFF of the probability of the predicted class, from 0 to 1.")),
            raster("PROBABILITIES", tr("Probabilities"),
                   tr("GeoTIFF with one band per class, the probabilities that add up to 1."),
                   by_default=False),
        ]  # fmt: skip

    def job(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        outputs: dict[str, Any],
    ) -> ClassifyJob:
        return ClassifyJob(
            **self.scene_or_series(parameters, context, feedback),
            model=self.model(parameters, context),
            extent=self.extent(parameters, context),
            merge=self.chosen["MERGE"],
            **self.numbers(("CHIP_STRIDE",), parameters, context),
            **self.common(parameters, context),
            **outputs,
        )
