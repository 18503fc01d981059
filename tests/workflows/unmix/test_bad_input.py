"""What unmix says of what can't be unmixed: a sentence, and nothing left behind."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from explanation_layers.engine.client import Engine, EngineError
from explanation_layers.engine.unmix_jobs import UnmixJob
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.scene import open_scene
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.unmix import unmix

WAVELENGTHS = np.linspace(450, 2350, 39)  # nm, of all scenes


def refused(scene: str, folder: Path, sentence: str, **options: object) -> None:
    """Check that a job is refused with a sentence, and that nothing is left of it."""
    job = UnmixJob(scene, abundances=str(folder / "out" / "a.tif"), **options)
    with pytest.raises(InputError, match=sentence):
        unmix(job, Context("test", lambda message: None))
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"method": "nmf"}, "no method 'nmf'; choose one of fcls, idnet"),
        ({"endmembers": 1}, r"can't be 1 endmember\(s\); choose 2 or more, or 0"),
        ({"endmembers": -2}, r"can't be -2 endmember\(s\)"),
        ({"endmembers": 40}, "40 endmembers can't be told apart in 39 bands"),
        ({"scale": -1.0}, "scale can't be -1"),
        ({"epochs": 0}, "number of epochs can't be 0"),
        ({"sample": 0}, "sample can't be 0"),
        ({"seed": -1}, "seed can't be -1"),
        ({"parts_of": "pixels"}, "Parts can't be of 'pixels'"),
        ({"extent": [0, 0, 1, 1]}, "lies outside the raster"),
        ({"spectra": "/nowhere/spectra.csv"}, "/nowhere/spectra.csv can't be read as text"),
        ({"trained_model": "/nowhere/m.safetensors"}, "no model file /nowhere/m.safetensors"),
        (
            {"endmembers": 3, "sample": 40, "method": "idnet"},
            "40 pixels with data are too few to train on, 60",
        ),
    ],
)
def test_values_that_can_not_be_are_said(linear, tmp_path, options, sentence):
    refused(linear.raster, tmp_path, sentence, **{"method": "fcls", **options})


def test_spectra_of_other_wavelengths_are_refused(linear, tmp_path):
    table = tmp_path / "visible.csv"
    table.write_text("wavelength_nm,a,b\n" + "".join(f"{w},0.1,0.3\n" for w in range(400, 1010, 10)))
    refused(linear.raster, tmp_path, r"cover 400 to 1000 nm, .* has 27 band\(s\) outside of that \(1050 nm",
            method="fcls", spectra=str(table))  # fmt: skip


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        ("band,a,b\n1,0.1,0.2\n2,0.1,0.3\n", {}, "has 2 values per spectrum, .* has 39 bands"),
        ("material,400,2400\na,0.1,0.2\n", {}, r"is 1 material\(s\) to unmix; give two or more"),
        (
            "material,400,2400\na,0.1,0.2\nb,0.3,0.2\n",
            {"endmembers": 3},
            "has 2 materials and ENDMEMBERS is 3",
        ),
        ("material,400,2400\na,1e9,2e9\nb,3,2\n", {}, "has values up to .* which no usual scale makes"),
    ],
)
def test_tables_that_do_not_fit_are_refused(linear, tmp_path, text, options, sentence):
    if "material" in text and "no usual" not in sentence:
        # A value every 50 nm: a gap of more than 100 nm is refused before.
        _, *rows = text.strip().split("\n")
        grid = ",".join(str(w) for w in range(400, 2450, 50))
        text = "\n".join([f"material,{grid}", *(row.split(",")[0] + ",0.2" * 41 for row in rows)]) + "\n"
    table = tmp_path / "table.csv"
    table.write_text(text)
    refused(linear.raster, tmp_path, sentence, method="fcls", spectra=str(table), **options)


def test_a_scene_of_one_pixel(run, write_raster, linear, tmp_path):
    values = linear.truth.values.T.reshape(-1, 40, 40)[:, :1, :1]
    raster = write_raster(tmp_path / "one.tif", values, wavelengths=WAVELENGTHS)
    refused(raster, tmp_path, r"has 1 pixel\(s\) with data to find 3 endmembers", method="fcls", endmembers=3)
    refused(raster, tmp_path, r"has 1 pixel\(s\) with data to find 2 endmembers", method="fcls")
    # With a model it is a pixel as any other.
    found = run(raster, method="fcls", trained_model=_trained(run, linear), model=None)
    assert found.abundances[:, 0, 0] == pytest.approx(linear.truth.abundances[0], abs=1e-3)


def _trained(run, linear) -> str:
    return run(linear.raster, "train", method="fcls", spectra=linear.spectra).paths["model"]


def test_scenes_without_data_or_change_are_refused(write_raster, tmp_path):
    empty = write_raster(tmp_path / "empty.tif", np.full((5, 8, 8), np.nan))
    refused(empty, tmp_path, "holds no pixel with data", method="fcls")
    flat = write_raster(tmp_path / "flat.tif", np.full((5, 8, 8), 0.3))
    refused(flat, tmp_path, "No band of .* varies and has data", method="fcls")
    apart = np.random.default_rng(0).random((4, 8, 8))
    apart[:2, :, 4:] = apart[2:, :, :4] = np.nan
    never = write_raster(tmp_path / "never.tif", apart)
    refused(never, tmp_path, "No pixel of .* has data in all of its 4 usable bands", method="fcls")


def test_values_of_no_scale_need_one(run, write_raster, linear, tmp_path):
    values = 1e7 * linear.truth.values.T.reshape(-1, 40, 40)
    raster = write_raster(tmp_path / "radiance.tif", values, wavelengths=WAVELENGTHS)
    refused(raster, tmp_path, "which no usual scale makes reflectance; give SCALE", method="fcls")
    found = run(raster, method="fcls", spectra=linear.spectra, scale=1e7)
    assert np.abs(found.abundances - linear.truth.abundances.T.reshape(-1, 40, 40)).max() < 1e-3


def test_models_that_do_not_fit_are_refused(run, write_raster, linear, tmp_path):
    model = _trained(run, linear)
    refused(linear.raster, tmp_path, "unmixes by fcls, and METHOD is idnet; choose METHOD fcls",
            method="idnet", trained_model=model)  # fmt: skip
    scene = open_scene(linear.raster)
    other = write_raster(tmp_path / "less.tif", scene.read(scene.grid.whole)[:20])
    refused(other, tmp_path, "has 20 bands, the model was trained on 39", method="fcls", trained_model=model)


def test_outputs_that_are_inputs_are_refused(linear, tmp_path):
    job = UnmixJob(linear.raster, method="fcls", abundances=linear.raster)
    with pytest.raises(InputError, match="is an input of this job"):
        unmix(job, Context("test", lambda message: None))


def test_cancel_stops_training_within_two_seconds_and_leaves_nothing(bilinear, tmp_path):
    engine = Engine(sys.executable)
    reached: list[float] = []

    def at_work(fraction: float, text: str, seconds_left: float | None) -> None:
        if text.startswith("Training"):
            reached.append(time.monotonic())

    job = UnmixJob(
        bilinear.raster, endmembers=3, epochs=2000, abundances=str(tmp_path / "a.tif"),
        model=str(tmp_path / "m.safetensors"),
    )  # fmt: skip
    try:
        with pytest.raises(EngineError) as caught:
            engine.run(job, on_progress=at_work, is_cancelled=lambda: bool(reached))
        assert time.monotonic() - reached[-1] < 2
        assert caught.value.kind == "cancelled"
        assert os.listdir(tmp_path) == []
    finally:
        engine.stop()
