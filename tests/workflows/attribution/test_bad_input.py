"""What attribution can't do is refused in a sentence, and nothing is left or changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from explanation_layers.engine.jobs import AttributionJob
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model, save_model
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.scene import open_scene
from explanation_layers.rasters.writers import RasterWriter
from explanation_layers.workflows.attribution import explain

from .conftest import SIZE, extent_of, mask_of, quiet

BAD = [
    ({"explainer": "magic"}, "no explainer 'magic'; choose one of saliency"),
    ({"target": "best"}, "no target 'best'"),
    ({"target": "class"}, "needs a class; choose one of"),
    ({"target": "class", "class_name": "lava"}, "no class 'lava'"),
    ({"target": "class", "class_name": "7"}, "no class '7'"),
    ({"target": "contrast", "class_name": "1", "contrast_class": "1"}, "contrasted with itself"),
    ({"target": "contrast", "contrast_class": "lava"}, "no class 'lava'"),
    ({"baseline": "black"}, "no baseline 'black'"),
    ({"baseline": "class_mean"}, "needs a class"),
    ({"baseline": "class_mean", "baseline_class": "lava"}, "no class 'lava'"),
    ({"baseline": "spectrum"}, "needs a spectrum"),
    ({"baseline": "spectrum", "baseline_spectrum": [1.0, 2.0]}, "has 2 values; the scene has 42 bands"),
    ({"baseline": "spectrum", "baseline_spectrum": [float("nan")] * 42}, "not a number"),
    ({"extent": [0.0, 0.0, 10.0, 10.0]}, "extent"),
    ({"steps": -1}, "number of steps can't be -1"),
    ({"max_steps": 0}, "most steps can't be 0"),
    ({"samples": 0}, "number of samples can't be 0"),
    ({"occlusion_window": -1}, "occlusion window can't be -1"),
    ({"tolerance": 0.0}, "tolerance can't be 0"),
    ({"tolerance": float("nan")}, "tolerance can't be nan"),
    ({"scene": "/nowhere/scene.tif"}, "/nowhere/scene.tif"),
    ({"model": "/nowhere/model.safetensors"}, "no model file"),
    ({"saliency": "/nowhere/at/all/s.tif"}, "no folder"),
    ({"device": "abacus"}, "abacus"),
]


@pytest.fixture
def refused(site: SimpleNamespace, tmp_path: Path) -> Callable[[dict, str], None]:
    """Return a function that checks that a job is refused, and that nothing is left or changed."""

    def check(change: dict, sentence: str) -> None:
        paths = {key: str(tmp_path / f"{key}.tif") for key in ("attribution", "saliency")}
        (tmp_path / "attribution.tif").write_bytes(b"an earlier result")
        before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        job = replace(AttributionJob(site.scene, site.models["spectral_cnn"], **paths), **change)
        with pytest.raises(InputError, match=sentence):
            explain(job, quiet())
        assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
        assert (tmp_path / "attribution.tif").read_bytes() == b"an earlier result"

    return check


@pytest.mark.parametrize(("change", "sentence"), BAD, ids=lambda value: str(value)[:40])
def test_bad_values_are_refused_in_a_sentence(refused: Callable, change: dict, sentence: str) -> None:
    refused(change, sentence)


def test_a_mask_beside_the_extent_is_refused(site, refused: Callable, tmp_path: Path) -> None:
    mask = mask_of(tmp_path / "mask.geojson", extent_of(site, 2, 2, 3, 3))
    refused({"mask_features": mask, "extent": extent_of(site, 20, 20, 5, 5)}, "do not overlap")
    far = mask_of(tmp_path / "far.geojson", [0.0, 0.0, 10.0, 10.0])
    refused({"mask_features": far}, "lies outside the raster")


def test_a_window_without_data_is_refused(site, refused: Callable) -> None:
    refused({"extent": extent_of(site, SIZE - 2, SIZE - 2, 2, 2)}, "no pixel with data")


def test_models_that_do_not_fit_are_refused(site, refused: Callable, tmp_path: Path) -> None:
    model = load_model(site.models["spectral_cnn"], PIXEL_CLASSIFICATION)
    card = replace(model.card, task="change_detection")
    save_model(str(tmp_path / "other.safetensors"), model.network, model.spectra, card)
    refused({"model": str(tmp_path / "other.safetensors")}, "made for change detection")
    fewer = str(tmp_path / "fewer.tif")
    scene = open_scene(site.scene)
    with RasterWriter(fewer, scene.grid, 5, "int16", -32768, scene.bands[:5]) as writer:
        writer.write(scene.grid.whole, site.values[:5])
    refused({"scene": fewer}, "has 5 bands, the model was trained on 42")
    turned = str(tmp_path / "turned.tif")
    with RasterWriter(turned, scene.grid, site.bands, "int16", -32768, scene.bands[::-1]) as writer:
        writer.write(scene.grid.whole, site.values[::-1])
    refused({"scene": turned}, "order of the training raster")


def test_an_input_is_no_output(site, refused: Callable) -> None:
    before = Path(site.scene).read_bytes()
    refused({"saliency": site.scene}, "is an input of this job")
    assert Path(site.scene).read_bytes() == before


def test_a_failure_in_the_middle_leaves_nothing(site, refused: Callable, monkeypatch) -> None:
    def fail(*arguments: object) -> None:
        raise InputError("stopped in the middle")

    monkeypatch.setattr("explanation_layers.workflows.attribution.stage_records", fail)
    refused({"explainer": "saliency"}, "stopped in the middle")
