"""explain:clusterseries: clusters of a series' embedding, named after labelled parcels."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingContext, QgsProcessingFeedback, QgsProcessingOutputNumber

from ..engine.jobs import ClusterSeriesJob as Job
from ._destinations import raster, report, table
from ._labels import label_inputs, unlabelled_value
from ._parameters import choice, device, extent, memory, model_file, seed, whole
from ._series import SeriesAlgorithm, series_dates, series_inputs
from ._text import tr
from ._training import test_share

VOTES = ("majority", "balanced", "one_to_one")


class ClusterSeries(SeriesAlgorithm):
    """Clusters the embedding of a series and says how well the clusters fit classes."""

    ID = "clusterseries"
    GROUP = "series"
    FILES = ("EMBEDDING", "CLUSTERS_RASTER", "CLASSES", "REPORT")
    TABLES = ("CONFUSION", "SCORES")

    def displayName(self) -> str:
        return tr("Cluster a series")

    def shortDescription(self) -> str:
        return tr("Groups the pixels of a series by their embedding, and names the groups after labels.")

    def tags(self) -> list[str]:
        return ["cluster", "k-means", "time series", "embedding", "unsupervised", "crop", "classification"]

    def shortHelpString(self) -> str:
        return tr(
            "Embeds each pixel's series with a trained autoencoder and groups the pixels by k-means "
            "(k-means++, 10 starts) on standardised embeddings. With LABELS, each cluster is named after the "
            "class that most of its training pixels have, and the names are judged on parcels that took no "
            "part; clusters without a labelled pixel are unassigned. The table of scores has the same for "
            "once, twice and three times as many clusters as classes and for three rules of naming.\n"
            "Outputs: The embedding, a band per dimension; the clusters; the classes; the confusion in % of "
            "each reference class; the table of scores and an HTML report; overall and balanced accuracy, "
            "kappa, adjusted Rand index, normalised mutual information, purity, and the accuracy of a "
            "supervised classifier (random forest) of the same series and parcels to compare with.\n"
            "Example: qgis_process run explain:clusterseries --SERIES=series.tif --MODEL=model.safetensors "
            "--LABELS=parcels.gpkg --LABEL_FIELD=crop --CLASSES=classes.tif --CONFUSION=confusion.csv"
        )

    def _inputs(self) -> list:
        return [
            *series_inputs(trained=True),
            *series_dates(),
            model_file(),
            whole("CLUSTERS", tr("Clusters"), Job.clusters, 0, 254,
                  tr("How many; 0: twice the classes of LABELS, or without labels the number from 2 to 12 "
                     "whose silhouette is best.")),
            *label_inputs(
                tr("Polygons or points with a class, in any CRS, or a class raster, to name the clusters "
                   "after. A polygon is a parcel; points and pixels of a class that touch are one.")
            ),
            choice("VOTE", tr("Naming"), VOTES, Job.vote,
                   tr("'majority': the class of most training pixels; 'balanced': of the largest share of "
                      "its class, for classes of unlike size; 'one_to_one': every class gets one cluster.")),
            extent(tr("Part of the series to cluster, in any CRS; empty: all of it.")),
            seed(),
        ]  # fmt: skip

    def _advanced(self) -> list:
        return [
            unlabelled_value(Job.unlabelled_value),
            test_share(Job.test_share, tr("Fraction of the labelled pixels whose parcels judge the names.")),
            whole("SAMPLE", tr("Sample (pixels)"), Job.sample, 20, 10_000_000,
                  tr("Pixels that make the clusters, drawn evenly over the scene."), True),
            device(),
            memory(),
        ]  # fmt: skip

    def _destinations(self) -> list:
        return [
            raster("EMBEDDING", tr("Embedding"), tr("GeoTIFF with a band per dimension of the embedding.")),
            raster("CLUSTERS_RASTER", tr("Clusters"), tr("GeoTIFF of cluster numbers.")),
            raster("CLASSES", tr("Classes"),
                   tr("GeoTIFF of the classes that the clusters are named after; needs LABELS."),
                   by_default=False),
            table("CONFUSION", tr("Confusion"),
                  tr("Table of test pixels: reference classes in rows, in % of each row.")),
            table("SCORES", tr("Scores"),
                  tr("Table of accuracies for other numbers of clusters and rules of naming.")),
            report(tr("HTML page with confusion and scores.")),
        ]  # fmt: skip

    def _results(self) -> list:
        return [
            QgsProcessingOutputNumber("OVERALL_ACCURACY", tr("Overall accuracy")),
            QgsProcessingOutputNumber("BALANCED_ACCURACY", tr("Balanced accuracy")),
            QgsProcessingOutputNumber("KAPPA", tr("Kappa")),
            QgsProcessingOutputNumber("ARI", tr("Adjusted Rand index")),
            QgsProcessingOutputNumber("NMI", tr("Normalised mutual information")),
            QgsProcessingOutputNumber("PURITY", tr("Purity")),
            QgsProcessingOutputNumber("SUPERVISED_ACCURACY", tr("Accuracy of a supervised classifier")),
            QgsProcessingOutputNumber("CLUSTERS", tr("Number of clusters")),
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
            **self.choices("VOTE"),
            **self.fractions(("TEST_SHARE",), parameters, context),
            **self.numbers(("CLUSTERS", "SAMPLE"), parameters, context),
            **self.common(parameters, context),
            **outputs,
        )
