"""Do maps of dates find the dates that were planted? The tables of "Dates" in docs/planted-evidence.md.

Run as `.venv/bin/python benchmarks/planted_dates.py [demo|wide|rare|hidden]`.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # As a script this file is no part of the package: load it again as one.
    import importlib
    import runpy

    root = Path(__file__).resolve().parents[1]
    runpy.run_path(str(root / "engine" / "launcher.py"))["register"](root)
    sys.exit(importlib.import_module("explanation_layers.benchmarks.planted_dates").main(sys.argv[1:]))

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import combinations

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from ..explainers.grad_slam import SCALINGS, VARIANTS, GradSlam, importance
from ..models.autoencoder import Autoencoder, autoencoder
from ..models.autoencoder_training import AutoencoderSettings, fit_autoencoder, set_channels
from ..rasters.gaps import fill_gaps
from ..rasters.simulate_crops import CROPS, DATES, Crop, DateWindow
from ..rasters.simulate_sar_series import SeriesScene

SIZE, DIMENSIONS = 96, 2
PER_CLASS = 100  # pixels that are explained
RANDOM = 4  # networks with fresh weights, per scene
UNTRAINED = 8  # more of them, for what is beyond untrained networks
_STEPS = 16  # of integrated gradients
_DAYS = np.array([date.fromisoformat(day).toordinal() for day in DATES], np.float64)

# Of each method, from directions (direction, dimension) to importance (direction, n, date). With two groups
# of rows Grad-SLAM's is that of the departure from the mean of both groups' mean maps, as gradslam does it.
Maps = dict[str, Callable[[Tensor, tuple[np.ndarray, ...]], np.ndarray]]


@dataclass(frozen=True)
class Design:
    """What is planted: crops, the season that hides them, and the seeds of the scenes."""

    crops: tuple[Crop, ...]
    season_db: tuple[float, float] = (2.0, 3.0)
    seeds: tuple[int, ...] = (1,)


def _wider(crop: Crop) -> Crop:
    """Return a crop whose windows have 6 dates of 4 dB in place of 4 of 5 dB."""
    return replace(crop, windows=tuple(
        replace(window, count=6, change_db=tuple(0.8 * change for change in window.change_db))
        for window in crop.windows
    ))  # fmt: skip


def _towards_the_mean(crop: Crop) -> Crop:
    """Return a crop whose windows are dark while the season is full, and bright while it is not."""
    return replace(crop, windows=tuple(_signed(window) for window in crop.windows))


def _signed(window: DateWindow) -> DateWindow:
    full = "2017-05-01" < window.first < "2017-09-15"
    return replace(window, change_db=(-5.0, -5.0) if full else (5.0, 5.0))


DESIGNS = {
    "demo": Design(CROPS, seeds=(1, 2, 3)),
    "wide": Design(tuple(_wider(crop) for crop in CROPS)),
    "rare": Design(tuple(replace(c, share=s) for c, s in zip(CROPS, (0.45, 0.25, 0.15, 0.1, 0.05)))),
    "hidden": Design(tuple(_towards_the_mean(crop) for crop in CROPS), season_db=(6.0, 6.0), seeds=(1, 2)),
}


@dataclass(frozen=True)
class Site:
    """Series in dB (n, band), what of them was observed, and the pixels' crops and parcels, -1 for none."""

    design: Design
    series: Tensor
    observed: Tensor
    crops: np.ndarray
    parcels: np.ndarray

    @classmethod
    def simulated(cls, design: Design, seed: int, size: int = SIZE) -> Site:
        """Simulate a scene of `size` x `size` pixels; gaps are filled in time."""
        scene = SeriesScene(size, seed, design.crops, design.season_db)
        power, parcels = scene.tile(scene.grid.whole)
        decibels = 10 * np.log10(power)
        observed = ~np.isnan(decibels)
        for channel in range(2):
            values = np.ascontiguousarray(decibels[channel::2])
            fill_gaps(values, _DAYS)
            decibels[channel::2] = values
        series, known = (torch.from_numpy(v.reshape(len(v), -1).T.copy()) for v in (decibels, observed))
        return cls(
            design, series, known, scene.classes(parcels).ravel().astype(int) - 1, parcels.ravel()
        )  # fmt: skip

    def trained(self, seed: int, epochs: int = 60) -> Autoencoder:
        """Train on all pixels, those between parcels too, but a parcel in seven, which validate."""
        generator = np.random.default_rng(seed)
        validating = np.isin(self.parcels, np.flatnonzero(generator.random(self.parcels.max() + 1) < 1 / 7))
        network = _fresh(seed)
        rows = np.arange(len(self.series))
        fit_autoencoder(
            network, self.series, self.observed, rows[~validating], rows[validating],
            AutoencoderSettings(epochs=epochs, seed=seed), lambda epoch: None, lambda share: None,
        )  # fmt: skip
        return network

    def randomised(self, seed: int) -> Autoencoder:
        """Return an autoencoder with fresh weights, scaled as a trained one."""
        network = _fresh(seed)
        set_channels(network, self.series, self.observed)
        return network.eval()

    def sample(self, seed: int) -> np.ndarray:
        """Return `PER_CLASS` pixels of each crop, or as many as there are."""
        generator = np.random.default_rng(seed)
        return np.concatenate([
            generator.permutation(np.flatnonzero(self.crops == number))[:PER_CLASS]
            for number in range(len(self.design.crops))
        ])  # fmt: skip


