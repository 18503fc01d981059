"""A sample as a network reads it, and what is explained of it: the logit of the predicted class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ..models.files import Network
from ..models.scene_networks import SceneNetwork
from .evaluation_sample import Sample

Baseline = Callable[[Tensor], Tensor]


class Inputs:
    """The n inputs of a sample, prepared when asked for, and the class that the network gives each of them.

    Of crops, of which the network classifies all pixels, that is the class of the pixel in question.
    """

    def __init__(self, network: Network, sample: Sample, baseline: Baseline, device: str) -> None:
        self._network, self._sample, self._baseline, self._device = network, sample, baseline, device
        self._places = None if sample.places is None else sample.places.to(device)
        self._predicted = torch.empty(0)

    def read(self, members: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the prepared inputs (m, band, y, x) of some members and their baselines."""
        x = self._network.prepare(self._sample.raw[list(members)].to(self._device))
        return x, self._baseline(x)

    def numbers(self, members: Sequence[int]) -> Tensor:
        """Return members (m,) as a tensor on the device."""
        return torch.tensor(list(members), device=self._device)

    def predict(self, pieces: Iterable[Sequence[int]]) -> np.ndarray:
        """Return the class of each input (n,), which is what is explained from now on."""
        found = [self.logits(self.read(piece)[0], self.numbers(piece)).argmax(1) for piece in pieces]
        self._predicted = torch.cat(found)
        return self._predicted.cpu().numpy()

    def arguments(self, members: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return what explainers are given of some members: inputs, baselines, weights."""
        x, baseline = self.read(members)
        return x, baseline, self.weights(self.numbers(members), x.shape)

    def weights(self, of: Tensor, shape: torch.Size) -> Tensor:
        """Return the explainers' weights of copies, of the inputs `of` (m,), that have a `shape`."""
        chosen = one_hot(self._predicted[of], self._network.classes).float()
        if self._places is None:
            return chosen
        weights = chosen.new_zeros(len(of), chosen.shape[1], *shape[-2:])
        weights[torch.arange(len(of), device=of.device), :, *self._places[of].T] = chosen
        return weights.flatten(1)

    def logits(self, values: Tensor, of: Tensor) -> Tensor:
        """Return the logits (m, class) of copies (m, band, y, x) of the inputs `of` (m,)."""
        logits = self._network.logits(values)
        if self._places is None:
            return logits.flatten(1)
        return logits[torch.arange(len(of), device=of.device), :, *self._places[of].T]

    def output(self, values: Tensor, of: Tensor) -> Tensor:
        """Return the logit (m,) of the class predicted for the inputs `of` (m,), in copies of them."""
        return self._of_class(self.logits(values, of), of)

    def probability(self, values: Tensor, of: Tensor) -> Tensor:
        """Return its softmax probability (m,), as `output`."""
        return self._of_class(self.logits(values, of).softmax(1), of)

    def looks(self, members: Sequence[int]) -> np.ndarray:
        """Return what examples look like: chips as the network reads them, others as they are stored."""
        if isinstance(self._network, SceneNetwork):
            return self.read(members)[0].cpu().numpy()
        # Normalised per pixel, all have one level.
        return self._sample.raw[list(members)].numpy()

    def _of_class(self, values: Tensor, of: Tensor) -> Tensor:
        return values.gather(1, self._predicted[of][:, None])[:, 0]
