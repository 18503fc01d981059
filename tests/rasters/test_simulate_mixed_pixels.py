"""The scene of mixed pixels: true to its truth file, and parts that add up."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from explanation_layers.rasters.errors import Cancelled
from explanation_layers.rasters.scene import open_scene
from explanation_layers.rasters.simulate import SCENE_KINDS
from explanation_layers.rasters.simulate_materials import MATERIALS, material_spectra
from explanation_layers.rasters.simulate_mixed_pixels import FILES, TILE
from explanation_layers.rasters.simulate_mixtures import (
    Design,
    Mixing,
    Mixtures,
    make_bilinear_scene,
    mixed_scene,
    nonlinear_part,
)
from explanation_layers.rasters.simulate_spectra import spectrometer

SIZE, SEED = 150, 5  # more than a tile, and not a multiple of it
WAVELENGTHS = spectrometer()[0]


def make(
    folder: Path, size: int = SIZE, seed: int = SEED, watch: Callable[[float], None] = lambda _: None
) -> dict[str, str]:
    return SCENE_KINDS["mixed_pixels"](str(folder), size, seed, "job", watch)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make(tmp_path_factory.mktemp("demo") / "mixed")


@pytest.fixture(scope="module")
def truth(files: dict[str, str]) -> dict:
    return json.loads(Path(files["truth"]).read_text(encoding="utf-8"))


def read(path: str) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


@pytest.mark.parametrize("count", [2, 4, len(MATERIALS)])
def test_spectra_are_reflectance_and_differ(count: int) -> None:
    spectra = material_spectra(WAVELENGTHS, count)
    assert spectra.shape == (count, len(WAVELENGTHS))
    assert spectra.min() > 0 and spectra.max() < 0.7
    assert np.linalg.matrix_rank(spectra, tol=0.05) == count


def test_abundances_sum_to_one_and_every_material_has_pure_pixels(files, truth) -> None:
    abundances = read(files["abundances"])
    assert abundances.min() >= 0
    assert np.abs(abundances.sum(axis=0) - 1).max() < 1e-6
    pure = (abundances > 0.999).sum(axis=(1, 2))
    assert pure.tolist() == [material["pure_pixels"] for material in truth["materials"]]
    assert pure.min() >= (SIZE // 16) ** 2
    # Mixed pixels are most of the scene, and materials lie in patches.
    assert (abundances.max(axis=0) < 0.9).mean() > 0.25
    assert np.corrcoef(abundances[0, :, 1:].ravel(), abundances[0, :, :-1].ravel())[0, 1] > 0.9


def test_strips_mix_as_the_truth_says(files, truth) -> None:
    mixing, nonlinearity = read(files["mixing"])[0], read(files["nonlinearity"])[0]
    assert np.bincount(mixing.ravel()).tolist() == [0, *[SIZE * SIZE // 3] * 3]
    assert [strip["mixing"] for strip in truth["strips"]] == ["linear", "bilinear", "post_nonlinear"]
    for number, strip in enumerate(truth["strips"], start=1):
        assert nonlinearity[mixing == number].mean() == pytest.approx(strip["mean_nonlinearity"], abs=1e-6)
    assert not nonlinearity[mixing == 1].any() and nonlinearity[mixing == 3].min() > 0
    # Light that meets one material alone meets no second one.
    pure = read(files["abundances"]).max(axis=0) > 1 - 1e-6
    assert not nonlinearity[(mixing == 2) & pure].any()


def test_pure_pixels_have_the_spectra_of_the_table(files, truth) -> None:
    with open(files["spectra"], encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    table = np.array(rows, float)
    assert header == ["wavelength_nm", *(material["name"] for material in truth["materials"])]
    assert table[:, 0] == pytest.approx(truth["wavelengths_nm"])
    scene = open_scene(files["raster"])
    assert scene.wavelengths_nm == pytest.approx(truth["wavelengths_nm"])
    values = scene.read(scene.grid.whole) / truth["scale"]
    abundances, linear = read(files["abundances"]), read(files["mixing"])[0] == 1
    for number, material in enumerate(truth["materials"], start=1):
        assert table[:, number] == pytest.approx(material["spectrum"], rel=1e-4)
        pure = values[:, (abundances[number - 1] > 0.999) & linear]
        # The brightness of a pure plot is that of its place: 8 % and more from the mean is no surprise.
        cosine = (
            pure.mean(1) @ table[:, number] / np.linalg.norm(pure.mean(1)) / np.linalg.norm(table[:, number])
        )
        assert np.arccos(cosine) < 0.05
        assert pure.mean() == pytest.approx(table[:, number].mean(), rel=0.25)


def test_parts_add_up_to_the_stored_values(files, truth) -> None:
    window = Window(TILE, TILE, 20, 22)
    simulation = Mixtures(Design(material_spectra(WAVELENGTHS, 4)), SIZE, SEED)
    whole = simulation.tile(Window(TILE, TILE, TILE, TILE))
    stored = read(files["raster"])[:, TILE : 2 * TILE, TILE : 2 * TILE].reshape(len(WAVELENGTHS), -1)
    assert np.abs(whole.values.T - stored / truth["scale"]).max() <= 0.5001 / truth["scale"]
    # Abundances have no random part of their own: any window gives the same.
    kept = whole.abundances.reshape(TILE, TILE, -1)[:22, :20].reshape(-1, 4)
    assert np.abs(simulation.abundances(window) - kept).max() < 1e-12


def test_spectra_vary_by_the_spreads_that_are_asked_for() -> None:
    spectra = material_spectra(WAVELENGTHS, 3)
    found = mixed_scene(Design(spectra, scale_spread=0.1, shape_spread=0), 96, 0)
    factors = np.log(found.endmembers / spectra)
    assert np.ptp(factors, axis=2).max() < 1e-6
    assert factors[:, :, 0].std(axis=0) == pytest.approx(0.1, rel=0.2)
    still = mixed_scene(Design(spectra, scale_spread=0, shape_spread=0), 32, 0)
    assert np.abs(still.endmembers - spectra).max() < 1e-12


def test_nonlinear_parts_are_those_of_their_formulas() -> None:
    rng = np.random.default_rng(0)
    endmembers, shares = rng.random((5, 3, 7)), rng.dirichlet(np.ones(3), 5)
    bilinear = sum(
        0.5 * shares[:, [i]] * shares[:, [j]] * endmembers[:, i] * endmembers[:, j]
        for i, j in ((0, 1), (0, 2), (1, 2))
    )
    assert np.abs(nonlinear_part(endmembers, shares, Mixing("bilinear", 0.5)) - bilinear).max() < 1e-12
    linear = (shares[:, :, None] * endmembers).sum(1)
    squares = nonlinear_part(endmembers, shares, Mixing("post_nonlinear", 0.3))
    assert np.abs(squares - 0.3 * linear**2).max() < 1e-12
    with pytest.raises(ValueError, match="no mixing 'cubic'"):
        nonlinear_part(endmembers, shares, Mixing("cubic"))


def test_noise_has_the_ratio_that_is_asked_for() -> None:
    for decibels in (20, 40):
        found = make_bilinear_scene(material_spectra(WAVELENGTHS, 3), 50, decibels, 1)
        power = np.mean((found.linear + found.nonlinear) ** 2) / np.mean(found.noise**2)
        assert 10 * np.log10(power) == pytest.approx(decibels, abs=0.1)
        assert found.values.shape == (2500, len(WAVELENGTHS))
        assert ((found.abundances > 0.999).sum(axis=0) > 40).all()


def test_a_scene_without_pure_pixels_can_be_made() -> None:
    found = mixed_scene(Design(material_spectra(WAVELENGTHS, 4), highest=0.8), 64, 0)
    assert found.abundances.max() == pytest.approx(0.8)
    assert np.abs(found.abundances.sum(axis=1) - 1).max() < 1e-12


def test_same_seed_same_bytes_another_seed_other_bytes(files, tmp_path: Path) -> None:
    again, other = make(tmp_path / "again"), make(tmp_path / "other", seed=6)
    for name in FILES:
        first = Path(files[name]).read_bytes()
        assert first == Path(again[name]).read_bytes()
        if name != "spectra" and name != "mixing":
            assert first != Path(other[name]).read_bytes()


def test_progress_and_cancel(tmp_path: Path) -> None:
    shares: list[float] = []

    def stop(share: float) -> None:
        shares.append(share)
        if share > 0.5:
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        make(tmp_path / "mixed", watch=stop)
    assert shares == sorted(shares)
    assert not (tmp_path / "mixed").exists()
