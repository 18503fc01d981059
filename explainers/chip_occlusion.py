"""Occlusion of chips by windows, and ablation of their bands, many windows in one batch."""

from __future__ import annotations

import itertools
from typing import ClassVar

import torch
from torch import Tensor, fx

from ..models.scene_networks import SceneNetwork
from .base import Attribution, Explainer
from .local_changes import LocalChanges, can_run_locally

# What a window of the options that is 0 stands for: those of Su et al. 2022.
WINDOW, STRIDE = 15, 5
# Larger batches of forward passes gained nothing on the CPU.
_MOST_AT_ONCE = 128


class ChipOcclusion(Explainer):
    """Change of the output when a window is replaced by the baseline; Zeiler & Fergus 2014, arXiv:1311.2901.

    Windows of all bands by `occlusion_window` x `occlusion_window` pixels (0: 15), `occlusion_stride` (0: 5)
    apart; those that would stand out are cut. A pixel's value is the mean change over the windows that cover
    it, and the same in all bands: no parts that add up.
    """

    network: SceneNetwork
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
        changes = self._changes(x, baseline, weights, masks)
        cells = masks.flatten(1).to(x.dtype)
        values = (changes @ cells / cells.sum(0).clamp_min(1)).unflatten(1, masks.shape[1:]).expand_as(x)
        reference = self.output(baseline, weights) if self.contributions else None
        return self.plain(values, reference, len(masks) + 1)

    def _changes(self, x: Tensor, baseline: Tensor, weights: Tensor, masks: Tensor) -> Tensor:
        """Return what the target output of each chip loses by each window being replaced (n, window)."""
        network = self.network
        # Elsewhere many small copies would take longer than whole maps do; a filter's reach isn't followed.
        if x.device.type == "cpu" and network.speckle_filter == "none" and can_run_locally(network.trunk):
            return self._local_changes(network.trunk, x, baseline, weights, masks)
        return self.output(x, weights)[:, None] - self._hidden_outputs(x, baseline, weights, masks)

    def _local_changes(
        self, trunk: fx.GraphModule, x: Tensor, baseline: Tensor, weights: Tensor, masks: Tensor
    ) -> Tensor:
        """As `_changes`, with early layers run only where a window reaches."""
        changes = x.new_empty(len(x), len(masks))
        order = _alike(masks)
        # One half of the memory is for the maps of the unchanged chips, the other for those of the changed.
        kept = min(self.batch_size(), _MOST_AT_ONCE)
        size = min(4 * self.batch_size(), _MOST_AT_ONCE)
        for chips in torch.arange(len(x)).split(kept):
            local = LocalChanges(trunk, x[chips].contiguous(memory_format=torch.channels_last))
            weight = weights[chips]
            whole = (local.output * weight).sum(1)
            for windows in order.split(max(1, size // len(chips))):
                outputs = local.replaced(baseline[chips], masks[windows]).unflatten(0, (len(windows), -1))
                changes[chips[:, None], windows] = (whole - (outputs * weight).sum(2)).T
        return changes

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


def _alike(masks: Tensor) -> Tensor:
    """Return the numbers of the windows (n, 1 or band, s, s), those as near to an edge next to each other.

    What is run together is as large as the largest of it, and less is left to run near an edge.
    """
    distances = []
    for axis in (2, 3):
        changed = masks.any(1).any(4 - axis)
        distances.append(torch.minimum(changed.int().argmax(1), changed.flip(1).int().argmax(1)))
    return (distances[0] * masks.shape[-1] + distances[1]).argsort(stable=True)


class ChipBandAblation(ChipOcclusion):
    """Change of the output when one band of the whole chip is replaced, spread evenly over its pixels."""

    contributions: ClassVar[bool] = True

    def masks(self, bands: int, side: int) -> Tensor:
        return torch.eye(bands, dtype=torch.bool)[:, :, None, None].expand(-1, -1, side, side)

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        found = super().attribute(x, baseline, weights)
        return found._replace(values=found.values / x.shape[-1] ** 2)
