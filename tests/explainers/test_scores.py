"""Scores of explainers where the right number is known, and where nothing may change it."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from explanation_layers.explainers.scores.completeness import completeness
from explanation_layers.explainers.scores.complexity import (
    complexity,
    encoder,
    figure_picture,
    gini,
    gray_picture,
    histogram_entropy,
    png_bytes,
)
from explanation_layers.explainers.scores.copies import PIECE, Copies
from explanation_layers.explainers.scores.infidelity import band_removals, infidelity, square_removals
from explanation_layers.explainers.scores.localisation import bright_return, localisation, share_inside
from explanation_layers.explainers.scores.perturbation import bands, blocks, deletion_insertion
from explanation_layers.explainers.scores.randomisation import cascade, similarity, stages
from explanation_layers.explainers.scores.ranks import average_ranks, spearman
from explanation_layers.explainers.scores.sensitivity import sensitivity, speckled_copies, uniform_copies
from explanation_layers.models.networks import build
from explanation_layers.models.scene_networks import build_scene_network

SIDE = 10


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.rand(3, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def weight() -> Tensor:
    return torch.randn(2, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


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


# Complexity


def test_pictures_of_signed_and_unsigned_maps() -> None:
    signed = np.linspace(-1, 1, 101)[None]
    assert gray_picture(signed, True)[0, 50] == 128 and gray_picture(signed, True).min() == 0
    assert gray_picture(signed, True).max() == 255
    unsigned = np.linspace(0, 1, 101)[None]
    assert gray_picture(unsigned, False)[0, 0] == 0
    # The 98th percentile is white already.
    assert (gray_picture(unsigned, False)[0] == 255).sum() == 3
    sparse = np.zeros((10, 10))
    sparse[4, 4] = 1e-9
    assert gray_picture(sparse, False).max() == 255 and gray_picture(0 * sparse, False).max() == 0


def test_the_file_is_a_gray_png_of_the_maps_own_size_without_metadata() -> None:
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=9)
    data = file.getvalue()
    assert png_bytes(picture) == len(data)
    assert [data[i + 4 : i + 8] for i in (8, 33)] == [b"IHDR", b"IDAT"] and data[-8:-4] == b"IEND"
    assert data[24:26] == bytes([8, 0])  # bit depth, gray


def test_sizes_of_known_pictures() -> None:
    # Signature 8, IHDR 25, IDAT 12, IEND 12 bytes; what noise does not compress is stored.
    flat = png_bytes(np.zeros((100, 100), np.uint8))
    noise = png_bytes(np.random.default_rng(0).integers(0, 256, (100, 100)).astype(np.uint8))
    assert 57 < flat < 120
    assert 10_000 < noise < 10_000 + 57 + 250
    assert encoder().startswith("Pillow ")


def test_complexity_of_a_smooth_map_and_of_noise() -> None:
    ramp = torch.linspace(0, 1, 2500).reshape(1, 50, 50)
    noise = torch.rand(1, 50, 50, generator=torch.Generator().manual_seed(0))
    smooth, rough = complexity(ramp, True), complexity(noise, True)
    assert smooth.gray_kb < 0.5 * rough.gray_kb and smooth.figure_kb < rough.figure_kb
    assert smooth.shuffled_ratio < 0.5 and rough.shuffled_ratio == pytest.approx(1, abs=0.05)
    assert smooth.entropy == pytest.approx(rough.entropy, abs=0.2)
    assert complexity(ramp, True) == complexity(ramp, True)
    assert figure_picture(noise[0].numpy(), True).shape == (400, 400, 3)


def test_a_single_pixel_is_pictured_by_its_bands() -> None:
    spectrum = torch.rand(200, 1, 1, generator=torch.Generator().manual_seed(0))
    assert complexity(spectrum, True) == complexity(spectrum[:, 0, 0][None, None], True)
    assert complexity(spectrum, True).entropy > 5


def test_entropy_and_gini_of_known_maps() -> None:
    assert histogram_entropy(np.zeros((4, 4), np.uint8)) == 0
    assert histogram_entropy(np.arange(256, dtype=np.uint8)) == pytest.approx(8)
    one_hot = torch.zeros(1, 10, 10)
    one_hot[0, 3, 3] = -2.0
    assert gini(one_hot) == pytest.approx(1 - 1 / 100)
    assert gini(torch.full((1, 10, 10), -0.3)) == pytest.approx(0)
    assert np.isnan(gini(torch.zeros(1, 10, 10)))


# Localisation


def test_planted_masks() -> None:
    mask = torch.zeros(3, 8, 8, dtype=torch.bool)
    mask[0, 2:4, 2:6] = True
    mask[1] = mask[0]
    mask[2, :] = True
    values = torch.zeros(3, 2, 8, 8)
    values[0, :, 2:4, 2:6] = torch.tensor([-1.0, 1.0])[:, None, None]
    values[1, 0, 6, :] = 1.0
    values[1, 1, 2, 2:4] = 0.5
    values[2] = 1.0
    scores = localisation(values, mask)
    assert [float(score[0]) for score in scores] == [1, 1, 1, 1]
    assert float(scores.mass[1]) == pytest.approx(1 / 9)
    assert float(scores.rank[1]) == 0 and float(scores.pointing[1]) == 0
    assert all(score[2].isnan() for score in scores)


def test_auc_is_that_of_scikit_learn(x: Tensor) -> None:
    mask = x[:, 0].roll(1, -1) > 0.6
    values = (x * 6).round()  # many ties
    ours = localisation(values, mask).auc
    theirs = [roc_auc_score(m.flatten(), v.sum(0).flatten()) for m, v in zip(mask, values)]
    assert torch.allclose(ours, torch.tensor(theirs, dtype=torch.float64))


def test_share_on_the_bright_return() -> None:
    x = torch.zeros(2, 2, 20, 20)
    x[0, 0, 5:10, 5:10] = 1.0
    x[1, 0, 0:5, 15:] = 1.0
    x[1, 0, 12, 12] = 3.0  # a single speckle is less, averaged
    x[:, 1] = torch.rand(20, 20)
    bright = bright_return(x, 25 / 400)
    assert bright.sum((1, 2)).tolist() == [25, 25]
    assert bright[0, 6:9, 6:9].all() and bright[1, 1:4, 16:].all()
    values = torch.ones(2, 1, 20, 20)
    assert torch.allclose(share_inside(values, bright), torch.tensor(25 / 400, dtype=torch.float64))


# Randomisation


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


# Completeness


def test_completeness_of_a_linear_model(x: Tensor, weight: Tensor, linear: nn.Module) -> None:
    baseline, of = torch.full_like(x, 0.3), torch.arange(3)
    outputs = linear(x, of), linear(baseline, of)
    exact = completeness((x - baseline) * weight, *outputs)
    assert (exact.residual < 1e-5).all()
    half = completeness((x - baseline) * weight / 2, *outputs)
    assert torch.allclose(half.residual, half.difference / 2, atol=1e-5)
