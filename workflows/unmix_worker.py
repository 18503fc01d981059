"""Unmixing the tiles of a scene."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from rasterio.windows import Window

from ..engine.unmix_jobs import UnmixJob
from ..models.files import Model
from ..models.unmixers import AbundanceNetwork
from ..rasters.scene import Scene
from .context import Context
from .unmix_methods import Batch, unmixed
from .unmix_summary import UnmixSummary


class UnmixedTile(NamedTuple):
    """A tile's pixels with data, n of them, at `rows` and `cols`; `planes` (n, plane) by output."""

    rows: np.ndarray
    cols: np.ndarray
    planes: dict[str, np.ndarray]


class UnmixWorker:
    """Unmixes one tile after the other, and adds up what its pixels say in a summary."""

    def __init__(
        self, job: UnmixJob, context: Context, scene: Scene, model: Model, network: AbundanceNetwork,
        summary: UnmixSummary, total: int, device: str, begun: float,
    ) -> None:  # fmt: skip
        self._job, self._context, self._scene = job, context, scene
        self._used, self._scale = model.card.used_bands, float(model.card.training["scale"])
        self._network, self._summary, self._device = network, summary, device
        self._done, self._total, self._begun = 0, total, begun

    def unmix(self, tile: Window) -> UnmixedTile:
        """Return the maps of a tile."""
        self._context.check()
        values = self._scene.read(tile, bands=self._used)
        valid = np.isfinite(values).all(axis=0)
        self._tick(int((~valid).sum()))
        rows, cols = np.nonzero(valid)
        pixels = values[:, valid].T / np.float32(self._scale)
        keys = (rows + int(tile.row_off)) * np.int64(self._scene.grid.width) + cols + int(tile.col_off)
        planes: list[dict[str, np.ndarray]] = []
        start = 0
        for batch in unmixed(self._network, pixels, self._device, self._context.check):
            self._summary.add(batch, keys[start : start + len(batch.pixels)])
            planes.append(planes_of(batch, self._job.wanted(), self._job.parts_of))
            start += len(batch.pixels)
            self._tick(len(batch.pixels))
        names = planes[0] if planes else {}
        return UnmixedTile(
            rows, cols, {name: np.concatenate([part[name] for part in planes]) for name in names}
        )

    def _tick(self, pixels: int) -> None:
        self._context.check()
        self._done += pixels
        share = self._begun + (1 - self._begun) * self._done / self._total
        self._context.progress(share, f"Unmixing, {self._done} of {self._total} pixels done")


def planes_of(batch: Batch, wanted: dict[str, str], parts_of: str) -> dict[str, np.ndarray]:
    """Return the planes float32 (n, plane) of the wanted outputs that the method has."""
    found = {
        "abundances": batch.abundances,
        "endmember_spread": batch.spread,
        "nonlinearity": batch.shares,
        "uncertainty": batch.sd,
        "reconstruction_error": batch.error[:, None],
        "brightness": None if batch.brightness is None else batch.brightness[:, None],
    }
    if "parts" in wanted:
        found["parts"] = _parts(batch, parts_of)
    return {
        name: values.astype(np.float32)
        for name, values in found.items()
        if values is not None and name in wanted
    }


def _parts(batch: Batch, parts_of: str) -> np.ndarray:
    """Return the parts (n, part * band), or their means over the bands (n, part); see `part_names`.

    The last is what the parts before it leave of the pixel's reflectance.
    """
    parts = [*np.moveaxis(batch.parts, 1, 0)]
    parts += [part for part in (batch.nonlinear, batch.clipped) if part is not None]
    parts.append(batch.pixels - batch.reconstruction)
    stacked = np.stack(parts, axis=1)
    return stacked.mean(axis=2) if parts_of == "mean" else stacked.reshape(len(stacked), -1)


def part_names(materials: list[str], nonlinear: bool) -> list[str]:
    """Return what a pixel's reflectance is divided into, in order; all of them add up to it."""
    return [*materials, *(["nonlinear", "clipped"] if nonlinear else []), "residual"]
