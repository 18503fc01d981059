"""The explainers of scene classifiers give what Captum gives on the same network, chips and target."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from functools import cache

import captum.attr as captum
import pytest
import torch
from torch import Tensor, nn

from explanation_layers.explainers.base import Options
from explanation_layers.explainers.costs import layer_bytes
from explanation_layers.explainers.registry import CHIP_EXPLAINERS, make_explainer
from explanation_layers.explainers.several import Several
from explanation_layers.models.scene_networks import STAGES, SceneNetwork, build_scene_network

SIDE, CLASSES = 32, 5
LIMIT = 1e-5
EIGHT = tuple(name for name in CHIP_EXPLAINERS if not name.startswith("band_"))

pytestmark = pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")


@cache
def network_of(architecture: str, bands: int) -> SceneNetwork:
    """A network in float64 with weights and batch norms that are not those of the start."""
    torch.manual_seed(3)
    network = build_scene_network(architecture, bands=bands, classes=CLASSES, patch_size=SIDE).double()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0, 0.2)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.3, 0.8)
            nn.init.normal_(layer.bias, 0, 0.1)
    return network.eval().requires_grad_(False)


class Peer(nn.Module):
    """The network as its library made it, with ReLUs that Captum's hooks can follow: not in place."""

    def __init__(self, network: SceneNetwork) -> None:
        super().__init__()
        self.trunk = copy.deepcopy(network.trunk)
        for layer in self.modules():
            if isinstance(layer, nn.ReLU):
                layer.inplace = False

    def forward(self, x: Tensor) -> Tensor:
        return self.trunk(x)


