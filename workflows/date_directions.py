"""What of an embedding is explained: its dimensions, or the direction from one class to another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..engine.series_jobs import GradSlamJob
from ..models.files import Model
from ..rasters.errors import InputError
from ..rasters.series import Series
from .context import Context
from .series_labels import SeriesLabels
from .series_naming import embed
from .series_reading import read_pixels

TARGETS = ("dimensions", "contrast")
# Labelled pixels that a class's mean embedding is of.
_MOST = 5000
# Those of them that its mean map is of.
_SIDE = 512


@dataclass(frozen=True)
class Directions:
    """`vectors` (direction, dimension) with their `names`, and their weights (direction,) where combined.

    Of a contrast, `sides` are series (n, band) of either class, as read: maps are then told as departures
    from the mean of both classes' mean maps.
    """

    vectors: Tensor
    names: tuple[str, ...]
    weights: Tensor
    sides: tuple[Tensor, ...] = ()

    def facts(self) -> dict:
        """Return what the run record says."""
        return {
            "directions": dict(zip(self.names, self.vectors.tolist())),
            "weights_when_combined": dict(zip(self.names, self.weights.tolist())),
        }


def directions_of(
    job: GradSlamJob, context: Context, series: Series, model: Model, labels: SeriesLabels | None, device: str
) -> Directions:
    """Return the directions that a job explains; InputError where a dimension or class is not there.

    Dimensions are weighted by their share of the embedding's variance over training series; of a contrast
    the direction is that between the classes' mean embeddings.
    """
    if job.target not in TARGETS:
        raise InputError(f"There is no target '{job.target}'; choose one of {', '.join(TARGETS)}.")
    if job.target == "contrast":
        return _contrast(job, context, series, model, labels, device)
    count = len(model.card.classes)
    chosen = job.dimensions or tuple(range(1, count + 1))
    if wrong := [d for d in chosen if not 1 <= d <= count]:
        raise InputError(f"The embedding has no dimension {wrong[0]}; it has {count}, counted from 1.")
    if len(set(chosen)) < len(chosen):
        raise InputError(f"A dimension comes twice in {', '.join(map(str, chosen))}; name each once.")
    places = [d - 1 for d in chosen]
    variance = embed(model, model.spectra.background, device, context).var(0)[places]
    total = variance.sum()
    weights = variance / total if total > 0 else np.full(len(places), 1 / len(places))
    names = tuple(model.card.class_names[place] for place in places)
    return Directions(torch.eye(count)[places], names, torch.from_numpy(weights).float())


def _contrast(
    job: GradSlamJob, context: Context, series: Series, model: Model, labels: SeriesLabels | None, device: str
) -> Directions:
    if labels is None:
        raise InputError(
            "The target 'contrast' needs LABELS, to know where the two classes are in the embedding; give "
            "labelled parcels, or the class raster of clusterseries."
        )
    means, sides = [], []
    for name in (job.class_name, job.contrast_class):
        if name not in labels.names:
            raise InputError(
                f"The labels have no class '{name or ''}'; choose two of {', '.join(labels.names)}."
            )
        members = np.flatnonzero(labels.pixels.classes == labels.names.index(name))
        members = np.sort(np.random.default_rng(job.seed).permutation(members)[:_MOST])
        pixels = read_pixels(series, labels.pixels.rows[members], labels.pixels.cols[members], context.check)
        if not len(pixels):
            raise InputError(f"The class '{name}' has no pixel with data; choose another class.")
        means.append(embed(model, pixels.values, device, context).mean(0))
        sides.append(pixels.values[:_SIDE])
    difference = means[0] - means[1]
    length = float(np.linalg.norm(difference))
    if job.class_name == job.contrast_class or length < 1e-9:
        raise InputError(
            f"The classes '{job.class_name}' and '{job.contrast_class}' are at the same place in the "
            "embedding, so that no direction leads from one to the other; choose two others."
        )
    vector = torch.from_numpy(difference / length).float()[None]
    names = (f"{job.class_name} against {job.contrast_class}",)
    return Directions(vector, names, torch.ones(1), tuple(sides))
