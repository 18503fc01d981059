"""Crops of a scene around single pixels, for networks that classify all pixels of a window at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from rasterio.windows import Window
from torch import Tensor

from ..models.files import Model
from ..models.segmentation_networks import SegmentationNetwork
from ..rasters.labels import mask_of_features
from ..rasters.scene import Scene
from .canvas import crop_window, read_filled
from .samples import mirrored


class OnDemand:
    """Stands for a tensor (n, ...) that is too large to keep: its items are made when they are asked for."""

    def __init__(self, count: int, make: Callable[[int], Tensor]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, members: Sequence[int]) -> Tensor:
        return torch.stack([self._make(member) for member in members])


@dataclass(frozen=True)
class Crops:
    """Crops (n, band, y, x) around pixels at `places` int64 (n, 2), row and column in the crop.

    `raw` as stored, pixels without data filled by the training mean; `masks` (n, y, x) where there are any.
    """

    raw: OnDemand
    masks: OnDemand | None
    places: Tensor


def crops_of(
    scene: Scene, model: Model, rows: np.ndarray, cols: np.ndarray, mask_features: str | None
) -> Crops:
    """Return the crops around pixels (n,) of a scene, in which their logits are those of the whole scene.

    Beyond the scene's edge they go on as when classifying (see `canvas`).
    """
    network = cast(SegmentationNetwork, model.network)
    windows = [crop_window(scene.grid, network, int(row), int(col)) for row, col in zip(rows, cols)]

    def read(member: int) -> Tensor:
        return read_filled(scene, model.card.used_bands, windows[member], model.spectra.mean)[0]

    def mask(member: int) -> Tensor:
        return mask_around(scene, mask_features or "", *_places(windows[member]))

    corners = np.array([(window.row_off, window.col_off) for window in windows])
    return Crops(
        OnDemand(len(windows), read),
        OnDemand(len(windows), mask) if mask_features else None,
        torch.from_numpy(np.stack([rows, cols], 1) - corners),
    )


def mask_around(scene: Scene, mask_features: str, rows: np.ndarray, cols: np.ndarray) -> Tensor:
    """Return bool (row, column): what features cover of a scene, mirrored where the places lie outside."""
    down, across = mirrored(rows, scene.grid.height), mirrored(cols, scene.grid.width)
    window = Window(across.min(), down.min(), np.ptp(across) + 1, np.ptp(down) + 1)
    mask = mask_of_features(mask_features, scene.grid, window)
    return torch.from_numpy(mask[np.ix_(down - down.min(), across - across.min())])


def _places(window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of a window."""
    rows, cols = np.arange(int(window.height)), np.arange(int(window.width))
    return rows + int(window.row_off), cols + int(window.col_off)
