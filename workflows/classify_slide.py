"""Classify a scene by chips that slide over it; what overlapping chips say is averaged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np
import torch
from rasterio.windows import Window

from ..engine.jobs import ClassifyJob
from ..models.files import Model
from ..models.scene_networks import SceneNetwork
from ..rasters.scene import Scene
from .chip_batches import CHIPS_AT_ONCE, batches_ahead, chips_within, has_say, prepared, stoppable
from .context import Context
from .devices import workers
from .merge import Plan, merge_weights, merged
from .slide import Chips, Slide


class Votes(NamedTuple):
    """Probabilities `values` (n, class, 1, 1) of n chips, and the pixels `valid` (n, y, x) they are for."""

    values: np.ndarray
    valid: np.ndarray


class SlideClassifier:
    """A scene classifier that slides over a scene; InputError where the job's chips can't be."""

    def __init__(self, job: ClassifyJob, scene: Scene, model: Model, device: str) -> None:
        self._job, self._scene, self._model, self._device = job, scene, model, device
        self._network = cast(SceneNetwork, model.network.to(device))
        side = self._network.patch_size
        self._slide = Slide(scene, side, job.chip_stride, model.card.used_bands)
        classes, bands = len(model.card.classes), len(model.card.used_bands)
        self._plan = Plan(
            weights=merge_weights(job.merge, side), channels=classes,
            values_per_pixel=2 * (classes + 1 + bands), memory_mb=job.memory_mb,
            size=min(chips_within(self._network, job.memory_mb), CHIPS_AT_ONCE), ahead=batches_ahead(),
        )  # fmt: skip

    def facts(self, window: Window) -> dict:
        """Return what the run record says of the chips."""
        return {"chip_side": self._slide.side, "chip_stride": self._slide.stride,
                "chips": self._slide.count(window)}  # fmt: skip

    def tiles(self, window: Window, context: Context) -> Iterator[tuple[Window, np.ndarray, np.ndarray]]:
        """Yield pieces of a window with mean probabilities (class, y, x), and which pixels have any."""
        total, done, silent = self._slide.count(window), 0, 0

        def seen(chips: Chips, votes: Votes, new: np.ndarray) -> None:
            nonlocal done, silent
            context.check()
            done += int(new.sum())
            silent += int((new & ~votes.valid.any((1, 2))).sum())
            context.progress(done / total, f"Classifying, {done} of {total} chips done")

        with workers(self._device) as pool, stoppable(self._network, context):
            for tile, shares in merged(self._slide, window, self._plan, pool, self._vote, seen):
                yield tile, shares, np.isfinite(shares[0])
        if silent:
            context.warn(
                f"{silent} of {total} chips have no data on more than half of their pixels and were left out."
            )

    @torch.no_grad()
    def _vote(self, chips: Chips) -> Votes:
        finite, votes = has_say(chips.values)
        shares = np.zeros((len(votes), self._network.classes, 1, 1), dtype=np.float32)
        if votes.any():
            x = prepared(self._model, chips.values[votes])
            shares[votes] = self._network.logits(x).softmax(1).cpu().numpy()
        return Votes(shares, finite & votes[:, None, None])
