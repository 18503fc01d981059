"""Intervals over chips, and the ranking with what it can't tell apart."""

from __future__ import annotations

import numpy as np
import pytest

from explanation_layers.explainers.scores.bootstrap import Criterion, mean_interval, rank


def test_interval_of_known_values() -> None:
    values = np.random.default_rng(0).normal(3, 1, 400)
    interval = mean_interval(values, seed=1)
    assert interval.mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.02)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.02)
    assert mean_interval(values, seed=1) == interval != mean_interval(values, seed=2)


def test_few_values_have_no_interval() -> None:
    assert all(map(np.isnan, mean_interval(np.array([np.nan, np.nan]), 0)))
    one = mean_interval(np.array([np.nan, 2.0]), 0)
    assert one.mean == 2 and np.isnan(one.low) and np.isnan(one.high)


def scores(*means: float, spread: float = 0.01, seed: int = 0) -> np.ndarray:
    return np.array(means)[:, None] + spread * np.random.default_rng(seed).normal(size=(len(means), 40))


def test_clear_differences_are_ranked_and_separable() -> None:
    places = rank("abc", {"x": {"m": Criterion(scores(3, 1, 2), True)}}, seed=0)
    assert [place.name for place in places] == ["b", "c", "a"]
    assert [place.points for place in places] == [1, 0.5, 0]
    assert [place.place for place in places] == [1, 2, 3]
    assert not any(place.not_separable for place in places)


def test_noise_is_not_separable() -> None:
    places = rank("abc", {"x": {"m": Criterion(scores(1, 1, 9, spread=1), False)}}, seed=0)
    assert places[0].name == "c" and places[0].place == 1 and not places[0].not_separable
    assert {place.place for place in places[1:]} == {2}
    assert {place.name: place.not_separable for place in places[1:]} == {"a": ("b",), "b": ("a",)}


def test_families_count_not_metrics() -> None:
    many = {str(number): Criterion(scores(0, 1, seed=number), True) for number in range(5)}
    places = rank("ab", {"many": many, "one": {"m": Criterion(scores(0, 1), False)}, "none": {}}, seed=0)
    assert [place.points for place in places] == [0.5, 0.5]
    assert places[0].not_separable and places[0].place == places[1].place == 1


def test_a_chip_without_a_value_counts_as_the_worst() -> None:
    values = scores(0, 1, 0.3)
    assert rank("abc", {"x": {"m": Criterion(values, True)}}, seed=0)[0].name == "a"
    values[0, ::2] = np.nan
    assert rank("abc", {"x": {"m": Criterion(values, True)}}, seed=0)[0].name == "c"
    values[0] = np.nan
    assert rank("abc", {"x": {"m": Criterion(values, True)}}, seed=0)[0].name == "c"


def test_scores_of_a_few_chips_are_used_where_they_are() -> None:
    values = scores(0, 1)
    values[:, 3:] = np.nan
    places = rank("ab", {"x": {"m": Criterion(values, True)}}, seed=0)
    assert [place.points for place in places] == [1, 0]


def test_ties_share_their_points() -> None:
    values = np.zeros((3, 10))
    values[2] = 1
    points = {p.name: p.points for p in rank("abc", {"x": {"m": Criterion(values, True)}}, seed=0)}
    assert points == {"a": 0.75, "b": 0.75, "c": 0}


def test_one_explainer_alone() -> None:
    (place,) = rank("a", {"x": {"m": Criterion(scores(1), True)}}, seed=0)
    assert place.points == 1 and place.place == 1


def test_one_chip_separates_nothing() -> None:
    places = rank("abc", {"x": {"m": Criterion(scores(1, 2, 3)[:, :1], True)}}, seed=0)
    assert [place.name for place in places] == ["a", "b", "c"]
    assert all(place.place == 1 and len(place.not_separable) == 2 for place in places)


def test_nothing_to_rank_by() -> None:
    assert [place.name for place in rank("ab", {"x": {}}, seed=0)] == ["a", "b"]
