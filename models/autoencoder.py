"""Autoencoders of time series: convolutions over the dates to a few dimensions, dense layers back.

After Di Martino et al. 2023, DOI 10.1109/LGRS.2023.3302906: "Grad-SLAM". A series of dates x channels is
a pixel whose bands lie date by date, band = date * channels + channel, and the encoder a classifier of such
pixels whose logits are the embedding, so that whatever explains pixels explains its dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..rasters.errors import InputError
from .networks import BandScaling, PatchNetwork, SeriesAsRows, with_channels_last
from .relus import RuledReLU

_DENSE = 64
_DECODER = (64, 128)


class Autoencoder(PatchNetwork):
    """An encoder of series of `dates` x `channels` to an embedding, and its decoder.

    `prepare` clips each channel to the limits `low` and `high` (channel,), which are infinite until they are
    set. `front` scales each channel, the same at all dates, and is the first of the `convolutions` over the
    dates; `body` goes on to the embedding (n, dimension). `decoder` leads from it to the scaled series.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self, dates: int, channels: int, dimensions: int, front: nn.Sequential, body: nn.Sequential,
        decoder: nn.Sequential, convolutions: int,
    ) -> None:  # fmt: skip
        super().__init__(dates * channels, dimensions, 1, "clip", front, body)
        self.dates, self.channels, self.convolutions = dates, channels, convolutions
        self.decoder = decoder
        self.register_buffer("low", torch.full((channels,), -torch.inf))
        self.register_buffer("high", torch.full((channels,), torch.inf))

    def prepare(self, x: Tensor) -> Tensor:
        """Clip series (n, date * channel) or (n, date * channel, y, x) to their channels' limits."""
        shape = (-1, *[1] * (x.dim() - 2))
        low, high = (limit.repeat(self.dates).reshape(shape) for limit in (self.low, self.high))
        return x.clamp(low, high)

    def encode(self, prepared: Tensor) -> Tensor:
        """Embedding (n, dimension) of prepared series (n, date * channel)."""
        return self.logits(prepared[:, :, None, None]).flatten(1)

    def activations(self, prepared: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return what each convolution gives behind its ReLU, (n, filter, T_l), and the embedding.

        All are part of one graph: the embedding can be differentiated by the activations.
        """
        found: list[Tensor] = []
        z = self.front(prepared[:, :, None, None])
        for layer in self.body:
            z = layer(z)
            if isinstance(layer, nn.ReLU) and len(found) < self.convolutions:
                found.append(z.squeeze(2))
                z = found[-1].unsqueeze(2)
        return found, z.flatten(1)

    def decode(self, embedding: Tensor) -> Tensor:
        """Series (n, date * channel), at prepared values, that an embedding (n, dimension) stands for."""
        return self.decoder(embedding) * self.scaling.scale + self.scaling.offset

    def scaled(self, prepared: Tensor) -> Tensor:
        """Prepared series (n, date * channel) less the mean of their channel, over its deviation."""
        return (prepared - self.scaling.offset) / self.scaling.scale


def autoencoder(
    dates: int, channels: int, dimensions: int = 2, filters: Sequence[int] = (64, 64, 64),
    kernels: Sequence[int] = (7, 5, 3), stride: int = 1,
) -> Autoencoder:  # fmt: skip
    """Convolutions over the dates, a dense layer of 64 and `dimensions`; dense layers of 64 and 128 back.

    Convolutions keep the number of dates; with a `stride` all but the first take only every so many-th.
    Raises InputError where the kernels are not odd, or not as many as filters.
    """
    if len(filters) != len(kernels) or not filters or any(kernel % 2 == 0 for kernel in kernels):
        raise InputError(
            f"An autoencoder needs a kernel of odd length for each convolution, not kernels {[*kernels]} for "
            f"filters {[*filters]}; choose as many odd kernels as filters."
        )
    first = nn.Conv2d(channels, filters[0], (1, kernels[0]), padding=(0, kernels[0] // 2))
    front = nn.Sequential(BandScaling(dates * channels), SeriesAsRows(channels), first)
    body: list[nn.Module] = [RuledReLU()]
    length = dates
    for (before, after), kernel in zip(pairwise(filters), kernels[1:]):
        padding = (0, kernel // 2)
        body += [nn.Conv2d(before, after, (1, kernel), (1, stride), padding), RuledReLU()]
        length = -(-length // stride)
    body += [nn.Conv2d(filters[-1], _DENSE, (1, length)), RuledReLU(), nn.Conv2d(_DENSE, dimensions, 1)]
    decoder: list[nn.Module] = []
    for before, after in pairwise((dimensions, *_DECODER)):
        decoder += [nn.Linear(before, after), RuledReLU()]
    decoder.append(nn.Linear(_DECODER[-1], dates * channels))
    network = Autoencoder(
        dates, channels, dimensions, front, nn.Sequential(*body), nn.Sequential(*decoder), len(filters)
    )
    return with_channels_last(network)


AUTOENCODERS = {"conv_autoencoder": autoencoder}


def build_autoencoder(architecture: str, **options: Any) -> Autoencoder:
    """Make the network `architecture` with fresh weights; KeyError where the name is unknown."""
    return AUTOENCODERS[architecture](**options)
