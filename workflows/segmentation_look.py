"""Looks at a scene's tiles: at channels and evidence, at heat maps, and at the pixels of the audit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from rasterio.windows import Window

from ..engine.jobs import SegmentationContributionsJob as Job
from ..explainers.last_layer import (
    ChannelCorrelation,
    ChannelSums,
    contributions,
    evidence,
    features_of,
)
from ..models.files import Model
from ..models.segmentation_networks import SegmentationNetwork
from ..rasters.scene import Scene
from ..rasters.tables import PixelSample
from ..rasters.tiles import plan_tiles
from .canvas import CanvasTile, canvas_side, read_canvas_tile
from .classify_dense import dense_bytes
from .context import Context
from .segmentation_audit import Auditor
from .segmentation_cams import SceneCams
from .segmentation_tables import EvidenceSums
from .segmentation_writers import ContributionWriters
from .targets import Target
from .tiling import tile_count, within
from .truth import Labelled

# Where heat maps and audit begin in the progress; before is the look at channels.
_CAMS_FROM, _AUDIT_FROM = 0.3, 0.5


class Look:
    """Goes through the tiles of a window, and sums up what it sees.

    `truth` says what is true where it is known; without it, what the model predicts counts as true.
    """

    def __init__(
        self, job: Job, context: Context, scene: Scene, model: Model, target: Target, truth: Labelled | None,
        other: Model | None, window: Window,
    ) -> None:  # fmt: skip
        self._job, self._context, self._scene, self._model = job, context, scene, model
        self._target, self._truth, self._other, self._window = target, truth, other, window
        self._network = cast(SegmentationNetwork, model.network)
        # A way back, or the propagated parts, take as much again and again.
        self._side = canvas_side(job.memory_mb, 3 * dense_bytes(self._network), self._network.reach)
        count, channels = len(model.card.classes), self._network.head.in_channels
        self.channels, self.evidence = ChannelSums(channels, count), EvidenceSums(count)
        self.correlation: ChannelCorrelation | None = None
        if other:
            theirs = cast(SegmentationNetwork, other.network).head.in_channels
            self.correlation = ChannelCorrelation(channels, theirs)
        self._any = PixelSample(1, job.audit_pixels, job.seed)
        # Of another seed: by the same one, the wrong pixels would be some of those drawn already.
        self._wrong = PixelSample(1, job.audit_errors, job.seed + 1)
        self.pixels, self.largest = 0, 0.0

    @torch.no_grad()
    def at_channels(self, writers: ContributionWriters) -> None:
        """Sum up and write what each channel gives, and choose the pixels of the audit."""
        for tile in self._tiles(0.0, _CAMS_FROM, "Dividing outputs among channels"):
            read = self._read(self._model, tile)
            features, logits = self._features(self._model, read)
            weights = self._target.weights(logits)
            parts, bias = contributions(self._network.head, features[None], weights[None])
            self._check_sum((logits * weights).sum(0), parts[0].sum(0) + bias[0], read.valid)
            speaks = evidence(self._network.head, features[None])[0].cpu().numpy()
            predicted = logits.argmax(0).cpu().numpy()
            true = np.where(read.valid, self._truth.of(tile) if self._truth else predicted, -1)
            self.channels.add(features, torch.from_numpy(true))
            self.evidence.add(speaks, true)
            self._choose(tile, predicted, true)
            if self.correlation and self._other:
                theirs = self._features(self._other, self._read(self._other, tile))[0]
                self.correlation.add(features, theirs, torch.from_numpy(read.valid))
            meant = np.where(true >= 0, true, np.where(read.valid, predicted, -1))
            writers.write(within(tile, self._window), parts[0], bias[0], speaks, meant)
            self.pixels += int(read.valid.sum())

    def at_cams(self, writers: ContributionWriters) -> None:
        """Write class activation maps, whose weights take a look at all tiles of their own."""
        cams, middle = SceneCams(self._network, self._job.cam_layer), (_CAMS_FROM + _AUDIT_FROM) / 2
        for tile in self._tiles(_CAMS_FROM, middle, "Weighing heat maps"):
            cams.learn(self._read(self._model, tile))
        for tile in self._tiles(middle, _AUDIT_FROM, "Drawing heat maps"):
            writers.write_cams(within(tile, self._window), cams.maps(self._read(self._model, tile)))

    @torch.no_grad()
    def at_sample(self, auditor: Auditor) -> None:
        """Audit the chosen pixels, tile by tile."""
        keys = np.unique(np.concatenate([self._any.keys(), self._wrong.keys()]))
        places = np.stack(np.divmod(keys, self._scene.grid.width), 1)
        for tile in self._tiles(_AUDIT_FROM, 1.0, "Auditing"):
            corner = np.array([tile.row_off, tile.col_off])
            size = np.array([tile.height, tile.width])
            inside = ((places >= corner) & (places < corner + size)).all(1)
            if inside.any():
                auditor.add(tile, self._read(self._model, tile), places[inside])

    def _tiles(self, first: float, last: float, text: str) -> Iterator[Window]:
        total = tile_count(self._window, self._side)
        for number, tile in enumerate(plan_tiles(self._window, self._side)):
            self._context.check()
            share = first + (last - first) * number / total
            self._context.progress(share, f"{text}, tile {number + 1} of {total}")
            yield tile

    def _read(self, model: Model, tile: Window) -> CanvasTile:
        network = cast(SegmentationNetwork, model.network)
        return read_canvas_tile(self._scene, model.card, network, tile, model.spectra.mean)

    def _features(self, model: Model, read: CanvasTile) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last features and the logits of a tile's own pixels."""
        network = cast(SegmentationNetwork, model.network)
        values = read.values.to(network.scaling.offset.device)
        features, logits = features_of(network, values[None])
        return features[0][:, *read.inner], logits[0][:, *read.inner]

    def _check_sum(self, output: torch.Tensor, summed: torch.Tensor, valid: np.ndarray) -> None:
        known = torch.from_numpy(valid).to(output.device)
        if valid.any():
            size = output[known].abs()
            relative = (output - summed)[known].abs() / size.clamp_min(1e-6 + float(size.median()))
            self.largest = max(self.largest, float(relative.max()))

    def _choose(self, tile: Window, predicted: np.ndarray, true: np.ndarray) -> None:
        for sample, chosen in ((self._any, true >= 0), (self._wrong, (true >= 0) & (true != predicted))):
            rows, cols = np.nonzero(chosen)
            keys = (rows + int(tile.row_off)) * np.int64(self._scene.grid.width) + cols + int(tile.col_off)
            sample.add(np.zeros(len(keys), dtype=np.int64), keys)
