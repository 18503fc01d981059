"""Contributions of bands to every pixel's logits at once, by gated propagation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import ClassVar

import torch
from torch import Tensor

from ..models.networks import PatchNetwork
from .base import Attribution, Explainer, TileAttribution, as_large_as
from .costs import layer_bytes
from .graphs import DenseNetwork
from .propagation import Propagation

Tick = Callable[[int], None]

# Seconds between two looks whether the work is still wanted.
_PULSE = 0.2
# Output maps of this side are large enough to tell what a pixel of a tile takes.
_SIDE = 16


def pulse(tick: Tick) -> Callable[[], None]:
    """Return a function to be called often, which ticks without pixels now and then."""
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= _PULSE:
            last = now
            tick(0)

    return beat


def shares(tick: Tick, pixels: int, steps: int) -> Tick:
    """Return a function that counts steps, and ticks the pixels of all of them evenly."""
    count = 0

    def step(done: int) -> None:
        nonlocal count
        before, count = count, count + done
        tick(pixels * count // steps - pixels * before // steps)

    return step


class Dense(Explainer):
    """Base of the methods that explain all pixels of a tile at once.

    Tiles of a segmentation network are as large as the maps of their logits, those of a network of patches
    have a halo. `sampled` is True where the values have a sampling error.
    """

    network: DenseNetwork
    sampled: ClassVar[bool] = False

    def attribute_tile(
        self, tile: Tensor, baseline: Tensor, weights: Tensor, wanted: Tensor, tick: Tick,
        real: Tensor | None = None,
    ) -> TileAttribution:  # fmt: skip
        """As `Explainer.attribute_tile`, strip by strip.

        `real` bool, as large as the tile, is False in pixels that are none of the scene's (mirrored, or
        filled where there is no data): where it is given, all bands of these are one more part, `padding`.
        """
        real = None if real is None else real.to(tile.device)
        baseline = as_large_as(tile, baseline)
        found = [
            self.explain_strip(
                tile[:, inner], baseline[:, inner], weights[:, rows], wanted[rows], tick,
                None if real is None else real[inner],
            )
            for rows, inner in self._strips(wanted, tile.element_size())
        ]  # fmt: skip
        return TileAttribution(
            torch.cat([part.values for part in found], 1),
            torch.cat([part.reference for part in found]),
            torch.ones_like(wanted),
            sum(part.evaluations for part in found),
            _joined([part.padding for part in found]),
            _joined([part.error for part in found]),
        )

    def explain_strip(
        self, tile: Tensor, baseline: Tensor, weights: Tensor, wanted: Tensor, tick: Tick, real: Tensor | None
    ) -> TileAttribution:
        """Explain the pixels of a strip, which fits into memory; arguments as those of `attribute_tile`."""
        if not wanted.any():
            nothing = torch.full(wanted.shape, float("nan"), dtype=tile.dtype)
            some = None if real is None else nothing
            values = nothing.expand(len(tile), -1, -1)
            error = values if self.sampled else None
            return TileAttribution(values, nothing, torch.ones_like(wanted), 0, some, error)
        step = shares(tick, int(wanted.sum()), self.steps(len(tile) + (real is not None)))
        found = self.explain_all(tile, baseline, weights, step, pulse(tick), real)
        hidden = ~wanted

        def shown(maps: Tensor) -> Tensor:
            return maps.cpu().masked_fill(hidden, float("nan"))

        return found._replace(
            values=shown(found.values),
            reference=shown(found.reference),
            padding=None if found.padding is None else shown(found.padding),
            error=None if found.error is None else shown(found.error),
        )

    def steps(self, parts: int) -> int:
        """How many steps `explain_all` counts for so many parts."""
        return parts

    def explain_all(
        self, tile: Tensor, baseline: Tensor, weights: Tensor, step: Tick, check: Callable[[], None],
        real: Tensor | None,
    ) -> TileAttribution:  # fmt: skip
        """Explain all pixels of a strip; `step` counts the steps done, `check` is called often."""
        raise NotImplementedError

    def _strips(self, wanted: Tensor, item: int) -> Iterator[tuple[slice, slice]]:
        """Yield the rows of strips and those of the tile that they need."""
        if not isinstance(self.network, PatchNetwork):
            # What a segmentation network sees reaches too far: its tiles are what the caller has memory for.
            yield slice(0, len(wanted)), slice(0, len(wanted))
            return
        halo = self.network.patch_size - 1
        # The gates, and what is on its way forward.
        pixel = 2 * layer_bytes(self.network, _SIDE) * item // (4 * _SIDE**2)
        height = max(1, self.options.memory // (pixel * wanted.shape[1]))
        for top in range(0, len(wanted), height):
            bottom = min(top + height, len(wanted))
            yield slice(top, bottom), slice(top, bottom + halo)


def _joined(strips: list[Tensor | None]) -> Tensor | None:
    known = [strip for strip in strips if strip is not None]
    return torch.cat(known, -2) if known else None


class Propagated(Dense):
    """Base of the methods that carry the bands' differences through the network's gates."""

    rule: ClassVar[str]

    def explain_all(
        self, tile: Tensor, baseline: Tensor, weights: Tensor, step: Tick, check: Callable[[], None],
        real: Tensor | None,
    ) -> TileAttribution:  # fmt: skip
        start = as_large_as(tile, baseline)[None]
        carried = Propagation(self.network, tile[None], start, self.rule, self.options.memory, check)
        values = carried.bands(weights[None], real, step)[:, 0]
        padding = None
        if real is not None:
            padding = torch.zeros_like(values[0])
            if not real.all():
                padding = carried.regions(~real[None], weights[None])[0, 0]
            step(1)
        reference = self.reference(carried, weights[None])[0]
        count = (len(tile) + 2) * weights[0].numel()
        return TileAttribution(
            values, reference, torch.ones_like(reference, dtype=torch.bool), count, padding
        )

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        carried = Propagation(self.network, x, baseline, self.rule)
        weights = weights.view_as(carried.logits)
        values = next(carried.multipliers(weights[None])) * carried.differences
        return self.plain(values, self.reference(carried, weights).sum((1, 2)), 2)

    def reference(self, carried: Propagation, weights: Tensor) -> Tensor:
        """Return what the values start from (n, y, x), by `weights` (n, class, y, x) of the logits."""
        return (carried.reference * weights).sum(1)

    @property
    def evaluations_at_once(self) -> int:
        return 3


class SecantContributions(Propagated):
    """Parts of the change from baseline to input, exact at every pixel: DeepLIFT's rescale rule, forward.

    Shrikumar, Greenside & Kundaje 2017, arXiv:1704.02685; maxima by the places of both ends' maxima. Costs
    about as many forward passes as there are bands. The reference is the baseline's output.
    """

    exact: ClassVar[bool] = True
    rule: ClassVar[str] = "secant"


class TangentContributions(Propagated):
    """Input times gradient, with what the biases give as the reference: exact at every pixel.

    The split of FullGrad, Srinivas & Fleuret 2019, arXiv:1905.00780.
    """

    uses_baseline: ClassVar[bool] = False
    exact: ClassVar[bool] = True
    rule: ClassVar[str] = "tangent"


class DenseInputXGradient(TangentContributions):
    """Input times gradient, Shrikumar et al. 2016, arXiv:1605.01713, summed over all pixels of a band.

    Its reference is 0: what the biases give stays in the residual.
    """

    exact: ClassVar[bool] = False

    def reference(self, carried: Propagation, weights: Tensor) -> Tensor:
        return torch.zeros_like(carried.logits[:, 0])
