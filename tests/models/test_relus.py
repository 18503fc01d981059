"""ReLUs of any making are found, and followed backward by the rule that is asked for."""

from __future__ import annotations

import threading
import weakref

import captum.attr as captum
import pytest
import torch
from torch import Tensor, nn

from explanation_layers.models.relus import Record, RuledReLU, followed, recording
from explanation_layers.rasters.errors import InputError


class Modules(nn.Module):
    """Every ReLU a module of its own: what Captum can follow."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first, self.second, self.third = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.a, self.b = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.b(self.second(self.a(self.first(x)))))


class Reused(Modules):
    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.a(self.second(self.a(self.first(x)))))


class InPlace(Modules):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(self.a(self.first(x))).relu_())


class Functional(Modules):
    def forward(self, x: Tensor) -> Tensor:
        return self.third(torch.relu(self.second(nn.functional.relu(self.first(x), inplace=True))))


class Method(Modules):
    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(self.first(x).relu()).relu())


class ByValue(Modules):
    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.first(x)) if x.sum() > 0 else self.third(self.second(self.first(x)))


def followed_gradient(network: nn.Module, x: Tensor, rule: str) -> Tensor:
    record = Record()
    x = x.clone().requires_grad_(True)
    with recording(record):
        output = network(x)[:, 1].sum()
    record.rule.name = rule
    return torch.autograd.grad(output, x)[0]


@pytest.mark.parametrize("kind", [Modules, Reused, InPlace, Functional, Method])
@pytest.mark.parametrize(("rule", "peer"), [
    ("gradient", captum.Saliency), ("guided", captum.GuidedBackprop), ("deconvolution", captum.Deconvolution),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not", "ignore:Setting backward hooks")
def test_every_making_of_a_relu_is_followed(kind: type, rule: str, peer: type) -> None:
    x = torch.randn(9, 6)
    options = {"abs": False} if rule == "gradient" else {}
    theirs = peer(Modules()).attribute(x.clone(), 1, **options)
    ours = followed_gradient(followed(kind()), x, rule)
    assert torch.allclose(ours, theirs, atol=1e-6)
    if rule != "gradient":
        assert not torch.allclose(ours, followed_gradient(followed(kind()), x, "gradient"))


def test_the_copy_gives_the_networks_outputs_and_leaves_it_as_it_was() -> None:
    network = InPlace()
    before = list(network.modules())
    x = torch.randn(4, 6)
    assert torch.equal(followed(network)(x), network(x))
    assert list(network.modules()) == before and network.a.inplace


def test_batch_norms_are_folded_unless_something_else_reads_the_convolution() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.one, self.two = nn.Conv2d(2, 4, 3, bias=False), nn.Conv2d(4, 4, 1)
            self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)])
            for norm in self.norms:
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norms[0](self.one(x)).relu()
            y = self.two(x)
            return self.norms[1](y) + y

    network = Block().eval()
    copied = followed(network)
    x = torch.randn(3, 2, 7, 7)
    assert torch.allclose(copied(x), network(x), atol=1e-6)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in copied.modules()) == 1


def test_networks_that_cannot_be_followed_are_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match="ByValue can't be followed operation by operation"):
        followed(ByValue())
    with pytest.raises(InputError, match="has no ReLU"):
        followed(nn.Sequential(nn.Linear(2, 2), nn.Tanh()))


def test_taps_keep_the_maps_of_their_own_thread_only() -> None:
    network = followed(nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2))), ["1"])
    x = torch.randn(5, 3)
    mine, other = Record(), Record()
    with recording(mine):
        thread = threading.Thread(target=network, args=(x[:2],))
        thread.start()
        thread.join()
        output = network(x)
        with recording(other):
            network(x[:1])
    network(x)
    assert torch.equal(mine.taps["1"], output) and other.taps["1"].shape == (1, 2)
    with pytest.raises(ValueError, match="no part 'layer9'"):
        followed(nn.Sequential(nn.ReLU()), ["layer9"])


def test_outside_a_record_it_is_a_plain_relu() -> None:
    x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(RuledReLU()(x).sum(), x)
    assert gradient.tolist() == [0, 0, 1]


def test_what_a_run_leaves_is_freed_with_its_record() -> None:
    network = followed(nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2))), ["1"])
    record = Record()
    with recording(record):
        network(torch.randn(5, 3, requires_grad=True))
    kept = weakref.ref(record.taps["1"])
    del record
    assert kept() is None