def _fresh(seed: int) -> Autoencoder:
    torch.manual_seed(seed)
    return autoencoder(len(DATES), 2, DIMENSIONS)


def maps_of(network: Autoencoder, series: Tensor) -> tuple[Maps, np.ndarray]:
    """Return the methods and the embedding (n, dimension) of `series` (n, band)."""
    prepared = network.prepare(series)
    average = network.prepare(series.mean(0, keepdim=True))
    unit = torch.eye(DIMENSIONS)
    methods: Maps = {}
    for variant in VARIANTS:
        found = GradSlam(network, variant).maps(prepared, unit)
        for scaling in SCALINGS:
            methods[f"{variant}, {scaling}"] = lambda v, sides, m=found.maps, s=scaling: importance(
                _departure(torch.einsum("vd,ldnt->lvnt", v, m), sides), s
            ).numpy()
    channel_mean = network.scaling.offset.expand_as(prepared)
    for name, values in (
        ("input x gradient", _slopes(network, prepared) * (prepared - channel_mean)),
        ("integrated gradients to the date mean", _integrated(network, prepared, average)),
        ("occlusion by the date mean", _occluded(network, prepared, average)),
    ):
        by_date = values.reshape(DIMENSIONS, len(prepared), len(DATES), -1).sum(-1)
        methods[name] = lambda v, sides, m=by_date: torch.einsum("vd,dnt->vnt", v, m).abs().numpy()
    return methods, found.embedding.numpy()


def _departure(maps: Tensor, sides: tuple[np.ndarray, ...]) -> Tensor:
    means = [maps[:, :, side].mean(2, keepdim=True) for side in sides]
    return maps - sum(means) / len(means) if means else maps


def _slopes(network: Autoencoder, prepared: Tensor) -> Tensor:
    """Return the gradients (dimension, n, band) of the embedding."""
    x = prepared.detach().requires_grad_()
    embedding = network.encode(x).sum(0)
    return torch.stack([torch.autograd.grad(e, x, retain_graph=True)[0] for e in embedding])


def _integrated(network: Autoencoder, prepared: Tensor, start: Tensor) -> Tensor:
    nodes = (torch.arange(_STEPS) + 0.5) / _STEPS
    slopes = sum(_slopes(network, start + node * (prepared - start)) for node in nodes) / _STEPS
    return slopes * (prepared - start)


@torch.no_grad()
def _occluded(network: Autoencoder, prepared: Tensor, filling: Tensor) -> Tensor:
    """Return by how much the embedding falls with a date filled in, (dimension, n, band): at band 1 of 2."""
    whole, falls = network.encode(prepared), torch.zeros(DIMENSIONS, *prepared.shape)
    for place in range(len(DATES)):
        changed, bands = prepared.clone(), slice(2 * place, 2 * place + 2)
        changed[:, bands] = filling[:, bands]
        falls[:, :, 2 * place] = (whole - network.encode(changed)).T
    return falls


@dataclass(frozen=True)
class Found:
    """How one method did: AUC (crop,) of both dimensions combined, as gradslam does it by default.

    `by_dimension` AUC (crop, dimension); `first` and `precision` per pair of crops.
    """

    areas: np.ndarray
    by_dimension: np.ndarray
    first: np.ndarray
    precision: np.ndarray


def judged(site: Site, network: Autoencoder, seed: int) -> dict[str, Found]:
    """Judge every method on the profiles of crops: means of importance over the crop's pixels.

    AUC: the chance that a planted date of the crop has more importance than any other date; of both
    dimensions combined by their share of the variance, and of either. A pair of crops
    is explained in the direction from one mean embedding to the other, over the pixels of both; the dates
    on which they differ are those of either's windows, and precision is that of as many dates as those.
    """
    rows = site.sample(seed)
    crops, number = site.crops[rows], len(site.design.crops)
    methods, embedding = maps_of(network, site.series[rows])
    variance = embedding.var(0)
    middles = np.stack([embedding[crops == crop].mean(0) for crop in range(number)])
    pairs = list(combinations(range(number), 2))
    directions = np.stack([middles[a] - middles[b] for a, b in pairs])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return {
        name: _judge(
            site.design, method, crops, pairs, torch.from_numpy(directions), variance / variance.sum()
        )
        for name, method in methods.items()
    }


def _judge(
    design: Design, method: Callable[[Tensor, tuple[np.ndarray, ...]], np.ndarray], crops: np.ndarray,
    pairs: Sequence[tuple[int, int]], directions: Tensor, weights: np.ndarray,
) -> Found:  # fmt: skip
    dimensions = method(torch.eye(DIMENSIONS), ())
    areas = _areas(design, _combined(dimensions, weights), crops)
    by_dimension = np.stack([_areas(design, maps, crops) for maps in dimensions], 1)
    first, precision = [], []
    for (a, b), direction in zip(pairs, directions.float()):
        sides = tuple(np.flatnonzero(crops == crop) for crop in (a, b))
        maps = method(direction[None], sides)[0]
        differing = sorted({*design.crops[a].dates, *design.crops[b].dates})
        order = np.argsort(-maps[(crops == a) | (crops == b)].mean(0), kind="stable")
        first.append(order[0] in differing)
        precision.append(np.isin(order[: len(differing)], differing).mean())
    return Found(areas, by_dimension, np.array(first), np.array(precision))


