"""Contributions of all bands to all classes of all pixels of a U-Net against Captum, in one run, as ratios.

The network and scene are those of Gutierrez-Zaballa et al. (arXiv:2502.14416): depth 5, 32 filters, 6
classes, 25 bands, 216 x 409 pixels, mirrored to 224 x 416; weights and values are drawn, which changes no
operation. Ours gives every pixel and class at once. Captum explains one output of one pixel at a time: it is
run for a few pixels, on the whole scene and on the crop that can reach the pixel, and the whole job is what
these take times all pixels and classes. Captum's DeepLIFT gets a network with a ReLU and a pooling layer for
every use.
"""

from __future__ import annotations

import copy
import resource
import sys
import time
import warnings
from collections.abc import Callable

import captum.attr
import torch
from torch import Tensor, fx, nn

from ..explainers.pixel_maps import PixelMaps, crops
from ..explainers.propagation import Propagation
from ..models.segmentation_networks import SegmentationNetwork, build_segmentation_network

BANDS, CLASSES, DEPTH, FILTERS = 25, 6, 5, 32
SIZE, CANVAS = (216, 409), (224, 416)
# Whose crops are of different sizes: what reaches the one in the middle is the whole scene.
PIXELS = ((108, 204), (30, 40), (190, 380))


def main() -> None:
    """Race, and print Markdown."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    network = build_segmentation_network(
        "unet", bands=BANDS, classes=CLASSES, normalisation="none", depth=DEPTH, filters=FILTERS
    )
    _draw_norms(network)
    network.eval().requires_grad_(False)
    x = _scene()
    ours = network.explainable()
    baseline = x.mean((0, 2, 3))
    with torch.no_grad():
        forward = _fastest(lambda: ours.logits(x), 5)
        before = _peak_memory()
        print(f"\nForward pass {forward:.3f} s; peak memory until here {before:.0f} MiB.\n")
        print(
            "| ours, all pixels and classes | s | forward passes | peak memory, more MiB | largest residual |"
        )
        print("|---|---|---|---|---|")
        bands = {rule: _dense(ours, x, baseline, rule, forward) for rule in ("secant", "tangent")}
    jobs = SIZE[0] * SIZE[1] * CLASSES
    print(
        "\n| Captum, a pixel and a class | s | whole scene, times ours | in crops, times ours | difference |"
    )
    print("|---|---|---|---|---|")
    for name, rule in (("InputXGradient", "tangent"), ("DeepLift", "secant")):
        _captum(name, network, x, baseline, *bands[rule], jobs)
    _maps(ours, x, baseline)


def _dense(
    network: SegmentationNetwork, x: Tensor, baseline: Tensor, rule: str, forward: float
) -> tuple[Tensor, float]:
    before = _peak_memory()
    start = time.perf_counter()
    carried = Propagation(network, x, baseline, rule)
    bands, reference = carried.bands(), carried.reference
    seconds = time.perf_counter() - start
    # Before and after, as other work may come and go.
    passes = seconds / ((forward + _fastest(lambda: network.logits(x), 5)) / 2)
    residual = (carried.logits - reference - bands.sum(0)).abs().max() / carried.logits.abs().max()
    more = _peak_memory() - before
    print(f"| {rule} contributions | {seconds:.2f} | {passes:.1f} | {more:.0f} | {float(residual):.0e} |")
    return bands, seconds


def _captum(
    name: str,
    network: SegmentationNetwork,
    x: Tensor,
    baseline: Tensor,
    bands: Tensor,
    ours: float,
    jobs: int,
) -> None:
    whole, cropped, differences = 0.0, 0.0, []
    start = None if name == "InputXGradient" else baseline[None, :, None, None]
    for row, col in PIXELS:
        crop = crops(network, x.shape[2:], [(row, col)])[0]
        window = x[:, :, crop.rows, crop.cols]
        seconds, found = _explained(name, network, x, row, col, start)
        whole += seconds / len(PIXELS)
        at = (row - crop.rows.start, col - crop.cols.start)
        cropped += _explained(name, network, window, *at, start)[0] / len(PIXELS)
        expected = bands[:, 0, 0, row, col]
        differences.append(float((found - expected).abs().max() / expected.abs().max()))
    print(
        f"| {name} | {whole:.2f} | {whole * jobs / ours:.0f} | {cropped * jobs / ours:.0f} | "
        f"{max(differences):.0e} |"
    )


def _explained(
    name: str, network: SegmentationNetwork, x: Tensor, row: int, col: int, baseline: Tensor | None
) -> tuple[float, Tensor]:
    """Return the seconds, and the sums over each band of the first class's attributions at a pixel."""
    pixel = _Pixel(network, row, col)
    explainer = getattr(captum.attr, name)(pixel)
    options = {} if baseline is None else {"baselines": baseline.expand_as(x).contiguous()}

    def run() -> Tensor:
        return explainer.attribute(x.clone().requires_grad_(True), target=0, **options)

    found = run().detach().sum((0, 2, 3))
    return _fastest(run, 2), found


def _maps(network: SegmentationNetwork, x: Tensor, baseline: Tensor) -> None:
    """Print what single maps at the input's resolution take, in forward passes."""
    maps = PixelMaps(network, x[0], baseline)
    weights = torch.eye(CLASSES)
    pixel = PIXELS[0]
    with torch.no_grad():
        forward = _fastest(lambda: network.logits(x), 5)
    one = _fastest(lambda: list(maps.propagated([pixel], weights)), 2)
    six = _fastest(lambda: list(maps.propagated([pixel] * CLASSES, weights)), 2)
    print(
        f"\nA map of one pixel at the input's resolution takes {one / forward:.1f} forward passes, each "
        f"further one on the same crop {(six - one) / (CLASSES - 1) / forward:.1f}."
    )


class _Pixel(nn.Module):
    """The logits (n, class) of one pixel, by a network in which no layer is used twice."""

    def __init__(self, network: SegmentationNetwork, row: int, col: int) -> None:
        super().__init__()
        self.front = copy.deepcopy(network.front)
        self.body = fx.symbolic_trace(copy.deepcopy(network.body))
        for number, node in enumerate(self.body.graph.nodes):
            if node.op == "call_module" and isinstance(
                layer := self.body.get_submodule(str(node.target)), (nn.ReLU, nn.MaxPool2d)
            ):
                node.target = f"own_{number}"
                self.body.add_submodule(node.target, copy.deepcopy(layer))
        self.body.recompile()
        self._row, self._col = row, col

    def forward(self, x: Tensor) -> Tensor:
        z = self.front(x).contiguous(memory_format=torch.channels_last)
        return self.body(z)[:, :, self._row, self._col]


def _scene() -> Tensor:
    """Return a prepared scene (1, band, y, x) of smooth surfaces with noise, mirrored to the canvas."""
    coarse = torch.rand(1, BANDS, 14, 26)
    smooth = nn.functional.interpolate(coarse, SIZE, mode="bilinear")
    values = smooth + 0.05 * torch.randn(1, BANDS, *SIZE)
    less = [whole - part for whole, part in zip(CANVAS, SIZE)]
    return nn.functional.pad(values, (0, less[1], 0, less[0]), mode="reflect")


def _draw_norms(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.bias, std=0.2)
            nn.init.uniform_(layer.weight, 1, 2)
            layer.running_mean.normal_(std=0.1)  # type: ignore[union-attr]


def _fastest(function: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def _peak_memory() -> float:
    """Return the most MiB that the process has had so far."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
