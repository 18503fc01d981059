"""The audit: whether the methods' parts add up to the output, at a sample of a scene's pixels."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from rasterio.windows import Window
from torch import Tensor

from ..engine.jobs import SegmentationContributionsJob
from ..explainers.audit import Finding, finding_of_cam, finding_of_map, findings_of_parts
from ..explainers.base import Options
from ..explainers.dense import Dense
from ..explainers.last_layer import contributions, features_of
from ..explainers.pixel_maps import PixelMaps
from ..explainers.registry import make_explainer
from ..explainers.seg_cams import SegmentationCams
from ..models.segmentation_networks import SegmentationNetwork
from ..rasters.errors import InputError
from .canvas import CanvasTile
from .memory import PeakMemory
from .segmentation_cams import CAMS
from .targets import Target

# Methods that come pixel by pixel are audited on so many pixels: a pixel takes them seconds.
FEW = 16
_DENSE = ("secant_contributions", "tangent_contributions", "band_shapley", "input_x_gradient")
METHODS = ("last_layer", *_DENSE, "integrated_gradients", *CAMS)


class Auditor:
    """Collects findings of each method of the job; `pixels` holds (row, column) of the scene for each."""

    def __init__(
        self, job: SegmentationContributionsJob, network: SegmentationNetwork, target: Target,
        baseline: Tensor, options: Options, check: Callable[[], None],
    ) -> None:  # fmt: skip
        for name in job.methods:
            if name not in METHODS:
                raise InputError(f"There is no method '{name}' to audit; choose of {', '.join(METHODS)}.")
        self._job, self._network, self._target = job, network, target
        self._baseline, self._options, self._check = baseline, options, check
        self.findings: dict[str, list[Finding]] = {name: [] for name in job.methods}
        self.pixels: dict[str, list[tuple[int, int]]] = {name: [] for name in job.methods}
        self.seconds = dict.fromkeys(job.methods, 0.0)
        self.peak_mb: dict[str, float | None] = dict.fromkeys(job.methods)

    def add(self, tile: Window, read: CanvasTile, chosen: np.ndarray) -> None:
        """Audit the `chosen` pixels (n, 2), rows and columns of the scene, of a tile."""
        values = read.values.to(self._baseline.device)
        features, logits = features_of(self._network, values[None])
        weights = self._target.weights(logits[0])
        origin = (
            int(tile.row_off) - read.inner[0].start, int(tile.col_off) - read.inner[1].start
        )  # fmt: skip
        places = torch.from_numpy(chosen - np.array(origin))
        rows, cols = places.T
        output = (logits[0] * weights).sum(0)[rows, cols].cpu()
        for name in self._job.methods:
            started = time.perf_counter()
            with PeakMemory() as memory:
                found = self._findings(name, read, values, features, weights, places, output)
            self.seconds[name] += time.perf_counter() - started
            self.findings[name] += found
            self.pixels[name] += [(int(row), int(col)) for row, col in chosen[: len(found)]]
            known = [mb for mb in (self.peak_mb[name], memory.megabytes) if mb is not None]
            self.peak_mb[name] = max(known, default=None)

    def _findings(
        self, name: str, read: CanvasTile, values: Tensor, features: Tensor, weights: Tensor, places: Tensor,
        output: Tensor,
    ) -> list[Finding]:  # fmt: skip
        rows, cols = places.T
        if name == "last_layer":
            parts, bias = contributions(self._network.head, features, weights[None])
            return findings_of_parts(output, parts[0][:, rows, cols].cpu(), bias[0, rows, cols].cpu())
        if name in _DENSE:
            return self._dense(name, read, values, weights, places, output)
        few = places[: max(0, FEW - len(self.findings[name]))]
        if name in CAMS:
            return self._cam(name, values, weights, few, output)
        maps = PixelMaps(self._network, values, self._baseline, self._options, self._check)
        own = weights[:, few[:, 0], few[:, 1]].T
        pixels = [(int(row), int(col)) for row, col in few]
        found = dict(maps.integrated(pixels, own, self._job.steps))
        reach = self._network.reach
        return [finding_of_map(found[number], (reach, reach)) for number in range(len(few))]

    def _dense(
        self, name: str, read: CanvasTile, values: Tensor, weights: Tensor, places: Tensor, output: Tensor
    ) -> list[Finding]:
        explainer = cast(Dense, make_explainer(name, self._network, self._options))
        rows, cols = places.T
        wanted = torch.zeros(weights.shape[1:], dtype=torch.bool)
        wanted[rows, cols] = True
        real = torch.from_numpy(read.real).to(values.device)
        tile = explainer.attribute_tile(
            values, self._baseline, weights, wanted, lambda pixels: self._check(), real
        )
        parts = tile.values[:, rows, cols]
        if tile.padding is not None:
            parts = torch.cat([parts, tile.padding[None, rows, cols]])
        return findings_of_parts(output, parts, tile.reference[rows, cols])

    def _cam(
        self, name: str, values: Tensor, weights: Tensor, places: Tensor, output: Tensor
    ) -> list[Finding]:
        """Return findings of maps for single pixels, or by Grad-CAM for the mean of the tile's outputs."""
        cams, far = SegmentationCams(self._network, values, self._job.cam_layer), self._network.reach
        found = []
        for (row, col), value in zip(places.tolist(), output.tolist()):
            self._check()
            own = weights[:, row, col][:, None, None]
            if name == "grad_cam":
                target = own.expand_as(weights) / weights[0].numel()
            else:
                target = torch.zeros_like(weights)
                target[:, row, col] = own[:, 0, 0]
            raw, shown = next(cams.cams([target]))
            outside = torch.ones_like(shown, dtype=torch.bool)
            outside[max(0, row - far) : row + far + 1, max(0, col - far) : col + far + 1] = False
            found.append(finding_of_cam(value, raw, shown, outside))
        return found
