"""What chips are explained against: chips that stand for 'no evidence'."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..models.files import Model
from ..models.scene_networks import SceneNetwork
from ..rasters.errors import InputError
from .targets import AUTO, OF_A_CHIP, SPECTRA, baseline_values

CHIP_BASELINES = (*SPECTRA, *OF_A_CHIP, AUTO)
# Natural logarithms per decibel.
_NEPERS = math.log(10) / 10

ChipBaseline = Callable[[Tensor], Tensor]


def chip_baseline(
    name: str, class_name: str | None, model: Model, spectrum: Sequence[float] | None = None, seed: int = 0
) -> ChipBaseline:
    """Return a function from prepared chips (n, band, s, s) to their baselines of the same shape.

    `zero` is 0 at prepared values, the lower clip limit; `mean`, which `auto` is too, `class_mean` and
    `spectrum` are one value per band; `chip_mean` is the mean of each band of the chip, of its power where
    the network reads decibels; `speckle` is that mean times speckle of the network's looks, gamma-distributed
    and drawn once by the seed for all chips. Raises InputError where a class or a spectrum is missing, or the
    network can't serve the baseline.
    """
    network = cast(SceneNetwork, model.network)
    if name not in CHIP_BASELINES:
        raise InputError(f"There is no baseline '{name}'; choose one of {', '.join(CHIP_BASELINES)}.")
    if name == "chip_mean":
        return lambda x: _mean(network, x).expand_as(x)
    if name == "speckle":
        return _speckled(network, seed)
    values = baseline_values(name, class_name, spectrum, model)

    def constant(x: Tensor) -> Tensor:
        return values.to(x)[:, None, None].expand_as(x)

    return constant


def _mean(network: SceneNetwork, x: Tensor) -> Tensor:
    """Return the mean (n, band, 1, 1) of prepared chips, taken in power where they are decibels."""
    if network.values == "as_is":
        return x.mean((2, 3), keepdim=True)
    # To nepers and back: the sum of powers, without leaving the range of float32.
    span = (network.high - network.low)[:, None, None].to(x) * _NEPERS
    return (torch.logsumexp((x * span).flatten(2), 2)[..., None, None] - math.log(x[0, 0].numel())) / span


def _speckled(network: SceneNetwork, seed: int) -> ChipBaseline:
    if network.values == "as_is":
        raise InputError(
            "The baseline 'speckle' needs values that are power, amplitude or decibels, and this model takes "
            "them as they are; choose 'chip_mean', or train the model with other VALUES."
        )
    shape = (network.bands, network.patch_size, network.patch_size)
    # The mean power stays as it is: gamma(looks) / looks has mean 1.
    speckle = np.random.default_rng(seed).gamma(network.looks, 1 / network.looks, shape)
    nepers = torch.from_numpy(np.log(speckle)).float()

    def speckled(x: Tensor) -> Tensor:
        span = (network.high - network.low)[:, None, None].to(x) * _NEPERS
        return (_mean(network, x) + nepers.to(x) / span).clamp(0, 1)

    return speckled
