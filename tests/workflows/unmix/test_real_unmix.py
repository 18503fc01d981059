"""Real scenes unmixed with defaults: Samson against the truth that FCLS made, and MUUFL."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat
from scipy.optimize import linear_sum_assignment

pytestmark = pytest.mark.slow

A_TRUE, SAMSON = "7025b448", "49530e80"  # the first digits of their files' SHA-256


def matched(found, truth: np.ndarray, spectra: np.ndarray) -> float:
    """Return the RMSE of abundances (material, y, x), materials matched by their spectra's angles."""
    means = np.array([row["mean"] for row in found.rows]).reshape(len(spectra), -1)
    cosine = means @ spectra.T / np.linalg.norm(means, axis=1)[:, None] / np.linalg.norm(spectra, axis=1)
    own, true = linear_sum_assignment(-cosine)
    return float(np.sqrt(np.square(found.abundances[own] - truth[true]).mean()))


@pytest.fixture(scope="module")
def samson(shared, write_raster, tmp_path_factory) -> tuple[str, np.ndarray, np.ndarray]:
    """The raster, true abundances (material, y, x) of `A_true.mat`, and its endmembers (material, band)."""
    folder = shared / "data" / "unmixing_samson"
    assert hashlib.sha256((folder / "A_true.mat").read_bytes()).hexdigest().startswith(A_TRUE)
    # A pixel's place is row + 95 column, as MATLAB counts.
    values = loadmat(folder / "Samson.mat")["Y"].reshape(156, 95, 95).transpose(0, 2, 1)
    path = tmp_path_factory.mktemp("samson") / "samson.tif"
    raster = write_raster(path, values, wavelengths=np.linspace(401, 889, 156))
    truth = loadmat(folder / "A_true.mat")["A_true"].transpose(2, 0, 1)
    return raster, truth, loadmat(folder / "E.mat")["E"].T


@pytest.mark.parametrize("method", ["fcls", "idnet"])
def test_samson_of_any_brightness_against_the_truth_by_scaled_least_squares(run, shared, samson, method):
    """The authors' program, untuned, had 0.181 there."""
    path = shared / "data" / "unmixing_samson" / "Samson.mat"
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(SAMSON)
    file = loadmat(path)
    found = run(samson[0], method=method, endmembers=3, any_brightness=True)
    error = matched(found, file["S_GT"].transpose(2, 0, 1), file["GT"])
    print(f"{method}: {error:.4f}, {found.result['warnings']}")
    assert error < 0.17


def test_samson_by_fcls_is_its_truth_within_seconds(run, samson):
    raster, truth, spectra = samson
    started = time.monotonic()
    found = run(raster, method="fcls", endmembers=3)
    seconds = time.monotonic() - started
    error = matched(found, truth, spectra)
    print(f"fcls: {error:.4f} in {seconds:.1f} s, {found.result['warnings']}")
    assert error < 0.01 and seconds < 10
    # The same spectra give the truth itself.
    lines = ["band,water,soil,tree"] + [
        ",".join([str(band), *(f"{value:.8g}" for value in row)]) for band, row in enumerate(spectra.T, 1)
    ]
    table = Path(found.folder) / "spectra.csv"
    table.write_text("\n".join(lines) + "\n")
    given = run(raster, "given", method="fcls", spectra=str(table))
    assert np.sqrt(np.square(given.abundances - truth).mean()) < 0.002


def test_samson_by_idnet(run, samson):
    raster, truth, spectra = samson
    started = time.monotonic()
    found = run(raster, method="idnet", endmembers=3)
    seconds = time.monotonic() - started
    error = matched(found, truth, spectra)
    print(f"idnet: {error:.4f} in {seconds:.1f} s, {found.result['warnings']}")
    assert error < 0.03 and seconds < 300
    assert found.result["numbers"]["MEAN_RECONSTRUCTION_ERROR"] < 0.02
    assert found.result["record"]["endmembers_shown"] == 3


@pytest.mark.parametrize(("method", "most"), [("fcls", 0.3), ("idnet", 0.3)])
def test_muufl(run, shared, write_raster, tmp_path, method, most):
    file = loadmat(shared / "data" / "unmixing_muufl_lidar" / "muffle_dataset_130_90.mat")
    raster = write_raster(tmp_path / "muufl.tif", file["Y"].transpose(2, 0, 1))
    found = run(raster, method=method, endmembers=5)
    error = matched(found, file["label"].transpose(2, 0, 1), file["M"].T)
    print(f"{method}: {error:.4f}, {found.result['numbers']}, {found.result['warnings']}")
    assert error < most
    assert found.reconstruction_error.mean() < 0.03