def _combined(dimensions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("d,dnt->nt", weights, dimensions**2))


def _areas(design: Design, maps: np.ndarray, crops: np.ndarray) -> np.ndarray:
    """Return the AUC (crop,) of maps (n, date)."""
    places = np.arange(len(DATES))
    return np.array([
        roc_auc_score(np.isin(places, crop.dates), np.nan_to_num(maps[crops == number].mean(0)))
        for number, crop in enumerate(design.crops)
    ])  # fmt: skip


def beyond(
    site: Site, networks: Sequence[Autoencoder], untrained: Sequence[Autoencoder], seed: int
) -> dict[str, list[np.ndarray]]:
    """Judge what each of `networks` shows beyond `untrained` ones, as BEYOND_UNTRAINED of gradslam has it.

    Returns by variant the AUC (crop,) of each of `networks`.
    """
    rows = site.sample(seed)
    crops, found = site.crops[rows], {}
    for variant in VARIANTS:
        shares = [_shares(site, network, rows, f"{variant}, absolute_minmax") for network in untrained]
        own = [_shares(site, network, rows, f"{variant}, absolute_minmax") for network in networks]
        mean = np.mean(shares, 0)
        found[variant] = [_areas(site.design, share - mean, crops) for share in own]
    return found


def _shares(site: Site, network: Autoencoder, rows: np.ndarray, method: str) -> np.ndarray:
    methods, embedding = maps_of(network, site.series[rows])
    weights = embedding.var(0) / embedding.var(0).sum()
    combined = np.nan_to_num(_combined(methods[method](torch.eye(DIMENSIONS), ()), weights))
    return combined / combined.sum(1, keepdims=True)


def measure(name: str) -> list[str]:
    """Return the Markdown table of a design."""
    design = DESIGNS[name]
    trained: list[dict[str, Found]] = []
    control: list[dict[str, Found]] = []
    learnt: dict[str, list[np.ndarray]] = {variant: [] for variant in VARIANTS}
    not_learnt: dict[str, list[np.ndarray]] = {variant: [] for variant in VARIANTS}
    for seed in design.seeds:
        site = Site.simulated(design, seed)
        network = site.trained(seed)
        trained.append(judged(site, network, seed))
        randomised = [site.randomised(100 * seed + i) for i in range(RANDOM + UNTRAINED)]
        control += [judged(site, other, seed) for other in randomised[:RANDOM]]
        more = beyond(site, [network, *randomised[:RANDOM]], randomised[RANDOM:], seed)
        for variant, (first, *others) in more.items():
            learnt[variant].append(first)
            not_learnt[variant] += others
        print(f"{name}, scene {seed}: done", file=sys.stderr)
    return [
        "| method | mean AUC | lowest | of one dimension | lowest | first date of pairs | "
        "precision of pairs | random weights: AUC (range) | first date of pairs |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(method, [t[method] for t in trained], [c[method] for c in control]) for method in trained[0]),
        "",
        f"| beyond {UNTRAINED} untrained networks | mean AUC | lowest | random weights: AUC (range) |",
        "|---|---|---|---|",
        *(_beyond_row(variant, learnt[variant], not_learnt[variant]) for variant in VARIANTS),
    ]


def _beyond_row(variant: str, learnt: Sequence[np.ndarray], not_learnt: Sequence[np.ndarray]) -> str:
    areas, random = np.concatenate(learnt), [found.mean() for found in not_learnt]
    return (
        f"| {variant} | {areas.mean():.2f} | {areas.min():.2f} | "
        f"{np.mean(random):.2f} ({min(random):.2f}–{max(random):.2f}) |"
    )


def _row(name: str, trained: Sequence[Found], control: Sequence[Found]) -> str:
    areas = np.concatenate([found.areas for found in trained])
    single = np.concatenate([found.by_dimension for found in trained])
    random = [found.areas.mean() for found in control]
    first, precision, random_first = (
        np.mean([getattr(found, part).mean() for found in of])
        for of, part in ((trained, "first"), (trained, "precision"), (control, "first"))
    )
    return (
        f"| {name} | {areas.mean():.2f} | {areas.min():.2f} | {single.mean():.2f} | {single.min():.2f} | "
        f"{first:.0%} | {precision:.2f} | "
        f"{np.mean(random):.2f} ({min(random):.2f}–{max(random):.2f}) | {random_first:.0%} |"
    )


def main(names: Sequence[str]) -> int:
    """Print the tables of the named designs, of all without any."""
    torch.set_num_threads(1)
    for name in names or DESIGNS:
        print(f"\n{name}\n\n" + "\n".join(measure(name)), flush=True)
    return 0
