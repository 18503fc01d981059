"""Randomisation: stages of networks from the output down, and how alike maps are."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from explanation_layers.explainers.scores.randomisation import cascade, similarity, stages
from explanation_layers.explainers.scores.ranks import average_ranks, spearman
from explanation_layers.models.networks import build
from explanation_layers.models.scene_networks import build_scene_network


def test_ranks_and_correlation_are_those_of_scipy(x: Tensor) -> None:
    one, other = (x * 9).round().flatten(1), x.roll(1, -1).flatten(1) + x.flatten(1)
    theirs = [spearmanr(a, b).statistic for a, b in zip(one, other)]
    assert torch.allclose(spearman(one, other), torch.tensor(theirs, dtype=torch.float64))
    assert average_ranks(torch.tensor([[3.0, 1.0, 3.0]])).tolist() == [[2.5, 1.0, 2.5]]
    assert spearman(torch.ones(1, 5), torch.rand(1, 5)).isnan().all()


@pytest.mark.parametrize(("architecture", "side"), [("spectral_cnn", 1), ("spatial_cnn", 5)])
def test_stages_of_pixel_classifiers_run_from_the_output_down(architecture: str, side: int) -> None:
    network = build(
        architecture, bands=20, classes=3, patch_size=side, normalisation="none", components=5
    ).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    names = list(stages(network))
    assert names[-1] == "front" and names[:-1] == sorted(names[:-1], key=lambda n: -int(n[5:]))
    changed: list[set] = []
    for _, mixed in cascade(network, 0):
        state = mixed.state_dict()
        assert all(torch.equal(value.flatten().sort().values, before[name].flatten().sort().values)
                   for name, value in state.items())  # fmt: skip
        different = [name for name in state if not torch.equal(state[name], before[name])]
        changed.append({name.rpartition(".")[0] for name in different})
    assert all(less < more for less, more in pairwise(changed))
    assert all(name in parts for name, parts in zip(names[:-1], changed))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_cascade_follows_its_seed() -> None:
    torch.manual_seed(0)
    network = build("spatial_cnn", bands=4, classes=3, patch_size=5, normalisation="none", components=2)
    x = torch.rand(2, 4, 5, 5)

    def logits(seed: int) -> list[Tensor]:
        return [mixed.logits(x).detach() for _, mixed in cascade(network.eval(), seed)]

    assert all(torch.equal(one, other) for one, other in zip(logits(1), logits(1)))
    assert not torch.equal(logits(1)[0], logits(2)[0])
    assert (torch.stack(logits(1)).flatten(2).std(2) > 0).all()


def test_stages_of_a_residual_network_are_its_layers() -> None:
    torch.manual_seed(0)
    network = build_scene_network("resnet18", bands=1, classes=3, patch_size=32).explainable()
    names = ["fc", "layer4", "layer3", "layer2", "layer1", "conv1"]
    assert list(stages(network)) == names
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.rand(4, 1, 32, 32)
    for stage, mixed in cascade(network, 0):
        state = mixed.state_dict()
        first = {name.split(".")[1] for name in state if not torch.equal(state[name], before[name])}
        assert (
            first == set(list(stages(network))[: len(first)])
            and list(stages(network))[len(first) - 1] == stage
        )
        # Nothing dies or explodes.
        spread = float(mixed.logits(x).std())
        assert 1e-4 < spread < 1e4
    untouched = {name for name in before if not name.startswith("trunk.")}
    assert untouched == {"low", "high"}


def test_similarity_ignores_the_sign(x: Tensor) -> None:
    assert torch.allclose(similarity(x, -x), torch.ones(3, dtype=torch.float64))
    assert similarity(0 * x, x).isnan().all()
