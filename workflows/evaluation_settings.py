"""How an evaluation's job is read: checks before any work, settings of the explainers, the radius."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor

from ..engine.jobs import EvaluateExplainersJob
from ..explainers.base import Options
from ..explainers.registry import EXPLAINERS, check_serves
from ..models.card import PIXEL_CLASSIFICATION, SCENE_CLASSIFICATION
from ..models.files import Model, Network, load_model
from ..models.scene_networks import STAGES, SceneNetwork
from ..models.segmentation_networks import SegmentationNetwork
from ..rasters.errors import InputError
from .chip_baselines import OF_A_CHIP, chip_baseline
from .chip_batches import memory_of_batch
from .targets import baseline_values

# Baselines that need no class and no spectrum, those of pixel classifiers first.
OWN_BASELINES = ("zero", "mean", *OF_A_CHIP)
# Orders of the bands for Shapley values of a crop: as many as the audit of a segmentation takes.
_CROP_ORDERS = 8
# What is in memory of an input that is judged: copies of it, and maps of each explainer.
_INPUTS, _MAPS = 12, 5


def check_job(job: EvaluateExplainersJob) -> None:
    """Raise InputError where a setting has no meaning or two contradict each other."""
    if not job.models:
        raise InputError("There is no model to explain; choose one or more model files.")
    if not job.explainers:
        raise InputError(f"There is no explainer to judge; choose some of {', '.join(EXPLAINERS)}.")
    for name, names in (("explainer", job.explainers), ("model", job.models)):
        if twice := [each for each in names if names.count(each) > 1]:
            raise InputError(f"The {name} '{twice[0]}' is there twice; choose each once.")
    if unknown := [name for name in job.explainers if name not in EXPLAINERS]:
        raise InputError(f"There is no explainer '{unknown[0]}'; choose some of {', '.join(EXPLAINERS)}.")
    _check_sources(job)
    if job.layer not in STAGES:
        raise InputError(f"There is no layer '{job.layer}'; choose one of {', '.join(STAGES)}.")
    for name, value, least in (
        ("number of chips", job.chips, 1), ("number of samples", job.samples, 1),
        ("number of steps", job.steps, 0), ("number of segments", job.segments, 0),
        ("occlusion window", job.occlusion_window, 0),
        ("occlusion stride", job.occlusion_stride, 0), ("speckle's number of looks", job.speckle_looks, 0),
        ("number of randomised chips", job.randomised_chips, 0), ("seed", job.seed, 0),
    ):  # fmt: skip
        if value < least:
            raise InputError(f"The {name} can't be {value}; choose {least} or more.")
    if not job.radius > 0:
        raise InputError(f"The radius can't be {job.radius}; choose a number above 0, such as 0.02.")
    if not 0 < job.bright_share < 1:
        raise InputError(f"The bright share {job.bright_share} is not between 0 and 1.")


def _check_sources(job: EvaluateExplainersJob) -> None:
    if bool(job.patches) == bool(job.scene):
        raise InputError(
            "Chips come from the folder PATCHES, or from the scene INPUT with LABELS; choose one of the two."
        )
    if job.scene and not (job.label_features or job.label_raster):
        raise InputError("There are no labels; choose points, polygons or a class raster.")
    if job.patches and (job.label_features or job.label_raster):
        raise InputError("LABELS belong to a scene; the folder PATCHES tells the classes itself.")
    if job.masks and not job.patches:
        raise InputError("The folder MASKS goes with the folder PATCHES; a scene takes polygons, MASK.")
    if job.mask_features and not job.scene:
        raise InputError("The polygons MASK go with a scene; PATCHES take a folder, MASKS.")


def load_models(job: EvaluateExplainersJob) -> list[Model]:
    """Return the models, all of one task; InputError where one can't serve an explainer."""
    models = [load_model(path, SCENE_CLASSIFICATION, PIXEL_CLASSIFICATION) for path in job.models]
    for path, model in zip(job.models, models):
        if isinstance(model.network, SegmentationNetwork) and not job.steps:
            _check_steps(job, path)
        for name in job.explainers:
            try:
                check_serves(name, model.network, single=True)
            except InputError as error:
                raise InputError(f"{path}: {error}") from error
    if len({model.card.task for model in models}) > 1:
        raise InputError(
            "Some of the models classify scenes and others pixels; judge their explainers one kind at a time."
        )
    return models


