"""The eight explainers of chips and their Max-Sensitivity against Captum, in one run, as ratios.

Captum is called as its documentation shows: chip by chip, each method by itself, on the network as its
library made it (only its ReLUs not in place, which its hooks need). Ours shares passes between the methods
and takes chips and windows in batches, as `evaluateexplainers` does. Chips, classes and perturbations are the
same; the values are compared.

Integrated gradients are run at about equal error instead of equal values: Captum's 50 Gauss-Legendre nodes,
its default, against as few segments by secants as are no less exact, as with SEGMENTS=12. Both errors are
measured against 1000 nodes and printed. The ratio with the same 50 nodes on both sides is printed too.
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
from ..explainers.registry import CHIP_EXPLAINERS, make_explainer
from ..explainers.scores.copies import Copies
from ..explainers.scores.sensitivity import sensitivity, uniform_copies
from ..explainers.several import Several
from ..models.scene_networks import SceneNetwork, build_scene_network
from ..rasters.chips import chips_of_folder

EIGHT = tuple(name for name in CHIP_EXPLAINERS if not name.startswith("band_"))
# Architecture, side of the chips, chips for Captum and for us (it takes minutes for one of the larger), and
# segments of the secants.
CASES = (("resnet18", 64, 2, 8, 12), ("resnet101", 100, 1, 2, 20))
CLASSES = 10
RADIUS, SAMPLES, STEPS, REFERENCE = 0.02, 10, 50, 1000
INTEGRATED = "integrated_gradients"
MEMORY = 512 * 2**20


def main(folder: Path) -> None:
    """Race on chips of the folder `folder`, or on drawn ones where it is not there, and print Markdown."""
    warnings.simplefilter("ignore")
    for architecture, side, theirs, ours, segments in CASES:
        network = _network(architecture, side)
        x = _chips(folder, side, ours)
        _race(architecture, network, x, theirs, segments)


def _race(architecture: str, network: SceneNetwork, x: Tensor, few: int, segments: int) -> None:
    explainable = network.explainable()
    peer = _Peer(network)
    with torch.no_grad():
        classes = peer(x).argmax(1)
    copies = uniform_copies(x, RADIUS, SAMPLES, 0, range(len(x)))
    weights = torch.eye(CLASSES)[classes]
    # A run of each first: what is loaded and allocated once is no part of the race.
    secants = Options(max_steps=segments, tolerance=0, memory=MEMORY)
    nodes = Options(steps=STEPS, memory=MEMORY)
    _ours(explainable, secants, x[:1], weights[:1], uniform_copies(x, RADIUS, 1, 0, range(1)), ("saliency",))
    captum.attr.Saliency(peer).attribute(x[:1].clone(), classes[:1])
    started = time.perf_counter()
    maps, scores = _ours(explainable, secants, x, weights, copies, EIGHT)
    our_seconds = (time.perf_counter() - started) / len(x)
    seconds_of = {}
    for name, options in (("secants", secants), ("nodes", nodes)):
        started = time.perf_counter()
        _ours(explainable, options, x, weights, copies, (INTEGRATED,))
        seconds_of[name] = (time.perf_counter() - started) / len(x)
    with_nodes = our_seconds - seconds_of["secants"] + seconds_of["nodes"]
    exact = _exact(explainable, x[:few], weights[:few])
    side = x.shape[-1]
    print(f"### {architecture}, chips of {side} x {side}: eight explainers and Max-Sensitivity\n")
    print("| explainer | Captum, s a chip | difference of maps | of Max-Sensitivity |")
    print("|---|---|---|---|")
    total, errors = 0.0, []
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
            if name == INTEGRATED:
                errors.append([_error(each, exact[number : number + 1]) for each in (values, ours)])
            mine = float(scores[name].maximum[number])
            scored = max(scored, abs(mine - score) / score)
        total += seconds
        print(f"| {name} | {seconds:.2f} | {difference:.1e} | {scored:.1e} |", flush=True)
    print(f"\n- Captum {total:.1f} s a chip, ours {our_seconds:.1f} s ({len(x)} chips together)")
    alone = ", ".join(f"{each:.2f} ({name})" for name, each in seconds_of.items())
    print(f"- our integrated gradients alone {alone} s a chip, {segments} segments")
    theirs, mine = (100 * sum(each) / len(errors) for each in zip(*errors))
    print(f"- error of integrated gradients: Captum {theirs:.2f} %, ours {mine:.2f} % ({len(errors)} chips)")
    print(f"- ratio with {STEPS} nodes on both sides {total / with_nodes:.1f}")
    print(f"- **ratio {total / our_seconds:.1f}**\n", flush=True)


def _exact(network: SceneNetwork, x: Tensor, weights: Tensor) -> Tensor:
    method = make_explainer(INTEGRATED, network, Options(steps=REFERENCE, memory=MEMORY))
    return method.attribute(x, torch.zeros_like(x), weights).values


def _error(values: Tensor, exact: Tensor) -> float:
    return float((values - exact).abs().sum() / exact.abs().sum())


def _ours(
    network: SceneNetwork, options: Options, x: Tensor, weights: Tensor, copies: Copies,
    names: tuple[str, ...],
) -> tuple[dict, dict]:  # fmt: skip
    several = Several(names, network, options)

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
