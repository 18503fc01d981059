"""Explaining a tile gives what explaining its patches one by one gives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from explanation_layers.explainers.base import Explainer, Options, TileAttribution, as_large_as
from explanation_layers.explainers.registry import PIXEL_EXPLAINERS, make_explainer

NETWORKS = [("spectral_cnn", 1), ("spatial_cnn", 1), ("spatial_cnn", 5), ("hybrid_cnn", 9)]
SETTINGS = [
    *((name, {}) for name in PIXEL_EXPLAINERS if name != "integrated_gradients"),
    ("integrated_gradients", {"steps": 9}),
    ("integrated_gradients", {"tolerance": 0.03}),
    ("occlusion", {"occlusion_bands": 4, "occlusion_stride": 3}),
    ("occlusion", {"occlusion_bands": 9, "occlusion_window": 3, "occlusion_stride": 2}),
]
TILES = [(1, 1), (1, 6), (5, 1), (7, 13)]
LIMIT = 1e-5


class Tile:
    """A tile of spectra with halo, a baseline, and per pixel a random contrast and whether it is wanted."""

    def __init__(self, case, shape: tuple[int, int], wanted_share: float = 0.7) -> None:
        generator = torch.Generator().manual_seed(shape[0] * 100 + shape[1])
        halo = case.network.patch_size - 1
        height, width = shape
        pixels = case.x.movedim(1, -1).reshape(-1, case.x.shape[1])
        chosen = torch.randint(len(pixels), (height + halo, width + halo), generator=generator)
        noise = 0.02 * torch.randn(case.x.shape[1], height + halo, width + halo, generator=generator)
        self.network = case.network
        self.values = pixels[chosen].movedim(-1, 0) + noise
        self.baseline = case.baseline[0, :, 0, 0]
        logits = case.network.logits(self.values[None])[0]
        order = logits.argsort(0, descending=True)
        self.weights = torch.zeros_like(logits).scatter(0, order[:1], 1.0)
        contrast = torch.rand(shape, generator=generator) < 0.3
        self.weights -= torch.zeros_like(logits).scatter(0, order[1:2], 1.0) * contrast
        self.wanted = torch.rand(shape, generator=generator) < wanted_share

    def explain(self, explainer: Explainer, tick: Callable[[int], None] = lambda _: None) -> TileAttribution:
        with torch.no_grad():
            return explainer.attribute_tile(self.values, self.baseline, self.weights, self.wanted, tick)

    def patch_by_patch(self, explainer: Explainer) -> tuple[Tensor, Tensor, Tensor]:
        """Sums (band, y, x), references and settled (y, x) by `attribute`, NaN where not wanted."""
        side = self.network.patch_size
        sums = torch.full((len(self.values), *self.wanted.shape), float("nan"))
        reference = torch.full(self.wanted.shape, float("nan"))
        settled = torch.ones(self.wanted.shape, dtype=torch.bool)
        rows, cols = torch.nonzero(self.wanted, as_tuple=True)
        if len(rows):
            whole = as_large_as(self.values, self.baseline)
            x, start = (
                torch.stack([maps[:, r : r + side, c : c + side] for r, c in zip(rows, cols)])
                for maps in (self.values, whole)
            )
            with torch.no_grad():
                found = explainer.attribute(x, start, self.weights[:, rows, cols].T)
            sums[:, rows, cols] = found.values.sum((2, 3)).T
            reference[rows, cols] = found.reference
            settled[rows, cols] = found.settled
        return sums, reference, settled


def same(ours: Tensor, theirs: Tensor, limit: float = LIMIT) -> bool:
    """Equal where NaN, and elsewhere to `limit` of the largest value."""
    if not torch.equal(ours.isnan(), theirs.isnan()):
        return False
    known = ~theirs.isnan()
    if not known.any():
        return True
    return float((ours - theirs)[known].abs().max()) <= limit * float(theirs[known].abs().max())


def explainer_for(case, name: str, **options: object) -> Explainer:
    background = case.x[:, :, 0, 0]
    explainer = make_explainer(name, case.network, Options(background=background, samples=4, **options))
    with torch.no_grad():
        explainer.learn(case.x, case.baseline, case.weights)
    return explainer


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=lambda value: str(value))
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: "-".join(map(str, network)))
def test_a_tile_is_the_sum_over_each_pixels_patch(
    make_case: Callable, network: tuple, name: str, options: dict
) -> None:
    case = make_case(*network)
    explainer = explainer_for(case, name, **options)
    for shape in TILES:
        tile = Tile(case, shape)
        found = tile.explain(explainer)
        sums, reference, settled = tile.patch_by_patch(explainer)
        assert same(found.values, sums), shape
        assert same(found.reference, reference, 1e-4), shape
        assert torch.equal(found.settled | ~tile.wanted, settled), shape


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=lambda value: str(value))
@pytest.mark.parametrize("network", NETWORKS[::2], ids=lambda network: "-".join(map(str, network)))
def test_every_pixel_may_have_a_baseline_of_its_own(
    make_case: Callable, network: tuple, name: str, options: dict
) -> None:
    case = make_case(*network)
    explainer = explainer_for(case, name, **options, memory=2**20)
    tile = Tile(case, (7, 13))
    tile.baseline = tile.values.cummax(0).values + 0.1 * tile.values.roll(1, 2)
    found = tile.explain(explainer)
    sums, reference, settled = tile.patch_by_patch(explainer)
    assert same(found.values, sums)
    assert same(found.reference, reference, 1e-4)
    assert torch.equal(found.settled | ~tile.wanted, settled)
    if explainer.exact and explainer.uses_baseline:
        output = (tile.network.logits(tile.values[None])[0] * tile.weights).sum(0)
        assert same((found.values.sum(0) + found.reference), output.where(tile.wanted, torch.nan), 1e-4)


def test_sums_over_classes_are_those_of_pixels_with_baselines_of_their_own(make_case: Callable) -> None:
    case = make_case("spatial_cnn", 5)
    explainer = explainer_for(case, "integrated_gradients", tolerance=0.003)
    tile = Tile(case, (9, 11))
    tile.baseline = tile.values.cummax(0).values
    groups = torch.where(tile.wanted, torch.arange(9)[:, None] // 3 % 2, -1)
    with torch.no_grad():
        sums = explainer.class_sums(tile.values, tile.baseline, tile.weights, groups, 2, lambda pixels: None)
    each = tile.explain(explainer).values
    theirs = torch.stack([each[:, groups == group].sum(1) for group in range(2)])
    assert same(sums, theirs, 0.02)


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=lambda value: str(value))
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: "-".join(map(str, network)))
def test_the_memory_of_a_batch_changes_nothing(
    make_case: Callable, network: tuple, name: str, options: dict
) -> None:
    case = make_case(*network)
    tile = Tile(case, (5, 6))
    found = [
        tile.explain(explainer_for(case, name, **options, memory=memory)).values
        for memory in (1, 2**20, 2**28)
    ]
    assert same(found[0], found[2]) and same(found[1], found[2])


@pytest.mark.parametrize("name", PIXEL_EXPLAINERS)
@pytest.mark.parametrize("network", [("spectral_cnn", 1), ("spatial_cnn", 5)])
def test_what_is_not_wanted_is_not_a_number_and_does_not_matter(
    make_case: Callable, network: tuple, name: str
) -> None:
    case = make_case(*network)
    explainer = explainer_for(case, name)
    tile = Tile(case, (4, 5), wanted_share=0.4)
    some = tile.explain(explainer)
    assert some.values.isnan().all(0).equal(~tile.wanted)
    wanted = tile.wanted.clone()
    tile.wanted[:] = True
    every = tile.explain(explainer)
    assert same(some.values[:, wanted], every.values[:, wanted])
    tile.wanted[:] = False
    none = tile.explain(explainer)
    assert none.values.isnan().all() and none.reference.isnan().all()


@pytest.mark.parametrize("name", PIXEL_EXPLAINERS)
@pytest.mark.parametrize("network", [("spectral_cnn", 1), ("spatial_cnn", 5)])
def test_ticks_count_the_wanted_pixels(make_case: Callable, network: tuple, name: str) -> None:
    case = make_case(*network)
    tile = Tile(case, (6, 7), wanted_share=0.5)
    ticks: list[int] = []
    tile.explain(explainer_for(case, name, memory=2**20), ticks.append)
    assert sum(ticks) == int(tile.wanted.sum())


@pytest.mark.parametrize("name", PIXEL_EXPLAINERS)
def test_a_tick_that_raises_stops_the_work(make_case: Callable, name: str) -> None:
    def stop(pixels: int) -> None:
        raise InterruptedError

    case = make_case("spatial_cnn", 5)
    with pytest.raises(InterruptedError):
        Tile(case, (3, 4)).explain(explainer_for(case, name), stop)
