"""How well are mixed pixels unmixed? The tables of docs/unmixing.md.

Run as `.venv/bin/python benchmarks/mixed_pixels.py [PIECE ...] [seeds=5]`; pieces are those of `PIECES`, all
where none is named. A row is printed as soon as it is known.
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
    sys.exit(importlib.import_module("explanation_layers.benchmarks.mixed_pixels").main(sys.argv[1:]))

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.io import loadmat
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import roc_auc_score

from ..models.brightness import Brightness, in_full_light
from ..models.endmembers import bundles, vca
from ..models.fcls import fcls
from ..models.idnet import idnet
from ..models.idnet_training import WEAKEST, IdNetSettings, fit_idnet
from ..models.unmixers import AbundanceNetwork
from ..rasters.simulate_materials import material_spectra
from ..rasters.simulate_mixtures import KINDS, Design, Mixed, Mixing, make_bilinear_scene, mixed_scene
from ..rasters.simulate_spectra import spectrometer
from ..workflows.unmix_methods import levelled, unmixed

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SIZE, MATERIALS = 50, 4
NOISES_DB = (30, 20)
STRENGTHS = {"linear": 0.0, "bilinear": 1.0, "post_nonlinear": 0.2}
# Pixels whose nonlinear part is larger than this share are to be told from those of the linear strip.
_NONLINEAR = 0.01
_PRESENT = 0.1
_SEEDS = 5


@dataclass(frozen=True)
class Found:
    """What a method says of n pixels: abundances (n, material), endmembers (n, material, band) or for all.

    `error` (n,), reconstruction; `signal` (n,), by which nonlinear pixels are told; `d` (n,), of ID-Net.
    """

    abundances: np.ndarray
    endmembers: np.ndarray
    error: np.ndarray
    signal: np.ndarray
    seconds: float
    d: np.ndarray | None = None


@dataclass(frozen=True)
class Truth:
    """True abundances (n, material) and mean spectra (material, band); nonlinearity (n,), or None."""

    abundances: np.ndarray
    spectra: np.ndarray
    nonlinearity: np.ndarray | None = None


@dataclass(frozen=True)
class Ablation:
    """What is left out of ID-Net."""

    nonlinear: bool = True
    variability: bool = True
    self_training: bool = True
    as_released: bool = False


ABLATIONS = {
    "idnet": Ablation(),
    "no nonlinear stream": Ablation(nonlinear=False),
    "no variability": Ablation(variability=False),
    "no self-training": Ablation(self_training=False),
    "loss as released": Ablation(as_released=True),
}


def _vertices(pixels: np.ndarray, count: int, seed: int, any_brightness: bool) -> np.ndarray:
    found = pixels[vca(pixels, count, seed)]
    return in_full_light(pixels, found) if any_brightness else found


def by_fcls(
    pixels: np.ndarray, count: int, seed: int, spectra: np.ndarray | None = None, any_brightness: bool = False
) -> Found:
    """FCLS with endmembers by VCA, or with given `spectra` (material, band)."""
    started = time.perf_counter()
    endmembers = _vertices(pixels, count, seed, any_brightness) if spectra is None else spectra
    light = Brightness.against(endmembers).of(pixels)[:, None] if any_brightness else 1.0
    abundances = fcls(pixels / light, endmembers)
    seconds = time.perf_counter() - started
    error = np.sqrt(np.square(pixels - light * (abundances @ endmembers)).mean(1))
    return Found(abundances, endmembers, error, error, seconds)


def by_idnet(
    pixels: np.ndarray, count: int, seed: int, ablation: Ablation = ABLATIONS["idnet"],
    any_brightness: bool = False,
) -> Found:  # fmt: skip
    """ID-Net as the job `unmix` trains it."""
    started = time.perf_counter()
    endmembers = _vertices(pixels, count, seed, any_brightness)
    brightness = Brightness.against(endmembers) if any_brightness else None
    seen = pixels if brightness is None else levelled(pixels, brightness.of(pixels))
    rows = bundles(seen, endmembers)
    network = idnet(pixels.shape[1], count, nonlinear=ablation.nonlinear, variability=ablation.variability,
                    seed=seed)  # fmt: skip
    settings = replace(
        IdNetSettings(), seed=seed, self_training=ablation.self_training, as_released=ablation.as_released,
        strongest=WEAKEST if any_brightness else None,
    )  # fmt: skip
    values = seen.astype(np.float32)
    fit_idnet(network, values, [values[own] for own in rows], settings, lambda _: None, lambda _: None)
    network.eval().requires_grad_(False)
    whole = AbundanceNetwork(network, brightness)
    parts = list(unmixed(whole, pixels.astype(np.float32), "cpu", lambda: None))
    shares = np.concatenate([part.shares for part in parts if part.shares is not None])
    return Found(
        np.concatenate([part.abundances for part in parts]),
        np.concatenate([part.endmembers for part in parts]).astype(np.float32),
        np.concatenate([part.error for part in parts]), shares[:, 0], time.perf_counter() - started,
        shares[:, 1],
    )  # fmt: skip


def scores(found: Found, truth: Truth) -> dict[str, float]:
    """RMSE_A, SAM (rad), RE and the AUC of nonlinearity, materials matched by spectral angle."""
    means = found.endmembers
    if means.ndim == 3:
        weights = (found.abundances >= _PRESENT).astype(float) + 1e-9
        means = np.einsum("nk,nkb->kb", weights, means) / weights.sum(0)[:, None]
    angles = angle(means[:, None], truth.spectra[None])
    own, true = linear_sum_assignment(angles)
    difference = found.abundances[:, own] - truth.abundances[:, true]
    values = {
        "RMSE_A": float(np.sqrt(np.square(difference).mean())),
        "SAM": float(angles[own, true].mean()),
        "RE": float(np.sqrt(np.square(found.error).mean())),
        "AUC": float("nan"),
        "s": found.seconds,
    }
    if truth.nonlinearity is not None:
        positive, negative = truth.nonlinearity > _NONLINEAR, truth.nonlinearity == 0
        if positive.any() and negative.any():
            known = positive | negative
            values["AUC"] = float(roc_auc_score(positive[known], found.signal[known]))
    return values


def angle(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spectral angles in radians along the last axis."""
    cosine = (first * second).sum(-1) / np.linalg.norm(first, axis=-1) / np.linalg.norm(second, axis=-1)
    return np.arccos(cosine.clip(-1, 1))


