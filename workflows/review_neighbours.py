"""What is known of the classes: samples with their neighbours, and means that pixels may lie between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import Tensor

# Neighbours that vote.
NEIGHBOURS = 10
# What is beyond this percentile of the correct samples is unlike them.
PERCENTILE = 99
# Correct samples gain less than at this percentile where a mixture may stand in for a class. Less strict: a
# class whose features vary in depth reaches toward the others, and few would be told from it.
_GAIN_PERCENTILE = 95
_AT_ONCE = 512
_TINY = 1e-9


@dataclass(frozen=True)
class Near:
    """Of n pixels: distance to the nearest sample, over the median one of correct pixels, and its class.

    `votes` (n, class): the share of the nearest samples that each class has.
    """

    distance: np.ndarray
    classes: np.ndarray
    votes: np.ndarray


class Samples:
    """Pixels of known class, `features` float32 (m, feature); `keys` tell one pixel from another.

    Distances are Euclidean, of features in their standard deviations. `median`: that of a sample to its
    nearest other; `limit`: the percentile of these, over the median.
    """

    def __init__(self, features: np.ndarray, classes: np.ndarray, keys: np.ndarray, count: int) -> None:
        self.classes, self._keys, self._count = classes, keys, count
        self._mean, deviation = features.mean(0), features.std(0)
        self._scale = np.where(deviation > _TINY, deviation, 1.0)
        self._points = self._standard(features)
        self.median = 1.0
        own = self.near(features, keys).distance
        finite = own[np.isfinite(own)]
        self.median = max(float(np.median(finite)), _TINY) if finite.size else 1.0
        self.limit = float(np.percentile(finite, PERCENTILE)) / self.median if finite.size else float("inf")

    def near(self, features: np.ndarray, keys: np.ndarray) -> Near:
        """Look for the nearest samples of pixels (n, feature); a sample is not its own neighbour."""
        distances, votes, nearest = [], [], []
        k = min(NEIGHBOURS, len(self.classes))
        for start in range(0, len(features), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            away = torch.cdist(self._standard(features[part]), self._points)
            away.masked_fill_(torch.from_numpy(keys[part][:, None] == self._keys[None]), torch.inf)
            found, places = away.topk(k, largest=False)
            classes = self.classes[places.numpy()]
            there = torch.isfinite(found).numpy()
            vote = np.zeros((len(classes), self._count))
            np.add.at(vote, (np.arange(len(classes))[:, None], classes), there)
            distances.append(found[:, 0].numpy())
            votes.append(vote / np.maximum(there.sum(1, keepdims=True), 1))
            nearest.append(classes[:, 0])
        return Near(np.concatenate(distances) / self.median, np.concatenate(nearest), np.concatenate(votes))

    def _standard(self, features: np.ndarray) -> Tensor:
        return torch.from_numpy(((features - self._mean) / self._scale).astype(np.float32))


@dataclass(frozen=True)
class Mixture:
    """Best mixtures of two classes for n pixels: `share` of the `second` class, and squared distance."""

    first: np.ndarray
    second: np.ndarray
    share: np.ndarray
    squared: np.ndarray


class ClassSpace:
    """The space in which classes differ most against how they vary within (Fisher's discriminants).

    Spectra are whitened by the covariance within classes, shrunk as by Ledoit & Wolf 2004 (DOI
    10.1016/S0047-259X(03)00096-4), and projected on the differences of the classes' means. As both are
    linear, a mixture of two spectra lies between them here as well. `limits` (class,): the percentile of the
    squared distances of a class's samples from its mean. `gain_limit`: what a mixture of its own class with
    another brings a correct sample nearer than its nearest class, at most.
    """

    def __init__(self, spectra: np.ndarray, classes: np.ndarray, count: int) -> None:
        self.present = np.bincount(classes, minlength=count) > 0
        means = np.stack([
            spectra[classes == number].mean(0, dtype=np.float64) if there else np.full(spectra.shape[1], 0.0)
            for number, there in enumerate(self.present)
        ])  # fmt: skip
        within = spectra - means[classes]
        self._scale = np.maximum(within.std(0), _TINY * np.abs(spectra).max() + 1e-30)
        within = within / self._scale
        shrinkage = ledoit_wolf_shrinkage(within, assume_centered=True)
        covariance = within.T @ within / len(within)
        mean_variance = np.trace(covariance) / len(covariance)
        covariance = (1 - shrinkage) * covariance + max(shrinkage, 1e-6) * mean_variance * np.eye(
            len(covariance)
        )
        values, vectors = np.linalg.eigh(covariance)
        self._whiten = vectors / np.sqrt(np.maximum(values, _TINY)) @ vectors.T
        self._centre = means[self.present].mean(0)
        white = (means - self._centre) / self._scale @ self._whiten
        _, sizes, axes = np.linalg.svd(white[self.present], full_matrices=False)
        self._axes = axes[sizes > 1e-6 * sizes.max(initial=1e-30)].T
        self.means = np.where(self.present[:, None], white @ self._axes, np.nan)
        self.raw_means = np.where(self.present[:, None], means, np.nan)
        self.deviation = self._scale
        own = ((self.placed(spectra) - self.means[classes]) ** 2).sum(1)
        self.limits = np.array([
            np.percentile(own[classes == number], PERCENTILE) if there else np.nan
            for number, there in enumerate(self.present)
        ])  # fmt: skip
        gains = self.gain(self.squared(spectra), self.mixture(spectra, np.stack([classes] * 2, 1)))
        self.gain_limit = float(np.percentile(gains, _GAIN_PERCENTILE))

    def placed(self, spectra: np.ndarray) -> np.ndarray:
        """Return where spectra (n, band) lie, (n, axis)."""
        return (spectra - self._centre) / self._scale @ self._whiten @ self._axes

    def squared(self, spectra: np.ndarray) -> np.ndarray:
        """Return the squared distances (n, class) from the means, in that of a class's own limit each.

        1 is the limit; infinite where there is no sample of a class.
        """
        away = ((self.placed(spectra)[:, None] - self.means) ** 2).sum(2) / np.maximum(self.limits, _TINY)
        return np.where(self.present, away, np.inf)

    def mixture(self, spectra: np.ndarray, among: np.ndarray) -> Mixture:
        """Return the best mixtures of a pixel's class in `among` (n, 2) with another class.

        The squared distance counts in the larger of both limits.
        """
        places = self.placed(spectra)
        best = Mixture(
            among[:, 0].copy(), among[:, 1].copy(), np.zeros(len(spectra)), np.full(len(spectra), np.inf)
        )
        for column in (0, 1):
            start = among[:, column]
            for other in np.flatnonzero(self.present):
                usable = (start != other) & self.present[start]
                if not usable.any():
                    continue
                line = self.means[other] - self.means[start]
                length = np.maximum((line**2).sum(1), _TINY)
                share = ((places - self.means[start]) * line).sum(1) / length
                share = np.clip(share, 0, 1)
                off = ((places - self.means[start] - share[:, None] * line) ** 2).sum(1)
                off /= np.maximum(np.maximum(self.limits[start], self.limits[other]), _TINY)
                better = usable & (off < best.squared)
                best.first[better], best.second[better] = start[better], other
                best.share[better], best.squared[better] = share[better], off[better]
        return best

    @staticmethod
    def gain(squared: np.ndarray, mixture: Mixture) -> np.ndarray:
        """Return how much nearer pixels (n,) are to a mixture than to the nearest class."""
        return squared.min(1) - mixture.squared
