"""Which sensor decided, pixel by pixel: the raster of shares, tile by tile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import torch
from rasterio.windows import Window
from torch import Tensor

from ..explainers.base import Options
from ..explainers.integrated_gradients import IntegratedGradients
from ..models.files import Model
from ..models.networks import PatchNetwork
from ..rasters.outputs import Outputs
from ..rasters.scene import Scene
from ..rasters.styles import qml_path, write_sequential_qml
from ..rasters.writers import RasterWriter
from .chip_batches import memory_of_batch
from .classify import class_logits
from .context import Context
from .devices import workers
from .fitting import no_data
from .sensor_attributions import adapt
from .sensor_shares import shares_of_sizes
from .targets import baseline_values
from .tiling import BLOCK, map_tiles, read_tile, tile_side, within

# A tile is in memory as input and as attribution: this many float32 copies of its bands.
_COPIES = 5
_STRIP = 16  # rows that a worker explains at a time


class SharesRaster:
    """Writes the share of each group of bands in the attribution of the predicted class, a band per group.

    `groups` are places among the model's bands, by name.
    """

    def __init__(
        self, context: Context, scene: Scene, model: Model, groups: dict[str, np.ndarray], device: str,
        memory_mb: int, seed: int,
    ) -> None:  # fmt: skip
        self._context, self._scene, self._model, self._groups = context, scene, model, groups
        self._network = cast(PatchNetwork, model.network.to(device))
        self._device, self._memory_mb = device, memory_mb
        self._baseline = baseline_values("mean", None, None, model).to(device)
        options = Options(seed=seed, memory=memory_of_batch(memory_mb))
        self._explainer = IntegratedGradients(self._network, options)

    def write(
        self, path: str, outputs: Outputs, window: Window, tags: dict[str, str], progress: tuple[float, float]
    ) -> None:
        """Write the raster of a window and its style; `progress` is the share of the job, from and to."""
        adapt(self._explainer, self._model, self._baseline, self._context.check)
        names = [f"share of {name}" for name in self._groups]
        side = tile_side(self._memory_mb, 4 * _COPIES * len(self._scene.bands))
        done, total = 0, int(window.width) * int(window.height)
        seen = False
        with (
            RasterWriter(
                outputs.stage(path), self._scene.grid.sub(window), len(names), descriptions=names, tags=tags,
                block=BLOCK,
            ) as writer,
            workers(self._device) as pool,
            ThreadPoolExecutor(1) as ahead,
        ):  # fmt: skip
            for tile, shares in map_tiles(ahead, lambda tile: self._shares(tile, pool), window, side):
                seen |= bool(np.isfinite(shares).any())
                writer.write(within(tile, window), shares)
                done += int(tile.width) * int(tile.height)
                share = progress[0] + (progress[1] - progress[0]) * done / total
                self._context.progress(share, f"Mapping shares, {done} of {total} pixels done")
        if not seen:
            raise no_data(self._scene)
        write_sequential_qml(outputs.stage(qml_path(path)), 1, 0.0, 1.0)

    @torch.no_grad()
    def _shares(self, tile: Window, pool: ThreadPoolExecutor) -> np.ndarray:
        """Return the shares (group, y, x) of a tile, NaN without data."""
        self._context.check()
        values, valid = read_tile(
            self._scene, self._model.card, self._network, tile, self._model.spectra.mean
        )
        values = values.to(self._device)
        halo = self._network.patch_size - 1
        tops = range(0, len(valid), _STRIP)

        @torch.no_grad()
        def explain(top: int) -> Tensor:
            part = values[:, top : top + _STRIP + halo]
            wanted = torch.from_numpy(valid[top : top + _STRIP])
            logits = class_logits(self._network, part, self._context)
            weights = torch.nn.functional.one_hot(logits.argmax(0), len(logits)).movedim(-1, 0).float()
            return self._explainer.attribute_tile(
                part, self._baseline, weights, wanted, lambda pixels: self._context.check()
            ).values

        sizes = torch.cat(list(pool.map(explain, tops)), 1).abs().numpy()
        groups = np.stack([sizes[group].sum(0) for group in self._groups.values()], -1)
        return np.where(valid, np.moveaxis(shares_of_sizes(groups), -1, 0), np.nan).astype(np.float32)
