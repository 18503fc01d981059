"""Single pixels of a scene as a classifier sees them: read, classified, told by features, explained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np
import torch
from rasterio.windows import Window
from torch import Tensor

from ..engine.jobs import AttributionJob
from ..explainers.base import Explainer
from ..explainers.last_layer import features_of
from ..explainers.registry import check_serves, make_explainer
from ..models.files import Model
from ..models.networks import PatchNetwork
from ..models.segmentation_networks import SegmentationNetwork
from ..rasters.scene import Scene
from .canvas import crop_window, read_filled
from .explainer_options import options_of
from .targets import AUTO, baseline_values

# Steps of integrated gradients, and orders of bands, where each takes a pass over a whole crop.
_CROP_STEPS, _CROP_ORDERS = 16, 8
# Training spectra that an explainer adapts to.
_LEARNT = 12
# Of a segmentation network one crop at a time; patches so many.
_PATCHES = 64


class Look(NamedTuple):
    """What a network makes of n pixels: logits (n, class), the last layer's input (n, feature)."""

    logits: Tensor
    features: Tensor


class Explained(NamedTuple):
    """Attributions (n, band) over the prepared bands, and what they leave of the output (n,).

    The residual is NaN where the method's values are no parts of the output.
    """

    values: Tensor
    residual: Tensor


@dataclass(frozen=True)
class Batch:
    """Prepared patches or crops (n, band, y, x) around pixels at `places` int64 (n, 2) in the map of logits.

    `members`: which of the pixels that were asked for.
    """

    members: np.ndarray
    x: Tensor
    places: np.ndarray


