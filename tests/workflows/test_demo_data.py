"""The job demo_data: results, progress, cancel, and sentences for what can't be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from explanation_layers.engine.jobs import DemoDataJob
from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.demo_data import simulate


@pytest.fixture
def job(tmp_path: Path) -> DemoDataJob:
    return DemoDataJob(scene_kind="hyperspectral", folder=str(tmp_path / "demo"), size=32, seed=3)


def test_result_names_the_files(job: DemoDataJob) -> None:
    messages: list[dict] = []
    result = simulate(job, Context("1", messages.append))
    assert set(result) == {"files", "tables", "numbers", "strings", "warnings", "record"}
    assert set(result["files"]) == {"folder", "raster", "labels", "label_raster", "truth"}
    assert all(Path(path).exists() for path in result["files"].values())
    assert set(result["strings"]) == {"RASTER", "LABELS", "LABEL_RASTER", "TRUTH"}
    assert messages[-1]["type"] == "progress" and messages[-1]["fraction"] == 1


def test_result_names_the_folders_of_chips(job: DemoDataJob) -> None:
    result = simulate(replace(job, scene_kind="sar_scenes", size=64), Context("1", lambda message: None))
    strings = result["strings"]
    assert set(strings) == {
        "RASTER", "LABELS", "LABEL_RASTER", "TRUTH", "EVIDENCE", "PATCHES", "TEST_PATCHES", "MASKS",
    }  # fmt: skip
    for name in ("PATCHES", "TEST_PATCHES", "MASKS"):
        assert (Path(strings[name]) / "bright_line" / "000.tif").exists()


def test_result_names_both_streets(job: DemoDataJob) -> None:
    result = simulate(replace(job, scene_kind="segmentation", size=64), Context("1", lambda message: None))
    assert set(result["strings"]) == {
        "RASTER", "LABEL_RASTER", "STRATA", "TEST_RASTER", "TEST_LABEL_RASTER", "TEST_STRATA", "TRUTH",
    }  # fmt: skip
    assert all(Path(path).exists() for path in result["files"].values())


def test_result_names_both_sensors(job: DemoDataJob) -> None:
    result = simulate(replace(job, scene_kind="dual_sensor", size=64), Context("1", lambda message: None))
    assert set(result["strings"]) == {"RASTER", "VNIR", "SWIR", "LABELS", "LABEL_RASTER", "TRUTH"}
    assert all(Path(path).exists() for path in result["files"].values())


def test_result_names_the_series(job: DemoDataJob) -> None:
    result = simulate(replace(job, scene_kind="sar_series"), Context("1", lambda message: None))
    assert set(result["strings"]) == {"RASTER", "LABELS", "LABEL_RASTER", "TRUTH"}
    assert all(Path(path).exists() for path in result["files"].values())


def test_result_names_the_truth_of_mixed_pixels(job: DemoDataJob) -> None:
    result = simulate(replace(job, scene_kind="mixed_pixels"), Context("1", lambda message: None))
    assert set(result["strings"]) == {"RASTER", "ABUNDANCES", "NONLINEARITY", "MIXING", "SPECTRA", "TRUTH"}
    assert all(Path(path).exists() for path in result["files"].values())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"scene_kind": "lidar"}, "no scene 'lidar'; choose one of hyperspectral"),
        ({"scene_kind": "sar_scenes"}, "32 pixels can't hold a chip of 64"),
        ({"scene_kind": "segmentation"}, "street of 32 pixels is too small"),
        ({"size": 31}, "31 pixels wide; choose a size from 32"),
        ({"size": 100000}, "choose a size from 32 to 4096"),
        ({"seed": -1}, "seed can't be -1"),
    ],
)
def test_bad_values_are_refused_in_a_sentence(job: DemoDataJob, change: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        simulate(replace(job, **change), Context("1", lambda message: None))
    assert not Path(job.folder).exists()


def test_cancel_leaves_nothing(job: DemoDataJob) -> None:
    context = Context("1", lambda message: None)
    context.cancel()
    with pytest.raises(Cancelled):
        simulate(job, context)
    assert not Path(job.folder).exists()
