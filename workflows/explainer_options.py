"""What a job says of its explainer, checked and brought into the explainers' own form."""

from __future__ import annotations

from collections.abc import Sequence

from ..engine.jobs import AttributionJob
from ..explainers.base import Options
from ..explainers.registry import CHIP_EXPLAINERS
from ..models.files import Model
from ..models.scene_networks import STAGES, SceneNetwork
from ..rasters.errors import InputError
from .chip_batches import memory_of_batch
from .context import Context


def options_of(job: AttributionJob, model: Model) -> Options:
    """Return the options of the job's explainer; InputError where one can't be."""
    for name, value, least in (
        ("number of steps", job.steps, 0), ("most steps", job.max_steps, 2),
        ("number of samples", job.samples, 1),
        ("occlusion window", job.occlusion_window, 0), ("number of occlusion bands", job.occlusion_bands, 0),
        ("occlusion stride", job.occlusion_stride, 0), ("seed", job.seed, 0),
    ):  # fmt: skip
        if value < least:
            raise InputError(f"The {name} can't be {value}; choose {least} or more.")
    if not 0 < job.tolerance <= 1:
        raise InputError(f"The tolerance can't be {job.tolerance}; choose a fraction above 0, such as 0.01.")
    if job.layer not in STAGES:
        raise InputError(f"There is no layer '{job.layer}'; choose one of {', '.join(STAGES)}.")
    # Of a series, occlusion replaces dates, all channels of each.
    dates = {band.date for band in model.card.bands}
    channels = len(model.card.used_bands) // len(dates) if model.card.of_series else 1
    background = model.network.prepare(model.spectra.background[:, :, None, None])[:, :, 0, 0]
    return Options(
        steps=job.steps, max_steps=job.max_steps, tolerance=job.tolerance, samples=job.samples, seed=job.seed,
        occlusion_window=job.occlusion_window, occlusion_bands=job.occlusion_bands * channels,
        occlusion_stride=job.occlusion_stride * channels, layer=job.layer, background=background,
        memory=memory_of_batch(job.memory_mb),
    )  # fmt: skip


def warn_of_coarse_layer(
    explainers: Sequence[str], layer: str, models: Sequence[Model], context: Context
) -> None:
    """Warn where maps of a layer that has one value for a whole chip are to explain it."""
    sides = {
        model.network.patch_size
        for model in models
        if isinstance(model.network, SceneNetwork)
        and model.network.map_side(layer) == 1
        and any(CHIP_EXPLAINERS[name].weighs_layer for name in explainers)
    }
    for side in sorted(sides):
        context.warn(
            f"Grad-CAM at {layer} has one value for a whole chip of {side} x {side} pixels; choose an "
            "earlier GRAD_CAM_LAYER."
        )
