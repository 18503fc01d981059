"""The job unmix: abundances of closed forms, parts that add up, tiles without seams, models used again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from scipy.optimize import minimize

from explanation_layers.engine.unmix_jobs import UnmixJob
from explanation_layers.models.card import UNMIXING
from explanation_layers.models.files import load_model
from explanation_layers.rasters.simulate_materials import MATERIALS

WAVELENGTHS = np.linspace(450, 2350, 39)  # nm, of all scenes
NAMES = [material.name for material in MATERIALS]
RASTERS = ("abundances", "endmember_spread", "nonlinearity", "uncertainty", "reconstruction_error", "parts")
BRIEF = {"method": "idnet", "epochs": 2}


def read_bands(path: str) -> list[str]:
    with rasterio.open(path) as dataset:
        return list(dataset.descriptions)


def truth_of(scene, size: int) -> np.ndarray:
    """True abundances (material, y, x)."""
    return scene.truth.abundances.T.reshape(-1, size, size)


def test_fcls_with_the_true_spectra_gives_the_true_abundances(run, linear):
    found = run(linear.raster, method="fcls", spectra=linear.spectra)
    assert np.abs(found.abundances - truth_of(linear, 40)).max() < 2e-4
    assert np.abs(found.abundances.sum(0) - 1).max() < 1e-6
    assert found.reconstruction_error.max() < 1e-5
    assert read_bands(found.paths["abundances"]) == NAMES[:3]
    assert found.result["numbers"]["MATERIALS"] == 3 and found.result["numbers"]["PIXELS"] == 1600
    assert set(found.result["files"]) == {"abundances", "reconstruction_error", "parts", "model"}
    assert any("METHOD fcls does not give ENDMEMBER_SPREAD" in text for text in found.result["warnings"])


def test_fcls_is_the_constrained_minimum_of_each_pixel(run, bilinear):
    found = run(bilinear.raster, method="fcls", spectra=bilinear.spectra)
    with rasterio.open(bilinear.raster) as dataset:
        pixels = dataset.read().astype(float) / 10_000
    spectra = bilinear.design.spectra
    for row, col in ((3, 5), (20, 20), (41, 9)):
        best = minimize(
            lambda a, pixel: np.square(pixel - a @ spectra).sum(), np.full(3, 1 / 3), pixels[:, row, col],
            bounds=[(0, 1)] * 3, constraints={"type": "eq", "fun": lambda a: a.sum() - 1},
            options={"ftol": 1e-14},
        )  # fmt: skip
        assert found.abundances[:, row, col] == pytest.approx(best.x, abs=1e-3)


def test_endmembers_that_are_found_are_those_of_the_pure_pixels(run, linear):
    found = run(linear.raster, method="fcls", endmembers=3)
    spectra = np.array([row["mean"] for row in found.rows]).reshape(3, -1)
    order = np.argsort(-linear.design.spectra.mean(1))  # brightest first
    assert np.abs(spectra - linear.design.spectra[order]).max() < 1e-5
    assert [row["material"] for row in found.rows[:: len(WAVELENGTHS)]] == [
        f"material {n}" for n in (1, 2, 3)
    ]
    assert np.abs(found.abundances - truth_of(linear, 40)[order]).max() < 1e-3
    # Spectra that are the same at all pixels have no spread.
    assert all(row["p5"] == row["p95"] == row["mean"] == row["model"] for row in found.rows)
    assert found.rows[1]["wavelength_nm"] == pytest.approx(WAVELENGTHS[1])
    present = (found.abundances >= 0.1).sum((1, 2))
    assert [row["pixels"] for row in found.rows[:: len(WAVELENGTHS)]] == present.tolist()


def test_the_number_of_endmembers_is_that_which_the_scene_shows(run, make, tmp_path):
    for count in (2, 4):
        scene = make(tmp_path, count=count, noise=0.002, name=f"scene{count}")
        found = run(scene.raster, f"out{count}", method="fcls")
        assert found.result["numbers"]["MATERIALS"] == count
        assert not [text for text in found.result["warnings"] if "ENDMEMBERS" in text]


@pytest.mark.parametrize(("count", "sentence"), [(2, "may be too few"), (6, "may be too many")])
def test_another_number_warns(run, make, tmp_path, count, sentence):
    scene = make(tmp_path, count=4, noise=0.002)
    found = run(scene.raster, method="fcls", endmembers=count)
    assert any(f"ENDMEMBERS is {count}, and the scene shows 4" in text and sentence in text
               for text in found.result["warnings"])  # fmt: skip


def test_idnet_gives_all_outputs_in_their_limits(run, bilinear):
    found = run(bilinear.raster, endmembers=3, **BRIEF)
    assert np.abs(found.abundances.sum(0) - 1).max() < 1e-6 and found.abundances.min() >= 0
    assert found.nonlinearity.shape[0] == 2
    assert found.nonlinearity.min() >= 0 and found.nonlinearity.max() <= 1
    assert (found.uncertainty > 0).all() and found.uncertainty.max() < 0.5
    assert (found.endmember_spread >= 0).all() and found.endmember_spread.max() > 0
    numbers = found.result["numbers"]
    assert numbers["MEAN_NONLINEARITY"] == pytest.approx(found.nonlinearity[0].mean(), rel=1e-5)
    assert numbers["MEAN_RECONSTRUCTION_ERROR"] == pytest.approx(found.reconstruction_error.mean(), rel=1e-5)
    assert all(row["p5"] <= row["mean"] <= row["p95"] for row in found.rows)
    history = load_model(found.paths["model"], UNMIXING).card.training["history"]
    assert [epoch["number"] for epoch in history] == [1, 2]
    for kind in RASTERS:
        assert Path(found.paths[kind]).with_suffix(".qml").exists()
        assert Path(found.paths[kind]).with_suffix(".json").exists()


@pytest.mark.parametrize("method", ["fcls", "idnet"])
def test_parts_add_up_to_the_reflectance(run, bilinear, method):
    options = {**BRIEF, "method": method, "endmembers": 3}
    found = run(bilinear.raster, **options)
    with rasterio.open(bilinear.raster) as dataset:
        pixels = dataset.read().astype(float) / 10_000
    assert np.abs(found.parts.sum(0) - pixels.mean(0)).max() < 1e-6
    names = read_bands(found.paths["parts"])
    middle = ["mean of nonlinear", "mean of clipped"] if method == "idnet" else []
    assert names == [*(f"mean of material {n}" for n in (1, 2, 3)), *middle, "mean of residual"]
    whole = run(bilinear.raster, "bands", **options, parts_of="bands")
    each = whole.parts.reshape(len(names), len(WAVELENGTHS), *pixels.shape[1:])
    assert np.abs(each.sum(0) - pixels).max() < 1e-6
    assert np.abs(each.mean(1) - found.parts).max() < 1e-6
    # What the residual leaves is the error.
    error = np.sqrt(np.square(each[-1]).mean(0))
    assert np.abs(error - whole.reconstruction_error[0]).max() < 1e-6
    assert read_bands(whole.paths["parts"])[1] == "material 1 B2 500 nm"


@pytest.mark.parametrize("method", ["fcls", "idnet"])
def test_tiles_change_nothing(run, bilinear, method, monkeypatch):
    first = run(bilinear.raster, **{**BRIEF, "method": method, "endmembers": 3})
    options = {"method": method, "trained_model": first.paths["model"], "model": None}
    monkeypatch.setattr("explanation_layers.workflows.unmix.tile_side", lambda *_: 32)
    again = run(bilinear.raster, "tiles", **options)
    for kind in first.result["files"]:
        if kind != "model":
            assert np.abs(getattr(again, kind) - getattr(first, kind)).max() < 1e-5, kind
    for one, other in zip(first.rows, again.rows):
        assert one["mean"] == pytest.approx(other["mean"], abs=1e-5)
        assert one["pixels"] == pytest.approx(other["pixels"], abs=2)


@pytest.mark.parametrize("method", ["fcls", "idnet"])
def test_a_saved_model_unmixes_the_same_scene_alike_and_another_one_of_the_sensor(
    run, make, bilinear, tmp_path, method
):
    first = run(bilinear.raster, **{**BRIEF, "method": method, "endmembers": 3})
    trained = {"method": method, "trained_model": first.paths["model"], "model": None}
    again = run(bilinear.raster, "again", **trained)
    for kind in first.result["files"]:
        if kind != "model":
            assert np.array_equal(getattr(again, kind), getattr(first, kind)), kind
    other = make(tmp_path, 36, seed=9, mixing="bilinear", noise=0.003, varying=True,
                 scale=10_000, dtype="int16", name="other")  # fmt: skip
    found = run(other.raster, "other", **trained)
    assert found.abundances.shape == (3, 36, 36) and "model" not in found.result["files"]
    order = np.argsort(-other.design.spectra.mean(1))
    truth = truth_of(other, 36)[order]
    assert np.sqrt(np.square(found.abundances - truth).mean()) < 0.15
    assert found.result["record"]["model_digest"] == load_model(first.paths["model"], UNMIXING).card.digest


def test_same_seed_same_data(run, bilinear):
    options = {**BRIEF, "endmembers": 3, "seed": 4}
    first, again = run(bilinear.raster, "a", **options), run(bilinear.raster, "b", **options)
    for kind in RASTERS:
        assert np.array_equal(getattr(first, kind), getattr(again, kind)), kind
    assert first.rows == again.rows


@pytest.mark.parametrize(
    ("factor", "dtype"), [(100, "float32"), (10_000, "int16"), (60_000, "uint16"), (255, "uint8")]
)
def test_stored_values_are_scaled_by_the_rule(run, write_raster, linear, tmp_path, factor, dtype):
    reference = run(linear.raster, "one", method="fcls", spectra=linear.spectra)
    divisor = {"float32": 100, "int16": 10_000, "uint16": 65_535, "uint8": 255}[dtype]
    values = linear.truth.values.T.reshape(-1, 40, 40)
    nodata = {"float32": float("nan"), "int16": -32768}.get(dtype, 0)
    stored = np.rint(divisor * values) if dtype != "float32" else divisor * values
    raster = write_raster(tmp_path / "scaled.tif", stored.clip(1 if nodata == 0 else None), dtype, nodata,
                          WAVELENGTHS)  # fmt: skip
    found = run(raster, "scaled", method="fcls", spectra=linear.spectra)
    assert found.result["record"]["scale"] == divisor
    tolerance = 0.03 if dtype == "uint8" else 1e-3
    assert np.abs(found.abundances - reference.abundances).max() < tolerance
    given = run(raster, "given", method="fcls", spectra=linear.spectra, scale=float(divisor))
    assert np.array_equal(given.abundances, found.abundances)


def test_the_table_of_a_run_serves_as_spectra(run, linear, tmp_path):
    first = run(linear.raster, method="fcls", endmembers=3)
    columns = list(first.rows[0])
    text = "\n".join(",".join(str(row[name]) for name in columns) for row in first.rows)
    (tmp_path / "table.csv").write_text(",".join(columns) + "\n" + text + "\n")
    again = run(linear.raster, "again", method="fcls", spectra=str(tmp_path / "table.csv"))
    assert np.abs(again.abundances - first.abundances).max() < 1e-5
    assert read_bands(again.paths["abundances"]) == ["material 1", "material 2", "material 3"]


def test_spectra_by_band_serve_scenes_without_wavelengths(run, write_raster, linear, tmp_path):
    raster = write_raster(tmp_path / "bare.tif", linear.truth.values.T.reshape(-1, 40, 40))
    found = run(raster, method="fcls", spectra=linear.spectra)
    assert np.abs(found.abundances - truth_of(linear, 40)).max() < 2e-4
    assert found.rows[0]["wavelength_nm"] is None


def test_several_spectra_of_a_material_are_its_bundle(run, bilinear, tmp_path):
    rng = np.random.default_rng(0)
    lines = ["material," + ",".join(f"{w:g}" for w in WAVELENGTHS)]
    for name, spectrum in zip(NAMES, bilinear.design.spectra):
        for factor in rng.uniform(0.9, 1.1, 12):
            lines.append(name + "," + ",".join(f"{v:.6f}" for v in factor * spectrum))
    (tmp_path / "library.csv").write_text("\n".join(lines) + "\n")
    found = run(bilinear.raster, **BRIEF, spectra=str(tmp_path / "library.csv"))
    assert read_bands(found.paths["abundances"]) == NAMES[:3]
    assert np.abs(found.abundances.sum(0) - 1).max() < 1e-6


def test_pixels_without_data_stay_without(run, write_raster, linear, tmp_path):
    values = linear.truth.values.T.reshape(-1, 40, 40).copy()
    values[:, 5:9, 5:9] = np.nan
    values[7, 20, 20] = np.nan
    raster = write_raster(tmp_path / "gaps.tif", values, wavelengths=WAVELENGTHS)
    found = run(raster, method="fcls", spectra=linear.spectra)
    missing = np.isnan(found.abundances).all(0)
    assert missing.sum() == 17 and missing[5:9, 5:9].all() and missing[20, 20]
    assert found.result["numbers"]["PIXELS"] == 1600 - 17
    for kind in ("reconstruction_error", "parts"):
        assert np.array_equal(np.isnan(getattr(found, kind)).all(0), missing)


def test_bands_that_say_nothing_are_left_out_and_named(run, write_raster, linear, tmp_path):
    values = linear.truth.values.T.reshape(-1, 40, 40).copy()
    values[4] = 0.25
    values[6] = np.nan
    raster = write_raster(tmp_path / "bands.tif", values, wavelengths=WAVELENGTHS)
    found = run(raster, method="fcls", spectra=linear.spectra)
    texts = [text for text in found.result["warnings"] if "left out" in text]
    assert any("is constant: B5 650 nm" in text for text in texts)
    assert any("has no data at half of the pixels or more: B7 750 nm" in text for text in texts)
    assert np.abs(found.abundances - truth_of(linear, 40)).max() < 2e-4
    assert [row["band"] for row in found.rows[:6]] == [1, 2, 3, 4, 6, 8]
    # The model expects them again, and reads them as little.
    again = run(raster, "again", method="fcls", trained_model=found.paths["model"], model=None)
    assert np.array_equal(again.abundances, found.abundances)


def test_negative_values_are_unmixed_and_said(run, write_raster, linear, tmp_path):
    shifted = linear.truth.values.T.reshape(-1, 40, 40) - 0.1
    raster = write_raster(tmp_path / "dark.tif", shifted, wavelengths=WAVELENGTHS)
    found = run(raster, method="fcls", endmembers=3)
    assert any("of the values are negative" in text for text in found.result["warnings"])
    order = np.argsort(-linear.design.spectra.mean(1))
    # A shift of everything changes no abundance: endmembers shift alike.
    assert np.abs(found.abundances - truth_of(linear, 40)[order]).max() < 1e-3


def test_an_extent_is_learnt_from_and_unmixed_alone(run, linear):
    found = run(linear.raster, method="fcls", spectra=linear.spectra,
                extent=[3e5 + 300, 5.8e6 - 600, 3e5 + 900, 5.8e6 - 300])  # fmt: skip
    assert found.abundances.shape == (3, 10, 20)
    assert np.abs(found.abundances - truth_of(linear, 40)[:, 10:20, 10:30]).max() < 2e-4


def test_pixels_that_no_mixture_explains_are_counted(run, write_raster, linear, tmp_path):
    values = linear.truth.values.T.reshape(-1, 40, 40).copy()
    values += 1e-3 * np.random.default_rng(0).standard_normal(values.shape)
    values[::2, :10] = 0.9 - values[::2, :10]
    raster = write_raster(tmp_path / "strange.tif", values, wavelengths=WAVELENGTHS)
    model = run(linear.raster, "train", method="fcls", spectra=linear.spectra).paths["model"]
    found = run(raster, method="fcls", trained_model=model, model=None)
    assert found.result["numbers"]["OUTSIDE_SHARE"] > 0.1
    assert any("are outside of what the model explains" in text for text in found.result["warnings"])


def test_the_job_travels_as_plain_values():
    job = UnmixJob("scene.tif", extent=[0, 0, 1, 1], abundances="a.tif")
    assert replace(job) == job and job.to_dict()["kind"] == "unmix"
    assert job.output_paths() == ["a.tif"]
