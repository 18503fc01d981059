"""Occlusion of chips by windows, and ablation of their bands, many windows in one batch."""

from __future__ import annotations

import itertools
from typing import ClassVar

import torch
from torch import Tensor

from .base import Attribution, Explainer

# What a window of the options that is 0 stands for: those of Su et al. 2022.
WINDOW, STRIDE = 15, 5
# Larger batches of forward passes gained nothing on the CPU.
_MOST_AT_ONCE = 64


class ChipOcclusion(Explainer):
    """Change of the output when a window is replaced by the baseline; Zeiler & Fergus 2014, arXiv:1311.2901.

    Windows of all bands by `occlusion_window` x `occlusion_window` pixels (0: 15), `occlusion_stride` (0: 5)
    apart; those that would stand out are cut. A pixel's value is the mean change over the windows that cover
    it, and the same in all bands: no parts that add up.
    """

    contributions: ClassVar[bool] = False

    def masks(self, bands: int, side: int) -> Tensor:
        """Return which cells each window replaces, bool (window, 1 or band, s, s)."""
        wide = min(self.options.occlusion_window or WINDOW, side)
        stride = self.options.occlusion_stride or STRIDE
        starts = range(0, -(-(side - wide) // stride) * stride + 1, stride)
        masks = torch.zeros(len(starts) ** 2, 1, side, side, dtype=torch.bool)
        for mask, (row, col) in zip(masks, itertools.product(starts, repeat=2)):
            mask[0, row : row + wide, col : col + wide] = True
        return masks

    @property
    def evaluations_at_once(self) -> int:
        return 1

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        masks = self.masks(x.shape[1], x.shape[-1]).to(x.device)
        changes = self.output(x, weights)[:, None] - self._hidden_outputs(x, baseline, weights, masks)
        cells = masks.flatten(1).to(x.dtype)
        values = (changes @ cells / cells.sum(0).clamp_min(1)).unflatten(1, masks.shape[1:]).expand_as(x)
        reference = self.output(baseline, weights) if self.contributions else None
        return self.plain(values, reference, len(masks) + 1)

    def _hidden_outputs(self, x: Tensor, baseline: Tensor, weights: Tensor, masks: Tensor) -> Tensor:
        """Return the target output (n, window) of each chip with each window replaced."""
        chips, windows = (axis.flatten() for axis in torch.meshgrid(
            torch.arange(len(x)), torch.arange(len(masks)), indexing="ij"
        ))  # fmt: skip
        # Nothing is kept for going backward: of all layers' outputs only a few are there at a time.
        size = min(8 * self.batch_size(), _MOST_AT_ONCE)
        outputs = [
            self.output(torch.where(masks[window], baseline[chip], x[chip]), weights[chip])
            for chip, window in zip(chips.split(size), windows.split(size))
        ]
        return torch.cat(outputs).unflatten(0, (len(x), len(masks)))


class ChipBandAblation(ChipOcclusion):
    """Change of the output when one band of the whole chip is replaced, spread evenly over its pixels."""

    contributions: ClassVar[bool] = True

    def masks(self, bands: int, side: int) -> Tensor:
        return torch.eye(bands, dtype=torch.bool)[:, :, None, None].expand(-1, -1, side, side)

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        found = super().attribute(x, baseline, weights)
        return found._replace(values=found.values / x.shape[-1] ** 2)
