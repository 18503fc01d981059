"""Occlusion by windows of bands and pixels, and ablation of single bands."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ..models.files import Network
from ..models.networks import PatchNetwork
from .base import Attribution, Explainer, Options, TileAttribution, as_large_as

Window = tuple[slice, slice, slice]


class Occlusion(Explainer):
    """Change of the output when a window is replaced by the baseline; Zeiler & Fergus 2014, arXiv:1311.2901.

    Windows of `occlusion_bands` bands by `occlusion_window` x `occlusion_window` pixels. A cell's value is
    the mean change over the windows that cover it, divided by the cells of a window, so that windows
    that touch and do not overlap add up to the sum of their changes.
    """

    network: PatchNetwork

    def windows(self, bands: int, side: int) -> list[Window]:
        """Return the windows; the last one along an axis is cut where it would stand out."""
        high = min(self.options.occlusion_bands or bands, bands)
        wide = min(self.options.occlusion_window or side, side)
        return [
            (band, row, col)
            for band in self._slices(bands, high)
            for row, col in itertools.product(list(self._slices(side, wide)), repeat=2)
        ]

    def _slices(self, size: int, length: int) -> Iterator[slice]:
        stride = min(self.options.occlusion_stride or length, length)
        for start in range(0, max(size - length + stride - 1, 0) // stride * stride + 1, stride):
            yield slice(start, min(start + length, size))

    def cells(self, bands: int, side: int) -> int:
        """Return the cells of a full window."""
        return (
            min(self.options.occlusion_bands or bands, bands)
            * min(self.options.occlusion_window or side, side) ** 2
        )

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        before = self.output(x, weights)
        total = torch.zeros_like(x)
        covered = torch.zeros_like(x[:1])
        windows = self.windows(x.shape[1], x.shape[-1])
        for window in windows:
            hidden = x.clone()
            hidden[:, *window] = baseline[:, *window]
            total[:, *window] += (before - self.output(hidden, weights))[:, None, None, None]
            covered[:, *window] += 1
        values = total / covered.clamp_min(1) / self.cells(x.shape[1], x.shape[-1])
        return self.plain(values, self.output(baseline, weights), len(windows) + 1)

    def attribute_tile(
        self, tile: Tensor, baseline: Tensor, weights: Tensor, wanted: Tensor, tick: Callable[[int], None]
    ) -> TileAttribution:
        """As `Explainer.attribute_tile`; where every window covers the patch, one pass over the tile each.

        A band that is hidden in the whole tile is hidden in every patch.
        """
        side = self.network.patch_size
        if self.options.occlusion_window not in (0, side) and side > 1:
            return super().attribute_tile(tile, baseline, weights, wanted, tick)
        strips = []
        baseline = as_large_as(tile, baseline)
        height = max(1, self.batch_size() // wanted.shape[1])
        for top in range(0, len(wanted), height):
            piece, start = (maps[:, top : top + height + side - 1] for maps in (tile, baseline))
            pixels = int(wanted[top : top + height].sum())
            strips.append(self._occlude(piece, start, weights[:, top : top + height], pixels, tick))
        hidden = ~wanted
        values = torch.cat([strip[0] for strip in strips], 1).masked_fill(hidden, float("nan"))
        reference = torch.cat([strip[1] for strip in strips])
        count = len(self.windows(len(tile), side)) + 1
        return TileAttribution(
            values,
            reference.masked_fill(hidden, float("nan")),
            torch.ones_like(wanted),
            count * wanted.numel(),
        )

    def _occlude(
        self, tile: Tensor, baseline: Tensor, weights: Tensor, pixels: int, tick: Callable[[int], None]
    ) -> tuple[Tensor, Tensor]:
        """Return the patch sums (band, y, x) of all pixels of a strip, in which so many are wanted.

        With them the outputs (y, x) of the baseline.
        """

        def output(values: Tensor) -> Tensor:
            return (self.network.logits(values[None])[0] * weights).sum(0)

        side, bands = self.network.patch_size, len(tile)
        before = output(tile)
        total = torch.zeros(bands, *before.shape)
        covered = torch.zeros(bands, 1, 1)
        spans = list(self._slices(bands, min(self.options.occlusion_bands or bands, bands)))
        for number, span in enumerate(spans):
            hidden = tile.clone()
            hidden[span] = baseline[span]
            total[span] += before - output(hidden)
            covered[span] += 1
            tick(pixels * (number + 1) // len(spans) - pixels * number // len(spans))
        return total / covered.clamp_min(1) * side**2 / self.cells(bands, side), output(baseline)


class BandAblation(Occlusion):
    """Change of the output when one band of the whole patch is replaced by the baseline."""

    def __init__(self, network: Network, options: Options) -> None:
        options = replace(options, occlusion_window=0, occlusion_bands=1, occlusion_stride=0)
        super().__init__(network, options)
