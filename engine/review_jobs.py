"""The jobs of a review: find where a model or a map errs, and explain single pixels at a click."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .job_base import LabelledJob, SeriesSource, TargetedJob


@dataclass(frozen=True, kw_only=True)
class MisclassificationsJob(LabelledJob):
    """Find where a `model`, or a raster of `classes`, contradicts a reference on a `scene` or a `series`.

    The labels are the reference, which QGIS knows as `reference`. `train_features` or `train_raster` are the
    labels that trained the model; without them the reference stands in. Of those that the model agrees with,
    `sample` pixels of each class are what is known of the class. The `explained` most instructive errors get
    an attribution. `extent` is (x_min, y_min, x_max, y_max). `baseline` `auto` as in `ExplainPixelsJob`.
    """

    KIND: ClassVar[str] = "misclassifications"
    OUTPUTS: ClassVar[tuple[str, ...]] = ("report",)

    scene: str | None = None
    series: SeriesSource | None = None
    model: str | None = None
    classes: str | None = None
    train_features: str | None = None
    train_raster: str | None = None
    reference: str = ""
    explainer: str = "integrated_gradients"
    baseline: str = "auto"
    extent: list[float] | None = None
    sample: int = 300
    explained: int = 500
    seed: int = 0
    device: str = "auto"
    memory_mb: int = 1024
    report: str | None = None


@dataclass(frozen=True, kw_only=True)
class ExplainPixelsJob(TargetedJob):
    """Explain pixels of a scene or a series: those at `points`, in its CRS, and the mean of each polygon.

    `baseline` `auto` is the mean spectrum of the contrast class where the target is a contrast with one, else
    the mean of the training. `chip_size` pixels around come as a picture, none for 0.
    """

    KIND: ClassVar[str] = "explain_pixels"

    scene: str | None = None
    series: SeriesSource | None = None
    model: str
    points: tuple[tuple[float, float], ...] = ()
    polygon_features: str | None = None
    explainer: str = "integrated_gradients"
    baseline: str = "auto"
    chip_size: int = 64
    device: str = "auto"
    memory_mb: int = 1024
