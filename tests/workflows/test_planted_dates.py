"""Maps of dates find planted dates; the figures are those of docs/planted-evidence.md, "Dates"."""

from __future__ import annotations

import numpy as np
import pytest

from explanation_layers.benchmarks.planted_dates import (
    DESIGNS,
    RANDOM,
    UNTRAINED,
    Found,
    Site,
    beyond,
    judged,
)
from explanation_layers.models.autoencoder import Autoencoder

pytestmark = pytest.mark.slow

SEED = 1
POOLED, ELEMENT_WISE = "pooled, absolute_minmax", "element_wise, absolute_minmax"
BY_DATE_MEAN = ("integrated gradients to the date mean", "occlusion by the date mean")


@pytest.fixture(scope="module")
def site() -> Site:
    return Site.simulated(DESIGNS["demo"], SEED)


@pytest.fixture(scope="module")
def network(site: Site) -> Autoencoder:
    return site.trained(SEED)


@pytest.fixture(scope="module")
def trained(site: Site, network: Autoencoder) -> dict[str, Found]:
    return judged(site, network, SEED)


@pytest.fixture(scope="module")
def random(site: Site) -> list[dict[str, Found]]:
    return [judged(site, site.randomised(100 * SEED + i), SEED) for i in range(RANDOM)]


@pytest.mark.parametrize("name", [POOLED, ELEMENT_WISE, *BY_DATE_MEAN])
def test_planted_dates_stand_out(trained: dict[str, Found], name: str) -> None:
    found = trained[name]
    assert found.areas.shape == (5,) and found.by_dimension.shape == (5, 2)
    assert found.areas.mean() >= 0.95 and found.areas.min() >= 0.9


@pytest.mark.parametrize("name", [POOLED, ELEMENT_WISE, *BY_DATE_MEAN])
def test_a_contrast_comes_from_the_dates_on_which_crops_differ(trained: dict[str, Found], name: str) -> None:
    found = trained[name]
    assert len(found.first) == 10
    assert found.first.mean() >= 0.9 and found.precision.mean() >= 0.65


@pytest.mark.parametrize("name", [POOLED, ELEMENT_WISE])
def test_a_network_that_learnt_nothing_has_the_first_date_of_fewer_pairs(
    trained: dict[str, Found], random: list[dict[str, Found]], name: str
) -> None:
    first = np.mean([found[name].first.mean() for found in random])
    precision = np.mean([found[name].precision.mean() for found in random])
    assert first <= trained[name].first.mean() - 0.2
    assert precision <= trained[name].precision.mean() - 0.1


def test_beyond_untrained_networks_random_weights_find_nothing(site: Site, network: Autoencoder) -> None:
    random = [site.randomised(100 * SEED + i) for i in range(RANDOM + UNTRAINED)]
    found = beyond(site, [network, *random[:RANDOM]], random[RANDOM:], SEED)["element_wise"]
    assert found[0].min() >= 0.9
    assert 0.35 <= np.mean(found[1:]) <= 0.65


def test_signed_scalings_of_a_dimension_say_nothing_as_the_sign_is_arbitrary(
    trained: dict[str, Found],
) -> None:
    for name in ("pooled, signed_minmax", "element_wise, signed_minmax"):
        assert 0.25 < trained[name].by_dimension.mean() < 0.75