def two_strips(kind: str, decibels: float, seed: int) -> tuple[Mixed, np.ndarray]:
    """A scene of `mixed_pixels`, upper half linear, lower half of a kind; and its materials' spectra."""
    spectra = material_spectra(spectrometer()[0], MATERIALS)
    design = Design(spectra, (Mixing("linear"), Mixing(kind, STRENGTHS[kind])))
    return mixed_scene(design, SIZE, seed, decibels), spectra


def _truth(scene: Mixed, spectra: np.ndarray) -> Truth:
    return Truth(scene.abundances, spectra, scene.nonlinearity)


def table(seeds: Sequence[int]) -> None:
    """Both methods at two noise levels and three kinds of mixing."""
    _head("noise", "mixing of the lower half", "method")
    for decibels in NOISES_DB:
        for kind in KINDS:
            methods: dict[str, Callable[[np.ndarray, int], Found]] = {
                "fcls": lambda y, seed: by_fcls(y, MATERIALS, seed),
                "idnet": lambda y, seed: by_idnet(y, MATERIALS, seed),
            }
            for name, method in methods.items():
                rows = []
                for seed in seeds:
                    scene, spectra = two_strips(kind, decibels, seed)
                    rows.append(scores(method(scene.values, seed), _truth(scene, spectra)))
                _row([f"{decibels} dB", kind.replace("_", "-"), name], rows)


def ablation(seeds: Sequence[int]) -> None:
    """ID-Net without one of its parts, on bilinear mixtures at 30 dB."""
    _head("mixing of the lower half", "method")
    for kind in ("bilinear", "post_nonlinear"):
        for name, left in ABLATIONS.items():
            rows = []
            for seed in seeds:
                scene, spectra = two_strips(kind, 30, seed)
                rows.append(scores(by_idnet(scene.values, MATERIALS, seed, left), _truth(scene, spectra)))
            _row([kind.replace("_", "-"), name], rows)


def acceptance(seeds: Sequence[int]) -> None:
    """The bilinear scene of three Samson endmembers, 50 x 50 pixels at 30 dB."""
    spectra = loadmat(DATA / "unmixing_samson" / "E.mat")["E"].T
    _head("method")
    methods: dict[str, Callable[[np.ndarray, int], Found]] = {
        "fcls, true endmembers": lambda y, seed: by_fcls(y, 3, seed, spectra),
        "fcls, endmembers by VCA": lambda y, seed: by_fcls(y, 3, seed),
        "idnet": lambda y, seed: by_idnet(y, 3, seed),
    }
    for name, method in methods.items():
        rows = []
        for seed in seeds:
            scene = make_bilinear_scene(spectra, seed=seed)
            rows.append(scores(method(scene.values, seed), Truth(scene.abundances, spectra)))
        _row([name], rows)


