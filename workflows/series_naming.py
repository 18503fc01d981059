"""Naming the clusters of a series after labelled parcels, and judging the names."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from ..engine.series_jobs import ClusterSeriesJob
from ..models.autoencoder import Autoencoder
from ..models.files import Model
from ..rasters.errors import InputError
from ..rasters.series import Series
from .context import Context
from .series_clusters import VOTES, Clusters, Fit, fit_of, vote
from .series_labels import SeriesLabels
from .series_reading import SeriesPixels, read_pixels

# A series and the activations of all layers, in bytes a pixel, are in memory for so many pixels at once.
_AT_ONCE = 2048
# Labelled pixels that name the clusters and judge them; more add nothing but time.
_MOST_LABELLED = 100_000
_TREES = 100
# Pixels that the supervised classifier learns from: it takes longest.
_FOREST = 20_000


class Named(NamedTuple):
    """What labels say of clusters: the class of each cluster, all fits, a supervised accuracy."""

    named: np.ndarray
    fits: list[Fit]
    chosen: Fit
    supervised: float


@torch.no_grad()
def embed(model: Model, values: Tensor, device: str, context: Context) -> np.ndarray:
    """Return the embedding float64 (n, dimension) of series (n, band) in the unit of the model."""
    network = model.network.to(device)
    if not isinstance(network, Autoencoder):
        raise TypeError("Only autoencoders embed series.")
    parts = []
    for part in values.split(_AT_ONCE):
        context.check()
        parts.append(network.encode(network.prepare(part.to(device))).cpu())
    return torch.cat(parts).double().numpy()


def name_clusters(
    job: ClusterSeriesJob, context: Context, series: Series, model: Model, labels: SeriesLabels,
    clusters: Clusters, embedding: np.ndarray, device: str,
) -> Named:  # fmt: skip
    """Name the clusters after the training parcels, and judge that on the test parcels."""
    split = labels.split(job.test_share, job.seed)
    sides = [_labelled(job, context, series, labels, side) for side in (split.train, split.test)]
    for side, pixels in zip(("train", "test"), sides):
        if not len(pixels):
            raise InputError(f"No labelled pixel that is to {side} has data; label other places.")
    places = [embed(model, pixels.values, device, context) for pixels in sides]
    classes = [labels.classes_at(pixels.rows, pixels.cols) for pixels in sides]
    class_count = len(labels.names)
    fits, chosen = [], None
    for count in sorted({class_count * times for times in (1, 2, 3) if class_count > 1} | {len(clusters)}):
        context.check()
        trial = clusters if count == len(clusters) else Clusters(embedding, count, job.seed)
        trained, tested = (trial.predict(each) for each in places)
        counts = np.zeros((count, class_count), dtype=np.int64)
        np.add.at(counts, (trained, classes[0]), 1)
        for rule in VOTES:
            named = vote(counts, rule)
            fits.append(fit_of(tested, classes[1], named, rule, class_count))
            if trial is clusters and rule == job.vote:
                chosen, names = fits[-1], named
    if chosen is None:
        raise RuntimeError("The chosen number of clusters was not among those tried.")
    absent = sorted(set(range(class_count)) - set(names[names >= 0].tolist()))
    if absent:
        missing = ", ".join(labels.names[i] for i in absent)
        context.warn(f"No cluster is named after {missing}: try more CLUSTERS, or VOTE one_to_one.")
    context.progress(0.4, "Training a supervised classifier to compare with")
    forest = RandomForestClassifier(_TREES, random_state=job.seed, n_jobs=-1)
    learnt = np.sort(np.random.default_rng(job.seed).permutation(len(classes[0]))[:_FOREST])
    forest.fit(sides[0].values.numpy()[learnt], classes[0][learnt])
    supervised = float((forest.predict(sides[1].values.numpy()) == classes[1]).mean())
    return Named(names, fits, chosen, supervised)


def _labelled(
    job: ClusterSeriesJob, context: Context, series: Series, labels: SeriesLabels, side: np.ndarray
) -> SeriesPixels:
    chosen = np.sort(np.random.default_rng(job.seed).permutation(side)[:_MOST_LABELLED])
    return read_pixels(series, labels.pixels.rows[chosen], labels.pixels.cols[chosen], context.check)


def numbers_of(result: Named) -> dict[str, float]:
    """Return the number outputs of named clusters."""
    chosen = result.chosen
    return {
        "OVERALL_ACCURACY": chosen.overall_accuracy, "BALANCED_ACCURACY": chosen.balanced_accuracy,
        "KAPPA": chosen.kappa, "ARI": chosen.ari, "NMI": chosen.nmi, "PURITY": chosen.purity,
        "SUPERVISED_ACCURACY": result.supervised,
    }  # fmt: skip


def figures_of(result: Named) -> dict:
    """Return what the run record says of named clusters."""
    return {
        **{name.lower(): value for name, value in numbers_of(result).items()},
        "test_pixels": int(result.chosen.confusion.sum()),
    }
