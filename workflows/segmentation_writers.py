"""The rasters of a segmentation's contributions: channels, evidence for other classes, heat maps."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
from rasterio.windows import Window
from torch import Tensor

from ..engine.jobs import SegmentationContributionsJob as Job
from ..models.card import Card
from ..models.segmentation_networks import SegmentationNetwork
from ..rasters.outputs import Outputs
from ..rasters.scene import Grid
from ..rasters.styles import qml_path, write_diverging_qml, write_sequential_qml
from ..rasters.tables import BandStatistics
from ..rasters.writers import RasterWriter
from .segmentation_cams import CAMS
from .tiling import BLOCK

EVIDENCE_BANDS = (
    "share of evidence for other classes", "share of the strongest other class", "strongest other class",
)  # fmt: skip
_TITLES = {"seg_grad_cam": "Seg-Grad-CAM", "grad_cam": "Grad-CAM"}


class ContributionWriters:
    """The rasters of a job that are wanted."""

    def __init__(
        self, job: Job, outputs: Outputs, grid: Grid, card: Card, network: SegmentationNetwork,
        tags: dict[str, str], stack: ExitStack,
    ) -> None:  # fmt: skip
        self._job, self._outputs, self._width = job, outputs, grid.width
        channels = network.head.in_channels
        names = {
            "contributions": [*(f"channel {number + 1}" for number in range(channels)), "bias"],
            "evidence": list(EVIDENCE_BANDS),
            "cams": [f"{_TITLES[method]} {name}" for method in CAMS for name in card.class_names],
        }
        self._writers = {
            name: stack.enter_context(
                RasterWriter(
                    outputs.stage(path), grid, len(bands), descriptions=bands, tags=tags, block=BLOCK
                )
            )
            for name, bands in names.items()
            if (path := getattr(job, name))
        }
        # Of what the styles' limits are.
        self._spread = BandStatistics(1, channels + 1, seed=job.seed)
        self._highest = np.zeros(len(names["cams"]))

    def write(
        self, window: Window, parts: Tensor, bias: Tensor, speaks: np.ndarray, true: np.ndarray
    ) -> None:
        """Write a tile's contributions (channel, y, x), their bias (y, x), and its evidence (class, y, x).

        `true` int (y, x) is the class that the evidence ought to speak for, -1 where there is no data.
        """
        known = true >= 0
        if writer := self._writers.get("contributions"):
            every = np.concatenate([parts.cpu().numpy(), bias.cpu().numpy()[None]])
            writer.write(window, np.where(known, every, np.nan))
            rows, cols = np.nonzero(known)
            keys = (rows + int(window.row_off)) * np.int64(self._width) + cols + int(window.col_off)
            self._spread.add(np.zeros(len(rows), np.int64), every[:, rows, cols].T, keys)
        if writer := self._writers.get("evidence"):
            writer.write(window, np.where(known, evidence_maps(speaks, np.maximum(true, 0)), np.nan))

    def write_cams(self, window: Window, maps: np.ndarray) -> None:
        """Write a tile's class activation maps (method and class, y, x)."""
        self._writers["cams"].write(window, maps)
        if np.isfinite(maps).any():
            self._highest = np.fmax(self._highest, np.nanmax(maps, (1, 2)))

    def write_styles(self) -> None:
        """Write styles: the channel of the largest contributions, the share, the first heat map."""
        if path := self._job.contributions:
            limits = self._spread.limits()[:-1]
            band = int(limits.argmax())
            write_diverging_qml(self._outputs.stage(qml_path(path)), band + 1, float(limits[band]) or 1.0)
        if path := self._job.evidence:
            write_sequential_qml(self._outputs.stage(qml_path(path)), 1, 0.0, 1.0)
        if path := self._job.cams:
            band = int(self._highest.argmax())
            high = float(self._highest[band]) or 1.0
            write_sequential_qml(self._outputs.stage(qml_path(path)), band + 1, 0.0, high)


def evidence_maps(speaks: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the bands of the evidence raster (3, y, x) from evidence (class, y, x) and true classes."""
    shares = speaks / np.maximum(speaks.sum(0), 1e-30)
    own = np.take_along_axis(shares, true[None], 0)[0]
    others = shares.copy()
    np.put_along_axis(others, true[None], -1.0, 0)
    return np.stack([shares.sum(0) - own, others.max(0), others.argmax(0) + 1.0]).astype(np.float32)
