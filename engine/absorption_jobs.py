"""The job about absorption features: what spectra have, and what networks make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .job_base import Job


@dataclass(frozen=True, kw_only=True)
class AbsorptionFeaturesJob(Job):
    """Find the absorptions of each class's mean spectrum, name them, and say which a network looks at.

    Classes are those of `class_raster` (whole numbers; `unlabelled_value` and nodata mean none), or what
    `model` sees. Attributions are those of the raster `attribution`, or the model is explained on the way, by
    `explainer` against `baseline`, as in `AttributionJob`. `wavelengths`, one per band in nm or µm, stand in
    for the scene's own; `features_table` is a CSV file of more named features. Chance is `shifts` random
    shifts. `mask_features` is a GeoJSON file in the scene's CRS.
    """

    KIND: ClassVar[str] = "absorption_features"
    OUTPUTS: ClassVar[tuple[str, ...]] = ("plot", "dominant")

    scene: str
    class_raster: str | None = None
    unlabelled_value: int = 0
    attribution: str | None = None
    model: str | None = None
    explainer: str = "integrated_gradients"
    baseline: str = "auto"
    wavelengths: list[float] | None = None
    features_table: str | None = None
    shifts: int = 1000
    extent: list[float] | None = None
    mask_features: str | None = None
    seed: int = 0
    device: str = "auto"
    memory_mb: int = 1024
    plot: str | None = None
    dominant: str | None = None
