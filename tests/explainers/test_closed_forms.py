"""What must hold exactly: linear networks, completeness, and the promise of the settled flag."""

from __future__ import annotations

from collections.abc import Callable

import captum.attr as captum
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from explanation_layers.explainers.base import Attribution, Options
from explanation_layers.explainers.registry import PIXEL_EXPLAINERS, make_explainer
from explanation_layers.models.networks import BandScaling, PatchNetwork

TRAINED = [("spectral_cnn", 1), ("spatial_cnn", 5), ("hybrid_cnn", 9)]


def linear_network(seed: int, bands: int = 7, classes: int = 3, side: int = 3) -> PatchNetwork:
    torch.manual_seed(seed)
    front = nn.Sequential(BandScaling(bands), nn.Conv2d(bands, 5, 1))
    front[0].offset.copy_(torch.rand(bands))
    front[0].scale.copy_(0.5 + torch.rand(bands))
    body = nn.Sequential(nn.Conv2d(5, 4, side), nn.Conv2d(4, classes, 1))
    network = PatchNetwork(bands, classes, side, "none", front, body)
    return network.eval().requires_grad_(False)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), side=st.sampled_from([1, 3, 5]))
def test_in_a_linear_network_all_contributions_are_the_gradient_times_the_difference(
    seed: int, side: int
) -> None:
    network = linear_network(seed, side=side)
    x, baseline, weights = torch.randn(4, 7, side, side), torch.randn(4, 7, 1, 1), torch.randn(4, 3)
    baseline = baseline.expand_as(x)
    background = torch.randn(5, 7)

    def values(name: str, **options: object) -> Tensor:
        return make_explainer(name, network, Options(background=background, **options)).attribute(
            x, baseline, weights
        ).values  # fmt: skip

    slope = torch.autograd.functional.jacobian(
        lambda z: (network.logits(z).flatten(1) * weights).sum(), x.clone()
    )
    expected = slope * (x - baseline)
    scale = float(expected.abs().max())

    def same(ours: Tensor, theirs: Tensor) -> bool:
        return float((ours - theirs).abs().max()) <= 1e-5 * scale

    assert same(values("integrated_gradients"), expected)
    assert same(values("integrated_gradients", steps=3), expected)
    assert same(values("deeplift"), expected)
    assert same(values("input_x_gradient") - baseline * slope, expected)
    assert same(values("occlusion", occlusion_window=1), expected)
    assert same(values("occlusion").sum((2, 3)), expected.sum((2, 3)))
    assert same(values("band_ablation").sum((2, 3)), expected.sum((2, 3)))
    shap = make_explainer("gradient_shap", network, Options(background=background, samples=9))
    drawn = shap.draws()[0].mean(0)[:, None, None]
    assert same(shap.attribute(x, baseline, weights).values, slope * (x - drawn))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.sampled_from(TRAINED),
    trained=st.booleans(),
    target=st.sampled_from(["predicted", "class", "contrast"]),
    most=st.integers(1, 48),
    tolerance=st.sampled_from([1e-4, 0.01, 0.5]),
    stretch=st.floats(0.1, 10),
)
def test_secants_are_complete_at_any_number_of_segments(
    make_case: Callable, shape: tuple, trained: bool, target: str, most: int, tolerance: float, stretch: float
) -> None:
    case = make_case(*shape, trained=trained, target=target)
    x = case.baseline + stretch * (case.x - case.baseline)
    options = Options(max_steps=most, tolerance=tolerance)
    for name in ("integrated_gradients", "deeplift"):
        found = make_explainer(name, case.network, options).attribute(x, case.baseline, case.weights)
        difference = case.output(x, case.weights) - case.output(case.baseline, case.weights)
        residual = difference - found.values.sum((1, 2, 3))
        assert (residual.abs() <= 1e-4 * found.values.abs().sum((1, 2, 3))).all()
        assert torch.allclose(found.reference, case.output(case.baseline, case.weights), atol=1e-5)


@pytest.mark.parametrize("name", PIXEL_EXPLAINERS)
def test_nothing_is_attributed_where_input_and_baseline_are_equal(make_case: Callable, name: str) -> None:
    case = make_case("spatial_cnn", 5)
    explainer = make_explainer(name, case.network, Options(background=case.x[:1, :, 0, 0], samples=4))
    same = case.x[:1, :, :1, :1].expand_as(case.x)
    found = explainer.attribute(same, same, case.weights)
    assert found.values.isfinite().all() and found.settled.all()
    if explainer.contributions and explainer.uses_baseline:
        # Batches of different sizes may round otherwise.
        assert found.values.abs().max() <= (1e-6 if name == "band_shapley" else 0)


