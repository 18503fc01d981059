"""Ablation of single bands for networks that read whole tiles."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .base import Attribution, TileAttribution, as_large_as
from .dense import Dense, Tick


class DenseBandAblation(Dense):
    """Change of the output when one band of the whole tile is replaced by the baseline, band by band.

    As the changes of single bands need not add up, a residual is left. In the crop of a single pixel a band
    is one number, spread evenly.
    """

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        before = self.output(x, weights)
        changes = torch.empty_like(x[:, :, 0, 0])
        for band in range(x.shape[1]):
            hidden = x.clone()
            hidden[:, band] = baseline[:, band]
            changes[:, band] = before - self.output(hidden, weights)
        values = (changes / x[0, 0].numel())[:, :, None, None].expand_as(x)
        return self.plain(values, self.output(baseline, weights), x.shape[1] + 2)

    def explain_all(
        self, tile: Tensor, baseline: Tensor, weights: Tensor, step: Tick, check: Callable[[], None],
        real: Tensor | None,
    ) -> TileAttribution:  # fmt: skip
        start = as_large_as(tile, baseline)
        shown = torch.ones_like(tile[0], dtype=torch.bool) if real is None else real

        def output(values: Tensor) -> Tensor:
            check()
            return (self.network.logits(values[None])[0] * weights).sum(0)

        before = output(tile)

        def change(hidden: Tensor) -> Tensor:
            step(1)
            return before - output(torch.where(hidden, start, tile))

        bands = torch.arange(len(tile), device=tile.device)[:, None, None]
        values = torch.stack([change((bands == band) & shown) for band in range(len(tile))])
        padding = None if real is None else change((~shown).expand_as(tile))
        reference = output(start)
        count = (len(tile) + 2) * reference.numel()
        return TileAttribution(
            values, reference, torch.ones_like(reference, dtype=torch.bool), count, padding
        )
