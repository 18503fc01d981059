"""The eight explainers of chips and their Max-Sensitivity against Captum, in one run, as ratios.

Captum is called as its documentation shows: chip by chip, each method by itself, on the network as its
library made it (only its ReLUs not in place, which its hooks need). Ours shares passes between the methods
and takes chips and windows in batches, as `evaluateexplainers` does. Chips, classes and perturbations are the
same; the values are compared.
"""

from __future__ import annotations

import copy
import time
import warnings
from pathlib import Path

import captum.attr
import captum.metrics
import torch
from torch import Tensor, nn

from ..explainers.base import Options
from ..explainers.registry import CHIP_EXPLAINERS
from ..explainers.scores.sensitivity import sensitivity, uniform_copies
from ..explainers.several import Several
from ..models.scene_networks import SceneNetwork, build_scene_network
from ..rasters.chips import chips_of_folder

EIGHT = tuple(name for name in CHIP_EXPLAINERS if name != "band_ablation")
# Architecture, side of the chips, chips for Captum and for us: it takes minutes for one of the larger.
CASES = (("resnet18", 64, 2, 8), ("resnet101", 100, 1, 2))
CLASSES = 10
RADIUS, SAMPLES, STEPS = 0.02, 10, 50
MEMORY = 512 * 2**20


def main(folder: Path) -> None:
    """Race on chips of the folder `folder`, or on drawn ones where it is not there, and print Markdown."""
    warnings.simplefilter("ignore")
    for architecture, side, theirs, ours in CASES:
        network = _network(architecture, side)
        x = _chips(folder, side, ours)
        _race(architecture, network, x, theirs)


def _race(architecture: str, network: SceneNetwork, x: Tensor, few: int) -> None:
    explainable = network.explainable()
    peer = _Peer(network)
    with torch.no_grad():
        classes = peer(x).argmax(1)
    copies = uniform_copies(x, RADIUS, SAMPLES, 0, range(len(x)))
    weights = torch.eye(CLASSES)[classes]
    # A run of each first: what is loaded and allocated once is no part of the race.
    _ours(explainable, x[:1], weights[:1], uniform_copies(x, RADIUS, 1, 0, range(1)), ("saliency",))
    captum.attr.Saliency(peer).attribute(x[:1].clone(), classes[:1])
    started = time.perf_counter()
    maps, scores = _ours(explainable, x, weights, copies, EIGHT)
    our_seconds = (time.perf_counter() - started) / len(x)
    side = x.shape[-1]
    print(f"### {architecture}, chips of {side} x {side}: eight explainers and Max-Sensitivity\n")
    print("| explainer | Captum, s a chip | difference of maps | of Max-Sensitivity |")
    print("|---|---|---|---|")
    total = 0.0
    for name in EIGHT:
        seconds, difference, scored = 0.0, 0.0, 0.0
        for number in range(few):
            started = time.perf_counter()
            values, score = _captum(
                peer, name, x[number : number + 1], classes[number], torch.cat([*copies(number)])
            )
            seconds += (time.perf_counter() - started) / few
            ours = maps[name][number : number + 1]
            difference = max(difference, float((ours - values).abs().max() / values.abs().max()))
            mine = float(scores[name].maximum[number])
            scored = max(scored, abs(mine - score) / score)
        total += seconds
        print(f"| {name} | {seconds:.2f} | {difference:.1e} | {scored:.1e} |", flush=True)
    print(f"\n- Captum {total:.1f} s a chip, ours {our_seconds:.1f} s ({len(x)} chips together)")
    print(f"- **ratio {total / our_seconds:.1f}**\n", flush=True)


def _ours(
    network: SceneNetwork, x: Tensor, weights: Tensor, copies: object, names: tuple[str, ...]
) -> tuple[dict, dict]:
    several = Several(names, network, Options(steps=STEPS, memory=MEMORY))

    def explain(values: Tensor, of: Tensor) -> dict[str, Tensor]:
        found = several.attribute(values, torch.zeros_like(values), weights[of])
        return {name: each.values for name, each in found.items()}

    with torch.no_grad():
        maps = explain(x, torch.arange(len(x)))
        return maps, sensitivity(explain, maps, copies, several.batch_size)


def _captum(peer: nn.Module, name: str, x: Tensor, target: Tensor, drawn: Tensor) -> tuple[Tensor, float]:
    attr = captum.attr
    stage, side = peer.trunk.layer4, x.shape[-1]
    method = {
        "saliency": lambda: attr.Saliency(peer).attribute,
        "input_x_gradient": lambda: attr.InputXGradient(peer).attribute,
        "integrated_gradients": lambda: attr.IntegratedGradients(peer).attribute,
        "guided_backpropagation": lambda: attr.GuidedBackprop(peer).attribute,
        "deconvolution": lambda: attr.Deconvolution(peer).attribute,
        "grad_cam": lambda: lambda values, target: attr.LayerAttribution.interpolate(
            attr.LayerGradCam(peer, stage).attribute(values, target, relu_attributions=True),
            (side, side), "bilinear",
        ),
        "guided_grad_cam": lambda: lambda values, target: attr.GuidedGradCam(peer, stage).attribute(
            values, target, interpolate_mode="bilinear"
        ),
        "occlusion": lambda: lambda values, target: attr.Occlusion(peer).attribute(
            values, (1, 15, 15), (1, 5, 5), 0, target
        ),
    }[name]()  # fmt: skip

    def explain(values: Tensor | tuple[Tensor, ...], target: Tensor) -> tuple[Tensor, ...]:
        inputs = values[0] if isinstance(values, tuple) else values
        return (method(inputs, target=target).detach(),)

    values = explain(x.clone(), target)[0]
    score = captum.metrics.sensitivity_max(
        explain, x.clone(), perturb_func=lambda *_: drawn.clone(), n_perturb_samples=SAMPLES, target=target
    )
    return values, float(score)


class _Peer(nn.Module):
    """The network as its library made it, its ReLUs not in place."""

    def __init__(self, network: SceneNetwork) -> None:
        super().__init__()
        self.trunk = copy.deepcopy(network.trunk)
        for layer in self.modules():
            if isinstance(layer, nn.ReLU):
                layer.inplace = False

    def forward(self, x: Tensor) -> Tensor:
        return self.trunk(x)


def _network(architecture: str, side: int) -> SceneNetwork:
    """Return a network whose batch norms are not those of the start: their statistics are of noise."""
    torch.manual_seed(0)
    network = build_scene_network(architecture, bands=1, classes=CLASSES, patch_size=side)
    network.train()
    with torch.no_grad():
        for _ in range(10):
            network.logits(torch.rand(8, 1, side, side))
    return network.eval().requires_grad_(False)


def _chips(folder: Path, side: int, count: int) -> Tensor:
    if not folder.is_dir():
        print(f"{folder} is not there: the chips are drawn at random.\n")
        return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(1))
    chips = chips_of_folder(str(folder), side)
    every = range(0, len(chips.chips), len(chips.chips) // count)
    return torch.from_numpy(chips.read(list(every)[:count])) / 255
