"""Maps of dates find planted dates; the figures are those of docs/planted-evidence.md, "Dates"."""

from __future__ import annotations

import pytest

from explanation_layers.benchmarks.planted_dates import DESIGNS, Found, Site, judged

pytestmark = pytest.mark.slow

SEED = 1
BY_DATE_MEAN = ("integrated gradients to the date mean", "occlusion by the date mean")


@pytest.fixture(scope="module")
def site() -> Site:
    return Site.simulated(DESIGNS["demo"], SEED)


@pytest.fixture(scope="module")
def trained(site: Site) -> dict[str, Found]:
    return judged(site, site.trained(SEED), SEED)


@pytest.mark.parametrize(
    ("name", "mean", "lowest"),
    [
        # A dimension that does not carry a crop's difference can't show its dates.
        ("pooled, absolute_minmax", 0.75, 0.0),
        ("element_wise, absolute_minmax", 0.9, 0.65),
        *((name, 0.92, 0.65) for name in BY_DATE_MEAN),
    ],
)
def test_planted_dates_stand_out(trained: dict[str, Found], name: str, mean: float, lowest: float) -> None:
    areas = trained[name].areas
    assert areas.shape == (5, 2)
    assert areas.mean() >= mean and areas.min() >= lowest


@pytest.mark.parametrize(
    ("name", "first", "precision"),
    [("element_wise, absolute_minmax", 0.7, 0.65), *((name, 0.9, 0.85) for name in BY_DATE_MEAN)],
)
def test_a_contrast_comes_from_the_dates_on_which_crops_differ(
    trained: dict[str, Found], name: str, first: float, precision: float
) -> None:
    found = trained[name]
    assert len(found.first) == 10
    assert found.first.mean() >= first and found.precision.mean() >= precision


def test_signed_scalings_say_nothing_as_the_sign_is_arbitrary(trained: dict[str, Found]) -> None:
    for name in ("pooled, signed_minmax", "element_wise, signed_minmax"):
        assert 0.25 < trained[name].areas.mean() < 0.75
