"""The numbers of comparesensors that need no network: intervals, shares, McNemar's test, the seeds' vote."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from explanation_layers.models.card import PIXEL_CLASSIFICATION, Card, CardBand, card_classes
from explanation_layers.rasters.scene import Band
from explanation_layers.rasters.sensors import Sensor
from explanation_layers.workflows.sensor_accuracy import Judged, accuracies, mcnemar
from explanation_layers.workflows.sensor_bootstrap import interval, means, weights
from explanation_layers.workflows.sensor_nets import Net, Nets
from explanation_layers.workflows.sensor_profiles import claims, sensor_changes
from explanation_layers.workflows.sensor_shares import ALL, sensor_shares, shares_of_sizes

BANDS = tuple(Band(f"B{i}", 500 + 20.0 * i, 20.0 if i < 6 else 40.0) for i in range(20))


def net(sensors: tuple[int, ...], bands: range, seeds: int) -> Net:
    cards = tuple(CardBand(band.name, band.wavelength_nm, None, i in bands) for i, band in enumerate(BANDS))
    card = Card(PIXEL_CLASSIFICATION, "spectral_cnn", {}, cards, card_classes(("one", "two")))
    return Net(sensors, tuple(SimpleNamespace(card=card) for _ in range(seeds)))


@pytest.fixture
def nets() -> Nets:
    """Two networks of each of two sensors with 6 and 14 bands, and of both."""
    sensors = (Sensor("A", tuple(range(6)), tuple(range(6))), Sensor("B", *[tuple(range(6, 20))] * 2))
    members = (net((0,), range(6), 2), net((1,), range(6, 20), 2), net((0, 1), range(20), 2))
    return Nets(sensors, members)


SCENE = SimpleNamespace(bands=BANDS)


def test_weights_begin_with_the_sample_and_are_the_same_for_a_seed() -> None:
    drawn = weights(7, 50, np.random.default_rng(1))
    assert drawn.shape == (51, 7) and np.allclose(drawn.sum(1), 1) and np.allclose(drawn[0], 1 / 7)
    assert np.array_equal(drawn, weights(7, 50, np.random.default_rng(1)))
    assert not np.array_equal(drawn, weights(7, 50, np.random.default_rng(2)))


def test_means_are_over_seeds_and_pixels() -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    rng = np.random.default_rng(0)
    of_seeds, of_pixels = weights(2, 9, rng), weights(3, 9, rng)
    np.testing.assert_allclose(
        means(values, of_seeds, of_pixels), np.einsum("ds,dp,spk->dk", of_seeds, of_pixels, values)
    )
    np.testing.assert_allclose(means(values, of_seeds, of_pixels)[0], values.mean((0, 1)))


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(3).normal(5, 2, 400)
    found = interval(weights(400, 4000, np.random.default_rng(0)) @ values)
    assert found.value == pytest.approx(values.mean())
    spread = 1.96 * values.std() / 20
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - spread, values.mean() + spread), abs=0.03
    )
    assert interval(np.array([np.nan, 1])) == (None, None, None)
    assert interval(np.array([1.0, np.nan])) == (1, None, None)


def test_shares_by_hand(nets: Nets) -> None:
    """Sizes of 3 to 1 in every pixel: shares are known, also per band and per nm, and have no spread."""
    classes = np.array([0, 0, 1, 1, 1])
    sizes = np.tile(np.array([3.0, 1.0]), (2, 5, 1)) * np.arange(1, 6)[:, None]
    shapley = np.tile(np.array([4.0, -1.0]), (2, 5, 1))
    rows = {(r.class_name, r.sensor): r for r in sensor_shares(nets, SCENE, classes, sizes, shapley, 0)}
    assert list(rows) == [(c, s) for c in ("one", "two", ALL) for s in ("A", "B")]
    for name, pixels in (("one", 2), ("two", 3), (ALL, 5)):
        first, second = rows[name, "A"], rows[name, "B"]
        assert (first.pixels, first.seeds, first.bands, second.bands) == (pixels, 2, 6, 14)
        assert (first.width_nm, second.width_nm) == (120, 560)
        assert first.share == pytest.approx((0.75, 0.75, 0.75))
        assert first.per_band.value == pytest.approx((3 / 6) / (3 / 6 + 1 / 14))
        assert first.per_nm.value == pytest.approx((3 / 120) / (3 / 120 + 1 / 560))
        assert (first.shapley.value, second.shapley.value) == pytest.approx((4, -1))
        assert (first.shapley_share.value, second.shapley_share.value) == pytest.approx((0.8, 0.2))
    assert shares_of_sizes(np.zeros((1, 2))).tolist() == [[0.5, 0.5]]


def test_intervals_of_shares_follow_the_seed_of_the_draws(nets: Nets) -> None:
    rng = np.random.default_rng(5)
    classes, sizes = np.repeat([0, 1], 30), rng.random((2, 60, 2))
    first, again, other = (sensor_shares(nets, SCENE, classes, sizes, sizes, seed) for seed in (4, 4, 5))
    assert first == again
    assert [row.share.value for row in first] == pytest.approx([row.share.value for row in other])
    assert [row.share.low for row in first] != [row.share.low for row in other]


def test_what_differs_like_two_seeds_is_not_claimed_and_what_differs_more_is(nets: Nets) -> None:
    """Profiles with noise from seed to seed; in class two the joint network looks at other bands of A."""
    rng = np.random.default_rng(2)
    classes = np.repeat([0, 1], 40)
    base = np.abs(np.sin(np.arange(20.0))) + 0.1

    def seed(bands: slice, moved: bool) -> np.ndarray:
        profile = np.tile(base, (80, 1)) * rng.uniform(0.7, 1.3, 20) * rng.uniform(0.8, 1.2, (80, 20))
        if moved:
            profile[40:, :6] = profile[40:, 5::-1] ** 2
        return profile[:, bands]

    sizes = {
        (0,): [seed(slice(0, 6), False) for _ in range(2)],
        (1,): [seed(slice(6, 20), False) for _ in range(2)],
        (0, 1): [seed(slice(0, 20), True) for _ in range(2)],
    }
    changes = sensor_changes(nets, SCENE, classes, sizes, 0, lambda: None)
    assert len(changes) == 2 * 2 * 4
    claimed = claims(changes)
    assert ("two", "A") in claimed and {change.metric for change in claimed["two", "A"]} >= {
        "spearman", "kendall", "wasserstein_nm",
    }  # fmt: skip
    assert len(claimed.get(("one", "A"), [])) + len(claimed.get(("two", "B"), [])) <= 3
    moved = next(c for c in claimed["two", "A"] if c.metric == "wasserstein_nm")
    assert moved.gained is not None and 500 <= moved.gained <= 600 and moved.gained != moved.lost


def test_mcnemar_is_the_exact_binomial_test() -> None:
    one = np.array([True] * 9 + [False] * 1 + [True] * 30 + [False] * 5)
    other = np.array([False] * 9 + [True] * 1 + [True] * 30 + [False] * 5)
    # 10 pixels that one of the two has right, 9 to 1: twice the tail of Binomial(10, 1/2).
    assert mcnemar(one, other) == pytest.approx(2 * 11 / 2**10)
    assert mcnemar(one, one) == 1


def test_accuracies_by_hand() -> None:
    classes = np.array([0, 0, 0, 1, 1, 2])
    first = np.array([[0, 0, 1, 1, 1, 2], [0, 0, 0, 1, 1, 2]])
    second = np.array([[0, 2, 2, 1, 0, 2]])
    entries = [Judged("A", first), Judged("B", second), Judged("B, A at its mean", second, True)]
    found = accuracies(entries, classes, ("x", "y", "z"), 0, lambda: None)
    rows = {(row.network, row.class_name): row for row in found}
    assert len(rows) == 3 * 4
    overall = rows["A", ALL]
    assert overall.accuracy.value == pytest.approx((5 / 6 + 1) / 2) and overall.pixels == 6
    assert rows["A", "x"].accuracy.value == pytest.approx((2 / 3 + 1) / 2)
    assert rows["A", "x"].f1.value == pytest.approx((4 / 5 + 1) / 2)
    assert rows["B", "z"].f1.value == pytest.approx(0.5) and rows["B", "z"].precision == pytest.approx(1 / 3)
    assert rows["B", ALL].balanced == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)
    assert rows["B", ALL].f1.value == pytest.approx((2 / 5 + 2 / 3 + 1 / 2) / 3)
    # The vote of the seeds of A is right but for a tie, which goes to the first: it has 2 more than B.
    assert overall.mcnemar == (None, pytest.approx(2 * 0.5**2), None)
    assert rows["B, A at its mean", ALL].mcnemar == (None, None, None)
    assert overall.accuracy.low <= overall.accuracy.value <= overall.accuracy.high
