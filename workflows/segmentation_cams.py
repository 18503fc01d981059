"""Class activation maps of a whole scene, tile by tile, by weights that are the scene's and not a tile's."""

from __future__ import annotations

import numpy as np
import torch

from ..explainers.seg_cams import SegmentationCams
from ..models.segmentation_networks import SegmentationNetwork
from .canvas import CanvasTile

CAMS = ("seg_grad_cam", "grad_cam")


class SceneCams:
    """Maps of every class by every method of `CAMS`, after each tile was given to `learn`.

    Seg-Grad-CAM sums a class's logits over the pixels that are predicted as that class, Grad-CAM over all.
    A target is a method and a class; methods come first.
    """

    def __init__(self, network: SegmentationNetwork, layer: str) -> None:
        self._network, self._layer = network, layer
        self._slopes = torch.zeros(0)
        self._cells = 0.0

    def learn(self, read: CanvasTile) -> None:
        """Add what a tile's own pixels say of the weights."""
        cams = self._of(read)
        mine = torch.zeros(cams.logits.shape[1:], dtype=torch.bool, device=cams.logits.device)
        mine[read.inner] = torch.from_numpy(read.valid).to(mine.device)
        predicted, slopes = cams.logits.argmax(0), []
        for by_prediction in (True, False):
            for number in range(self._network.classes):
                target = torch.zeros_like(cams.logits)
                target[number] = mine & (predicted == number) if by_prediction else mine
                slopes.append(cams.slopes(target).sum((1, 2)).double().cpu())
        found = torch.stack(slopes)
        self._slopes = found + self._slopes if len(self._slopes) else found
        self._cells += mine[read.inner].numel() / cams.shrunk**2

    def maps(self, read: CanvasTile) -> np.ndarray:
        """Return the maps of a tile's own pixels as they are shown, float32 (target, y, x)."""
        cams = self._of(read)
        alphas = (self._slopes / self._cells).to(cams.logits)[:, :, None, None]
        found = torch.stack([cams.weighed(alpha).shown[read.inner] for alpha in alphas]).cpu().numpy()
        return np.where(read.valid, found, np.nan)

    def _of(self, read: CanvasTile) -> SegmentationCams:
        device = self._network.scaling.offset.device
        return SegmentationCams(self._network, read.values.to(device), self._layer)
