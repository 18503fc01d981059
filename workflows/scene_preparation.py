"""Chips made ready for a scene classifier, and what it keeps of those it is trained on: means and limits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..models.files import Spectra
from ..models.scene_networks import SceneNetwork
from .scene_samples import SceneSamples

# Percentiles of the training chips' pixels that become 0 and 1, and of how many pixels at most.
_PERCENTILES = (1, 99)
_MOST_PIXELS = 2**22
_PREPARED = 256  # chips at a time


def spectra_of(raw: np.ndarray, samples: SceneSamples) -> Spectra:
    """Return mean values of the training chips and of their classes, over the pixels with data."""
    train = samples.split.train
    counts = np.stack([np.isfinite(raw[index]).sum((1, 2)) for index in train])
    sums = np.stack([np.nansum(raw[index], (1, 2), dtype=np.float64) for index in train])
    classes = samples.classes[train]
    members = [classes == number for number in range(len(samples.names))]
    means = [sums[chosen].sum(0) / counts[chosen].sum(0) for chosen in members]
    return Spectra(
        mean=torch.from_numpy(sums.sum(0) / counts.sum(0)).float(),
        class_means=torch.from_numpy(np.stack(means)).float(),
        background=torch.empty(0, raw.shape[1]),
    )


def limits_of(network: SceneNetwork, raw: np.ndarray, train: np.ndarray) -> list[tuple[float, float]]:
    """Return percentiles of each band of the training chips, in decibels where the network reads these."""
    step = -(-len(train) * raw[0, 0].size // _MOST_PIXELS)
    values = network.in_decibels(torch.from_numpy(raw[train[::step]])).numpy()
    limits = []
    for band in values.swapaxes(0, 1):
        band = band[np.isfinite(band)]
        low, high = np.percentile(band, _PERCENTILES).astype(np.float32)
        if low == high:
            low, high = band.min(), band.max()
        # Where all is one value there is nothing to scale.
        limits.append((float(low), float(high if high > low else low + max(1, abs(low)))))
    return limits


def prepare(network: SceneNetwork, raw: np.ndarray, mean: Tensor) -> Tensor:
    """Return the chips as the network reads them, in the memory of `raw`; the mean stands for nodata."""
    chips = torch.from_numpy(raw)
    for part in chips.split(_PREPARED):
        part.copy_(network.prepare(torch.where(part.isnan(), mean[:, None, None], part)))
    return chips
