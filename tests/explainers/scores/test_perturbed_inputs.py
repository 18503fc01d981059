"""Sensitivity, infidelity, deletion and insertion, completeness: known numbers, in any batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from explanation_layers.explainers.scores.completeness import completeness
from explanation_layers.explainers.scores.copies import PIECE, Copies
from explanation_layers.explainers.scores.infidelity import band_removals, infidelity, square_removals
from explanation_layers.explainers.scores.perturbation import bands, blocks, deletion_insertion
from explanation_layers.explainers.scores.sensitivity import sensitivity, speckled_copies, uniform_copies

from .conftest import SIDE


@pytest.fixture(scope="module")
def linear(weight: Tensor):
    """The output of a linear model."""
    return lambda values, of: (values * weight).sum((1, 2, 3)) + 1


def made(copies: Copies, number: int) -> Tensor:
    """All that is made of one input."""
    return torch.cat(tuple(copies(number)))


def all_scores(x: Tensor, weight: Tensor, keys: range, batch: int) -> list[Tensor]:
    """Every random score of a model with a bend, for inputs with these keys."""
    baseline = torch.full_like(x, 0.1)

    def output(values: Tensor, of: Tensor) -> Tensor:
        return (values**2 * weight).sum((1, 2, 3)).sigmoid()

    def explain(values: Tensor, of: Tensor) -> dict[str, Tensor]:
        return {"gradient": 2 * values * weight, "one band": (values**2 * weight).sum(1, keepdim=True)}

    maps = explain(x, torch.arange(len(x)))
    noisy = uniform_copies(x, 0.1, 4, 0, keys)
    speckled = speckled_copies(x, "power", lambda raw: raw.log1p(), 4.0, 4, 0, keys)
    scores: list[Tensor] = []
    for copies in (noisy, speckled):
        for result in sensitivity(explain, maps, copies, batch).values():
            scores += [result.maximum, result.average]
    removals = square_removals(SIDE, 6, 0, keys)
    for result in infidelity(output, x, baseline, maps, {"gradient"}, removals, batch).values():
        scores += list(result)
    for result in deletion_insertion(
        output, x, baseline, maps, {"one band"}, blocks(SIDE, 3), batch
    ).values():
        scores += list(result)
    return scores


@pytest.mark.parametrize("batch", [1, 7, 500])
def test_a_batch_gives_what_single_calls_give(x: Tensor, weight: Tensor, batch: int) -> None:
    together = all_scores(x, weight, range(3), batch)
    apart = [all_scores(x[i : i + 1], weight, range(i, i + 1), 500) for i in range(3)]
    for number, scores in enumerate(together):
        single = torch.cat([scores_of_one[number] for scores_of_one in apart])
        assert torch.allclose(scores, single, rtol=1e-5, atol=1e-7)


def test_the_same_seed_gives_the_same_numbers(x: Tensor, weight: Tensor) -> None:
    once, again = (all_scores(x, weight, range(3), 50) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(once, again))
    other = uniform_copies(x, 0.1, 4, 1, range(3))
    assert not torch.equal(made(other, 0), made(uniform_copies(x, 0.1, 4, 0, range(3)), 0))


def test_pieces_are_drawn_as_if_at_once(x: Tensor) -> None:
    many = made(uniform_copies(x, 0.1, 3 * PIECE + 1, 0, range(3)), 2)
    assert len(many) == 3 * PIECE + 1 and len(many.flatten(1).unique(dim=0)) == len(many)
    assert torch.equal(many[: PIECE - 1], made(uniform_copies(x, 0.1, PIECE - 1, 0, range(3)), 2))


def test_cancelling_between_batches(x: Tensor) -> None:
    class Stop(Exception):
        pass

    def check() -> None:
        raise Stop

    with pytest.raises(Stop):
        sensitivity(lambda values, of: {"a": values}, {"a": x}, lambda i: [x[i : i + 1]], 1, check)


# Sensitivity


def test_a_constant_explainer_is_stable_and_flagged(x: Tensor) -> None:
    maps = {"constant": torch.ones_like(x), "zero": torch.zeros_like(x)}

    def explain(values: Tensor, of: Tensor) -> dict[str, Tensor]:
        return {"constant": torch.ones_like(values), "zero": torch.zeros_like(values)}

    scores = sensitivity(explain, maps, uniform_copies(x, 0.02, 5, 0, range(3)), 100)
    assert (scores["constant"].maximum == 0).all() and scores["constant"].constant.all()
    assert not scores["constant"].zero.any()
    assert scores["zero"].zero.all() and scores["zero"].constant.all()


def test_the_identity_moves_as_its_input_does(x: Tensor) -> None:
    copies = uniform_copies(x, 0.02, 5, 0, range(3))
    scores = sensitivity(lambda values, of: {"same": values}, {"same": x}, copies, 100)["same"]
    moved = torch.stack([(made(copies, i) - x[i]).flatten(1).norm(dim=1) / x[i].norm() for i in range(3)])
    assert torch.allclose(scores.maximum, moved.max(1).values)
    assert torch.allclose(scores.average, moved.mean(1))


def test_uniform_copies_stay_within_the_radius_of_each_band(x: Tensor) -> None:
    radius = torch.tensor([0.02, 0.5])
    off = (made(uniform_copies(x, radius, 200, 0, range(3)), 1) - x[1]).abs().amax((0, 2, 3))
    assert (off <= radius * 1.0001).all() and (off > 0.95 * radius).all()


@pytest.mark.parametrize("values", ["power", "amplitude", "as_is", "db"])
def test_speckle_is_that_of_its_looks_in_power(values: str) -> None:
    level = 3.0
    power = {"power": lambda v: v, "amplitude": lambda v: v**2, "as_is": lambda v: v**2,
             "db": lambda v: 10 ** (v / 10)}[values]  # fmt: skip
    raw = torch.full((1, 1, 40, 40), level)
    copies = speckled_copies(raw, values, lambda v: v, 4.4, 30, 0, [7])
    speckle = power(made(copies, 0)) / power(raw[0])
    assert float(speckle.mean()) == pytest.approx(1, abs=0.01)
    assert 1 / float(speckle.var()) == pytest.approx(4.4, rel=0.05)


# Infidelity


def test_contributions_of_a_linear_model_are_faithful(x: Tensor, weight: Tensor, linear) -> None:
    baseline = torch.full_like(x, 0.3)
    maps = {"contributions": (x - baseline) * weight, "gradient": weight.expand_as(x), "zero": x * 0}
    maps["ten times"] = 10 * maps["contributions"]
    removals = square_removals(SIDE, 20, 0, range(3))
    scores = infidelity(linear, x, baseline, maps, {"gradient"}, removals, 100)
    assert scores["contributions"].plain.max() < 1e-10 and scores["gradient"].plain.max() < 1e-10
    assert scores["ten times"].plain.min() > 1e-3 and scores["ten times"].scaled.max() < 1e-9
    assert torch.allclose(scores["ten times"].scale, torch.tensor(0.1, dtype=torch.float64), rtol=1e-5)
    assert (scores["zero"].scale == 0).all()
    assert torch.equal(scores["zero"].plain, scores["zero"].scaled)


def test_removals_are_squares_of_all_sizes_and_spans_of_bands() -> None:
    squares = made(square_removals(20, 300, 0, [0]), 0)
    assert squares.shape == (300, 1, 20, 20)
    rows, cols = squares.any(3).sum(2), squares.any(2).sum(2)
    assert torch.equal(rows, cols) and torch.equal((rows * cols).flatten(), squares.sum((1, 2, 3)))
    assert (int(rows.min()), int(rows.max())) == (5, 10)
    spans = made(band_removals(12, 300, 0, [0]), 0)
    widths = spans.sum(1).flatten()
    assert spans.shape == (300, 12, 1, 1) and (int(widths.min()), int(widths.max())) == (1, 6)
    assert ((spans[:, 1:] & ~spans[:, :-1]).sum(1) + spans[:, :1].sum(1) == 1).all()
    assert all(made(make(1, 3, 0, [0]), 0).all() for make in (band_removals, square_removals))


# Deletion and insertion


def test_areas_of_a_linear_model_over_bands() -> None:
    x, baseline = torch.tensor([4.0, 1.0, 3.0, 2.0]).reshape(1, 4, 1, 1), torch.zeros(1, 4, 1, 1)
    scores = deletion_insertion(
        lambda values, of: values.sum((1, 2, 3)), x, baseline,
        {"right": x, "reversed": -x, "absolute": -x}, {"absolute"}, bands(4), 100,
    )  # fmt: skip
    # The output falls 10, 6, 3, 1, 0 and rises 0, 4, 7, 9, 10 in the right order.
    assert float(scores["right"].deletion) == pytest.approx((5 + 6 + 3 + 1) / 4)
    assert float(scores["right"].insertion) == pytest.approx((4 + 7 + 9 + 5) / 4)
    assert float(scores["reversed"].deletion) == pytest.approx((5 + 9 + 7 + 4) / 4)
    assert float(scores["absolute"].deletion) == pytest.approx(float(scores["right"].deletion))


def test_blocks_cover_the_chip_and_equal_ones_go_in_reading_order() -> None:
    units = blocks(12, 5)
    assert units.shape == (1, 12, 12) and int(units.max()) == 8
    assert (units[0, 5:10, :5] == 3).all() and (units[0, 10:, 10:] == 8).all()
    x = torch.ones(1, 2, 12, 12)
    seen = []

    def output(values: Tensor, of: Tensor) -> Tensor:
        seen.append(values)
        return values.mean((1, 2, 3))

    deletion_insertion(output, x, 0 * x, {"flat": x[:, :1]}, (), units, 100)
    first_deleted = next(values for values in seen if len(values) == 16)[0, 0]
    assert (first_deleted[:5, :5] == 0).all() and float(first_deleted.sum()) == 144 - 25


def test_a_single_unit_leaves_a_straight_line(x: Tensor) -> None:
    scores = deletion_insertion(
        lambda values, of: values.sum((1, 2, 3)), x, 0 * x, {"a": x}, (), blocks(SIDE, SIDE), 100
    )["a"]
    assert torch.allclose(scores.deletion, x.sum((1, 2, 3)) / 2)
    assert torch.allclose(scores.insertion, x.sum((1, 2, 3)) / 2)


# Completeness


def test_completeness_of_a_linear_model(x: Tensor, weight: Tensor, linear: nn.Module) -> None:
    baseline, of = torch.full_like(x, 0.3), torch.arange(3)
    outputs = linear(x, of), linear(baseline, of)
    exact = completeness((x - baseline) * weight, *outputs)
    assert (exact.residual < 1e-5).all()
    half = completeness((x - baseline) * weight / 2, *outputs)
    assert torch.allclose(half.residual, half.difference / 2, atol=1e-5)
