"""Maps at the resolution of the input for single pixels of a segmentation: the way back through the gates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..models.networks import PatchNetwork
from .base import Options, as_large_as
from .graphs import DenseNetwork
from .propagation import Propagation

# Rings around a pixel, by the largest Chebyshev distance in pixels in each; what is beyond is one more.
RINGS = (0, 3, 10)

Check = Callable[[], None]


class PixelMap(NamedTuple):
    """Contributions to the target's output at one pixel.

    `values` (band, Y, X) lie in the image at `corner` (top, left): outside nothing reaches the pixel.
    Together with `reference` they are `output`, exactly where the method is exact. `row`, `col`: the pixel in
    the image.
    """

    values: Tensor
    corner: tuple[int, int]
    row: int
    col: int
    reference: Tensor
    output: Tensor


class Crop(NamedTuple):
    """A crop of the image that holds all that some pixels' logits depend on: cells of it, and the pixels."""

    rows: slice
    cols: slice
    pixels: list[int]


def crops(network: DenseNetwork, shape: Sequence[int], pixels: Sequence[tuple[int, int]]) -> list[Crop]:
    """Return the crops of an image of `shape` (y, x) around pixels (row, column) of its map of logits.

    Those of a segmentation network begin and end at multiples of its alignment, or at the image's edges, as
    they must for its cells to lie as in the whole image; pixels that have the same crop share it.
    """
    found: dict[tuple[int, int, int, int], list[int]] = {}
    for number, pixel in enumerate(pixels):
        spans: list[int] = []
        for place, size in zip(pixel, shape):
            if isinstance(network, PatchNetwork):
                spans += [place, place + network.patch_size]
            else:
                cell, reach = network.alignment, network.reach
                stop = -(-(place + 1 + reach) // cell) * cell
                spans += [max(0, (place - reach) // cell * cell), min(size, stop)]
        found.setdefault((spans[0], spans[1], spans[2], spans[3]), []).append(number)
    return [Crop(slice(a, b), slice(c, d), numbers) for (a, b, c, d), numbers in found.items()]


class PixelMaps:
    """Makes maps for single pixels of a prepared image (band, y, x), with a baseline (band,) or as large.

    `image` is as `Dense.attribute_tile` takes its tile: for a network of patches with halo. Pixels count in
    the map of logits. `check` is called often and may raise to stop.
    """

    def __init__(
        self, network: DenseNetwork, image: Tensor, baseline: Tensor, options: Options | None = None,
        check: Check = lambda: None,
    ) -> None:  # fmt: skip
        self.network, self.image, self.baseline = network, image, as_large_as(image, baseline.to(image))
        self._memory, self._check = (options or Options()).memory, check

    def propagated(
        self, pixels: Sequence[tuple[int, int]], weights: Tensor, rule: str = "secant"
    ) -> Iterator[tuple[int, PixelMap]]:
        """Yield for each pixel its number and its map by the gates of `Propagation`, in the crops' order.

        `weights` (pixel, class) are those of the logits. One way forward for each crop, one back for each
        pixel. Sums over bands, regions and rings are those that are carried forward.
        """
        for crop in crops(self.network, self.image.shape[1:], pixels):
            x = self.image[None, :, crop.rows, crop.cols]
            start = self.baseline[None, :, crop.rows, crop.cols]
            carried = Propagation(self.network, x, start, rule, self._memory, self._check)
            places = [self._place(crop, pixels[number]) for number in crop.pixels]

            def target(number: int, place: tuple[int, int], like: Tensor) -> Tensor:
                one = torch.zeros_like(like)
                one[0, :, place[0], place[1]] = weights[number].to(one)
                return one

            targets = (target(*pair, carried.logits) for pair in zip(crop.pixels, places))
            for number, place, rows in zip(crop.pixels, places, carried.multipliers(targets)):
                at = (0, slice(None), *place)
                own = weights[number].to(rows)
                yield number, PixelMap(
                    (rows * carried.differences)[0], (crop.rows.start, crop.cols.start),
                    *self._middle(pixels[number]), carried.reference[at] @ own, carried.logits[at] @ own,
                )  # fmt: skip

    def integrated(
        self, pixels: Sequence[tuple[int, int]], weights: Tensor, steps: int = 50
    ) -> Iterator[tuple[int, PixelMap]]:
        """Yield maps of integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365), as `propagated`.

        `steps` Gauss-Legendre nodes, for every pixel one pass forward and back each.
        """
        nodes, shares = np.polynomial.legendre.leggauss(steps)
        yield from self._gradients(pixels, weights, (nodes + 1) / 2, shares / 2, from_baseline=True)

    def input_x_gradient(
        self, pixels: Sequence[tuple[int, int]], weights: Tensor
    ) -> Iterator[tuple[int, PixelMap]]:
        """Yield maps of input times gradient, as `propagated`; the reference is 0."""
        one = np.ones(1)
        yield from self._gradients(pixels, weights, one, one, from_baseline=False)

    def _gradients(
        self, pixels: Sequence[tuple[int, int]], weights: Tensor, nodes: np.ndarray, shares: np.ndarray,
        from_baseline: bool,
    ) -> Iterator[tuple[int, PixelMap]]:  # fmt: skip
        for crop in crops(self.network, self.image.shape[1:], pixels):
            x = self.image[None, :, crop.rows, crop.cols]
            start = self.baseline[None, :, crop.rows, crop.cols] if from_baseline else torch.zeros_like(x)
            with torch.no_grad():
                logits = self.network.logits(x)[0]
                first = self.network.logits(start)[0] if from_baseline else torch.zeros_like(logits)
            places = [self._place(crop, pixels[number]) for number in crop.pixels]
            sums = [torch.zeros_like(x) for _ in places]
            for node, share in zip(nodes.tolist(), shares.tolist()):
                with torch.enable_grad():
                    point = torch.lerp(start, x, node).requires_grad_(True)
                    output = self.network.logits(point)[0]
                    for number, place, total in zip(crop.pixels, places, sums):
                        self._check()
                        y = output[:, place[0], place[1]] @ weights[number].to(output)
                        total += share * torch.autograd.grad(y, point, retain_graph=True)[0]
            for number, (row, col), total in zip(crop.pixels, places, sums):
                own = weights[number].to(logits)
                yield number, PixelMap(
                    (total * (x - start))[0], (crop.rows.start, crop.cols.start),
                    *self._middle(pixels[number]), first[:, row, col] @ own, logits[:, row, col] @ own,
                )  # fmt: skip

    def _place(self, crop: Crop, pixel: tuple[int, int]) -> tuple[int, int]:
        """Return a pixel's place in the crop's map of logits."""
        return pixel[0] - crop.rows.start, pixel[1] - crop.cols.start

    def _middle(self, pixel: tuple[int, int]) -> tuple[int, int]:
        """Return a pixel's place in the image."""
        halo = self.network.patch_size // 2 if isinstance(self.network, PatchNetwork) else 0
        return pixel[0] + halo, pixel[1] + halo


def distances(found: PixelMap) -> Tensor:
    """Return each value's Chebyshev distance (Y, X) from the pixel, in pixels."""
    rows, cols = (
        (torch.arange(size, device=found.values.device) + first - at).abs()
        for size, first, at in zip(found.values.shape[1:], found.corner, (found.row, found.col))
    )
    return torch.maximum(rows[:, None], cols[None, :])


def ring_sums(found: PixelMap, limits: Sequence[int] = RINGS) -> Tensor:
    """Return sums of a map over bands and rings around its pixel, (band, ring).

    Rings end at each of `limits`, Chebyshev distances in pixels that rise; what is beyond is the last one.
    """
    rings = torch.bucketize(distances(found).flatten(), torch.tensor(limits, device=found.values.device))
    values = found.values.flatten(1)
    return values.new_zeros(len(values), len(limits) + 1).index_add_(1, rings, values)


def region_sums(found: PixelMap, regions: Tensor) -> Tensor:
    """Return sums of a map in each band and region (band, region); `regions` bool (region, y, x)."""
    (top, left), (height, width) = found.corner, found.values.shape[1:]
    inside = regions[:, top : top + height, left : left + width].to(found.values)
    return torch.einsum("byx,ryx->br", found.values, inside)


def leakage(found: PixelMap, side: tuple[int, int]) -> float:
    """Return the share of a map's absolute values that lie farther off than `side` (rows, columns) pixels."""
    size = found.values.abs().sum(0)
    rows, cols = (
        (torch.arange(count, device=size.device) + first - at).abs() > far
        for count, first, at, far in zip(size.shape, found.corner, (found.row, found.col), side)
    )
    outside = (rows[:, None] | cols[None, :]).to(size)
    return float((size * outside).sum() / size.sum().clamp_min(1e-30))
