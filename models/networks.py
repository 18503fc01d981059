"""Pixel and patch classifiers, written so that one set of weights reads a patch or a whole tile.

Every network maps (n, band, y, x) to logits (n, class, y - s + 1, x - s + 1) with valid convolutions
only, s being its patch side. A batch of s x s patches gives one logit vector per patch; a tile gives
the same numbers for every pixel at once and computes no overlapping patch twice.

A network is three parts, which the explainers rely on:
`prepare` (per-pixel normalisation, may be non-linear; explanations are given at its output),
`front` (affine: band scaling, spectral projection and the first convolution) and
`body` (a flat sequence of affine layers and ReLUs).
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from .relus import RuledReLU

Module = TypeVar("Module", bound=nn.Module)

NORMALISATIONS = ("none", "standard", "per_pixel")


class BandScaling(nn.Module):
    """Affine scaling of each band, (x - offset) / scale."""

    offset: Tensor
    scale: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.register_buffer("offset", torch.zeros(bands))
        self.register_buffer("scale", torch.ones(bands))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.offset[:, None, None]) / self.scale[:, None, None]


class Projection(nn.Module):
    """Fixed linear map from bands to principal components, a part of what is explained."""

    matrix: Tensor

    def __init__(self, bands: int, components: int) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.eye(components, bands))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.matrix[:, :, None, None])


class SpectraAsRows(nn.Module):
    """(n, band, y, x) to (n * y * x, 1, 1, band): every pixel is a sample of its own.

    Two dimensions, one of them 1, because channels-last 2-D convolutions ran twice as fast as 1-D ones.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).reshape(-1, 1, 1, x.shape[1])


class SeriesAsRows(nn.Module):
    """(n, date * channel, y, x) to (n * y * x, channel, 1, date): every pixel is a sample of its own.

    Bands that lie date by date are a series with its channels last in memory, so that single pixels need
    no copy.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1).reshape(-1, 1, x.shape[1] // self.channels, self.channels)
        return rows.permute(0, 3, 1, 2)


class BandsAsDepth(nn.Module):
    """(n, component, y, x) to (n, 1, component, y, x), the input of 3-D convolutions."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(1)


class DepthAsChannels(nn.Module):
    """(n, channel, depth, y, x) to (n, channel * depth, y, x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1, 2)


class PatchNetwork(nn.Module):
    """A classifier of pixels from the s x s patch around them.

    Parts: `prepare`, `front`, `body` (see the module's text). `patch_size` is odd.
    """

    front: nn.Sequential
    body: nn.Sequential

    def __init__(
        self, bands: int, classes: int, patch_size: int, normalisation: str,
        front: nn.Sequential, body: nn.Sequential,
    ) -> None:  # fmt: skip
        super().__init__()
        self.bands, self.classes, self.patch_size = bands, classes, patch_size
        self.normalisation = normalisation
        self.front, self.body = front, body

    @property
    def scaling(self) -> BandScaling:
        """The affine band scaling at the head of `front`."""
        return cast(BandScaling, self.front[0])

    @property
    def projection(self) -> Projection | None:
        """The spectral projection in `front`, where the architecture has one."""
        return next((part for part in self.front if isinstance(part, Projection)), None)

    def prepare(self, x: Tensor) -> Tensor:
        """Divide each spectrum by its sum where the network wants that (flat spectrum where the sum is 0)."""
        if self.normalisation != "per_pixel":
            return x
        total = x.sum(1, keepdim=True)
        dark = total.abs() < 1e-6
        return torch.where(dark, torch.full_like(x, 1.0 / x.shape[1]), x / torch.where(dark, 1.0, total))

    def logits(self, prepared: Tensor) -> Tensor:
        """Logits (n, class, y - s + 1, x - s + 1) of prepared input (n, band, y, x)."""
        n, _, height, width = prepared.shape
        return self.as_map(self.body(self.front(prepared)), n, height, width)

    def as_map(self, output: Tensor, n: int, height: int, width: int) -> Tensor:
        """Shape the body's output as a map (n, class, y, x) for an input of `height` x `width`."""
        less = self.patch_size - 1
        if output.shape[-2:] == (height - less, width - less):
            return output
        # Networks of single spectra have every pixel as a sample.
        return output.reshape(n, height, width, -1).permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.prepare(x))


