"""What networks of sensors attribute to their bands, and what becomes of them without a sensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from ..explainers.base import Explainer, Options
from ..explainers.channel_shares import shapley_of_coalitions
from ..explainers.integrated_gradients import IntegratedGradients
from ..models.files import Model
from ..models.networks import PatchNetwork
from ..models.samples import PatchSamples
from .chip_batches import memory_of_batch
from .targets import baseline_values

# Training spectra that integrated gradients adapt to, as for other attributions.
_LEARNT = 12


class Attributed(NamedTuple):
    """What a network attributes to its bands for the class of each pixel.

    `values` float32 (n, band), summed over the patch; `difference` (n,): of the output from that at the mean
    training spectrum; `residual` (n,): what the values lack of it.
    """

    values: np.ndarray
    residual: np.ndarray
    difference: np.ndarray


class SensorNetwork:
    """A network of some of the scene's bands, with the pixels' values that it reads and its mean spectrum.

    `bands` are those that the pixels hold. Absent means at the mean training spectrum.
    """

    def __init__(self, model: Model, bands: Sequence[int], device: str, memory_mb: int, seed: int) -> None:
        self.model = model
        self.network = cast(PatchNetwork, model.network.to(device))
        self._device = device
        self._places = np.searchsorted(bands, model.card.used_bands)
        self._mean = baseline_values("mean", None, None, model).to(device)
        self._explainer = IntegratedGradients(
            self.network, Options(seed=seed, memory=memory_of_batch(memory_mb))
        )

    def learn(self, check: Callable[[], None]) -> None:
        """Let the explainer adapt to training spectra."""
        adapt(self._explainer, self.model, self._mean, check)

    @torch.no_grad()
    def attribute(
        self, pixels: PatchSamples, check: Callable[[], None], step: Callable[[int], None] = lambda n: None
    ) -> Attributed:
        """Return integrated gradients of the logit of each pixel's class, from the mean training spectrum."""
        found = []
        for part in torch.arange(len(pixels)).split(min(64, self._explainer.batch_size())):
            check()
            x, weights = self._prepared(pixels, part), self._one_hot(pixels.classes[part].to(self._device))
            result = self._explainer.attribute(x, self._baseline(x), weights)
            values = result.values.sum((2, 3))
            difference = self._explainer.output(x, weights) - result.reference.to(x)
            found.append((values.cpu(), (difference - values.sum(1)).cpu(), difference.cpu()))
            step(len(part))
        return Attributed(*(torch.cat(parts).numpy() for parts in zip(*found)))

    @torch.no_grad()
    def shapley(
        self, pixels: PatchSamples, groups: Sequence[np.ndarray], check: Callable[[], None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return exact Shapley values (n, group) of groups of bands, and what they divide (n,), float64.

        `groups` are places among the network's bands. What is divided is the logit of each pixel's class
        less that at the mean training spectrum.
        """
        found, totals = [], []
        for part in torch.arange(len(pixels)).split(256):
            x, classes = self._prepared(pixels, part), pixels.classes[part].to(self._device)

            def logit(present: Tensor, x: Tensor = x, classes: Tensor = classes) -> Tensor:
                check()
                logits = self._without(x, [group for group, here in zip(groups, present) if not here])
                return logits.gather(1, classes[:, None])[:, 0].double()

            found.append(shapley_of_coalitions(logit, len(groups)).cpu())
            ends = torch.ones(len(groups), dtype=torch.bool)
            totals.append((logit(ends) - logit(~ends)).cpu())
        return torch.cat(found).numpy(), torch.cat(totals).numpy()

    @torch.no_grad()
    def predict(
        self, pixels: PatchSamples, check: Callable[[], None], absent: Sequence[np.ndarray] = ()
    ) -> np.ndarray:
        """Return the predicted classes (n,) where the `absent` groups of bands are at their mean."""
        found = []
        for part in torch.arange(len(pixels)).split(256):
            check()
            found.append(self._without(self._prepared(pixels, part), absent).argmax(1).cpu())
        return torch.cat(found).numpy()

    def _prepared(self, pixels: PatchSamples, chosen: Tensor) -> Tensor:
        """Return prepared patches (n, band, y, x) over the network's bands, cut to its patch."""
        less = (pixels.side - self.network.patch_size) // 2
        inner = slice(less, less + self.network.patch_size)
        patches = pixels.patches(chosen)[:, self._places, inner, inner]
        return self.network.prepare(patches.to(self._device))

    def _without(self, x: Tensor, absent: Sequence[np.ndarray]) -> Tensor:
        """Return the logits (n, class) of prepared patches with the `absent` groups of bands at the mean."""
        here = torch.ones(x.shape[1], dtype=torch.bool, device=x.device)
        for group in absent:
            here[torch.from_numpy(group).to(x.device)] = False
        mixed = torch.where(here[:, None, None], x, self._baseline(x))
        return self.network.logits(mixed).flatten(1)

    def _baseline(self, x: Tensor) -> Tensor:
        return self._mean[:, None, None].expand_as(x)

    def _one_hot(self, classes: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(classes, len(self.model.card.classes)).float()


@torch.no_grad()
def adapt(explainer: Explainer, model: Model, baseline: Tensor, check: Callable[[], None]) -> None:
    """Let an explainer adapt to training spectra, each filling a patch; `baseline` (band,) is prepared."""
    network = cast(PatchNetwork, model.network)
    side = network.patch_size
    spectra = model.spectra.background[:_LEARNT, :, None, None].to(baseline.device)
    x = network.prepare(spectra).expand(-1, -1, side, side)
    logits = network.logits(x).flatten(1)
    weights = torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).float()
    explainer.learn(x, baseline[:, None, None].expand_as(x), weights, check)
