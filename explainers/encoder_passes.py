"""An encoder's way forward, run once, and its ways back from directions of the embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ..models.autoencoder import Autoencoder
from .transposed import transposed


class EncoderPasses:
    """One forward pass of an encoder over prepared series (n, date * channel).

    `activations`: what each convolution gives behind its ReLU, (n, filter, 1, T_l). `embedding` (n,
    dimension). `scaled` (n, date * channel): the series at scaled values, of which 0 is the channel's mean.
    `check` is called before every layer and may raise to stop.
    """

    def __init__(
        self, network: Autoencoder, prepared: Tensor, check: Callable[[], None] = lambda: None
    ) -> None:
        self._check = check
        self.scaled = network.scaled(prepared)
        self._layers: list[nn.Module] = [*list(network.front)[1:], *network.body]
        self._shapes: list[torch.Size] = []
        self._behind_relus: list[Tensor] = []
        with torch.no_grad():
            z = self.scaled[:, :, None, None]
            for layer in self._layers:
                check()
                self._shapes.append(z.shape[1:])
                z = layer(z)
                if isinstance(layer, nn.ReLU):
                    self._behind_relus.append(z)
        self.activations = self._behind_relus[: network.convolutions]
        self.embedding = z.flatten(1)

    @torch.no_grad()
    def gradients(self, direction: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield the gradients of direction . embedding, from the last convolution to the series.

        `direction` (dimension,). First the numbers of the convolutions, counted from 1, with the gradients
        by their activations (n, filter, 1, T_l); last 0 with that by the scaled series (n, date * channel).
        What is not asked for is not computed.
        """
        rows = direction.to(self.embedding).expand_as(self.embedding)[:, :, None, None]
        relu = len(self._behind_relus)
        for layer, shape in zip(reversed(self._layers), reversed(self._shapes)):
            self._check()
            if isinstance(layer, nn.ReLU):
                if relu <= len(self.activations):
                    yield relu, rows
                relu -= 1
                # The slope at 0 is 0, as in automatic differentiation.
                rows = torch.ops.aten.threshold_backward(rows, self._behind_relus[relu], 0)
            else:
                rows = transposed(layer, rows, shape)
        yield 0, rows.flatten(1)