def samson(seeds: Sequence[int]) -> None:
    """The Samson scene against the two truths at hand, each by its file's digest."""
    folder = DATA / "unmixing_samson"
    scene = loadmat(folder / "Samson.mat")
    pixels = scene["Y"].T  # a pixel's place is row + 95 column
    truths = {
        _digest(folder / "A_true.mat"): Truth(
            _by_column(loadmat(folder / "A_true.mat")["A_true"]), loadmat(folder / "E.mat")["E"].T
        ),
        _digest(folder / "Samson.mat"): Truth(_by_column(scene["S_GT"]), scene["GT"]),
    }
    _real(pixels, 3, truths, seeds)


def muufl(seeds: Sequence[int]) -> None:
    """The MUUFL scene."""
    path = DATA / "unmixing_muufl_lidar" / "muffle_dataset_130_90.mat"
    file = loadmat(path)
    truth = Truth(file["label"].reshape(-1, 5), file["M"].T)
    _real(file["Y"].reshape(-1, 64), 5, {_digest(path): truth}, seeds)


def _real(pixels: np.ndarray, count: int, truths: dict[str, Truth], seeds: Sequence[int]) -> None:
    methods: dict[str, Callable[[int], Found]] = {
        "fcls, endmembers by VCA": lambda seed: by_fcls(pixels, count, seed),
        "idnet": lambda seed: by_idnet(pixels, count, seed),
        "fcls, any brightness": lambda seed: by_fcls(pixels, count, seed, any_brightness=True),
        "idnet, any brightness": lambda seed: by_idnet(pixels, count, seed, any_brightness=True),
    }
    _head("method", "truth")
    for digest, truth in truths.items():
        given = by_fcls(pixels, count, 0, truth.spectra)
        _row(["fcls, endmembers of the truth", digest], [scores(given, truth)])
    for name, method in methods.items():
        results = [method(seed) for seed in seeds]
        for digest, truth in truths.items():
            _row([name, digest], [scores(found, truth) for found in results])
        for found in results:
            if found.d is not None:
                print(f"<!-- d {found.d.mean():.3f}, d_mix {found.signal.mean():.3f} -->", flush=True)


def _by_column(abundances: np.ndarray) -> np.ndarray:
    """Bring abundances (row, column, material) to the pixels' order, column by column."""
    return abundances.transpose(1, 0, 2).reshape(-1, abundances.shape[2])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def _head(*names: str) -> None:
    titles = [*names, "RMSE of abundances", "spectral angle", "reconstruction error", "AUC", "seconds"]
    print(f"\n| {' | '.join(titles)} |\n|{'---|' * len(titles)}", flush=True)


def _row(names: Iterable[str], rows: Sequence[dict[str, float]]) -> None:
    """Print means and standard deviations over the seeds."""
    cells = []
    for name in ("RMSE_A", "SAM", "RE", "AUC"):
        values = np.array([row[name] for row in rows])
        known = np.isfinite(values).all()
        cells.append(
            f"{values.mean():.3f} ± {values.std(ddof=1 if len(rows) > 1 else 0):.3f}" if known else "–"
        )
    cells.append(f"{np.mean([row['s'] for row in rows]):.1f}")
    print(f"| {' | '.join([*names, *cells])} |", flush=True)


PIECES = {"table": table, "ablation": ablation, "acceptance": acceptance, "samson": samson, "muufl": muufl}


def main(arguments: Sequence[str]) -> int:
    """Run the named pieces; `seeds=N` runs fewer or more seeds."""
    torch.set_num_threads(2)
    count = next((int(a.split("=")[1]) for a in arguments if a.startswith("seeds=")), _SEEDS)
    wanted = [a for a in arguments if "=" not in a] or list(PIECES)
    if unknown := [name for name in wanted if name not in PIECES]:
        print(f"There is no piece {', '.join(unknown)}; choose from {', '.join(PIECES)}.")
        return 1
    for name in wanted:
        print(f"\n{name}, {count} seed(s)", flush=True)
        PIECES[name](range(count))
    return 0
