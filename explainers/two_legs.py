"""What absorptions did and what the continuum did: the way from a reference to a pixel, by its hull.

A hull as baseline can credit absorptions only, whatever a network goes by. The first leg, from a reference
spectrum to the hull, tells the rest: level and slope. By completeness along the two legs

    f(x) - f(reference) = [f(x) - f(hull)] + [f(hull) - f(reference)],

each bracket the sum of its own attributions per band.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..models.files import Network
from .base import Attribution, Options, TileAttribution
from .registry import make_explainer


class Legs(NamedTuple):
    """Attributions of the pixels of a tile on either leg; `reference` of each is where its values start."""

    absorption: TileAttribution
    continuum: TileAttribution


class PatchLegs(NamedTuple):
    """Attributions of n patches on either leg."""

    absorption: Attribution
    continuum: Attribution


class TwoLegs:
    """The explainer `name`, once for each leg, as the paths of the two bend in places of their own.

    ValueError where its values are no contributions from a baseline, which could not add up.
    """

    def __init__(self, name: str, network: Network, options: Options) -> None:
        self.absorption, self.continuum = (make_explainer(name, network, options) for _ in range(2))
        if not (self.absorption.contributions and self.absorption.uses_baseline):
            raise ValueError(f"The values of '{name}' are no contributions from a baseline.")

    def learn(
        self, x: Tensor, hull: Tensor, reference: Tensor, weights: Tensor,
        check: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Adapt both to a sample; arguments as those of `attribute`."""
        self.absorption.learn(x, hull, weights, check)
        self.continuum.learn(hull, reference, weights, check)

    def attribute(self, x: Tensor, hull: Tensor, reference: Tensor, weights: Tensor) -> PatchLegs:
        """Explain n patches; `x`, `hull` and `reference` (n, band, s, s) are prepared."""
        return PatchLegs(
            self.absorption.attribute(x, hull, weights), self.continuum.attribute(hull, reference, weights)
        )

    def attribute_tile(
        self, tile: Tensor, hull: Tensor, reference: Tensor, weights: Tensor, wanted: Tensor,
        tick: Callable[[int], None],
    ) -> Legs:  # fmt: skip
        """Explain the wanted pixels of a tile; `tick` gets every pixel twice, once on each leg.

        `tile` and `hull` (band, y, x) with halo and `reference`, one spectrum (band,) or as large, are
        prepared; the others are as in `Explainer.attribute_tile`.
        """
        return Legs(
            self.absorption.attribute_tile(tile, hull, weights, wanted, tick),
            self.continuum.attribute_tile(hull, reference, weights, wanted, tick),
        )


def absorption_share(absorption: np.ndarray, continuum: np.ndarray) -> float | None:
    """Return how much of what pixels' outputs changed by is due to absorptions, 0 to 1.

    Both (n,) are output differences on a leg, f(x) - f(hull) and f(hull) - f(reference): the share is that of
    the first in the sum of their sizes over all pixels. Pixels with a NaN are left out; None where nothing
    changed. Below 0.3 a network decides by brightness and slope.
    """
    known = np.isfinite(absorption) & np.isfinite(continuum)
    first, second = (np.abs(part[known], dtype=np.float64).sum() for part in (absorption, continuum))
    return float(first / (first + second)) if first + second > 0 else None
