"""Classifiers of whole chips: residual networks behind a stated preparation of radar or optical values.

A network is two parts: `prepare` (to decibels, clipped, scaled to 0..1; explanations are given at its output)
and `logits` (a speckle filter where one is chosen, which is part of what is explained, then the residual
network; He et al. 2016, arXiv:1512.03385).
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from .networks import with_channels_last
from .relus import followed

# Kind of block and blocks per stage.
_SHAPES = {
    "resnet18": ("basic", [2, 2, 2, 2]),
    "resnet50": ("bottleneck", [3, 4, 6, 3]),
    "resnet101": ("bottleneck", [3, 4, 23, 3]),
}
SCENE_ARCHITECTURES = tuple(_SHAPES)
VALUES = ("as_is", "power", "amplitude", "db")
SPECKLE_FILTERS = ("none", "boxcar", "lee")
STAGES = ("layer1", "layer2", "layer3", "layer4")
SMALLEST_CHIP = 16

# Powers below this are taken as it: -50 dB, below the noise of any sensor.
_LEAST_POWER = 1e-5
_FILTER_SIDE = 5
# Decibels per unit of the natural logarithm.
_DECIBELS = 10 / math.log(10)


class SceneNetwork(nn.Module):
    """A classifier of chips of `patch_size` x `patch_size` pixels.

    `values` says what the stored numbers are: `power` and `amplitude` are taken to decibels, `db` and `as_is`
    are not. `low` and `high` (band,) are the limits that become 0 and 1, in decibels where these are used.
    `looks` is the equivalent number of looks that the Lee filter assumes.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self, trunk: nn.Module, bands: int, classes: int, patch_size: int, values: str, speckle_filter: str,
        looks: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.bands, self.classes, self.patch_size = bands, classes, patch_size
        self.values, self.speckle_filter, self.looks = values, speckle_filter, looks
        self.trunk = trunk
        self.register_buffer("low", torch.zeros(bands))
        self.register_buffer("high", torch.ones(bands))

    def in_decibels(self, raw: Tensor) -> Tensor:
        """Take stored values (n, band, y, x) to decibels where `values` says that they are not."""
        if self.values == "power":
            return 10 * raw.clamp_min(_LEAST_POWER).log10()
        if self.values == "amplitude":
            return 20 * raw.clamp_min(_LEAST_POWER**0.5).log10()
        return raw

    def prepare(self, raw: Tensor) -> Tensor:
        """Return stored values (n, band, y, x) in decibels, clipped and scaled to 0..1."""
        low, high = self.low[:, None, None], self.high[:, None, None]
        return ((self.in_decibels(raw) - low) / (high - low)).clamp(0, 1)

    def logits(self, prepared: Tensor) -> Tensor:
        """Logits (n, class, 1, 1) of prepared chips (n, band, s, s)."""
        return self.classified(self.filtered(prepared))

    def filtered(self, prepared: Tensor) -> Tensor:
        """Prepared chips (n, band, s, s) behind the speckle filter, where one was chosen."""
        return prepared if self.speckle_filter == "none" else self._filtered(prepared)

    def classified(self, filtered: Tensor) -> Tensor:
        """Logits (n, class, 1, 1) of filtered chips (n, band, s, s)."""
        return self.trunk(filtered.contiguous(memory_format=torch.channels_last))[:, :, None, None]

    def forward(self, raw: Tensor) -> Tensor:
        return self.logits(self.prepare(raw))

    def map_side(self, stage: str) -> int:
        """Return how many cells a side of the maps of a stage has: a cell is 4 pixels wide in the first."""
        return math.ceil(self.patch_size / (4 * 2 ** STAGES.index(stage)))

    def explainable(self) -> SceneNetwork:
        """Return a copy for evaluation: batch norms folded, every ReLU its own, taps after all stages."""
        copied = copy.copy(self)
        copied._modules = dict(self._modules)
        copied.trunk = followed(self.trunk, STAGES)
        for weight in copied.trunk.parameters():
            if weight.dim() == 4:
                # `to`, as weights for one band are channels last as they stand: `contiguous` leaves their
                # strides, by which the convolution decides, and its maps would be in the other order.
                weight.data = weight.data.to(memory_format=torch.channels_last)
        return copied.eval().requires_grad_(False)

    def _filtered(self, x: Tensor) -> Tensor:
        """Mean of 5 x 5 pixels, or the Lee filter of local statistics; Lee 1980, 10.1109/TPAMI.1980.4766994.

        In decibels speckle is added, with the variance (10 / ln 10)^2 psi'(looks); Arsenault & Levesque 1984.
        """
        around = nn.functional.pad(x, [_FILTER_SIDE // 2] * 4, mode="reflect")
        mean = nn.functional.avg_pool2d(around, _FILTER_SIDE, 1)
        if self.speckle_filter == "boxcar":
            return mean
        variance = (nn.functional.avg_pool2d(around.square(), _FILTER_SIDE, 1) - mean.square()).clamp_min(0)
        spread = _DECIBELS * math.sqrt(float(torch.special.polygamma(1, torch.tensor(self.looks))))
        noise = (spread / (self.high - self.low)[:, None, None]).square()
        return mean + (x - mean) * (1 - noise / variance.clamp_min(1e-12)).clamp_min(0)


def build_scene_network(
    architecture: str, *, bands: int, classes: int, patch_size: int, values: str = "as_is",
    speckle_filter: str = "none", looks: float = 4.4,
) -> SceneNetwork:  # fmt: skip
    """Make the network `architecture` with fresh weights; KeyError where the name is unknown."""
    # It takes two seconds to load, which other models need not wait for.
    from monai.networks.nets.resnet import ResNet

    block, layers = _SHAPES[architecture]
    trunk = ResNet(
        block, list(layers), [64, 128, 256, 512], spatial_dims=2, n_input_channels=bands, conv1_t_size=7,
        conv1_t_stride=2, num_classes=classes, bias_downsample=False,
    )  # fmt: skip
    return SceneNetwork(with_channels_last(trunk), bands, classes, patch_size, values, speckle_filter, looks)
