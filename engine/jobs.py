"""What an algorithm asks of the engine: one frozen dataclass per job, plain values and paths only.

Every path is absolute. An output that is None is not wanted. `OUTPUTS` names the fields that are
output paths, so that client and engine agree on what a job may leave on disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar

from .absorption_jobs import AbsorptionFeaturesJob
from .job_base import Job, SeriesSource, TargetedJob
from .review_jobs import ExplainPixelsJob, MisclassificationsJob
from .sensor_jobs import CompareSensorsJob
from .series_jobs import ClusterSeriesJob, GradSlamJob, TrainAutoencoderJob
from .unmix_jobs import UnmixJob

__all__ = [
    "AbsorptionFeaturesJob",
    "ClusterSeriesJob",
    "CompareSensorsJob",
    "ExplainPixelsJob",
    "GradSlamJob",
    "Job",
    "MisclassificationsJob",
    "SeriesSource",
    "TargetedJob",
    "TrainAutoencoderJob",
    "UnmixJob",
]


@dataclass(frozen=True)
class ProbeJob(Job):
    """Ask the engine for its versions and devices."""

    KIND: ClassVar[str] = "probe"


@dataclass(frozen=True)
class DemoDataJob(Job):
    """Simulate a scene whose true evidence is known into `folder`.

    `size` is the side of the scene in pixels.
    """

    KIND: ClassVar[str] = "demo_data"
    OUTPUTS: ClassVar[tuple[str, ...]] = ("folder",)

    scene_kind: str
    folder: str
    size: int = 128
    seed: int = 0


@dataclass(frozen=True)
class TrainClassifierJob(Job):
    """Train a classifier of pixels from labelled pixels of a scene, or of a `series` in its place.

    Of a series, `values` says what the stored numbers are, as in `TrainSceneClassifierJob`; `calibration` is
    added to the decibels. Its bands are dates and channels.

    Labels come as `label_features` (a GeoJSON file in the scene's CRS, property `class`) or as
    `label_raster` (class numbers; `unlabelled_value` and nodata mean no label); those that only test
    likewise. Without any, `split`, `blocks`, `parcels` or `random`, says which pixels test; parcels are those
    that test in `ClusterSeriesJob` (same labels, `test_share` and `seed`). `block_size` is in pixels, 0 to
    choose it from the labels. `batch_size` 0: 64 pixels, or 4 crops of a U-Net. `depth`, `filters`,
    `tile_size`, `brightness` and `normalisation_strength` are a U-Net's.
    """

    KIND: ClassVar[str] = "train_classifier"
    OUTPUTS: ClassVar[tuple[str, ...]] = ("model", "report")

    scene: str | None
    model: str
    series: SeriesSource | None = None
    values: str = "as_is"
    calibration: float = 0.0
    label_features: str | None = None
    label_raster: str | None = None
    label_name: str = ""
    unlabelled_value: int = 0
    test_label_features: str | None = None
    test_label_raster: str | None = None
    architecture: str = "spectral_cnn"
    patch_size: int = 11
    components: int = 30
    depth: int = 3
    filters: int = 16
    tile_size: int = 64
    normalisation: str = "standard"
    brightness: bool = False
    normalisation_strength: float = 1.0
    epochs: int = 60
    patience: int = 30
    learning_rate: float = 0.003
    batch_size: int = 0
    class_weights: bool = True
    test_share: float = 0.3
    split: str = "blocks"
    block_size: int = 0
    compare_splits: bool = True
    seed: int = 0
    device: str = "auto"
    memory_mb: int = 1024
    report: str | None = None


@dataclass(frozen=True)
class TrainSceneClassifierJob(Job):
    """Train a classifier of whole chips.

    The chips are the rasters in `patches` (one sub-folder per class; `test_patches` likewise, for chips that
    only test), or are cut from `scene` where `label_features` (GeoJSON in the scene's CRS, property `class`)
    or `label_raster` say. `patch_size` 0: the size that all chips share; smaller: the middle of each.
    `band` empty: all bands; "each": a model per band, written beside `model` as STEM_BAND.safetensors; else
    its number or name. `values`: what the stored numbers are, `as_is`, `power`, `amplitude` or `db`; power
    and amplitude go to decibels. `clip`: low and high of all bands or of each in turn, after that step; None:
    percentiles of the training chips. `class_weights` shows all classes equally often.
    """

    KIND: ClassVar[str] = "train_scene_classifier"
    OUTPUTS: ClassVar[tuple[str, ...]] = ("model", "report")

    model: str
    patches: str | None = None
    test_patches: str | None = None
    scene: str | None = None
    label_features: str | None = None
    label_raster: str | None = None
    label_name: str = ""
    unlabelled_value: int = 0
    band: str = ""
    architecture: str = "resnet18"
    patch_size: int = 0
    values: str = "as_is"
    clip: list[float] | None = None
    speckle_filter: str = "none"
    looks: float = 4.4
    augmentation: str = "shift_flip"
    epochs: int = 40
    learning_rate: float = 0.01
    schedule: str = "cosine"
    batch_size: int = 32
    class_weights: bool = True
    test_share: float = 0.3
    skip_unreadable: bool = False
    seed: int = 0
    device: str = "auto"
    memory_mb: int = 1024
    report: str | None = None


@dataclass(frozen=True)
class ClassifyJob(Job):
    """Classify a scene, or the window of it that `extent` (x_min, y_min, x_max, y_max) covers.

    A `series` in its place is for models that were trained on its dates and channels. A scene classifier
    slides over a scene by `chip_stride` pixels (0: half a chip); what overlapping chips say is averaged with
    the weights `merge`, `uniform` or `centre`.
    """

    KIND: ClassVar[str] = "classify"
    OUTPUTS: ClassVar[tuple[str, ...]] = ("classes", "confidence", "probabilities")

    scene: str | None
    model: str
    series: SeriesSource | None = None
    extent: list[float] | None = None
    classes: str | None = None
    confidence: str | None = None
    probabilities: str | None = None
    chip_stride: int = 0
    merge: str = "centre"
    device: str = "auto"
    memory_mb: int = 1024


@dataclass(frozen=True)
class AttributionJob(TargetedJob):
    """Explain a classifier's output at every pixel of a scene, an extent or a mask, or chip by chip.

    `mask_features` is a GeoJSON file in the scene's CRS. `steps` 0 means: until settled.

    With a scene classifier, chips are explained: those of the folder `patches` (`scene` is then None),
    those at `mask_features` of the scene, or those of a slide over it; `chip_stride` and `merge` as in
    `ClassifyJob`. `chip_folder` takes a raster per chip of `patches`. `layer` is that of Grad-CAM.

    Of a `series`, given in place of `scene`, bands are dates and channels. `wavelengths`, one per band in nm
    or µm, stand in for the scene's own, which the baseline `continuum` needs. `baseline` `auto` is that
    where a classifier of spectra has them, else `mean`; `continuum_part` takes what it leaves out.

    The target `reference` is the logit of the class that a reference names at each pixel, from features or a
    class raster as labels are; `unlabelled_value` names none. Pixels without a class are not explained.

    `parts` are what the output is divided among: `bands`, `rings` of pixels by their distance, up to each of
    `ring_limits` and beyond the last, or `regions`, from features or a class raster as labels are.
    """

    KIND: ClassVar[str] = "attribution"
    OUTPUTS: ClassVar[tuple[str, ...]] = ("attribution", "saliency", "continuum_part", "chip_folder")

    scene: str | None
    model: str
    baseline: str = field(default="auto", kw_only=True)
    patches: str | None = None
    skip_unreadable: bool = False
    series: SeriesSource | None = None
    chip_stride: int = 0
    merge: str = "centre"
    layer: str = "layer4"
    explainer: str = "integrated_gradients"
    extent: list[float] | None = None
    mask_features: str | None = None
    reference_features: str | None = None
    reference_raster: str | None = None
    unlabelled_value: int = 0
    steps: int = 0
    max_steps: int = 256
    tolerance: float = 0.01
    samples: int = 64
    occlusion_window: int = 0
    occlusion_bands: int = 1
    occlusion_stride: int = 0
    parts: str = "bands"
    ring_limits: tuple[int, ...] = (0, 3, 10)
    wavelengths: list[float] | None = None
    region_features: str | None = None
    region_raster: str | None = None
    seed: int = 0
    device: str = "auto"
    memory_mb: int = 1024
    attribution: str | None = None
    saliency: str | None = None
    continuum_part: str | None = None
    chip_folder: str | None = None
    table_only: bool = False


@dataclass(frozen=True)
class EvaluateExplainersJob(Job):
    """Score explainers on a sample of chips, or of labelled pixels, for one model or several.

    Chips as in `TrainSceneClassifierJob`, also unlabelled; pixels from `scene` with labels. `radius` and
    `samples` are those of Max-Sensitivity, the radius in units of the network's input (0 to 1 for chips,
    standard deviations for pixels); `speckle_looks` 0 adds no speckle. `masks` is a folder of rasters named
    as in `patches`, or `mask_features` polygons on `scene`: where the evidence is. `bright_share` is the
    share of a chip's pixels that count as its bright return. Occlusion's window and stride are for chips, and
    so are `segments`: secants that integrated gradients take in place of `steps` nodes where they are not 0.
    """

    KIND: ClassVar[str] = "evaluate_explainers"
    OUTPUTS: ClassVar[tuple[str, ...]] = ("montage", "report")

    models: list[str]
    explainers: list[str]
    patches: str | None = None
    scene: str | None = None
    label_features: str | None = None
    label_raster: str | None = None
    label_name: str = ""
    unlabelled_value: int = 0
    skip_unreadable: bool = False
    masks: str | None = None
    mask_features: str | None = None
    chips: int = 50
    radius: float = 0.02
    samples: int = 10
    speckle_looks: float = 10.0
    steps: int = 50
    segments: int = 0
    baseline: str = "zero"
    layer: str = "layer4"
    occlusion_window: int = 15
    occlusion_stride: int = 5
    bright_share: float = 0.05
    randomised_chips: int = 8
    seed: int = 0
    device: str = "auto"
    memory_mb: int = 1024
    montage: str | None = None
    report: str | None = None


@dataclass(frozen=True)
class SegmentationContributionsJob(TargetedJob):
    """Divide a segmentation network's logits among its last feature channels, and audit explainers on it.

    Labels, where given, say what is true. `methods`
    are audited on up to `audit_pixels` pixels and `audit_errors` wrong ones. The features of `other_model`
    on the same scene are correlated with those of `model`. `cam_layer`: `bottom` or `features`, whose maps
    the class activation maps weigh.
    """

    KIND: ClassVar[str] = "segmentation_contributions"
    OUTPUTS: ClassVar[tuple[str, ...]] = ("contributions", "evidence", "cams")

    scene: str
    model: str
    label_features: str | None = None
    label_raster: str | None = None
    label_name: str = ""
    unlabelled_value: int = 0
    other_model: str | None = None
    methods: tuple[str, ...] = ("last_layer", "secant_contributions", "tangent_contributions", "seg_grad_cam")
    cam_layer: str = "bottom"
    audit_pixels: int = 256
    audit_errors: int = 64
    steps: int = 50
    samples: int = 8
    extent: list[float] | None = None
    seed: int = 0
    device: str = "auto"
    memory_mb: int = 1024
    contributions: str | None = None
    evidence: str | None = None
    cams: str | None = None


JOBS: dict[str, type[Job]] = {
    job.KIND: job
    for job in (
        ProbeJob, DemoDataJob, TrainClassifierJob, TrainSceneClassifierJob, ClassifyJob, AttributionJob,
        EvaluateExplainersJob, SegmentationContributionsJob, TrainAutoencoderJob, ClusterSeriesJob,
        GradSlamJob, AbsorptionFeaturesJob, CompareSensorsJob, UnmixJob, MisclassificationsJob,
        ExplainPixelsJob,
    )
}  # fmt: skip


def job_from_dict(values: dict) -> Job:
    """Build the job that `values` describes; ValueError where a kind or a field is unknown."""
    values = dict(values)
    kind = values.pop("kind", None)
    if kind not in JOBS:
        raise ValueError(f"Unknown job '{kind}'; known are {', '.join(JOBS)}.")
    defaults = {field.name: field.default for field in fields(JOBS[kind])}
    unknown = sorted(set(values) - set(defaults))
    if unknown:
        raise ValueError(f"Job '{kind}' has no field {', '.join(unknown)}.")
    if values.get("series"):
        values["series"] = SeriesSource.from_dict(values["series"])
    # JSON knows no tuples.
    return JOBS[kind](**{
        name: tuple(value) if isinstance(defaults[name], tuple) else value for name, value in values.items()
    })  # fmt: skip
