"""How the output of every pixel of a tile is divided: among bands, rings around it, or regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from rasterio.windows import Window
from torch import Tensor

from ..engine.jobs import AttributionJob
from ..explainers.base import Explainer, TileAttribution, as_large_as
from ..explainers.dense import Dense, Propagated, pulse, shares
from ..explainers.pixel_maps import PixelMaps, ring_sums
from ..explainers.propagation import Propagation
from ..models.files import Model
from ..rasters.errors import InputError
from ..rasters.scene import Scene
from .context import Context
from .parts import PARTS, Parts, band_parts, region_parts, ring_parts
from .truth import Labelled, read_regions

Tick = Callable[[int], None]


class Divider(Protocol):
    """Divides the output of a tile's pixels.

    `around` is the window of the scene that `values` (band, Y, X) are of, prepared; `baseline` is one
    spectrum (band,) or as large; `weights` (class, y, x) and `wanted` bool (y, x) are as large as the
    network's logits, `real` bool (Y, X) as the values.
    """

    def __call__(
        self, around: Window, values: Tensor, baseline: Tensor, weights: Tensor, wanted: Tensor, real: Tensor,
        tick: Tick,
    ) -> TileAttribution:  # fmt: skip
        """Divide the output of the wanted pixels; `tick` gets the pixels just done and may raise to stop."""
        ...


def divided(
    job: AttributionJob, context: Context, scene: Scene, model: Model, explainer: Explainer
) -> tuple[Parts, Divider | None]:
    """Return what the job's output is divided among, and how, None where it goes patch by patch.

    Raises InputError where the explainer knows no such parts.
    """
    if job.parts not in PARTS:
        raise InputError(f"There are no parts '{job.parts}'; choose one of {', '.join(PARTS)}.")
    if job.parts == "bands":
        parts = band_parts(scene, model.card, model.network)
        return parts, ByBands(explainer) if isinstance(explainer, Dense) else None
    if not isinstance(explainer, Propagated):
        raise InputError(
            f"The explainer '{job.explainer}' knows no {job.parts} as parts; choose secant_contributions or "
            "tangent_contributions, or the parts 'bands'."
        )
    if job.parts == "rings":
        return ring_parts(job.ring_limits), ByRings(explainer, job.ring_limits)
    regions = read_regions(job.region_features, job.region_raster, scene.grid, context)
    if regions is None:
        raise InputError("The parts 'regions' need REGIONS: named polygons or a raster of class numbers.")
    return region_parts(regions.names), ByRegions(explainer, regions)


class ByBands:
    """Among the bands, by a method for all pixels at once."""

    def __init__(self, explainer: Dense) -> None:
        self._explainer = explainer

    def __call__(
        self, around: Window, values: Tensor, baseline: Tensor, weights: Tensor, wanted: Tensor, real: Tensor,
        tick: Tick,
    ) -> TileAttribution:  # fmt: skip
        """See `Divider`."""
        return self._explainer.attribute_tile(values, baseline, weights, wanted, tick, real.to(values.device))


class ByRegions:
    """Among named regions of the scene and what lies in none, all bands together."""

    def __init__(self, explainer: Propagated, regions: Labelled) -> None:
        self._explainer, self._regions = explainer, regions

    def __call__(
        self, around: Window, values: Tensor, baseline: Tensor, weights: Tensor, wanted: Tensor, real: Tensor,
        tick: Tick,
    ) -> TileAttribution:  # fmt: skip
        """See `Divider`."""
        where = torch.from_numpy(self._regions.of(around))
        names = torch.arange(-1, len(self._regions.names)).roll(-1)
        masks = (where == names[:, None, None]) & real
        masks = torch.cat([masks, ~real[None]]).to(values.device)
        carried = Propagation(
            self._explainer.network, values[None], as_large_as(values, baseline)[None], self._explainer.rule,
            self._explainer.options.memory, pulse(tick),
        )  # fmt: skip
        step = shares(tick, int(wanted.sum()), len(masks))
        parts = carried.regions(masks, weights[None], step)[:, 0]
        reference = self._explainer.reference(carried, weights[None])[0]
        hidden = ~wanted
        parts = parts.cpu().masked_fill(hidden, float("nan"))
        return TileAttribution(
            values=parts[:-1], reference=reference.cpu().masked_fill(hidden, float("nan")),
            settled=torch.ones_like(wanted), evaluations=(len(masks) + 2) * wanted.numel(),
            padding=parts[-1],
        )  # fmt: skip


class ByRings:
    """Among rings of pixels by how far they are from the explained one, all bands together."""

    def __init__(self, explainer: Propagated, limits: Sequence[int]) -> None:
        self._explainer, self._limits = explainer, tuple(limits)

    def __call__(
        self, around: Window, values: Tensor, baseline: Tensor, weights: Tensor, wanted: Tensor, real: Tensor,
        tick: Tick,
    ) -> TileAttribution:  # fmt: skip
        """See `Divider`: one way back through a crop of the tile for every wanted pixel."""
        explainer, real = self._explainer, real.to(values.device)
        maps = PixelMaps(explainer.network, values, baseline, explainer.options, pulse(tick))
        rows, cols = torch.nonzero(wanted, as_tuple=True)
        own = weights[:, rows, cols].T
        parts = torch.full((len(self._limits) + 1, *wanted.shape), float("nan"))
        reference, padding = (torch.full(wanted.shape, float("nan")) for _ in range(2))
        pixels = list(zip(rows.tolist(), cols.tolist()))
        for number, found in maps.propagated(pixels, own, explainer.rule):
            (top, left), (height, width) = found.corner, found.values.shape[1:]
            inside = real[top : top + height, left : left + width]
            place = pixels[number]
            parts[:, *place] = (
                ring_sums(found._replace(values=found.values * inside), self._limits).sum(0).cpu()
            )
            padding[place] = float((found.values * ~inside).sum())
            reference[place] = float(found.reference)
            tick(1)
        return TileAttribution(parts, reference, torch.ones_like(wanted), 3 * len(pixels), padding)
