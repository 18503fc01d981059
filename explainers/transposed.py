"""Affine layers run backward: the transposed map from a layer's output to its input."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..models.networks import BandsAsDepth, BandScaling, DepthAsChannels, Projection, SpectraAsRows

_RESHAPING = (nn.Flatten, BandsAsDepth, DepthAsChannels, SpectraAsRows)


def transposed(layer: nn.Module, rows: Tensor, shape: torch.Size) -> Tensor:
    """Return rows (n, ...) at the layer's output carried back to its input, (n, *shape).

    Equal to the input gradient of an affine layer in evaluation mode. Raises TypeError for other layers.
    """
    if isinstance(layer, nn.Dropout):
        return rows
    if isinstance(layer, nn.Linear):
        return rows @ layer.weight
    if isinstance(layer, nn.Conv2d):
        return functional.conv_transpose2d(rows, layer.weight)
    if isinstance(layer, nn.Conv3d):
        return functional.conv_transpose3d(rows, layer.weight)
    if isinstance(layer, _RESHAPING):
        return rows.reshape(len(rows), *shape)
    if isinstance(layer, Projection):
        return functional.conv_transpose2d(rows, layer.matrix[:, :, None, None])
    if isinstance(layer, BandScaling):
        return rows / layer.scale[:, None, None]
    raise TypeError(f"No transposed rule for {type(layer).__name__}.")
