"""Grad-SLAM finds the dates on which planted kinds of series differ, by which it moves the embedding.

All kinds share a season of 4 dB; each has 3 dates of its own that are 5 dB (VV) and 4 dB (VH) brighter. By
the element-wise variant; the pooled one does not find them behind a common season. Networks that part the
kinds without a mistake differ in where they look: of seeds 1 to 5 the mean AUC was 0.90, the worst 0.73.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor

from explanation_layers.explainers.grad_slam import GradSlam, importance
from explanation_layers.models.autoencoder import Autoencoder, autoencoder
from explanation_layers.models.autoencoder_training import AutoencoderSettings, fit_autoencoder, set_channels

DATES, CHANNELS, KINDS, WIDTH = 31, 2, 3, 3
WINDOWS = torch.stack([
    (torch.arange(DATES) >= first) & (torch.arange(DATES) < first + WIDTH) for first in (4, 13, 22)
])  # fmt: skip


def planted(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Series (n, date * channel) in dB with noise of 1 dB, and their kinds (n,)."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(KINDS, (count,), generator=generator)
    season = 4 * torch.exp(-(((torch.arange(DATES) - 15) / 6) ** 2))
    own = WINDOWS[kinds][:, :, None] * torch.tensor([5.0, 4.0])
    noise = torch.randn(count, DATES, CHANNELS, generator=generator)
    return (torch.tensor([-14.0, -20.0]) + season[:, None] + own + noise).flatten(1), kinds


def fresh(seed: int) -> Autoencoder:
    torch.manual_seed(seed)
    return autoencoder(DATES, CHANNELS, filters=(16, 32, 32))


def trained(seed: int) -> Autoencoder:
    network, rows = fresh(seed), np.arange(1500)
    fit_autoencoder(
        network, planted(1500, seed)[0], None, rows[:1350], rows[1350:],
        AutoencoderSettings(epochs=20, learning_rate=2e-3, batch_size=64, seed=seed),
        lambda epoch: None, lambda share: None,
    )  # fmt: skip
    return network.requires_grad_(False)


def contrasts(network: Autoencoder, x: Tensor, kinds: Tensor) -> list[float]:
    """Return, for each two kinds, the AUC of the dates on which they differ, by the map of their contrast."""
    embedding, found = network.encode(x), []
    for one, other in itertools.combinations(range(KINDS), 2):
        direction = embedding[kinds == one].mean(0) - embedding[kinds == other].mean(0)
        both = x[(kinds == one) | (kinds == other)]
        maps = GradSlam(network, "element_wise").maps(both, (direction / direction.norm())[None]).maps
        profile = importance(maps, "absolute_minmax")[0].mean(0)
        found.append(float(roc_auc_score(WINDOWS[one] | WINDOWS[other], profile)))
    return found


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    return trained(1)


@pytest.fixture(scope="module")
def random() -> Autoencoder:
    network = fresh(51).eval().requires_grad_(False)
    set_channels(network, planted(1500, 1)[0])
    return network


@pytest.fixture(scope="module")
def unseen(network: Autoencoder) -> tuple[Tensor, Tensor]:
    x, kinds = planted(600, 101)
    return network.prepare(x), kinds


def test_a_contrast_comes_from_the_dates_on_which_kinds_differ(network, random, unseen) -> None:
    found = contrasts(network, *unseen)
    assert min(found) >= 0.9
    assert np.mean(contrasts(random, *unseen)) <= 0.8


def test_maps_of_random_weights_are_others(network, random, unseen) -> None:
    one, other = (
        importance(GradSlam(each).maps(unseen[0], torch.eye(2)).maps, "absolute_minmax").flatten(0, 1)
        for each in (network, random)
    )
    ranks = [spearmanr(a, b).statistic for a, b in zip(one.numpy(), other.numpy())]
    assert np.mean(ranks) < 0.5


def test_hiding_the_most_important_dates_moves_the_embedding_most(network, unseen) -> None:
    x, count = unseen[0], DATES // 10
    embedding, values = network.encode(x), x.unflatten(1, (DATES, CHANNELS))
    generator = torch.Generator().manual_seed(2)

    def moved(dates: Tensor) -> Tensor:
        hidden = torch.zeros(len(x), DATES, 1, dtype=torch.bool).scatter_(1, dates[:, :count, None], True)
        return (
            (network.encode(torch.where(hidden, values.mean(0), values).flatten(1)) - embedding).abs().mean(0)
        )

    maps = GradSlam(network, "element_wise").maps(x, torch.eye(2)).maps
    orders = importance(maps, "absolute_minmax").argsort(2, descending=True)
    at_random = torch.stack([
        moved(torch.rand(len(x), DATES, generator=generator).argsort(1)) for _ in range(10)
    ]).mean(0)  # fmt: skip
    for dimension, order in enumerate(orders):
        assert moved(order)[dimension] > 2 * at_random[dimension]


@pytest.mark.slow
def test_other_networks_find_the_dates_on_the_whole() -> None:
    found = []
    for seed in range(1, 6):
        network = trained(seed)
        x, kinds = planted(600, seed + 100)
        found += contrasts(network, network.prepare(x), kinds)
    assert np.mean(found) >= 0.85 and min(found) >= 0.65
