"""Chips of a folder are explained each, and on one map where they lie on one grid."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from explanation_layers.engine.client import EngineError
from explanation_layers.engine.jobs import AttributionJob
from explanation_layers.explainers.registry import CHIP_EXPLAINERS
from explanation_layers.rasters.errors import InputError
from explanation_layers.workflows.attribution import explain

from .conftest import PLACES, SIDE, of_chip, read


def test_a_folder_of_placed_chips_gives_chips_and_one_map(
    folder_of_chips, chip_model, radar, run, tmp_path
) -> None:
    patches, out = folder_of_chips(PLACES), tmp_path / "out"
    made = run(tmp_path, patches=patches, explainer="input_x_gradient", chip_folder=str(out), merge="uniform")
    values = read(radar)
    total, weight = np.zeros((2, 53, 70)), np.zeros((53, 70))
    for chip, (name, (row, col)) in zip(made.chips, PLACES.items()):
        # The middle 16 x 16 of 20 x 18.
        row, col = row + 1, col + 2
        place = (slice(row, row + SIDE), slice(col, col + SIDE))
        expected = of_chip(chip_model, values[:, *place], "input_x_gradient").values
        with rasterio.open(out / f"{name}.tif") as dataset:
            np.testing.assert_allclose(dataset.read(), expected, atol=1e-5)
            assert dataset.transform == Affine(10, 0, 5e5 + 10 * col, 0, -10, 5.8e6 - 10 * row)
            assert dataset.descriptions == ("B1 VV", "B2 VH") and dataset.crs.to_epsg() == 32633
        assert (out / f"{name}.qml").exists()
        total[:, *place] += expected
        weight[place] += 1
        assert (chip["chip"], chip["row"], chip["col"]) == (f"{name}.tif", 1, 2)
        assert chip["class"] == name.split("/")[0]
        assert (chip["x"], chip["y"]) == (5e5 + 10 * (col + 8), 5.8e6 - 10 * (row + 8))
    with np.errstate(invalid="ignore"):
        merged = (total / weight)[:, 21:50, 7:54]
    np.testing.assert_allclose(made.attribution, merged, atol=1e-5)
    with rasterio.open(made.job.saliency) as dataset:
        assert dataset.transform == Affine(10, 0, 5e5 + 70, 0, -10, 5.8e6 - 210)
    assert sorted(made.value["files"]) == ["attribution", "chip_folder", "saliency"]
    assert (tmp_path / "out.json").exists()
    assert not list(tmp_path.rglob(".part*"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"georeference": False}, "because not all chips are georeferenced."),
        ({"places": {"a": (20, 30), "b": (24.5, 36)}}, "because the pixels of the chips do not lie on one"),
        ({"places": {"a": (20, 30), "b": (24, 9_000_000)}}, "because the rectangle around the chips has"),
    ],
)
def test_chips_without_a_common_map_are_said_to_have_none(
    radar, run, tmp_path, folder_of_chips, options, reason
) -> None:
    places = options.get("places", PLACES)
    patches = folder_of_chips(dict.fromkeys(places, (20, 30)), georeference=options.get("georeference", True))
    for name, (row, col) in places.items():
        if options.get("georeference", True):
            with rasterio.open(Path(patches) / f"{name}.tif", "r+") as dataset:
                dataset.transform = Affine(10, 0, 5e5 + 10 * col, 0, -10, 5.8e6 - 10 * row)
    made = run(tmp_path, patches=patches, explainer="grad_cam", chip_folder=str(tmp_path / "out"))
    assert list(made.value["files"]) == ["chip_folder"] and reason in made.warnings[0]
    assert not (tmp_path / "attribution.tif").exists()
    assert len(made.chips) == len(places)
    for name in places:
        found = read(str(tmp_path / "out" / f"{name}.tif"))
        assert found.shape == (1, SIDE, SIDE) and (found >= 0).all()


def test_chips_without_data(folder_of_chips, chip_model, context) -> None:
    patches = folder_of_chips(PLACES)
    path = os.path.join(patches, "town", "a.tif")
    for name in PLACES:
        path = os.path.join(patches, f"{name}.tif")
        with rasterio.open(path, "r+") as dataset:
            dataset.write(np.full((2, 18, 20), np.nan, np.float32))
        job = AttributionJob(None, chip_model, patches=patches, explainer="saliency")
        if name == "town/a":
            with pytest.raises(InputError, match=r"No chip in .*patches has data on half of its pixels"):
                explain(job, context)
        else:
            value = explain(job, context)
            assert any("chips have no data on more than half" in text for text in value["warnings"])
            context.warnings.clear()


def test_constant_chips_have_finite_maps(folder_of_chips, chip_model, run, tmp_path) -> None:
    patches = folder_of_chips({"a": (20, 30)})
    with rasterio.open(os.path.join(patches, "a.tif"), "r+") as dataset:
        dataset.write(np.full((2, 18, 20), -9, np.float32))
    for name in CHIP_EXPLAINERS:
        made = run(tmp_path, patches=patches, explainer=name, baseline="chip_mean")
        assert np.isfinite(made.attribution).all(), name


def test_a_cancel_leaves_nothing_and_the_next_job_works(engine, folder_of_chips, chip_model, tmp_path):
    patches, out = folder_of_chips({f"town/{n}": (n, 3 * n) for n in range(16)}), tmp_path / "out"
    (out / "town").mkdir(parents=True)
    (out / "town" / "1.tif").write_bytes(b"an earlier map")
    job = AttributionJob(None, chip_model, patches=patches, chip_folder=str(out), steps=400)
    began: list[float] = []

    def at_work(fraction: float, text: str, seconds_left: float | None) -> None:
        if text.startswith("Explaining") and not began:
            began.append(time.monotonic())

    with pytest.raises(EngineError) as caught:
        engine.run(job, on_progress=at_work, is_cancelled=lambda: bool(began))
    assert caught.value.kind == "cancelled" and time.monotonic() - began[0] < 2
    left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if "patches" not in path.parts]
    assert sorted(left) == ["out", "out/town", "out/town/1.tif"]
    assert (out / "town" / "1.tif").read_bytes() == b"an earlier map"
    assert engine.run(replace(job, explainer="saliency"))["numbers"]["CHIPS"] == 16
    assert len(list(out.rglob("*.tif"))) == 16 and (tmp_path / "out.json").exists()
