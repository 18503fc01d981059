"""Fully constrained least squares against the libraries that have it, in one run, as ratios.

scipy's NNLS, pixel by pixel, with a row of ones of weight 1e4, as unmixing is usually written with it; and
pysptools' `FCLS` (cvxopt), where both are installed: `pip install pysptools cvxopt`. NNLS gets the pixels
and endmembers turned into as few rows as there are endmembers, which is best for it. On Samson with its
reference endmembers, and on pixels of ten drawn materials. Errors are the largest differences from the lowest
squared error that any of them found, over the pixel's energy.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.optimize import nnls

from ..models.fcls import fcls

# Pixels that pysptools is run for: it takes some milliseconds each.
_FEW = 500
_WEIGHT = 1e4


def main(source: Path) -> None:
    """Race, and print Markdown; without the scene, of drawn materials only."""
    print("| scene | pixels, bands, materials | program | µs a pixel | times ours | error over the best |")
    print("|---|---|---|---|---|---|")
    if source.is_dir():
        _race("Samson", _read(source / "Samson.mat", "Y"), _read(source / "E.mat", "E"))
    _race("drawn", *_drawn(20_000, 200, 10))


def _read(path: Path, name: str) -> np.ndarray:
    """Rows of spectra, as plain numbers: cvxopt refuses arrays whose type names a byte order."""
    return np.ascontiguousarray(loadmat(path)[name].T).view(np.float64)


def _race(name: str, pixels: np.ndarray, endmembers: np.ndarray) -> None:
    rivals: dict[str, tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], int]] = {
        "ours": (fcls, len(pixels)),
        "scipy NNLS": (_by_nnls, len(pixels)),
    }
    try:
        module = importlib.import_module("pysptools.abundance_maps.amaps")
        importlib.import_module("cvxopt")
        rivals["pysptools FCLS"] = (lambda y, m: module.FCLS(y, m), _FEW)
    except ImportError:
        pass
    few = pixels[:: max(1, len(pixels) // _FEW)][:_FEW]
    found = {rival: run(few, endmembers) for rival, (run, _) in rivals.items()}
    errors = {rival: ((a @ endmembers - few) ** 2).sum(1) for rival, a in found.items()}
    valid = [errors[rival] for rival, a in found.items() if np.abs(a.sum(1) - 1).max() < 1e-6]
    best, energy = np.min(valid, axis=0), (few**2).sum(1).clip(1e-12)
    seconds = {rival: _seconds(run, pixels[:count], endmembers) for rival, (run, count) in rivals.items()}
    size = f"{len(pixels)}, {pixels.shape[1]}, {len(endmembers)}"
    for rival, each in seconds.items():
        more = float(((errors[rival] - best) / energy).max())
        print(
            f"| {name} | {size} | {rival} | {1e6 * each:.2f} | {each / seconds['ours']:.1f} | {more:.0e} |",
            flush=True,
        )


def _seconds(run: Callable[[np.ndarray, np.ndarray], np.ndarray], pixels: np.ndarray, m: np.ndarray) -> float:
    """Return the least seconds a pixel of three runs."""
    found = []
    for _ in range(3):
        start = time.perf_counter()
        run(pixels, m)
        found.append((time.perf_counter() - start) / len(pixels))
    return min(found)


def _by_nnls(pixels: np.ndarray, endmembers: np.ndarray) -> np.ndarray:
    turned, corner = np.linalg.qr(endmembers.T)
    system = np.vstack([corner, np.full((1, len(endmembers)), _WEIGHT)])
    rows = np.column_stack([pixels @ turned, np.full(len(pixels), _WEIGHT)])
    found = np.stack([nnls(system, row)[0] for row in rows])
    return found / found.sum(1, keepdims=True)


def _drawn(count: int, bands: int, materials: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    endmembers = 0.4 + 0.02 * np.cumsum(generator.standard_normal((materials, bands)), 1)
    shares = generator.dirichlet(np.full(materials, 0.5), count)
    return shares @ endmembers + 0.01 * generator.standard_normal((count, bands)), endmembers
