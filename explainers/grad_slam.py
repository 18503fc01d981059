"""Grad-SLAM: which dates an embedding dimension of a time series comes from.

Di Martino, Guinvarc'h, Thirion-Lefevre & Colin 2023, DOI 10.1109/LGRS.2023.3302906. With A (filter, T_l)
what a convolution gives behind its ReLU, and e an embedding dimension or a direction's coordinate:

    pooled:        map(t) = sum over k of (mean over t of de/dA_kt) A_kt     equations 3 and 4, no ReLU
    element-wise:  map(t) = sum over k of de/dA_kt A_kt                      Draelos & Carin, arXiv:2011.08891

Maps have the unit of the embedding. Those of several layers are scaled one by one and averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..models.autoencoder import Autoencoder
from .costs import layer_bytes
from .encoder_passes import EncoderPasses

VARIANTS = ("pooled", "element_wise")
SCALINGS = ("none", "signed_minmax", "zscore", "maxabs", "l1_share", "absolute_minmax")


class DateMaps(NamedTuple):
    """What Grad-SLAM finds in n series.

    `embedding` (n, dimension). `maps` (layer, direction, n, date), signed, on the axis of the dates.
    """

    embedding: Tensor
    maps: Tensor


class GradSlam:
    """Grad-SLAM of the convolutions `layers` (counted from 1; none given: all) of an autoencoder.

    `memory`: bytes that a batch may take. Raises ValueError for a variant or layer that there is not.
    """

    def __init__(
        self, network: Autoencoder, variant: str = "pooled", layers: Sequence[int] = (),
        memory: int = 64 * 2**20,
    ) -> None:  # fmt: skip
        self.network, self.variant = network, variant
        self.layers = tuple(layers) or tuple(range(1, network.convolutions + 1))
        if variant not in VARIANTS or not all(1 <= layer <= network.convolutions for layer in self.layers):
            raise ValueError(f"There is no {variant} map of the layers {self.layers}.")
        # Activations, and gradients on their way back.
        self.batch_size = max(1, memory // (2 * layer_bytes(network, 1)))

    def maps(
        self, prepared: Tensor, directions: Tensor, tick: Callable[[int], None] = lambda series: None
    ) -> DateMaps:
        """Explain prepared series (n, date * channel) in the directions (direction, dimension).

        A direction is explained by the gradient of direction . embedding; the rows of a unit matrix are the
        dimensions. One pass forward, and back as often as there are directions or dimensions, whichever are
        fewer. `tick` gets the number of series just done, often 0, and may raise to stop.
        """
        found = []
        for part in prepared.split(self.batch_size):
            found.append(self._maps(part, directions.to(part), lambda: tick(0)))
            tick(len(part))
        if not found:
            return self._maps(prepared, directions.to(prepared), lambda: None)
        embeddings, maps = zip(*found)
        return DateMaps(torch.cat(embeddings), torch.cat(maps, 2))

    @torch.no_grad()
    def _maps(self, prepared: Tensor, directions: Tensor, check: Callable[[], None]) -> DateMaps:
        network, passes = self.network, EncoderPasses(self.network, prepared, check)
        # Gradients are linear in the direction.
        several = len(directions) > network.classes
        sources = torch.eye(network.classes).to(directions) if several else directions
        shape = (len(self.layers), len(sources), len(prepared), network.dates)
        maps, lowest = prepared.new_empty(shape), min(self.layers)
        for number, source in enumerate(sources):
            for layer, gradient in passes.gradients(source):
                if layer in self.layers:
                    found = layer_map(passes.activations[layer - 1], gradient, self.variant)
                    maps[self.layers.index(layer), number] = to_dates(found, network.dates)
                if layer == lowest:
                    break
        if several:
            maps = torch.einsum("ds,lsnt->ldnt", directions, maps)
        return DateMaps(passes.embedding, maps)


def layer_map(activation: Tensor, gradient: Tensor, variant: str) -> Tensor:
    """Return the map (n, T_l) of a layer's activations and gradients (n, filter, 1, T_l)."""
    weights = gradient.mean(3, keepdim=True) if variant == "pooled" else gradient
    return (weights * activation).sum((1, 2))


def to_dates(maps: Tensor, dates: int) -> Tensor:
    """Bring maps (..., T_l) to the dates (..., date): linearly between the middles of their cells."""
    if maps.shape[-1] == dates:
        return maps
    rows = functional.interpolate(maps.reshape(-1, 1, maps.shape[-1]), dates, mode="linear")
    return rows.reshape(*maps.shape[:-1], dates)


def receptive(network: Autoencoder, layer: int) -> Tensor:
    """Return the first and last date (int, from 0) that each entry of a layer's maps sees, (T_l, 2)."""
    convolutions = [part for part in (*network.front, *network.body) if isinstance(part, nn.Conv2d)]
    first = last = torch.arange(network.dates)
    for convolution in convolutions[:layer]:
        kernel, stride = convolution.kernel_size[1], convolution.stride[1]
        padding = int(convolution.padding[1])
        size = len(first)
        start = torch.arange((size + 2 * padding - kernel) // stride + 1) * stride - padding
        first, last = first[start.clamp_min(0)], last[(start + kernel - 1).clamp_max(size - 1)]
    return torch.stack([first, last], 1)


def importance(maps: Tensor, scaling: str) -> Tensor:
    """Scale the maps (layer, ..., date) of each layer and series, and return their mean over the layers.

    `none`: as they are. `signed_minmax`: from 0 at the least to 1 at the greatest. `zscore`: less their mean,
    over their deviation. `maxabs`: over the greatest size. `l1_share`: shares of the sum of sizes.
    `absolute_minmax`: sizes, from 0 at the least to 1 at the greatest; the sign of an embedding coordinate is
    arbitrary, that of a contrast is not. Where there is nothing to divide by, 0.
    """
    sizes = maps.abs()
    peak = sizes.amax(-1, keepdim=True)
    if scaling == "none":
        scaled = maps
    elif scaling == "signed_minmax":
        scaled = _from_least(maps, peak)
    elif scaling == "zscore":
        scaled = _over(maps - maps.mean(-1, keepdim=True), maps.std(-1, correction=0, keepdim=True), peak)
    elif scaling == "maxabs":
        scaled = _over(maps, peak, peak)
    elif scaling == "l1_share":
        scaled = _over(sizes, sizes.sum(-1, keepdim=True), peak)
    elif scaling == "absolute_minmax":
        scaled = _from_least(sizes, peak)
    else:
        raise ValueError(f"'{scaling}' is none of {', '.join(SCALINGS)}.")
    return scaled.mean(0)


def _from_least(values: Tensor, peak: Tensor) -> Tensor:
    least = values.amin(-1, keepdim=True)
    return _over(values - least, values.amax(-1, keepdim=True) - least, peak)


def _over(values: Tensor, by: Tensor, peak: Tensor) -> Tensor:
    """Divide, with 0 where `by` is nothing but the rounding of values as large as `peak`."""
    rounding = 8 * torch.finfo(values.dtype).eps * peak
    return torch.where(by > rounding, values / by, 0)