@pytest.mark.parametrize("name", PIXEL_EXPLAINERS)
def test_patches_are_explained_one_by_one(
    make_case: Callable, name: str, relative_difference: Callable
) -> None:
    case = make_case("hybrid_cnn", 9)
    explainer = make_explainer(name, case.network, Options(background=case.x[:, :, 0, 0], samples=4))
    together = explainer.attribute(case.x, case.baseline, case.weights)
    alone = [
        explainer.attribute(*parts)
        for parts in zip(case.x.split(1), case.baseline.split(1), case.weights.split(1), strict=True)
    ]
    assert relative_difference(together.values, torch.cat([one.values for one in alone])) <= 1e-5
    assert together.settled.tolist() == [bool(one.settled) for one in alone]
    assert together.values.shape == case.x.shape
    assert not together.values.requires_grad


def test_explaining_changes_neither_network_nor_input(make_case: Callable) -> None:
    case = make_case("spatial_cnn", 5)
    before = {name: value.clone() for name, value in case.network.state_dict().items()}
    x, baseline, weights = case.x.clone(), case.baseline.clone(), case.weights.clone()
    for name in PIXEL_EXPLAINERS:
        explainer = make_explainer(name, case.network, Options(background=x[:, :, 0, 0], samples=4))
        explainer.learn(case.x, case.baseline, case.weights)
        explainer.attribute(case.x, case.baseline, case.weights)
    assert all(torch.equal(value, before[name]) for name, value in case.network.state_dict().items())
    assert torch.equal(case.x, x) and torch.equal(case.baseline, baseline)
    assert torch.equal(case.weights, weights)


def refined(case, learn: bool, **options: object) -> Attribution:
    explainer = make_explainer("integrated_gradients", case.network, Options(**options))
    if learn:
        explainer.learn(case.x[:8], case.baseline[:8], case.weights[:8])
    return explainer.attribute(case.x, case.baseline, case.weights)


@pytest.fixture(scope="module", params=TRAINED, ids=lambda shape: shape[0])
def reference(request: pytest.FixtureRequest, make_case: Callable) -> tuple:
    """A case with its integrated gradients per band (n, band) by 1000 nodes."""
    case = make_case(*request.param, count=12 if request.param[0] != "hybrid_cnn" else 4)
    values = captum.IntegratedGradients(case.output).attribute(
        case.x, case.baseline, additional_forward_args=case.weights, n_steps=1000, internal_batch_size=500
    )
    return case, values.sum((2, 3))


@pytest.mark.parametrize("learn", [False, True])
def test_refined_maps_are_within_the_tolerance_of_a_thousand_steps(reference: tuple, learn: bool) -> None:
    case, exact = reference
    errors = {}
    for tolerance in (0.01, 0.003):
        found = refined(case, learn, tolerance=tolerance)
        per_patch = (found.values.sum((2, 3)) - exact).abs().sum(1) / exact.abs().sum(1)
        assert found.settled.float().mean() >= 0.9
        errors[tolerance] = float(per_patch[found.settled].mean())
        assert errors[tolerance] <= tolerance
    assert errors[0.003] <= errors[0.01]


def test_patches_that_stop_at_the_cap_are_flagged(make_case: Callable) -> None:
    case = make_case("spectral_cnn", 1, count=12)
    capped = refined(case, False, tolerance=1e-5, max_steps=1)
    assert not capped.settled.any()
    assert refined(case, False, tolerance=0.5, max_steps=1).settled.all()
    free = refined(case, False, tolerance=1e-3, max_steps=4096)
    assert free.settled.all()
    assert (free.evaluations >= capped.evaluations).all()
    assert (free.evaluations > capped.evaluations).any()


def test_gradient_shap_draws_by_its_seed(make_case: Callable) -> None:
    case = make_case("spectral_cnn", 1)

    def values(seed: int) -> Tensor:
        options = Options(background=case.x[:, :, 0, 0], samples=8, seed=seed)
        explainer = make_explainer("gradient_shap", case.network, options)
        return explainer.attribute(case.x, case.baseline, case.weights).values

    assert torch.equal(values(3), values(3))
    assert not torch.equal(values(3), values(4))


def test_an_unknown_explainer_has_no_name_here(make_case: Callable) -> None:
    with pytest.raises(KeyError):
        make_explainer("magic", make_case("spectral_cnn", 1).network, Options())
