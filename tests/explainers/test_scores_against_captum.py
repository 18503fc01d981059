"""Max-Sensitivity and infidelity are Captum's where both get the same perturbations."""

from __future__ import annotations

from collections.abc import Callable

import captum.attr as captum
import pytest
import torch
from captum.metrics import infidelity as their_infidelity
from captum.metrics import sensitivity_max as their_sensitivity
from torch import Tensor, nn

from explanation_layers.explainers.scores.infidelity import infidelity, square_removals
from explanation_layers.explainers.scores.sensitivity import sensitivity, uniform_copies

SIDE, DRAWS, LIMIT = 12, 7, 1e-5

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor 0 did not")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(3)
    layers = (nn.Conv2d(2, 6, 3), nn.Tanh(), nn.Conv2d(6, 4, 3, stride=2), nn.Flatten(), nn.LazyLinear(5))
    network = nn.Sequential(*layers).eval()
    network(torch.zeros(1, 2, SIDE, SIDE))
    return network.requires_grad_(False)


@pytest.fixture(scope="module", params=[1, 3], ids="batch of {}".format)
def x(request: pytest.FixtureRequest) -> Tensor:
    return torch.rand(request.param, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(8))


def targets(x: Tensor) -> Tensor:
    return torch.tensor([4, 0, 2])[: len(x)]


METHODS: dict[str, Callable[[nn.Module], Callable[..., Tensor]]] = {
    "saliency": lambda network: captum.Saliency(network).attribute,
    "input_x_gradient": lambda network: captum.InputXGradient(network).attribute,
    "integrated_gradients": lambda network: captum.IntegratedGradients(network, False).attribute,
}


@pytest.mark.parametrize("batch", [1, 4, 1000])
def test_sensitivity_of_all_methods_at_once(network: nn.Module, x: Tensor, batch: int) -> None:
    of_chip = targets(x)
    methods = {name: make(network) for name, make in METHODS.items()}

    def explain(values: Tensor, of: Tensor) -> dict[str, Tensor]:
        return {name: method(values, target=of_chip[of]).detach() for name, method in methods.items()}

    copies = uniform_copies(x, 0.05, DRAWS, seed=1, keys=range(len(x)))
    ours = sensitivity(explain, explain(x, torch.arange(len(x))), copies, batch)
    stored = torch.cat([piece for number in range(len(x)) for piece in copies(number)])
    for name, method in methods.items():

        def theirs_of(values: Tensor | tuple, target: Tensor, method: Callable = method) -> tuple[Tensor]:
            values = values[0] if isinstance(values, tuple) else values
            return (method(values, target=target).detach(),)

        theirs = their_sensitivity(
            theirs_of, x, perturb_func=lambda inputs: stored, n_perturb_samples=DRAWS, target=of_chip
        )
        assert torch.allclose(ours[name].maximum, theirs, rtol=LIMIT, atol=0)
        assert (ours[name].average < ours[name].maximum).all()
        assert not ours[name].zero.any() and not ours[name].constant.any()


def test_sensitivity_of_zero_maps_is_captums_and_flagged(x: Tensor) -> None:
    def explain(values: Tensor, of: Tensor) -> dict[str, Tensor]:
        return {"dead": (values - x[of]).relu()}

    copies = uniform_copies(x, 0.05, DRAWS, seed=1, keys=range(len(x)))
    ours = sensitivity(explain, explain(x, torch.arange(len(x))), copies, 100)["dead"]
    stored = torch.cat([piece for number in range(len(x)) for piece in copies(number)])

    def theirs_of(values: Tensor | tuple) -> tuple[Tensor]:
        values = values[0] if isinstance(values, tuple) else values
        return ((values - x.repeat_interleave(len(values) // len(x), 0)).relu(),)

    theirs = their_sensitivity(theirs_of, x, perturb_func=lambda inputs: stored, n_perturb_samples=DRAWS)
    assert ours.zero.all()
    assert torch.allclose(ours.maximum, theirs, rtol=LIMIT, atol=0)


@pytest.mark.parametrize("of_contributions", [True, False], ids=["contributions", "gradients"])
@pytest.mark.parametrize("batch", [1, 5, 1000])
def test_infidelity(network: nn.Module, x: Tensor, of_contributions: bool, batch: int) -> None:
    of_chip, baseline = targets(x), torch.full_like(x, 0.2)

    def output(values: Tensor, of: Tensor) -> Tensor:
        return network(values)[torch.arange(len(values)), of_chip[of]]

    maps = {name: make(network)(x, target=of_chip).detach() for name, make in METHODS.items()}
    removals = square_removals(SIDE, DRAWS, seed=2, keys=range(len(x)), smallest=2)
    gradients = set() if of_contributions else set(maps)
    ours = infidelity(output, x, baseline, maps, gradients, removals, batch)
    masks = torch.cat([piece for number in range(len(x)) for piece in removals(number)])

    def perturb(values: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.where(masks, baseline[:1], values)
        return masks.expand_as(values).float() if of_contributions else values - hidden, hidden

    for name, values in maps.items():
        for normalize, mine in ((False, ours[name].plain), (True, ours[name].scaled)):
            theirs = their_infidelity(
                network, perturb, x, values, target=of_chip, n_perturb_samples=DRAWS, normalize=normalize
            )
            assert torch.allclose(mine.float(), theirs, rtol=LIMIT, atol=1e-7)
        assert (ours[name].scaled <= ours[name].plain + 1e-12).all()
