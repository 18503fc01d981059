"""Grad-SLAM of an autoencoder of series against Captum, in one run, as ratios.

Maps of all convolutions and all embedding dimensions, by both variants. Captum is called as its
documentation shows: `LayerGradCam`, or `LayerGradientXActivation` for the element-wise variant, for one layer
and one target at a time, on the same network and series, with the batch that is best for it; its maps are
then brought to the dates. Ours shares one pass forward, and gives besides what each channel weighs, which
takes the way back through the first convolution. The maps are compared. Weights and series are drawn, which
changes no operation.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import captum.attr
import torch
from torch import Tensor, nn

from ..explainers.grad_slam import VARIANTS, GradSlam, to_dates
from ..models.autoencoder import Autoencoder, autoencoder
from ..models.autoencoder_training import set_channels

DATES, CHANNELS = 61, 2
DIMENSIONS = (2, 8)
SERIES = 1024
BATCHES = (64, 256, 1024)
# What the issue asks for.
MANY = 100_000


def main() -> None:
    """Race, and print Markdown."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    x = torch.randn(SERIES, DATES * CHANNELS).mul_(3).sub_(15)
    print(f"\n{SERIES} series of {DATES} dates and {CHANNELS} channels, 3 convolutions\n")
    print(f"| dimensions | variant | Captum, s | its batch | ours, s | s for {MANY} | ratio | difference |")
    print("|---|---|---|---|---|---|---|---|")
    for dimensions in DIMENSIONS:
        network = autoencoder(DATES, CHANNELS, dimensions).eval().requires_grad_(False)
        set_channels(network, x)
        for variant in VARIANTS:
            _race(network, variant, network.prepare(x))


def _race(network: Autoencoder, variant: str, x: Tensor) -> None:
    slam, unit = GradSlam(network, variant), torch.eye(network.classes)
    peer = _Embedding(network)
    batch = min(BATCHES, key=lambda size: _fastest(lambda: _captum(peer, variant, x, size), 1))
    # In turn, as other work may come and go.
    theirs, ours = [], []
    for _ in range(3):
        theirs.append(_fastest(lambda: _captum(peer, variant, x, batch), 1))
        ours.append(_fastest(lambda: slam.maps(x, unit), 1))
    expected, found = _captum(peer, variant, x, batch), slam.maps(x, unit).maps
    difference = float((found - expected).abs().max() / expected.abs().max())
    print(
        f"| {network.classes} | {variant} | {min(theirs):.2f} | {batch} | {min(ours):.2f} | "
        f"{min(ours) * MANY / len(x):.1f} | **{min(theirs) / min(ours):.1f}** | {difference:.0e} |",
        flush=True,
    )


class _Embedding(nn.Module):
    """The encoder as a module of its own, whose output is the embedding (n, dimension)."""

    def __init__(self, network: Autoencoder) -> None:
        super().__init__()
        self.network = network
        relus = [layer for layer in network.body if isinstance(layer, nn.ReLU)]
        self.layers = relus[: network.convolutions]

    def forward(self, x: Tensor) -> Tensor:
        return self.network.encode(x)


def _captum(peer: _Embedding, variant: str, x: Tensor, batch: int) -> Tensor:
    """Return Captum's maps (layer, dimension, n, date)."""
    found = [
        torch.cat([_attributed(peer, variant, layer, part, target) for part in x.split(batch)])
        for layer in peer.layers
        for target in range(peer.network.classes)
    ]
    return torch.stack(found).unflatten(0, (len(peer.layers), -1))


def _attributed(peer: _Embedding, variant: str, layer: nn.Module, x: Tensor, target: int) -> Tensor:
    if variant == "pooled":
        maps = captum.attr.LayerGradCam(peer, layer).attribute(x, target)
    else:
        maps = captum.attr.LayerGradientXActivation(peer, layer).attribute(x, target)
    return to_dates(maps.detach().sum((1, 2)), DATES)


def _fastest(function: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