def _check_steps(job: EvaluateExplainersJob, path: str) -> None:
    if "integrated_gradients" in job.explainers:
        raise InputError(
            f"{path}: integrated_gradients of a segmentation network needs STEPS of 1 or more, such as 50."
        )


def baseline_of(job: EvaluateExplainersJob, model: Model) -> Callable[[Tensor], Tensor]:
    """Return a function from prepared inputs (n, band, s, s) to baselines; InputError where there is none."""
    known = OWN_BASELINES if isinstance(model.network, SceneNetwork) else OWN_BASELINES[:2]
    if job.baseline not in known:
        raise InputError(f"There is no baseline '{job.baseline}' here; choose one of {', '.join(known)}.")
    if isinstance(model.network, SceneNetwork):
        return chip_baseline(job.baseline, None, model, seed=job.seed)
    spectrum = baseline_values(job.baseline, None, None, model)
    return lambda x: spectrum.to(x)[:, None, None].expand_as(x)


def names_of_models(paths: list[str]) -> list[str]:
    """Return a name for each model: its file's, with its folder's where two are alike."""
    stems = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    folders = [os.path.basename(os.path.dirname(os.path.abspath(path))) for path in paths]
    return [stem if stems.count(stem) == 1 else f"{folder}/{stem}" for stem, folder in zip(stems, folders)]


def options_of(job: EvaluateExplainersJob, model: Model, side: int) -> Options:
    """Return the explainers' settings for inputs of a `side`.

    Pixel classifiers are occluded band by band over the whole patch. Orders of bands are fewer where each
    takes a pass over a whole crop.
    """
    cropped = isinstance(model.network, SegmentationNetwork)
    chips = isinstance(model.network, SceneNetwork)
    background = model.network.prepare(model.spectra.background[:, :, None, None])[:, :, 0, 0]
    path = {"steps": job.steps}
    if chips and job.segments:
        path = {"steps": 0, "max_steps": job.segments, "tolerance": 0}
    if cropped:
        path |= {"samples": _CROP_ORDERS, "crop": side}
    return Options(
        **path, seed=job.seed, layer=job.layer, background=background,
        occlusion_window=job.occlusion_window if chips else 0,
        occlusion_stride=job.occlusion_stride if chips else 0,
        memory=memory_of_batch(job.memory_mb),
    )  # fmt: skip


def workers_within(job: EvaluateExplainersJob, shape: torch.Size) -> int:
    """Return how many inputs (band, y, x) can be judged at a time; InputError where not even one can."""
    each = 4 * shape.numel() * (_INPUTS + _MAPS * len(job.explainers)) / 2**20
    if each > job.memory_mb:
        raise InputError(
            f"A crop of {shape[-2]} x {shape[-1]} pixels takes about {each:.0f} MB to be judged by "
            f"{len(job.explainers)} explainers, more than the {job.memory_mb} MB that it may; raise the "
            "memory, or judge fewer explainers at a time."
        )
    return max(1, min(torch.get_num_threads(), int(job.memory_mb / each)))


def radius_of(job: EvaluateExplainersJob, network: Network) -> Tensor:
    """Return the radius (band,) at the network's input: chips are 0 to 1, pixels in standard deviations."""
    if isinstance(network, SceneNetwork):
        return job.radius * torch.ones_like(network.low)
    return job.radius * network.scaling.scale


def radius_in_decibels(job: EvaluateExplainersJob, network: Network) -> list[float] | None:
    """Return the radius of each band in decibels, None where the network's input is not scaled from them."""
    if not isinstance(network, SceneNetwork) or network.values == "as_is":
        return None
    return [round(value, 4) for value in (job.radius * (network.high - network.low)).tolist()]
