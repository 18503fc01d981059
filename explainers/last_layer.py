"""What the channels of the last features give each class's logits: exact, as the last layer is linear.

    logit of class c at a pixel = bias of c + sum over channels k of weight of k for c times feature k there

(Gutierrez-Zaballa et al. 2025, arXiv:2502.14416; with global pooling, Zhou et al. 2016, arXiv:1512.04150).
Sums over a scene are kept in float64 as its tiles come, and take no memory with its size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from ..models.relus import Record, recording
from ..models.segmentation_networks import FEATURES, SegmentationNetwork

# A channel that varies less than this is constant: it has no correlation.
_CONSTANT = 1e-8
# A channel whose best correlation with the other model's is below this is one of its own.
UNIQUE = 0.3


class Features(NamedTuple):
    """The last features (n, channel, y, x) of prepared images, and their logits (n, class, y, x)."""

    features: Tensor
    logits: Tensor


@torch.no_grad()
def features_of(network: SegmentationNetwork, prepared: Tensor) -> Features:
    """Run an explainable network on prepared images (n, band, y, x)."""
    record = Record()
    with recording(record):
        logits = network.logits(prepared)
    return Features(record.taps[FEATURES], logits)


def class_weights(head: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Return the last layer's weights (class, channel) and biases (class,)."""
    weight = head.weight[:, :, 0, 0]
    bias = torch.zeros_like(weight[:, 0]) if head.bias is None else head.bias
    return weight.detach(), bias.detach()


def contributions(head: nn.Conv2d, features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return each channel's contributions (n, channel, y, x) to a target, and the bias's (n, y, x).

    `features` (n, channel, y, x); `weights` (n, class, y, x) make the target of the logits: one class, or a
    contrast of two. Both together are the target's output.
    """
    by_channel, bias = class_weights(head)
    return features * torch.einsum("ncyx,ck->nkyx", weights, by_channel), torch.einsum(
        "ncyx,c->nyx", weights, bias
    )


def evidence(head: nn.Conv2d, features: Tensor) -> Tensor:
    """Return what speaks for each class, (n, class, y, x): the sum of its positive contributions."""
    by_channel, _ = class_weights(head)
    return nn.functional.conv2d(features.clamp_min(0), by_channel.clamp_min(0)[:, :, None, None]) + (
        nn.functional.conv2d(features.clamp_max(0), by_channel.clamp_max(0)[:, :, None, None])
    )


class ChannelSums:
    """Running means of the last features, and thereby of contributions, over the pixels of each group.

    `count` groups: true or predicted classes.
    """

    def __init__(self, channels: int, count: int) -> None:
        self.pixels = torch.zeros(count, dtype=torch.float64)
        self._sums = torch.zeros(count, channels, dtype=torch.float64)

    def add(self, features: Tensor, groups: Tensor) -> None:
        """Count the pixels of a tile's features (channel, y, x); `groups` int (y, x), -1 for none."""
        flat, group = features.flatten(1).T.double().cpu(), groups.flatten().cpu().long()
        known = group >= 0
        self._sums.index_add_(0, group[known], flat[known])
        self.pixels += torch.bincount(group[known], minlength=len(self.pixels))

    @property
    def means(self) -> Tensor:
        """Mean features (group, channel), NaN for groups without pixels."""
        return self._sums / torch.where(self.pixels > 0, self.pixels, torch.nan)[:, None]

    def contributions(self, head: nn.Conv2d) -> Tensor:
        """Mean contributions (group, class, channel) of each channel to each class's logit."""
        by_channel, _ = class_weights(head)
        return self.means[:, None] * by_channel.double().cpu()

    def contrast(self, head: nn.Conv2d, one: int, other: int) -> tuple[Tensor, float]:
        """Return mean contributions (group, channel) to one class's lead over another, and the bias's."""
        by_class, (_, bias) = self.contributions(head), class_weights(head)
        return by_class[:, one] - by_class[:, other], float(bias[one] - bias[other])


class Match(NamedTuple):
    """How the channels of two models go together.

    `correlations` (channel, other channel), NaN where one is constant. `pairs` (n, 2): each channel with that
    of the other model, chosen so that the absolute correlations add up to the most, strongest first.
    `unique` and `other_unique` bool: channels that correlate with none of the other model by 0.3.
    `constant` and `other_constant` bool.
    """

    correlations: Tensor
    pairs: Tensor
    unique: Tensor
    other_unique: Tensor
    constant: Tensor
    other_constant: Tensor


class ChannelCorrelation:
    """Running correlation over pixels between the channels of two models, float64."""

    def __init__(self, channels: int, others: int) -> None:
        self._split = channels
        self._count = 0
        self._mean = torch.zeros(channels + others, dtype=torch.float64)
        self._products = torch.zeros(channels + others, channels + others, dtype=torch.float64)

    def add(self, features: Tensor, others: Tensor, counted: Tensor) -> None:
        """Count the pixels `counted` bool (y, x) of two models' features (channel, y, x) of a tile."""
        values = torch.cat([features[:, counted], others[:, counted]]).double().cpu()
        count = values.shape[1]
        if not count:
            return
        mean = values.mean(1)
        centred = values - mean[:, None]
        # Means and products of the two samples joined, Chan, Golub & LeVeque 1983, DOI 10.2307/2683386.
        step, total = mean - self._mean, self._count + count
        self._products += centred @ centred.T + step[:, None] * step * (self._count * count / total)
        self._mean += step * count / total
        self._count = total

    def match(self) -> Match:
        """Return which channels go together."""
        deviations = (self._products.diagonal() / max(self._count, 1)).sqrt()
        scale = torch.where(deviations < _CONSTANT, torch.nan, deviations)
        correlations = self._products / max(self._count, 1) / scale[:, None] / scale
        part = correlations[: self._split, self._split :].clamp(-1, 1)
        size = part.abs().nan_to_num(0.0).numpy()
        found = np.stack(linear_sum_assignment(size, maximize=True), 1)
        strength = size[found[:, 0], found[:, 1]]
        defined = ~np.isnan(part.numpy()[found[:, 0], found[:, 1]])
        pairs = torch.from_numpy(found[np.argsort(-strength, kind="stable")])
        pairs = pairs[torch.from_numpy(defined[np.argsort(-strength, kind="stable")])]
        constant, other_constant = scale[: self._split].isnan(), scale[self._split :].isnan()
        largest = torch.from_numpy(size)
        return Match(
            part, pairs, (largest.amax(1) < UNIQUE) & ~constant,
            (largest.amax(0) < UNIQUE) & ~other_constant, constant, other_constant,
        )  # fmt: skip