class PixelExplainer:
    """A classifier of pixels on a scene, pixel by pixel, patches and crops being as when classifying."""

    def __init__(self, scene: Scene, model: Model, device: str, memory_mb: int) -> None:
        self.scene, self.model = scene, model
        self.network = cast(PatchNetwork | SegmentationNetwork, model.network.to(device))
        self.dense = isinstance(model.network, SegmentationNetwork)
        self._memory_mb = memory_mb
        self._explainers: dict[str, Explainer] = {}

    def check(self, explainer: str) -> None:
        """Raise InputError where the model can't serve an explainer."""
        check_serves(explainer, self.model.network, single=True)

    @torch.no_grad()
    def look(self, rows: np.ndarray, cols: np.ndarray, check: Callable[[], None]) -> Look:
        """Return what the network makes of pixels int64 (n,) that have data; `check` may raise to stop."""
        logits: list[Tensor] = []
        features: list[Tensor] = []
        for batch in self._batches(rows, cols, check):
            if isinstance(self.network, SegmentationNetwork):
                maps, output = features_of(self.network, batch.x)
                row, col = batch.places[0]
                logits.append(output[:, :, row, col])
                features.append(maps[:, :, row, col])
            else:
                z = self.network.body[:-1](self.network.front(batch.x))
                features.append(z.flatten(1))
                logits.append(self.network.body[-1](z).flatten(1))
        return Look(torch.cat(logits).cpu(), torch.cat(features).cpu())

    def explain(
        self, name: str, rows: np.ndarray, cols: np.ndarray, weights: Tensor, baselines: Tensor,
        check: Callable[[], None],
    ) -> Explained:  # fmt: skip
        """Explain pixels (n,) by the explainer `name`.

        `weights` (n, class) of the logits are the target; `baselines` (n, band), at prepared values.
        """
        values, residuals = [], []
        for batch in self._batches(rows, cols, check):
            weight = weights[batch.members].to(batch.x)
            base = baselines[batch.members].to(batch.x)[:, :, None, None].expand_as(batch.x)
            target = weight
            if self.dense:
                target = self._at(batch, weight)
            explainer = self._explainer(name, max(batch.x.shape[2:]), check)
            found = explainer.attribute(batch.x, base, target)
            with torch.no_grad():
                output = explainer.output(batch.x, target)
            summed = found.values.sum((2, 3))
            values.append(summed.cpu())
            residuals.append((output - found.reference - summed.sum(1)).cpu())
        return Explained(torch.cat(values), torch.cat(residuals))

    def baseline(self, name: str, class_index: int | None) -> Tensor:
        """Return a baseline (band,) at prepared values; `auto` is the mean of a class where one is given."""
        names = self.model.card.class_names
        if name == AUTO and class_index is not None and not self.model.card.bands[0].date:
            return baseline_values("class_mean", names[class_index], None, self.model)
        return baseline_values("mean" if name == AUTO else name, None, None, self.model)

    def _batches(self, rows: np.ndarray, cols: np.ndarray, check: Callable[[], None]) -> Iterator[Batch]:
        """Yield the pixels in batches; those of a segmentation network one by one."""
        size = 1 if self.dense else _PATCHES
        for start in range(0, len(rows), size):
            check()
            members = np.arange(start, min(start + size, len(rows)))
            if self.dense:
                yield self._crop(members, int(rows[start]), int(cols[start]))
            else:
                yield self._patches(members, rows[members], cols[members])

    def _crop(self, members: np.ndarray, row: int, col: int) -> Batch:
        window = crop_window(self.scene.grid, cast(SegmentationNetwork, self.network), row, col)
        raw, _ = read_filled(self.scene, self.model.card.used_bands, window, self.model.spectra.mean)
        place = np.array([[row - int(window.row_off), col - int(window.col_off)]])
        return Batch(members, self._prepared(raw[None]), place)

    def _patches(self, members: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> Batch:
        halo = cast(PatchNetwork, self.network).patch_size // 2
        used, fill = self.model.card.used_bands, self.model.spectra.mean
        offsets = np.arange(-halo, halo + 1)
        if np.ptp(rows) * np.ptp(cols) <= _PATCHES**2:
            around = Window(cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1)
            raw, _ = read_filled_around(self.scene, used, around, halo, fill)
            down = (rows - rows.min())[:, None, None] + (offsets + halo)[None, :, None]
            across = (cols - cols.min())[:, None, None] + (offsets + halo)[None, None, :]
            patches = raw[:, down, across].movedim(1, 0)
        else:
            patches = torch.stack([
                read_filled_around(self.scene, used, Window(col, row, 1, 1), halo, fill)[0]
                for row, col in zip(rows, cols)
            ])  # fmt: skip
        return Batch(members, self._prepared(patches.contiguous()), np.zeros((len(rows), 2), dtype=np.int64))

    @torch.no_grad()
    def _prepared(self, raw: Tensor) -> Tensor:
        return self.network.prepare(raw.to(self.network.scaling.offset.device))

    def _at(self, batch: Batch, weight: Tensor) -> Tensor:
        """Return weights (1, class * y * x) of a crop's logits that are 0 but at its pixel."""
        _, classes = weight.shape
        whole = batch.x.new_zeros((1, classes, *batch.x.shape[2:]))
        row, col = batch.places[0]
        whole[0, :, row, col] = weight[0]
        return whole.flatten(1)

    def _explainer(self, name: str, side: int, check: Callable[[], None]) -> Explainer:
        """Return an explainer that has learnt, made when first asked for."""
        if name not in self._explainers:
            asked = AttributionJob(scene=None, model="", explainer=name, memory_mb=self._memory_mb)
            options = options_of(asked, self.model)
            if self.dense:
                options = replace(options, steps=_CROP_STEPS, samples=_CROP_ORDERS, crop=side)
            made = make_explainer(name, self.model.network, options, single=True)
            if not self.dense:
                self._teach(made, check)
            self._explainers[name] = made
        return self._explainers[name]

    @torch.no_grad()
    def _teach(self, explainer: Explainer, check: Callable[[], None]) -> None:
        side = cast(PatchNetwork, self.network).patch_size
        raw = self.model.spectra.background[:_LEARNT, :, None, None].expand(-1, -1, side, side)
        x = self._prepared(raw.contiguous())
        base = baseline_values("mean", None, None, self.model).to(x)[None, :, None, None].expand_as(x)
        logits = self.network.logits(x).flatten(1)
        explainer.learn(x, base, torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).to(x), check)


def read_filled_around(
    scene: Scene, bands: list[int], window: Window, halo: int, fill: Tensor
) -> tuple[Tensor, np.ndarray]:
    """Return what `read_filled` does, of a window with `halo` more pixels, mirrored at the scene's edges."""
    raw = scene.read(window, halo, bands)
    valid = np.isfinite(raw).all(0)
    return torch.where(torch.from_numpy(valid), torch.from_numpy(raw), fill[:, None, None]), valid


def sampled_evenly(count: int, most: int) -> np.ndarray:
    """Return up to `most` of `count` places, evenly spread over their order."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(np.int64)
