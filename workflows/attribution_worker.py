"""Explaining the tiles of a scene, each on all cores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from threading import Lock
from typing import NamedTuple, TypeVar, cast

import numpy as np
import torch
from rasterio.windows import Window
from torch import Tensor

from ..engine.jobs import AttributionJob
from ..explainers.base import Explainer, TileAttribution
from ..models.files import Model
from ..models.networks import PatchNetwork
from ..rasters.labels import mask_of_features
from ..rasters.scene import Scene
from ..rasters.series import Series
from .classify import class_logits
from .context import Context
from .targets import Target
from .tiling import read_tile

T = TypeVar("T")

# Rows of a tile that one worker explains at a time.
_STRIP = 16
# Training spectra that the explainer adapts to.
_LEARNT = 12


class TileResult(NamedTuple):
    """A tile's maps as arrays: `values` (band, y, x) over the used bands, or other parts, the others (y, x).

    `evaluations` of all its pixels together. `reference` and `padding` are there where the values, with
    these two, are to be the output itself; `error` (part, y, x), the values' standard error, where they are
    sampled. `gaps` bool (part, y, x): values of a series that were filled in, so that what they contributed
    is not the ground's.
    """

    values: np.ndarray
    predicted: np.ndarray
    difference: np.ndarray
    residual: np.ndarray
    settled: np.ndarray
    evaluations: int
    reference: np.ndarray | None = None
    padding: np.ndarray | None = None
    error: np.ndarray | None = None
    gaps: np.ndarray | None = None

    @property
    def of_ground(self) -> np.ndarray:
        """The values, NaN where there are gaps."""
        return self.values if self.gaps is None else np.where(self.gaps, np.float32(np.nan), self.values)


class TileSums(NamedTuple):
    """A tile's classes (y, x), -1 without data, and attributions summed per class, float32 (class, band)."""

    predicted: np.ndarray
    sums: np.ndarray


class AttributionWorker:
    """Explains one tile after the other, its strips side by side on the `pool`.

    `total` is the number of pixels to explain, for the progress.
    """

    def __init__(
        self, job: AttributionJob, context: Context, scene: Scene, model: Model, target: Target,
        baseline: Tensor, explainer: Explainer, total: int, pool: Executor,
    ) -> None:  # fmt: skip
        self._job, self._context, self._scene, self._model = job, context, scene, model
        self._target, self._explainer, self._pool = target, explainer, pool
        self._network = cast(PatchNetwork, model.network)
        self._device = self._network.scaling.offset.device
        self._baseline = baseline.to(self._device)
        self._lock = Lock()
        self._done, self.total = 0, total

    @torch.no_grad()
    def learn(self) -> None:
        """Let the explainer adapt to some training spectra, each filling a patch."""
        side = self._network.patch_size
        spectra = self._explainer.options.background[:_LEARNT, :, None, None]
        x = spectra.expand(-1, -1, side, side).to(self._device)
        logits = self._network.logits(x).flatten(1)
        weights = self._target.weights(logits.T[:, :, None])[:, :, 0].T
        base = self._baseline[:, None, None].expand_as(x)
        self._explainer.learn(x, base, weights, self._context.check)

    def explain(self, tile: Window, chosen: np.ndarray | None = None) -> TileResult:
        """Return the maps of a tile, of the `chosen` pixels (y, x) only where they are given."""
        values, valid = self._read(tile)
        wanted = torch.from_numpy(valid if chosen is None else valid & chosen)
        if chosen is None:
            self._tick(int((~valid).sum()))

        @torch.no_grad()
        def explain_strip(rows: slice, part: Tensor) -> tuple[TileAttribution, Tensor, Tensor]:
            logits, weights = self._logits(part)
            found = self._explainer.attribute_tile(part, self._baseline, weights, wanted[rows], self._tick)
            return found, self._target.groups(logits).cpu(), (logits * weights).sum(0).cpu() - found.reference

        strips = self._over_strips(explain_strip, values, len(valid))
        found, predicted, differences = zip(*strips)
        difference = torch.cat(differences)
        sums = torch.cat([strip.values for strip in found], 1)
        return TileResult(
            values=sums.numpy(),
            predicted=torch.cat(predicted).masked_fill(~wanted, -1).numpy(),
            difference=difference.numpy(),
            residual=(difference - sums.sum(0)).numpy(),
            settled=(torch.cat([strip.settled for strip in found]) | ~wanted).numpy(),
            evaluations=sum(strip.evaluations for strip in found),
            gaps=~self._scene.read_observed(tile)[1] if isinstance(self._scene, Series) else None,
        )

    def sums(self, tile: Window) -> TileSums:
        """Return the classes of a tile and the sums of their attributions."""
        values, valid = self._read(tile)
        wanted = torch.from_numpy(valid).to(self._device)
        self._tick(int((~valid).sum()))

        @torch.no_grad()
        def sum_strip(rows: slice, part: Tensor) -> tuple[Tensor, Tensor]:
            logits, weights = self._logits(part)
            classes = logits.argmax(0).masked_fill(~wanted[rows], -1)
            return classes.cpu(), self._explainer.class_sums(
                part, self._baseline, weights, classes, len(logits), self._tick
            )

        predicted, sums = zip(*self._over_strips(sum_strip, values, len(valid)))
        return TileSums(torch.cat(predicted).numpy(), torch.stack(sums).sum(0).numpy())

    def _over_strips(self, function: Callable[[slice, Tensor], T], tile: Tensor, height: int) -> list[T]:
        """Call a function with the rows of each strip and its values (band, y, x) with halo."""
        halo = self._network.patch_size - 1
        strips = [slice(top, min(top + _STRIP, height)) for top in range(0, height, _STRIP)]
        parts = [tile[:, rows.start : rows.stop + halo] for rows in strips]
        return list(self._pool.map(function, strips, parts))

    def _logits(self, strip: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (class, y, x) of a strip with halo, and the target's weights of them."""
        logits = class_logits(self._network, strip, self._context)
        return logits, self._target.weights(logits)

    def _read(self, tile: Window) -> tuple[Tensor, np.ndarray]:
        """Return the prepared values (band, y, x) of a tile with halo, and which pixels count (y, x)."""
        self._context.check()
        values, valid = read_tile(
            self._scene, self._model.card, self._network, tile, self._model.spectra.mean
        )
        if self._job.mask_features:
            valid &= mask_of_features(self._job.mask_features, self._scene.grid, tile)
        return values.to(self._device), valid

    def _tick(self, pixels: int) -> None:
        self._context.check()
        with self._lock:
            self._done += pixels
            text = f"Explaining, {self._done} of {self.total} pixels done"
            self._context.progress(self._done / self.total, text)
