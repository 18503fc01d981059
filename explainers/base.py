"""What every explainer is: a network, options, and one `attribute` from tensors to tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from ..models.files import Network
from ..models.networks import PatchNetwork
from .costs import layer_bytes


@dataclass(frozen=True)
class Options:
    """Settings of the explainers; each reads those that it needs.

    `steps`: Gauss-Legendre nodes of integrated gradients, 0 to refine until settled, up to `max_steps`
    segments and to `tolerance` (relative; 0 on chips: `max_steps` at once). `samples`: draws of gradient SHAP
    from `background` (n, band).
    `occlusion_window`: side of the spatial window, 0 for the whole patch; `occlusion_bands`: bands in a
    window, 0 for all; `occlusion_stride`: step of both, 0 for windows that touch and do not overlap.
    `layer`: the part of a residual network whose maps Grad-CAM weighs. `memory`: bytes that a batch may take.
    `crop`: longest side of the crops around single pixels that a segmentation network reads.
    """

    steps: int = 0
    max_steps: int = 256
    tolerance: float = 0.01
    samples: int = 64
    seed: int = 0
    occlusion_window: int = 0
    occlusion_bands: int = 1
    occlusion_stride: int = 0
    layer: str = "layer4"
    memory: int = 64 * 2**20
    crop: int = 1
    background: Tensor = field(default_factory=lambda: torch.empty(0, 0))


class Attribution(NamedTuple):
    """Result of an explainer for n patches.

    `values` (n, band, y, x), in the unit of the target's output (gradients: per unit of input); of a method
    that is not `per_band`, (n, 1, y, x).
    `reference` (n,): the target's output that the values start from; NaN where the method has none.
    `settled` bool (n,): False where refinement stopped at its cap.
    `evaluations` (n,): gradients or outputs evaluated, or segments of the path run backward.
    """

    values: Tensor
    reference: Tensor
    settled: Tensor
    evaluations: Tensor


class TileAttribution(NamedTuple):
    """Result for the pixels of a tile: the sums of each pixel's attribution over its patch.

    `values` (band, y, x), `reference` (y, x): NaN where a pixel was not wanted. `settled` bool (y, x).
    `evaluations`: all together. `padding` (y, x): the part of pixels that are none of the scene's, where the
    method was told of them. `error` (band, y, x): the values' standard error, of methods that sample.
    """

    values: Tensor
    reference: Tensor
    settled: Tensor
    evaluations: int
    padding: Tensor | None = None
    error: Tensor | None = None


class Explainer:
    """Base of the methods.

    A target is given as `weights` (n, class): the explained output is the weighted sum of the logits. Of a
    segmentation network (n, class * y * x): what is explained is a pixel in each of n crops.
    Inputs `x` (n, band, s, s) and `baseline` (same shape) are at the network's prepared values.
    `contributions` is False where the values are no parts of the output, so that they have no residual;
    `signed` where none can be negative; `per_band` where there is one map for all bands. `weighs_layer` is
    True where the map is made of those of the options' layer. `exact` where reference and values are made to
    add up to the target's output, but for rounding.
    """

    uses_baseline: ClassVar[bool] = True
    contributions: ClassVar[bool] = True
    signed: ClassVar[bool] = True
    per_band: ClassVar[bool] = True
    weighs_layer: ClassVar[bool] = False
    exact: ClassVar[bool] = False

    def __init__(self, network: Network, options: Options) -> None:
        self.network, self.options = network, options

    def learn(
        self, x: Tensor, baseline: Tensor, weights: Tensor, check: Callable[[], None] = lambda: None
    ) -> None:
        """Adapt to a sample of what is to be explained, once per job; `check` may raise to stop."""

    def attribute(self, x: Tensor, baseline: Tensor, weights: Tensor) -> Attribution:
        """Explain n patches; see `Attribution`."""
        raise NotImplementedError

    @property
    def evaluations_at_once(self) -> int:
        """How many copies of a patch `attribute` holds in memory for each patch that it is given."""
        return 1

    def attribute_tile(
        self, tile: Tensor, baseline: Tensor, weights: Tensor, wanted: Tensor, tick: Callable[[int], None]
    ) -> TileAttribution:
        """Explain the wanted pixels of a tile, patch by patch.

        `tile` (band, y, x) with halo and `baseline`, one spectrum (band,) or as large as the tile, are at
        prepared values; `weights` (class, y, x) and `wanted` bool (y, x) without halo. `tick` gets the number
        of pixels just done and may raise to stop.
        """
        values = torch.full((len(tile), *wanted.shape), float("nan"))
        reference = torch.full(wanted.shape, float("nan"))
        settled = torch.ones(wanted.shape, dtype=torch.bool)
        evaluations = 0
        for rows, cols, result in self.attributions(tile, baseline, weights, wanted):
            values[:, rows, cols] = result.values.sum((2, 3)).T.cpu()
            reference[rows, cols] = result.reference.cpu()
            settled[rows, cols] = result.settled
            evaluations += int(result.evaluations.sum())
            tick(len(rows))
        return TileAttribution(values, reference, settled, evaluations)

    def attributions(
        self, tile: Tensor, baseline: Tensor, weights: Tensor, wanted: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Attribution]]:
        """Yield rows and columns (n,) of wanted pixels with what explains them, batch by batch.

        Arguments as those of `attribute_tile`. Methods in which overlapping patches share work override it.
        """
        side = cast(PatchNetwork, self.network).patch_size
        baseline = as_large_as(tile, baseline)
        for rows, cols in batches(wanted, self.batch_size()):
            x, start = (patches_at(maps, rows, cols, side) for maps in (tile, baseline))
            yield rows, cols, self.attribute(x, start, weights[:, rows, cols].T.contiguous())

    @property
    def sums_share_work(self) -> bool:
        """Whether `class_sums` is there: sums over many pixels that cost less than the pixels one by one."""
        return False

    def class_sums(
        self, tile: Tensor, baseline: Tensor, weights: Tensor, groups: Tensor, count: int,
        tick: Callable[[int], None],
    ) -> Tensor:  # fmt: skip
        """Return the attributions (count, band) summed over the patches of each group's pixels in a tile.

        `groups` int (y, x) are -1 where a pixel is not wanted; the others as in `attribute_tile`.
        """
        raise NotImplementedError

    def batch_size(self, side: int = 0) -> int:
        """How many crops with a square output map keep all layers' outputs within the memory of a batch.

        Its side is that of the options' crop where none is given.
        """
        # Twice: going forward and coming back.
        bytes_each = 2 * self.evaluations_at_once * layer_bytes(self.network, side or self.options.crop)
        return max(1, self.options.memory // bytes_each)

    def output(self, x: Tensor, weights: Tensor) -> Tensor:
        """Target output (n,) of prepared patches (n, band, s, s)."""
        return (self.network.logits(x).flatten(1) * weights).sum(1)

    def plain(self, values: Tensor, reference: Tensor | None = None, evaluations: int = 1) -> Attribution:
        """Wrap values of a method that has nothing to settle."""
        n = len(values)
        if reference is None:
            reference = torch.full((n,), float("nan"), device=values.device)
        return Attribution(values, reference, torch.ones(n, dtype=torch.bool), torch.full((n,), evaluations))


def batches(wanted: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the rows and columns of the wanted pixels (y, x), up to `size` at a time."""
    rows, cols = torch.nonzero(wanted, as_tuple=True)
    for start in range(0, len(rows), size):
        yield rows[start : start + size], cols[start : start + size]


def as_large_as(tile: Tensor, baseline: Tensor) -> Tensor:
    """Return a baseline, one spectrum (band,) or a map (band, y, x), as large as a tile (band, y, x)."""
    return (baseline[:, None, None] if baseline.dim() == 1 else baseline).expand_as(tile)


def patches_at(tile: Tensor, rows: Tensor, cols: Tensor, side: int) -> Tensor:
    """Return the patches (n, band, side, side) of a tile (band, y, x) with halo around pixels of it."""
    if tile.stride()[1:] == (0, 0):
        # One spectrum for all pixels: it took up to 6 % of the time of an explanation to copy it to each.
        return tile[None, :, :1, :1].expand(len(rows), -1, side, side)
    return tile.unfold(1, side, 1).unfold(2, side, 1)[:, rows, cols].movedim(1, 0).contiguous()
