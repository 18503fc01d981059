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
from ..explainers.base import Explainer, TileAttribution, as_large_as
from ..explainers.two_legs import TwoLegs
from ..models.files import Model
from ..models.networks import PatchNetwork
from ..rasters.labels import mask_of_features
from ..rasters.scene import Scene
from ..rasters.series import filled_in
from .classify import class_logits
from .context import Context
from .pixel_baselines import PixelBaseline
from .targets import Target
from .tiling import read_raw_tile

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
    is not the ground's. Where each pixel has a baseline of its own: `level` (y, x), what the output at that
    differs by from the output at the baselines' reference, and `continuum` (part, y, x), what of it comes
    from each band.
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
    level: np.ndarray | None = None
    continuum: np.ndarray | None = None

    @property
    def of_ground(self) -> np.ndarray:
        """The values, NaN where there are gaps."""
        return self.values if self.gaps is None else np.where(self.gaps, np.float32(np.nan), self.values)


class TileSums(NamedTuple):
    """A tile's classes (y, x), -1 without data, and attributions summed per class, float32 (class, band).

    `continuum` likewise, of the part of the continuum, where there is one.
    """

    predicted: np.ndarray
    sums: np.ndarray
    continuum: np.ndarray | None = None


class AttributionWorker:
    """Explains one tile after the other, its strips side by side on the `pool`.

    `total` is the number of pixels to explain, for the progress. The explainer is two where the baseline is
    each pixel's own: the second explains that from the baselines' reference.
    """

    def __init__(
        self, job: AttributionJob, context: Context, scene: Scene, model: Model, target: Target,
        baseline: PixelBaseline, explainer: Explainer | TwoLegs, total: int, pool: Executor,
    ) -> None:  # fmt: skip
        self._job, self._context, self._scene, self._model = job, context, scene, model
        self._target, self._pool = target, pool
        self._legs = explainer if isinstance(explainer, TwoLegs) else None
        self._explainer = explainer.absorption if isinstance(explainer, TwoLegs) else explainer
        self._network = cast(PatchNetwork, model.network)
        self._device = self._network.scaling.offset.device
        self._baseline = baseline
        self._lock = Lock()
        self._done, self.total = 0.0, total

    @torch.no_grad()
    def learn(self) -> None:
        """Let the explainer adapt to some training spectra, each filling a patch."""
        side = self._network.patch_size
        row = self._model.spectra.background[:_LEARNT].T[:, :, None]
        x, base = (
            pixels[:, :, 0].T[:, :, None, None].expand(-1, -1, side, side) for pixels in self.prepared(row)
        )
        logits = self._network.logits(x).flatten(1)
        weights = self._target.weights(logits.T[:, :, None])[:, :, 0].T
        if self._legs and self._baseline.reference is not None:
            reference = self._baseline.reference[None, :, None, None].to(base).expand_as(base)
            self._legs.learn(x, base, reference, weights, self._context.check)
        else:
            self._explainer.learn(x, base, weights, self._context.check)

    def explain(self, tile: Window, chosen: np.ndarray | None = None) -> TileResult:
        """Return the maps of a tile, of the `chosen` pixels (y, x) only where they are given."""
        raw, valid, named = self._read(tile)
        wanted = torch.from_numpy(valid if chosen is None else valid & chosen)
        if chosen is None:
            self._tick(int((~valid).sum()))

        @torch.no_grad()
        def explain_strip(rows: slice, part: Tensor) -> tuple[TileAttribution, *tuple[Tensor, ...]]:
            values, baseline = self.prepared(part)
            logits, weights = self._logits(values, None if named is None else named[rows])
            found = self._explainer.attribute_tile(values, baseline, weights, wanted[rows], self._tick_leg)
            difference = (logits * weights).sum(0).cpu() - found.reference
            level, continuum = torch.zeros(0), torch.zeros(0)
            if self._legs:
                second = self._legs.continuum.attribute_tile(
                    baseline, self._start, weights, wanted[rows], self._tick_leg
                )
                level, continuum = found.reference - second.reference, second.values
            return found, self._target.groups(logits).cpu(), difference, level, continuum

        strips = self._over_strips(explain_strip, raw, len(valid))
        found, predicted, differences, levels, continua = zip(*strips)
        difference = torch.cat(differences)
        sums = torch.cat([strip.values for strip in found], 1)
        return TileResult(
            values=sums.numpy(),
            predicted=torch.cat(predicted).masked_fill(~wanted, -1).numpy(),
            difference=difference.numpy(),
            residual=(difference - sums.sum(0)).numpy(),
            settled=(torch.cat([strip.settled for strip in found]) | ~wanted).numpy(),
            evaluations=sum(strip.evaluations for strip in found),
            gaps=filled_in(self._scene, tile),
            level=torch.cat(levels).numpy() if self._legs else None,
            continuum=torch.cat(continua, 1).numpy() if self._legs else None,
        )

    def sums(self, tile: Window) -> TileSums:
        """Return the classes of a tile and the sums of their attributions."""
        raw, valid, named = self._read(tile)
        wanted = torch.from_numpy(valid).to(self._device)
        self._tick(int((~valid).sum()))

        @torch.no_grad()
        def sum_strip(rows: slice, part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            values, baseline = self.prepared(part)
            logits, weights = self._logits(values, None if named is None else named[rows])
            classes = logits.argmax(0).masked_fill(~wanted[rows], -1)
            target = (weights, classes, len(logits), self._tick_leg)
            sums = self._explainer.class_sums(values, baseline, *target)
            continuum = torch.zeros(0)
            if self._legs:
                continuum = self._legs.continuum.class_sums(baseline, self._start, *target)
            return classes.cpu(), sums, continuum

        predicted, sums, continua = zip(*self._over_strips(sum_strip, raw, len(valid)))
        continuum = torch.stack(continua).sum(0).numpy() if self._legs else None
        return TileSums(torch.cat(predicted).numpy(), torch.stack(sums).sum(0).numpy(), continuum)

    def _over_strips(self, function: Callable[[slice, Tensor], T], tile: Tensor, height: int) -> list[T]:
        """Call a function with the rows of each strip and its part of the tile (band, y, x), with halo."""
        halo = self._network.patch_size - 1
        strips = [slice(top, min(top + _STRIP, height)) for top in range(0, height, _STRIP)]
        parts = [tile[:, rows.start : rows.stop + halo] for rows in strips]
        return list(self._pool.map(function, strips, parts))

    def prepared(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return raster values (band, y, x) prepared, and their baseline as large."""
        values = self._network.prepare(raw[None].to(self._device))[0]
        return values, as_large_as(values, self._baseline.of(raw, self._context.check).to(self._device))

    @property
    def _start(self) -> Tensor:
        """Where the baselines are themselves explained from, a prepared spectrum (band,)."""
        return cast(Tensor, self._baseline.reference).to(self._device)

    def _logits(self, strip: Tensor, named: np.ndarray | None) -> tuple[Tensor, Tensor]:
        """Return the logits (class, y, x) of a strip with halo, and the target's weights of them."""
        logits = class_logits(self._network, strip, self._context)
        return logits, self._target.weights(logits, named)

    def _read(self, tile: Window) -> tuple[Tensor, np.ndarray, np.ndarray | None]:
        """Return the raster's values (band, y, x) of a tile with halo, and which pixels count (y, x).

        Also the classes (y, x) that the target takes from a reference, None where it takes none.
        """
        self._context.check()
        halo, fill = self._network.patch_size // 2, self._model.spectra.mean
        raw, valid = read_raw_tile(self._scene, self._model.card, halo, tile, fill)
        if self._job.mask_features:
            valid &= mask_of_features(self._job.mask_features, self._scene.grid, tile)
        named = self._target.named(tile)
        if named is not None:
            valid &= named >= 0
        return raw, valid, named

    def skip(self, tile: Window) -> None:
        """Count a tile of which nothing is to be explained."""
        self._tick(int(tile.width * tile.height))

    def _tick_leg(self, pixels: int) -> None:
        self._tick(pixels / 2 if self._legs else pixels)

    def _tick(self, pixels: float) -> None:
        self._context.check()
        with self._lock:
            self._done += pixels
            text = f"Explaining, {self._done:.0f} of {self.total} pixels done"
            self._context.progress(self._done / self.total, text)
