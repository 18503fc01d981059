"""The jobs about series: train an autoencoder, cluster its embedding, map which dates made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .job_base import LabelledJob, SeriesSource


@dataclass(frozen=True, kw_only=True)
class SeriesJob(LabelledJob):
    """A job about the pixels of a series, or of its part within `extent` (x_min, y_min, x_max, y_max).

    Labels are in the CRS of the series, and optional unless a job says so.
    """

    series: SeriesSource
    extent: list[float] | None = None
    seed: int = 0
    device: str = "auto"
    memory_mb: int = 1024


@dataclass(frozen=True, kw_only=True)
class TrainAutoencoderJob(SeriesJob):
    """Train an autoencoder of single pixels' series on `sample` pixels.

    `values` says what the stored numbers are, as in `TrainSceneClassifierJob`; `calibration` is added to the
    decibels. Where there are labels, the parcels that test in `ClusterSeriesJob` (same labels, `test_share`
    and `seed`) are kept out. `stride` is the step of the second and third convolution.
    """

    KIND: ClassVar[str] = "train_autoencoder"
    OUTPUTS: ClassVar[tuple[str, ...]] = ("model", "report")

    model: str
    values: str = "as_is"
    calibration: float = 0.0
    embedding_dimensions: int = 2
    stride: int = 1
    sample: int = 20_000
    test_share: float = 0.3
    epochs: int = 60
    patience: int = 15
    learning_rate: float = 0.001
    batch_size: int = 256
    report: str | None = None


@dataclass(frozen=True, kw_only=True)
class ClusterSeriesJob(SeriesJob):
    """Cluster the embedding of a series, and name the clusters after the labels of training parcels.

    `clusters` 0: twice the classes, or without labels the number of best silhouette. `vote` is `majority`,
    `balanced` (counts over class sizes) or `one_to_one` (one cluster per class). `sample` pixels make the
    clusters.
    """

    KIND: ClassVar[str] = "cluster_series"
    OUTPUTS: ClassVar[tuple[str, ...]] = ("embedding", "clusters_raster", "classes", "report")

    model: str
    clusters: int = 0
    vote: str = "majority"
    sample: int = 50_000
    test_share: float = 0.3
    embedding: str | None = None
    clusters_raster: str | None = None
    classes: str | None = None
    report: str | None = None


@dataclass(frozen=True, kw_only=True)
class GradSlamJob(SeriesJob):
    """Map which dates made the embedding of a series (Grad-SLAM).

    `target` `dimensions` explains those of the embedding in `dimensions`, counted from 1, all where empty;
    `contrast` explains the direction from `contrast_class` to `class_name`, classes of the labels.
    `variant` and `scaling` as in `explainers.grad_slam`; `layers`, counted from 1, are merged, all where
    empty. `untrained` networks that learnt nothing say for `beyond_untrained` what any network would show.
    `anomaly_steps` are those of integrated gradients for `anomaly_dates`; `plot` draws `plot_channel`,
    the first where empty.
    """

    KIND: ClassVar[str] = "grad_slam"
    OUTPUTS: ClassVar[tuple[str, ...]] = (
        "date_importance", "dimension_importance", "signed", "top_date", "beyond_untrained",
        "channel_share", "anomaly", "anomaly_dates", "plot",
    )  # fmt: skip

    model: str
    target: str = "dimensions"
    dimensions: tuple[int, ...] = ()
    class_name: str | None = None
    contrast_class: str | None = None
    variant: str = "pooled"
    scaling: str = "absolute_minmax"
    layers: tuple[int, ...] = ()
    untrained: int = 8
    anomaly_steps: int = 16
    plot_channel: str = ""
    date_importance: str | None = None
    dimension_importance: str | None = None
    signed: str | None = None
    top_date: str | None = None
    beyond_untrained: str | None = None
    channel_share: str | None = None
    anomaly: str | None = None
    anomaly_dates: str | None = None
    plot: str | None = None
