"""Affine layers run backward: the transposed map from a layer's output to its input."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..models.networks import (
    BandsAsDepth,
    BandScaling,
    DepthAsChannels,
    Projection,
    SeriesAsRows,
    SpectraAsRows,
)

_RESHAPING = (BandsAsDepth, DepthAsChannels, SpectraAsRows)


def transposed(layer: nn.Module, rows: Tensor, shape: torch.Size) -> Tensor:
    """Return rows (n, ...) at the layer's output carried back to its input, (n, *shape).

    Equal to the input gradient of an affine layer in evaluation mode. Raises TypeError for other layers.
    """
    if isinstance(layer, nn.Dropout):
        return rows
    if isinstance(layer, nn.Conv2d):
        if rows.shape[-2:] == (1, 1) and layer.kernel_size == shape[-2:] and not any(layer.padding):
            return _from_one_cell(layer.weight, rows)
        return _convolved_back(layer, rows, shape)
    if isinstance(layer, nn.Conv3d):
        return functional.conv_transpose3d(rows, layer.weight)
    if isinstance(layer, SeriesAsRows):
        return rows.permute(0, 2, 3, 1).reshape(len(rows), *shape)
    if isinstance(layer, _RESHAPING):
        return rows.reshape(len(rows), *shape)
    if isinstance(layer, Projection):
        return functional.conv_transpose2d(rows, layer.matrix[:, :, None, None])
    if isinstance(layer, BandScaling):
        return rows / layer.scale[:, None, None]
    raise TypeError(f"No transposed rule for {type(layer).__name__}.")


def _convolved_back(layer: nn.Conv2d, rows: Tensor, shape: torch.Size) -> Tensor:
    """Return rows through a convolution of any stride and zero padding, back to an input of `shape`."""
    padding = tuple(map(int, layer.padding))
    # What is left over of the input behind the last step of a stride.
    rest = [
        size - ((length - 1) * stride - 2 * pad + kernel)
        for size, length, stride, pad, kernel in zip(
            shape[-2:], rows.shape[-2:], layer.stride, padding, layer.kernel_size
        )
    ]
    return functional.conv_transpose2d(rows, layer.weight, None, layer.stride, padding, rest)


def _from_one_cell(weight: Tensor, rows: Tensor) -> Tensor:
    """Return `conv_transpose2d` of rows (n, channel, 1, 1): a matrix product, five times as fast."""
    channels, height, width = weight.shape[1:]
    product = rows.flatten(1) @ weight.permute(0, 2, 3, 1).flatten(1)
    return product.reshape(len(rows), height, width, channels).permute(0, 3, 1, 2)
