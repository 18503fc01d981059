"""The explainers give what Captum gives on the same network, pixels, baseline and target."""

from __future__ import annotations

import copy
from collections.abc import Callable

import captum.attr as captum
import pytest
import torch
from torch import Tensor, nn

from explanation_layers.explainers.base import Options
from explanation_layers.explainers.registry import make_explainer

SHAPES = [("spectral_cnn", 1), ("spatial_cnn", 1), ("spatial_cnn", 5), ("spatial_cnn", 9),
          ("hybrid_cnn", 9), ("hybrid_cnn", 11)]  # fmt: skip
CASES = [
    (*shape, trained, target)
    for shape in SHAPES
    for trained, target in ((True, "predicted"), (True, "contrast"), (False, "class"))
]
# Bands, side and step of the windows; 0 is all of them, or no overlap.
WINDOWS = [(1, 0, 0), (4, 0, 0), (5, 0, 2), (0, 3, 2), (9, 2, 0), (7, 3, 3), (0, 0, 0)]
LIMIT = 1e-5

pytestmark = pytest.mark.filterwarnings(
    "ignore:Input Tensor 0 did not", "ignore:Setting forward, backward hooks"
)


class Target(nn.Module):
    """The explained output as a module, as Captum's DeepLift wants it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        # Captum knows the ReLU's own class only.
        for place, layer in enumerate(self.network.body):
            if isinstance(layer, nn.ReLU):
                self.network.body[place] = nn.ReLU()

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return (self.network.logits(x).flatten(1) * weights).sum(1)


@pytest.fixture(params=CASES, ids=lambda case: "-".join(map(str, case)))
def case(request: pytest.FixtureRequest, make_case: Callable):
    return make_case(*request.param)


def attribute(name: str, case, **options: object) -> Tensor:
    return make_explainer(name, case.network, Options(**options)).attribute(
        case.x, case.baseline, case.weights
    )


def test_saliency(case, relative_difference: Callable) -> None:
    theirs = captum.Saliency(case.output).attribute(case.x, additional_forward_args=case.weights)
    ours = attribute("saliency", case)
    assert relative_difference(ours.values, theirs) <= LIMIT
    assert ours.reference.isnan().all()


def test_input_x_gradient(case, relative_difference: Callable) -> None:
    theirs = captum.InputXGradient(case.output).attribute(case.x, additional_forward_args=case.weights)
    assert relative_difference(attribute("input_x_gradient", case).values, theirs.detach()) <= LIMIT


@pytest.mark.parametrize(
    ("name", "method"),
    [("guided_backpropagation", captum.GuidedBackprop), ("deconvolution", captum.Deconvolution)],
)
def test_rules_of_relus(case, name: str, method: type, relative_difference: Callable) -> None:
    theirs = method(Target(case.network)).attribute(case.x, additional_forward_args=case.weights)
    assert relative_difference(attribute(name, case).values, theirs.detach()) <= LIMIT


@pytest.mark.parametrize("steps", [7, 50])
def test_integrated_gradients_with_the_same_steps(case, steps: int, relative_difference: Callable) -> None:
    # In float64: where a ReLU opens at a node of the quadrature, rounding decides on which side.
    case = case.double()
    theirs = captum.IntegratedGradients(case.output).attribute(
        case.x, case.baseline, additional_forward_args=case.weights, n_steps=steps, method="gausslegendre"
    )
    ours = attribute("integrated_gradients", case, steps=steps)
    assert relative_difference(ours.values, theirs) <= LIMIT
    assert torch.allclose(ours.reference, case.output(case.baseline, case.weights))
    assert ours.settled.all() and (ours.evaluations == steps).all()


def test_deeplift(case, relative_difference: Callable) -> None:
    case = case.double()
    theirs = captum.DeepLift(Target(case.network)).attribute(
        case.x.requires_grad_(), case.baseline, additional_forward_args=case.weights
    )
    case.x.requires_grad_(False)
    assert relative_difference(attribute("deeplift", case).values, theirs.detach()) <= LIMIT


@pytest.mark.parametrize(("high", "wide", "stride"), WINDOWS)
@pytest.mark.parametrize("shape", [("spectral_cnn", 1), ("spatial_cnn", 5), ("hybrid_cnn", 9)])
def test_occlusion(
    make_case: Callable, shape: tuple, high: int, wide: int, stride: int, relative_difference: Callable
) -> None:
    case = make_case(*shape)
    bands, side = case.x.shape[1], case.x.shape[-1]
    window = (high or bands, min(wide or side, side), min(wide or side, side))
    step = tuple(min(stride or length, length) for length in window)
    theirs = captum.Occlusion(case.output).attribute(
        case.x, window, step, case.baseline, additional_forward_args=case.weights
    )
    ours = attribute("occlusion", case, occlusion_bands=high, occlusion_window=wide, occlusion_stride=stride)
    cells = window[0] * window[1] * window[2]
    assert relative_difference(ours.values * cells, theirs) <= LIMIT


def test_band_ablation(case, relative_difference: Callable) -> None:
    bands, side = case.x.shape[1], case.x.shape[-1]
    mask = torch.arange(bands)[None, :, None, None].expand(1, -1, side, side)
    theirs = captum.FeatureAblation(case.output).attribute(
        case.x, case.baseline, additional_forward_args=case.weights, feature_mask=mask
    )
    assert relative_difference(attribute("band_ablation", case).values * side**2, theirs) <= LIMIT


def test_gradient_shap_over_the_same_draws(case, relative_difference: Callable) -> None:
    background = case.x[:, :, 0, 0]
    explainer = make_explainer("gradient_shap", case.network, Options(samples=6, background=background))
    spectra, positions = explainer.draws()
    gradients = captum.Saliency(case.output)
    theirs = torch.zeros_like(case.x)
    for spectrum, position in zip(spectra, positions, strict=True):
        start = spectrum[:, None, None].expand_as(case.x)
        between = (start + position * (case.x - start)).detach()
        slope = gradients.attribute(between, abs=False, additional_forward_args=case.weights)
        theirs += slope * (case.x - start) / len(positions)
    ours = explainer.attribute(case.x, case.baseline, case.weights)
    assert relative_difference(ours.values, theirs) <= LIMIT
    outputs = [case.output(s[:, None, None].expand_as(case.x), case.weights) for s in spectra]
    assert torch.allclose(ours.reference, torch.stack(outputs).mean(0), rtol=1e-5, atol=1e-5)
