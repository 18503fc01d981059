"""Segmentation networks: U-Nets that map a whole window of a scene to logits of every pixel at once.

A network is three parts, which the explainers rely on:
`prepare` (per-pixel normalisation, may be non-linear; explanations are given at its output),
`front` (affine: the band scaling) and `body` (the U-Net; `body.head` is its last, linear, layer).
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from .networks import BandScaling, with_channels_last
from .relus import followed

SEGMENTATION_ARCHITECTURES = ("unet",)
FEATURES = "features"
# A spectrum whose sum is below this is dark: it has no shape, and becomes flat.
_DARK = 1e-6
_EPSILON = 1e-5
_DROPOUT = 0.5
# Encoder levels from this one on (the first is 0) have dropout.
_FIRST_DROPOUT = 2


class Block(nn.Sequential):
    """Twice a 3 x 3 convolution, a batch norm and a ReLU."""

    def __init__(self, channels: int, filters: int) -> None:
        layers: list[nn.Module] = []
        for width in (channels, filters):
            layers += [
                nn.Conv2d(width, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters, eps=_EPSILON),
                nn.ReLU(),
            ]  # fmt: skip
        super().__init__(*layers)


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015, arXiv:1505.04597) as Gutierrez-Zaballa et al. use it (2502.14416).

    `filters` in the first level, twice as many in each of the `depth` levels below; up by 2 x 2 transposed
    convolutions with ReLUs. `features` are the maps (n, filters, y, x) that `head`, 1 x 1, reads.
    """

    def __init__(self, channels: int, classes: int, depth: int, filters: int) -> None:
        super().__init__()
        widths = [filters * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            Block(before, width) for before, width in zip([channels, *widths], widths[:-1])
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.ModuleList(
            nn.Dropout(_DROPOUT if level >= _FIRST_DROPOUT else 0.0) for level in range(depth)
        )
        self.bottom = Block(widths[-2], widths[-1])
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(below, width, 2, 2), nn.ReLU())
            for width, below in pairwise(widths)
        )
        self.merge = nn.ModuleList(Block(2 * width, width) for width in widths[:-1])
        self.features = nn.Identity()
        self.head = nn.Conv2d(filters, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for block, dropout in zip(self.down, self.dropout):
            skips.append(block(x))
            x = dropout(self.pool(skips[-1]))
        x = self.bottom(x)
        for level in reversed(range(len(self.down))):
            x = self.merge[level](torch.cat([skips[level], self.up[level](x)], 1))
        return self.head(self.features(x))


class SegmentationNetwork(nn.Module):
    """A classifier of all pixels of a window whose sides are multiples of `alignment`.

    Parts: `prepare`, `front`, `body` (see the module's text). `normalisation` `per_pixel` divides each
    spectrum by its sum to the power `strength`; with `brightness` the logarithm of the sum is one more
    channel. `bands` are those of the raster that it reads, `prepared_bands` those that are explained.
    """

    def __init__(
        self, bands: int, classes: int, normalisation: str, depth: int, filters: int,
        brightness: bool = False, strength: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.bands, self.classes = bands, classes
        self.normalisation, self.brightness, self.strength = normalisation, brightness, strength
        self.depth = depth
        self.front = nn.Sequential(BandScaling(self.prepared_bands))
        self.body: nn.Module = UNet(self.prepared_bands, classes, depth, filters)

    @property
    def prepared_bands(self) -> int:
        """Number of channels that `prepare` gives: the bands, and the brightness where it is one more."""
        return self.bands + self.brightness

    @property
    def scaling(self) -> BandScaling:
        """The affine scaling of the prepared bands."""
        return cast(BandScaling, self.front[0])

    @property
    def head(self) -> nn.Conv2d:
        """The last layer, a 1 x 1 convolution of the last feature maps."""
        return cast(nn.Conv2d, self.body.get_submodule("head"))

    @property
    def alignment(self) -> int:
        """Pixels by which the corner of a window may be moved without moving its cells in any level."""
        return 2**self.depth

    @property
    def reach(self) -> int:
        """How far away a pixel can be that a pixel's logits depend on, up to a multiple of `alignment`.

        In pixels: two 3 x 3 convolutions down and two up in each level, two at the bottom, and a cell there.
        """
        cells = self.alignment
        return -(-(4 * (cells - 1) + 2 * cells + cells - 1) // cells) * cells

    def prepare(self, x: Tensor) -> Tensor:
        """Return values (n, band, y, x) normalised per pixel, and with their brightness, as chosen.

        A spectrum that sums to less than 1e-6 is taken as flat.
        """
        if self.normalisation != "per_pixel":
            return x
        total = x.sum(1, keepdim=True)
        dark = total < _DARK
        safe = torch.where(dark, 1.0, total)
        values = torch.where(dark, torch.full_like(x, 1.0 / x.shape[1]), x / safe**self.strength)
        return torch.cat([values, total.clamp_min(_DARK).log()], 1) if self.brightness else values

    def logits(self, prepared: Tensor) -> Tensor:
        """Logits (n, class, y, x) of prepared windows (n, prepared band, y, x).

        Raises ValueError where a side is no multiple of `alignment`.
        """
        height, width = prepared.shape[2:]
        if height % self.alignment or width % self.alignment:
            raise ValueError(f"{height} x {width} pixels are no multiple of {self.alignment}.")
        return self.body(self.front(prepared).contiguous(memory_format=torch.channels_last))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.prepare(x))

    def explainable(self) -> SegmentationNetwork:
        """Return a copy for evaluation: batch norms folded, every ReLU its own, a tap at the features."""
        copied = copy.copy(self)
        copied._modules = dict(self._modules)
        copied.body = with_channels_last(followed(self.body, [FEATURES]))
        return copied.eval().requires_grad_(False)


def build_segmentation_network(
    architecture: str, *, bands: int, classes: int, normalisation: str, depth: int, filters: int,
    brightness: bool = False, strength: float = 1.0,
) -> SegmentationNetwork:  # fmt: skip
    """Make the network `architecture` with fresh weights; KeyError where the name is unknown."""
    if architecture not in SEGMENTATION_ARCHITECTURES:
        raise KeyError(architecture)
    return with_channels_last(
        SegmentationNetwork(bands, classes, normalisation, depth, filters, brightness, strength)
    )