def spectral_cnn(
    bands: int, classes: int, patch_size: int, normalisation: str, components: int
) -> PatchNetwork:
    """1-D convolutions over the bands of one pixel: 24 kernels of 11, 32 of 7, 32 of 5, dense 64.

    Shorter spectra get shorter kernels. Patch side 1. `components` is not used.
    """
    kernels = [min(k, max(1, (bands - 1) // 3)) for k in (11, 7, 5)]
    length = bands - sum(k - 1 for k in kernels)
    front = nn.Sequential(BandScaling(bands), SpectraAsRows(), nn.Conv2d(1, 24, (1, kernels[0])))
    body = nn.Sequential(
        RuledReLU(), nn.Conv2d(24, 32, (1, kernels[1])),
        RuledReLU(), nn.Conv2d(32, 32, (1, kernels[2])),
        RuledReLU(), nn.Conv2d(32, 64, (1, length)),
        RuledReLU(), nn.Dropout(0.4), nn.Conv2d(64, classes, 1),
    )  # fmt: skip
    return PatchNetwork(bands, classes, 1, normalisation, front, body)


def spatial_cnn(
    bands: int, classes: int, patch_size: int, normalisation: str, components: int
) -> PatchNetwork:
    """2-D convolutions over the patch: all bands to 64 maps, 3 x 3 layers, one layer as wide as what is left.

    `components` is not used.
    """
    front = nn.Sequential(BandScaling(bands), nn.Conv2d(bands, 64, 1))
    layers: list[nn.Module] = [RuledReLU()]
    side, channels = patch_size, 64
    for _ in range(3):
        if side < 3:
            break
        layers += [nn.Conv2d(channels, 64, 3), RuledReLU()]
        side, channels = side - 2, 64
    layers += [nn.Conv2d(channels, 128, side), RuledReLU(), nn.Dropout(0.4), nn.Conv2d(128, classes, 1)]
    return PatchNetwork(bands, classes, patch_size, normalisation, front, nn.Sequential(*layers))


def hybrid_cnn(
    bands: int, classes: int, patch_size: int, normalisation: str, components: int
) -> PatchNetwork:
    """HybridSN: 3-D convolutions over principal components and space, then 2-D, then dense layers.

    Roy et al. 2020, DOI 10.1109/LGRS.2019.2918719: 8 at 7 x 3 x 3, 16 at 5 x 3 x 3, 32 at 3 x 3 x 3,
    64 at 3 x 3, dense 256 and 128. Needs `patch_size` of 9 or more; with fewer than 22 `components` the
    kernels are shallower.
    """
    components = min(components, bands)
    depths = [min(k, max(1, (components - 1) // 3)) for k in (7, 5, 3)]
    left = components - sum(k - 1 for k in depths)
    front = nn.Sequential(
        BandScaling(bands), Projection(bands, components), BandsAsDepth(), nn.Conv3d(1, 8, (depths[0], 3, 3))
    )
    body = nn.Sequential(
        RuledReLU(), nn.Conv3d(8, 16, (depths[1], 3, 3)),
        RuledReLU(), nn.Conv3d(16, 32, (depths[2], 3, 3)),
        RuledReLU(), DepthAsChannels(), nn.Conv2d(32 * left, 64, 3),
        RuledReLU(), nn.Conv2d(64, 256, patch_size - 8),
        RuledReLU(), nn.Dropout(0.4), nn.Conv2d(256, 128, 1),
        RuledReLU(), nn.Dropout(0.4), nn.Conv2d(128, classes, 1),
    )  # fmt: skip
    return PatchNetwork(bands, classes, patch_size, normalisation, front, body)


ARCHITECTURES = {"spectral_cnn": spectral_cnn, "spatial_cnn": spatial_cnn, "hybrid_cnn": hybrid_cnn}
SMALLEST_PATCH = {"spectral_cnn": 1, "spatial_cnn": 1, "hybrid_cnn": 9}


def build(architecture: str, **options: Any) -> PatchNetwork:
    """Make the network `architecture` with fresh weights; KeyError where the name is unknown."""
    return with_channels_last(ARCHITECTURES[architecture](**options))


def with_channels_last(network: Module) -> Module:
    """Put the channels of all weights last in memory, with which convolutions run up to twice as fast."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in network.parameters():
        weight.data = weight.data.contiguous(memory_format=formats.get(weight.dim(), torch.contiguous_format))
    return network
