"""explain:trainautoencoder: an autoencoder of the series of single pixels."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingContext, QgsProcessingFeedback, QgsProcessingOutputNumber

from ..engine.jobs import TrainAutoencoderJob as Job
from ._destinations import check_model, model, report, table
from ._labels import label_inputs, unlabelled_value
from ._parameters import device, extent, memory, real, seed, whole
from ._series import SeriesAlgorithm, series_choice, series_dates, series_inputs, series_values
from ._text import tr
from ._training import epochs, patience, test_share

_NUMBERS = ("EMBEDDING_DIMENSIONS", "EPOCHS", "SAMPLE", "STRIDE", "PATIENCE", "BATCH_SIZE")


class TrainAutoencoder(SeriesAlgorithm):
    """Trains an autoencoder whose embedding sums up each pixel's series in a few numbers."""

    ID = "trainautoencoder"
    GROUP = "series"
    FILES = ("MODEL", "REPORT")
    TABLES = ("ERRORS",)

    def displayName(self) -> str:
        return tr("Train an autoencoder of a series")

    def shortDescription(self) -> str:
        return tr("Trains a network that sums up each pixel's time series in a few numbers, without labels.")

    def tags(self) -> list[str]:
        return ["train", "autoencoder", "time series", "sentinel-1", "sar", "crop", "embedding", "grad-slam",
                "unsupervised"]  # fmt: skip

    def shortHelpString(self) -> str:
        return tr(
            "Trains a convolutional autoencoder: an encoder that reads a pixel's series, date by date, to an "
            "embedding of a few numbers, and a decoder that makes the series again from these. It needs no "
            "labels. Gaps are filled in time, and filled values do not count in the loss. VALUES says what "
            "the stored numbers are; power (10 log10) and amplitude (20 log10) go to decibels, not less than "
            "-50 dB, and CALIBRATION is added. Dates and channels are kept in the model file.\n"
            "Outputs: One model file (.safetensors, nothing executable inside), a table of the "
            "reconstruction error per channel, and an HTML report. RECONSTRUCTION_ERROR is the mean squared "
            "error on pixels of places that were not trained on, in the squared unit of the values.\n"
            "Example: qgis_process run explain:trainautoencoder --SERIES=series.tif --VALUES=power "
            "--MODEL=model.safetensors --REPORT=report.html"
        )

    def _inputs(self) -> list:
        return [
            *series_inputs(trained=False),
            *series_dates(),
            *series_choice(),
            *series_values(Job.values, Job.calibration),
            whole("EMBEDDING_DIMENSIONS", tr("Embedding dimensions"), Job.embedding_dimensions, 1, 64,
                  tr("Numbers that a series is summed up in.")),
            epochs(Job.epochs),
            *label_inputs(
                tr("Polygons, points or a class raster, where there are some: their parcels are kept apart, "
                   "so that clusterseries with the same labels, share and seed tests on parcels that no "
                   "training has seen.")
            ),
            extent(tr("Part of the series to learn from, in any CRS; empty: all of it.")),
            seed(),
        ]  # fmt: skip

    def _advanced(self) -> list:
        return [
            unlabelled_value(Job.unlabelled_value),
            test_share(Job.test_share,
                       tr("Fraction of the labelled pixels whose parcels are kept for the test.")),
            whole("SAMPLE", tr("Sample (pixels)"), Job.sample, 20, 10_000_000,
                  tr("Pixels to train on, drawn evenly over the scene."), True),
            whole("STRIDE", tr("Stride (dates)"), Job.stride, 1, 8,
                  tr("Step of the second and third convolution: more than 1 is faster for long series, and "
                     "its layers tell dates apart less finely."), True),
            patience(Job.patience),
            real("LEARNING_RATE", tr("Learning rate"), Job.learning_rate, 1e-7, 1,
                 tr("Step of the optimiser, Adam; it is halved while the loss stays."), True),
            whole("BATCH_SIZE", tr("Batch size (pixels)"), Job.batch_size, 2, 65536,
                  tr("Pixels in a step of the optimiser."), True),
            device(),
            memory(),
        ]  # fmt: skip

    def _destinations(self) -> list:
        return [
            model(tr("The trained model, one file.")),
            table("ERRORS", tr("Reconstruction errors"),
                  tr("Table per channel: mean squared error and explained variance of training, validation "
                     "and, with labels, test pixels.")),
            report(tr("HTML page with errors and the course of the training.")),
        ]  # fmt: skip

    def _results(self) -> list:
        return [
            QgsProcessingOutputNumber("RECONSTRUCTION_ERROR", tr("Mean squared reconstruction error")),
            QgsProcessingOutputNumber("DATES", tr("Number of dates")),
        ]

    def job(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        outputs: dict[str, Any],
    ) -> Job:
        check_model(outputs["model"])
        return Job(
            **self.series(parameters, context, feedback),
            **self.choices("VALUES"),
            **self.fractions(("CALIBRATION", "TEST_SHARE", "LEARNING_RATE"), parameters, context),
            **self.numbers(_NUMBERS, parameters, context),
            **self.common(parameters, context),
            **outputs,
        )
