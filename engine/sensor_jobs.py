"""The job about sensors: what networks make of the bands of one sensor, and of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .job_base import LabelledJob


@dataclass(frozen=True, kw_only=True)
class CompareSensorsJob(LabelledJob):
    """Compare networks that read one sensor each with one that reads them all.

    `scenes` are one raster, whose `sensor_bands` say which bands are each sensor's ("VNIR:1-60;
    SWIR:61-140"), or several, each of them a sensor unless `sensor_bands` says otherwise; several are laid on
    the `grid` of one of them, by `resampling`. `models` are given networks; without any, `seeds` networks are
    trained of each sensor and of all, from the labels, with one split. `sample` pixels of each class are
    explained. `extent` (x_min, y_min, x_max, y_max) is that of the raster of shares, and without labels of
    the pixels explained. `model_folder` takes the networks that were trained.
    """

    KIND: ClassVar[str] = "compare_sensors"
    OUTPUTS: ClassVar[tuple[str, ...]] = ("shares_raster", "model_folder", "report")

    scenes: tuple[str, ...] = ()
    sensor_bands: str = ""
    resampling: str = "nearest"
    grid: str = "finest"
    models: tuple[str, ...] = ()
    architecture: str = "spectral_cnn"
    patch_size: int = 11
    normalisation: str = "standard"
    epochs: int = 40
    test_share: float = 0.3
    block_size: int = 0
    seeds: int = 3
    sample: int = 100
    extent: list[float] | None = None
    seed: int = 0
    device: str = "auto"
    memory_mb: int = 1024
    shares_raster: str | None = None
    model_folder: str | None = None
    report: str | None = None
