"""Explaining the tiles of a scene as whole images, with methods that explain all their pixels at once."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from rasterio.windows import Window
from torch import Tensor

from ..engine.jobs import AttributionJob
from ..explainers.base import TileAttribution, as_large_as
from ..models.card import Card
from ..models.files import Model
from ..models.networks import PatchNetwork
from ..models.segmentation_networks import SegmentationNetwork
from ..rasters.labels import mask_of_features
from ..rasters.scene import Scene
from ..rasters.series import filled_in
from .attribution_worker import TileResult
from .canvas import CanvasTile, canvas_side, canvas_window, read_canvas_tile
from .classify_dense import dense_bytes
from .context import Context
from .dense_parts import Divider
from .pixel_baselines import PixelBaseline
from .targets import Target
from .tiling import tile_side

DenseNetwork = PatchNetwork | SegmentationNetwork


class DenseWorker:
    """Explains one tile after the other, by what `divide` makes of the target's output.

    `total` is the number of pixels to explain, for the progress.
    """

    def __init__(
        self, job: AttributionJob, context: Context, scene: Scene, model: Model, target: Target,
        baseline: PixelBaseline, divide: Divider, total: int,
    ) -> None:  # fmt: skip
        self._job, self._context, self._scene, self._model = job, context, scene, model
        self._target, self._baseline, self._divide = target, baseline, divide
        self._network = cast(DenseNetwork, model.network)
        self._done, self._total = 0.0, total

    def side(self, memory_mb: int) -> int:
        """Return the side of tiles that keep within a memory budget."""
        network = self._network
        if isinstance(network, SegmentationNetwork):
            # The image and its baseline, and at least one part.
            return canvas_side(memory_mb, 3 * dense_bytes(network), network.reach)
        return tile_side(memory_mb, 4 * 5 * len(self._scene.bands))

    @torch.no_grad()
    def explain(self, tile: Window) -> TileResult:
        """Return the maps of a tile."""
        self._context.check()
        named = self._target.named(tile)
        read, network = self._read(tile, named), self._network
        device = network.scaling.offset.device
        values = read.values.to(device)
        logits = network.logits(values[None])[0]
        weights = self._target.weights(logits, _placed(named, read.inner, logits))
        wanted = torch.zeros(logits.shape[1:], dtype=torch.bool)
        wanted[read.inner] = torch.from_numpy(read.valid)
        self._tick(int((~read.valid).sum()))
        real = torch.from_numpy(read.real)
        baseline = self._baseline.of(read.raw, self._context.check).to(device)
        found = self._divide(self._around(tile), values, baseline, weights, wanted, real, self._tick_leg)
        result = _cut(found, logits, self._target.groups(logits), weights, wanted, read.inner)
        if self._job.parts == "bands":
            result = result._replace(gaps=filled_in(self._scene, tile))
        if self._baseline.reference is None:
            return result
        start = as_large_as(values, self._baseline.reference.to(device))
        second = self._divide(self._around(tile), baseline, start, weights, wanted, real, self._tick_leg)
        before = (network.logits(start[None])[0] * weights).sum(0).cpu()[read.inner]
        output = (logits * weights).sum(0).cpu()[read.inner]
        return result._replace(
            level=output.numpy() - result.difference - before.numpy(),
            continuum=second.values[:, *read.inner].numpy(),
        )

    def _around(self, tile: Window) -> Window:
        """Return the window that a tile is read with."""
        network = self._network
        if isinstance(network, SegmentationNetwork):
            return canvas_window(self._scene.grid, network, tile)
        halo = network.patch_size // 2
        return Window(tile.col_off - halo, tile.row_off - halo, tile.width + 2 * halo, tile.height + 2 * halo)

    def _read(self, tile: Window, named: np.ndarray | None) -> CanvasTile:
        network, card, fill = self._network, self._model.card, self._model.spectra.mean
        if isinstance(network, SegmentationNetwork):
            read = read_canvas_tile(self._scene, card, network, tile, fill)
        else:
            read = read_with_halo(self._scene, card, network, tile, fill)
        if self._job.mask_features:
            read = read._replace(
                valid=read.valid & mask_of_features(self._job.mask_features, self._scene.grid, tile)
            )
        if named is not None:
            read = read._replace(valid=read.valid & (named >= 0))
        return read

    def skip(self, tile: Window) -> None:
        """Count a tile of which nothing is to be explained."""
        self._tick(int(tile.width * tile.height))

    def _tick_leg(self, pixels: float) -> None:
        self._tick(pixels if self._baseline.reference is None else pixels / 2)

    def _tick(self, pixels: float) -> None:
        self._context.check()
        self._done += pixels
        text = f"Explaining, {self._done:.0f} of {self._total} pixels done"
        self._context.progress(self._done / self._total, text)


def read_with_halo(scene: Scene, card: Card, network: PatchNetwork, tile: Window, fill: Tensor) -> CanvasTile:
    """Return a tile with the halo of a network of patches, prepared; it lies at the corner of its logits."""
    halo = network.patch_size // 2
    raw = scene.read(tile, halo, card.used_bands)
    known = np.isfinite(raw).all(0)
    rows = np.arange(raw.shape[1]) + int(tile.row_off) - halo
    cols = np.arange(raw.shape[2]) + int(tile.col_off) - halo
    inside = np.outer((rows >= 0) & (rows < scene.grid.height), (cols >= 0) & (cols < scene.grid.width))
    values = torch.from_numpy(raw)
    torch.where(torch.from_numpy(known), values, fill[:, None, None], out=values)
    height, width = int(tile.height), int(tile.width)
    with torch.no_grad():
        prepared = network.prepare(values[None])[0]
    valid = known[halo : halo + height, halo : halo + width]
    return CanvasTile(prepared, known & inside, valid, (slice(0, height), slice(0, width)), values)


def _placed(
    named: np.ndarray | None, inner: tuple[slice, slice], logits: Tensor
) -> np.ndarray | None:  # fmt: skip
    """Return classes (y, x) that were named in a tile, at its place in its surroundings, -1 around it."""
    if named is None:
        return None
    placed = np.full(logits.shape[1:], -1, dtype=np.int64)
    placed[inner] = named
    return placed


def _cut(
    found: TileAttribution, logits: Tensor, groups: Tensor, weights: Tensor, wanted: Tensor,
    inner: tuple[slice, slice],
) -> TileResult:  # fmt: skip
    """Return what was found as arrays of the tile itself, `inner` in its surroundings."""
    output = (logits * weights).sum(0).cpu()[inner]
    wanted, reference, values = wanted[inner], found.reference[inner], found.values[:, *inner]
    padding = torch.zeros_like(reference) if found.padding is None else found.padding[inner]
    difference = output - reference
    return TileResult(
        values=values.numpy(),
        predicted=groups.cpu()[inner].masked_fill(~wanted, -1).numpy(),
        difference=difference.numpy(),
        residual=(difference - values.sum(0) - padding).numpy(),
        settled=(found.settled[inner] | ~wanted).numpy(),
        evaluations=found.evaluations,
        reference=reference.numpy(),
        padding=padding.masked_fill(~wanted, float("nan")).numpy(),
        error=None if found.error is None else found.error[:, *inner].numpy(),
    )