@pytest.fixture(params=[("resnet18", 1), ("resnet18", 2), ("resnet50", 1)], ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(*request.param)


class Case:
    """Chips (n, band, s, s) with baselines, their predicted classes, and the network in both forms."""

    def __init__(self, architecture: str, bands: int) -> None:
        network = network_of(architecture, bands)
        generator = torch.Generator().manual_seed(5)
        self.x = torch.rand(2, bands, SIDE, SIDE, generator=generator, dtype=torch.float64)
        self.baseline = 0.1 * torch.rand(self.x.shape, generator=generator, dtype=torch.float64)
        self.ours, self.peer = network.explainable(), Peer(network)
        self.classes = self.peer(self.x).argmax(1)
        self.weights = torch.eye(CLASSES, dtype=torch.float64)[self.classes]

    def attribute(self, name: str, **options: object) -> Tensor:
        explainer = make_explainer(name, self.ours, Options(**options))
        return explainer.attribute(self.x, self.baseline, self.weights).values


def theirs(case: Case, name: str, layer: str = "layer4") -> Tensor:
    """What Captum gives, called as its documentation shows."""
    peer, x, target = case.peer, case.x, case.classes
    bands = torch.arange(x.shape[1])[None, :, None, None].expand(1, -1, SIDE, SIDE).contiguous()
    stage = getattr(peer.trunk, f"tap_{layer}", None) or getattr(peer.trunk, layer)
    found = {
        "saliency": lambda: captum.Saliency(peer).attribute(x, target),
        "input_x_gradient": lambda: captum.InputXGradient(peer).attribute(x, target),
        "integrated_gradients": lambda: captum.IntegratedGradients(peer).attribute(
            x, case.baseline, target, n_steps=12
        ),
        "guided_backpropagation": lambda: captum.GuidedBackprop(peer).attribute(x, target),
        "deconvolution": lambda: captum.Deconvolution(peer).attribute(x, target),
        "grad_cam": lambda: captum.LayerAttribution.interpolate(
            captum.LayerGradCam(peer, stage).attribute(x, target, relu_attributions=True),
            (SIDE, SIDE),
            "bilinear",
        ),
        "guided_grad_cam": lambda: captum.GuidedGradCam(peer, stage).attribute(
            x, target, interpolate_mode="bilinear"
        ),
        "occlusion": lambda: captum.Occlusion(peer).attribute(
            x, (x.shape[1], 15, 15), (x.shape[1], 5, 5), case.baseline, target
        ),
        "band_ablation": lambda: captum.FeatureAblation(peer).attribute(
            x, case.baseline, target, feature_mask=bands
        ) / SIDE**2,
        # Over all orders of so few bands, as ours.
        "band_shapley": lambda: captum.ShapleyValues(peer).attribute(
            x, case.baseline, target, feature_mask=bands
        ) / SIDE**2,
    }  # fmt: skip
    return found[name]().detach()


@pytest.mark.parametrize("name", CHIP_EXPLAINERS)
def test_each_is_captums(case: Case, name: str, relative_difference: Callable) -> None:
    assert relative_difference(case.attribute(name, steps=12), theirs(case, name)) <= LIMIT


@pytest.mark.parametrize("layer", STAGES)
def test_grad_cam_of_every_layer(layer: str, relative_difference: Callable) -> None:
    case = Case("resnet18", 2)
    for name in ("grad_cam", "guided_grad_cam"):
        assert relative_difference(case.attribute(name, layer=layer), theirs(case, name, layer)) <= LIMIT


@pytest.mark.parametrize(("wide", "stride"), [(15, 5), (7, 7), (11, 3), (32, 5), (9, 4)])
def test_windows_that_do_not_fit_are_cut_as_captum_cuts_them(
    wide: int, stride: int, relative_difference: Callable
) -> None:
    case = Case("resnet18", 1)
    peer = captum.Occlusion(case.peer).attribute(
        case.x, (1, wide, wide), (1, stride, stride), case.baseline, case.classes
    )
    ours = case.attribute("occlusion", occlusion_window=wide, occlusion_stride=stride)
    assert relative_difference(ours, peer) <= LIMIT


def test_the_papers_windows() -> None:
    explainer = make_explainer("occlusion", network_of("resnet18", 1).explainable(), Options())
    assert len(explainer.masks(1, 100)) == 18 * 18


def test_sharing_passes_changes_nothing(case: Case, relative_difference: Callable) -> None:
    options = Options(steps=8)
    together = Several(EIGHT, case.ours, options).attribute(case.x, case.baseline, case.weights)
    assert tuple(together) == EIGHT
    for name in EIGHT:
        alone = make_explainer(name, case.ours, options).attribute(case.x, case.baseline, case.weights)
        assert relative_difference(together[name].values, alone.values) <= 1e-12


@pytest.mark.parametrize("names", [("grad_cam",), ("grad_cam", "saliency"), ("guided_grad_cam", "grad_cam")])
def test_any_choice_shares_passes(names: tuple[str, ...], relative_difference: Callable) -> None:
    case = Case("resnet18", 1)
    together = Several(names, case.ours, Options()).attribute(case.x, case.baseline, case.weights)
    for name in names:
        assert relative_difference(together[name].values, theirs(case, name)) <= LIMIT


@pytest.mark.parametrize("name", CHIP_EXPLAINERS)
def test_chips_are_explained_one_by_one(name: str, relative_difference: Callable) -> None:
    case = Case("resnet18", 2)
    explainer = make_explainer(name, case.ours, Options(steps=0, max_steps=64, tolerance=0.05))
    together = explainer.attribute(case.x, case.baseline, case.weights)
    alone = [
        explainer.attribute(*parts)
        for parts in zip(case.x.split(1), case.baseline.split(1), case.weights.split(1), strict=True)
    ]
    assert relative_difference(together.values, torch.cat([one.values for one in alone])) <= 1e-9
    assert together.settled.tolist() == [bool(one.settled) for one in alone]
    assert together.evaluations.tolist() == [int(one.evaluations) for one in alone]
    assert not together.values.requires_grad


def test_memory_does_not_change_values(relative_difference: Callable) -> None:
    case = Case("resnet18", 1)
    for name in ("integrated_gradients", "occlusion"):
        few, many = (case.attribute(name, steps=9, memory=memory) for memory in (1, 2**30))
        assert relative_difference(few, many) <= 1e-9


@pytest.mark.parametrize("name", EIGHT)
def test_single_precision(name: str, relative_difference: Callable) -> None:
    # The network as it is explained, given to Captum: no rounding of folded batch norms in between.
    case = Case("resnet18", 1)
    case.ours = copy.deepcopy(case.ours).float()
    case.x, case.baseline, case.weights = (each.float() for each in (case.x, case.baseline, case.weights))
    case.peer = Peer(case.ours)
    peer, ours = theirs(case, name), case.attribute(name, steps=12)
    # Occlusion takes nearly equal outputs from each other: its rounding is that of the outputs.
    scale = case.peer(case.x).abs().max() if name == "occlusion" else peer.abs().max()
    assert float((ours - peer).abs().max() / scale) <= LIMIT


def test_refinement_adds_up_and_reaches_the_integral(relative_difference: Callable) -> None:
    case = Case("resnet18", 1)
    explainer = make_explainer("integrated_gradients", case.ours, Options(max_steps=1024, tolerance=0.01))
    found = explainer.attribute(case.x, case.baseline, case.weights)
    assert found.settled.all()
    outputs = (case.peer(values).gather(1, case.classes[:, None])[:, 0] for values in (case.x, case.baseline))
    difference = next(outputs) - next(outputs)
    residual = difference - found.values.sum((1, 2, 3))
    assert (residual.abs() <= 0.01 * difference.abs()).all()
    exact = captum.IntegratedGradients(case.peer).attribute(
        case.x, case.baseline, case.classes, n_steps=500, internal_batch_size=60
    )
    error = (found.values - exact).abs().sum((1, 2, 3)) / exact.abs().sum((1, 2, 3))
    assert error.max() < 0.03


def test_counting_what_a_network_costs_keeps_no_network() -> None:
    network = build_scene_network("resnet18", bands=1, classes=2, patch_size=SIDE).eval()
    counts = [layer_bytes(network, 1) for _ in range(2)]
    kept = weakref.ref(network)
    del network
    gc.collect()
    assert counts[0] == counts[1] > 0 and kept() is None
