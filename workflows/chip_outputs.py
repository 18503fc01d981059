"""What an attribution of chips leaves: merged maps and their styles, and a raster per chip."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from rasterio.windows import Window

from ..engine.jobs import AttributionJob
from ..models.card import Card
from ..rasters.chips import ChipSet
from ..rasters.grid import Grid
from ..rasters.outputs import Outputs
from ..rasters.styles import qml_path, write_diverging_qml
from ..rasters.wavelengths import Band
from ..rasters.writers import RasterWriter
from .attribution_outputs import SALIENCY_BANDS
from .chip_worker import Explained
from .slide import Chips
from .tiling import BLOCK


@dataclass(frozen=True)
class Layout:
    """The bands of an attribution: those of the raster, or one named `single` of a method without bands."""

    card: Card
    bands: tuple[Band, ...]
    single: str | None

    @property
    def count(self) -> int:
        """How many bands an attribution raster has."""
        return 1 if self.single else len(self.bands)

    @property
    def places(self) -> list[int]:
        """For each band of the values, the band of the raster."""
        return [0] if self.single else self.card.used_bands

    def every(self, values: np.ndarray) -> np.ndarray:
        """Return all bands of the raster (band, y, x); those that the model does not read are nodata."""
        if self.single:
            return values
        every = np.full((len(self.bands), *values.shape[1:]), np.nan, dtype=np.float32)
        every[self.card.used_bands] = values
        return every

    def writer(self, path: str, grid: Grid, tags: Mapping[str, str]) -> RasterWriter:
        """Return the writer of an attribution raster."""
        return RasterWriter(
            path, grid, self.count, bands=None if self.single else self.bands,
            descriptions=[self.single] if self.single else None, tags=tags, block=BLOCK,
        )  # fmt: skip


class MapWriters:
    """The merged attribution and saliency rasters, those that are wanted."""

    def __init__(
        self, job: AttributionJob, outputs: Outputs, layout: Layout, grid: Grid, tags: Mapping[str, str],
        stack: ExitStack,
    ) -> None:  # fmt: skip
        self._job, self._outputs, self._layout = job, outputs, layout
        self._attribution = self._saliency = None
        if job.attribution:
            self._attribution = stack.enter_context(layout.writer(outputs.stage(job.attribution), grid, tags))
        if job.saliency:
            path = outputs.stage(job.saliency)
            self._saliency = stack.enter_context(
                RasterWriter(path, grid, 3, descriptions=SALIENCY_BANDS, tags=tags, block=BLOCK)
            )

    def write(self, window: Window, maps: np.ndarray) -> None:
        """Write a piece of the merged maps (band + 1, y, x), whose last one is the residual."""
        values = maps[:-1]
        if self._attribution:
            self._attribution.write(window, self._layout.every(values))
        if self._saliency:
            self._saliency.write(window, np.stack([np.abs(values).sum(0), values.sum(0), maps[-1]]))

    def write_styles(self, place: int, limit: float, sum_limit: float) -> None:
        """Write styles that show a band of the values, and the signed sum."""
        if self._job.attribution:
            band = self._layout.places[place] + 1
            write_diverging_qml(self._outputs.stage(qml_path(self._job.attribution)), band, limit)
        if self._job.saliency:
            write_diverging_qml(self._outputs.stage(qml_path(self._job.saliency)), 2, sum_limit)


class ChipFolder:
    """A raster per chip in a folder, named as the chips are and in sub-folders as theirs."""

    def __init__(
        self, folder: str, chips: ChipSet, grids: Sequence[Grid], layout: Layout, tags: Mapping[str, str]
    ) -> None:
        self._folder, self._grids, self._layout, self._tags = folder, grids, layout, tags
        stems = [os.path.splitext(chip.name)[0] for chip in chips.chips]
        # Chips that differ in their ending only keep it.
        times = Counter(stems)
        self._names = [
            f"{stem if times[stem] == 1 else chip.name}.tif" for chip, stem in zip(chips.chips, stems)
        ]
        self._written: list[str] = []

    def write(self, chips: Chips, found: Explained, new: np.ndarray) -> None:
        """Write the chips that come for the first time and have a say."""
        for n in np.flatnonzero(new & found.has_say):
            key = int(chips.keys[n])
            path = os.path.join(self._folder, *self._names[key].split("/"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            values = np.where(found.valid[n], found.values[n, :-1], np.float32(np.nan))
            grid = self._grids[key]
            with self._layout.writer(path, grid, self._tags) as writer:
                writer.write(grid.whole, self._layout.every(values))
            self._written.append(path)

    def write_styles(self, place: int, limit: float) -> None:
        """Write the same style beside every raster, so that chips can be compared."""
        for path in self._written:
            write_diverging_qml(qml_path(path), self._layout.places[place] + 1, limit)
