"""explain:gradslam: which dates made the embedding of a series."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
)

from ..engine.jobs import GradSlamJob as Job
from ._choices import Rules
from ._destinations import picture, raster, table
from ._labels import label_inputs, unlabelled_value
from ._parameters import choice, device, extent, memory, model_file, seed, whole, words
from ._series import SeriesAlgorithm, series_dates, series_inputs, whole_numbers
from ._text import tr

TARGETS = ("dimensions", "contrast")
VARIANTS = ("pooled", "element_wise")
SCALINGS = ("absolute_minmax", "l1_share", "maxabs", "zscore", "signed_minmax", "none")


class GradSlam(SeriesAlgorithm):
    """Maps the importance of each date for the embedding of a series."""

    ID = "gradslam"
    GROUP = "series"
    FILES = (
        "ANOMALY_DATES", "ANOMALY", "CHANNEL_SHARE", "BEYOND_UNTRAINED", "SIGNED", "DIMENSION_IMPORTANCE",
        "TOP_DATE", "DATE_IMPORTANCE", "PLOT",
    )  # fmt: skip
    TABLES = ("PROFILES", "DEPENDENCE")
    RULES = Rules(
        used_with={
            "DIMENSIONS": ("TARGET", ("dimensions",)),
            "CLASS": ("TARGET", ("contrast",)),
            "CONTRAST_CLASS": ("TARGET", ("contrast",)),
        },
        needed_with={
            "CLASS": ("TARGET", "contrast"),
            "CONTRAST_CLASS": ("TARGET", "contrast"),
            "LABELS": ("TARGET", "contrast"),
        },
    )

    def displayName(self) -> str:
        return tr("Explain a series (Grad-SLAM)")

    def shortDescription(self) -> str:
        return tr("Maps which dates of a time series made an autoencoder's embedding what it is.")

    def tags(self) -> list[str]:
        return ["explain", "grad-slam", "time series", "dates", "importance", "autoencoder", "temporal",
                "anomaly", "sentinel-1"]  # fmt: skip

    def shortHelpString(self) -> str:
        return tr(
            "Grad-SLAM (Di Martino et al. 2023): the activations of the encoder's convolutions, weighed by "
            "the gradient of an embedding dimension, say how much each date contributed. 'pooled' is the "
            "published formula, whose weights are means over the dates; 'element_wise' keeps each date's. "
            "Layers are scaled one by one and averaged; by default sizes go from 0 at the least important "
            "date to 1 at the most important, because the sign of an embedding dimension is arbitrary. "
            "TARGET contrast explains the direction from one class to another instead: which dates tell them "
            "apart; there the sign says towards which. Dates that were filled in are nodata.\n"
            "Outputs: The importance, a band per date, which the Temporal Controller plays; the most "
            "important date; on request importance by dimension, the signed map, the share of each channel, "
            "and where the autoencoder fails (anomaly) and on which dates; a table and a plot of profiles "
            "per class; a table of how far each reconstructed date depends on each date. ANOMALY_THRESHOLD "
            "is Otsu's.\n"
            "Example: qgis_process run explain:gradslam --SERIES=series.tif --MODEL=model.safetensors "
            "--LABELS=parcels.gpkg --LABEL_FIELD=crop --TARGET=contrast --CLASS=cotton "
            "--CONTRAST_CLASS=pepper --DATE_IMPORTANCE=importance.tif --PLOT=profiles.png"
        )

    def _inputs(self) -> list:
        return [
            *series_inputs(trained=True),
            *series_dates(),
            model_file(),
            choice("TARGET", tr("Target"), TARGETS, Job.target,
                   tr("What is explained: 'dimensions' of the embedding, or the 'contrast' of two classes, "
                      "which is the direction in the embedding from CONTRAST_CLASS to CLASS.")),
            words("DIMENSIONS", tr("Dimensions"),
                  tr("Numbers of the embedding dimensions to explain, between commas; empty: all. The "
                     "importance of several is combined by their share of the embedding's variance.")),
            words("CLASS", tr("Class"),
                  tr("For TARGET contrast: the class towards which values are positive.")),
            words("CONTRAST_CLASS", tr("Contrast class"),
                  tr("For TARGET contrast: the class to compare with.")),
            *label_inputs(
                tr("Polygons or points with a class, in any CRS, or a class raster such as CLASSES of "
                   "clusterseries: profiles are per class, and TARGET contrast needs them.")
            ),
            choice("VARIANT", tr("Variant"), VARIANTS, Job.variant,
                   tr("'pooled': gradients averaged over the dates, as published; 'element_wise': each "
                      "date's own, which is sharper where dense layers follow the convolutions.")),
            extent(tr("Part of the series to explain, in any CRS; empty: all of it.")),
        ]  # fmt: skip

    def _advanced(self) -> list:
        return [
            choice("SCALING", tr("Scaling"), SCALINGS, Job.scaling,
                   tr("How each layer's map is scaled: sizes from 0 to 1 ('absolute_minmax'), shares of the "
                      "sum of sizes ('l1_share'), over the largest size with sign ('maxabs'), deviations "
                      "('zscore'), from least to greatest ('signed_minmax': which end is which is "
                      "arbitrary), or not at all ('none')."), True),
            words("LAYERS", tr("Layers"),
                  tr("Convolutions of the encoder to merge, counted from 1, between commas; empty: all."),
                  True),
            whole("UNTRAINED", tr("Untrained networks"), Job.untrained, 1, 256,
                  tr("Networks with fresh weights that BEYOND_UNTRAINED compares with; each takes as long as "
                     "the map itself."), True),
            whole("ANOMALY_STEPS", tr("Steps for ANOMALY_DATES"), Job.anomaly_steps, 1, 4096,
                  tr("Segments of the path from the mean series, along which the reconstruction error is "
                     "divided among dates."), True),
            words("PLOT_CHANNEL", tr("Channel of the plot"),
                  tr("Name of the channel that PLOT draws in colour, with the others in grey; empty: the "
                     "first."), True),
            unlabelled_value(Job.unlabelled_value),
            seed(),
            device(),
            memory(),
        ]  # fmt: skip

    def _destinations(self) -> list:
        return [
            raster("DATE_IMPORTANCE", tr("Date importance"),
                   tr("GeoTIFF with a band per date, with temporal ranges from midpoint to midpoint.")),
            raster("TOP_DATE", tr("Most important date"),
                   tr("GeoTIFF of the most important date, with legend.")),
            raster("DIMENSION_IMPORTANCE", tr("Date importance by dimension"),
                   tr("GeoTIFF with a band per date and explained dimension."), by_default=False),
            raster("SIGNED", tr("Signed date importance"),
                   tr("GeoTIFF with a band per date and explained dimension, signed, over the largest size."),
                   by_default=False),
            raster("BEYOND_UNTRAINED", tr("Importance beyond untrained networks"),
                   tr("GeoTIFF with a band per date: its share of the pixel's importance, less its mean "
                      "share by networks of the same layout that learnt nothing. Positive where training "
                      "made the date important, and not its unusual values alone."), by_default=False),
            raster("CHANNEL_SHARE", tr("Channel shares"),
                   tr("GeoTIFF with a band per channel: its share of the sizes of all channels' Shapley "
                      "values, absent channels being at the training mean of each date."), by_default=False),
            raster("ANOMALY", tr("Anomaly"),
                   tr("GeoTIFF of the mean squared reconstruction error, in deviations of the channels."),
                   by_default=False),
            raster("ANOMALY_DATES", tr("Anomaly by date"),
                   tr("GeoTIFF with a band per date: what it adds to the anomaly, by integrated gradients "
                      "from the mean series."), by_default=False),
            table("PROFILES", tr("Profiles"),
                  tr("Table per class, direction, date and channel: mean (of power, in dB), 10th and 90th "
                     "percentile, importance.")),
            table("DEPENDENCE", tr("Date dependence"),
                  tr("Table of how much each reconstructed date depends on each date, over training pixels."),
                  by_default=False),
            picture("PLOT", tr("Plot of profiles"),
                    tr("PNG of each class's profile over time, coloured by importance.")),
        ]  # fmt: skip

    def _results(self) -> list:
        return [
            QgsProcessingOutputString("TOP_DATES", tr("Three most important dates")),
            QgsProcessingOutputNumber("PIXELS", tr("Explained pixels")),
            QgsProcessingOutputNumber(
                "UNTRAINED_CORRELATION", tr("Rank correlation of the dates with untrained networks'")
            ),
            QgsProcessingOutputNumber("ANOMALY_THRESHOLD", tr("Threshold of the anomaly")),
        ]

    def job(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        outputs: dict[str, Any],
    ) -> Job:
        return Job(
            **self.series(parameters, context, feedback),
            model=self.model(parameters, context),
            dimensions=whole_numbers("DIMENSIONS", self.text("DIMENSIONS", parameters, context)),
            class_name=self.text("CLASS", parameters, context),
            contrast_class=self.text("CONTRAST_CLASS", parameters, context),
            layers=whole_numbers("LAYERS", self.text("LAYERS", parameters, context)),
            plot_channel=self.text("PLOT_CHANNEL", parameters, context) or "",
            **self.choices("TARGET", "VARIANT", "SCALING"),
            **self.numbers(("ANOMALY_STEPS",), parameters, context),
            **self.common(parameters, context),
            **outputs,
        )
