"""Classifying: what is written is what the network says of every pixel's patch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

from explanation_layers.engine.jobs import ClassifyJob
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import Model, load_model
from explanation_layers.workflows.classify import classify
from explanation_layers.workflows.context import Context

ONE_TILE, SMALL_TILES = 4096, 1  # megabytes: the scene is in one tile, in four


def read(path: str) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


def per_patch(scene: str, model: Model, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Return probabilities (class, n) of pixels, the patch around each evaluated by itself."""
    with rasterio.open(scene) as dataset:
        values = dataset.read().astype(np.float32)
        missing = (values == dataset.nodata).any(0)
    filled = np.where(missing, model.spectra.mean.numpy()[:, None, None], values)
    side = model.network.patch_size
    half = side // 2
    padded = np.pad(filled, ((0, 0), (half, half), (half, half)), mode="reflect")
    patches = [padded[:, row : row + side, col : col + side] for row, col in zip(rows, cols)]
    with torch.no_grad():
        return torch.cat([model.network(torch.from_numpy(p)[None]) for p in patches]).softmax(1)[..., 0, 0].T


@pytest.fixture(params=["spectral_model", "hybrid_model"])
def model_path(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(request.param)


def test_classes_and_probabilities_are_those_of_each_patch(demo, model_path, run_classify, tmp_path) -> None:
    result = run_classify(demo.raster, model_path, tmp_path, memory_mb=SMALL_TILES)
    model = load_model(model_path, PIXEL_CLASSIFICATION)
    with_data = np.argwhere(result.classes[0] > 0)
    rows, cols = with_data[np.random.default_rng(0).permutation(len(with_data))[:150]].T
    # The edges, where the scene is mirrored, and the seams between tiles.
    rows, cols = np.append(rows, [0, 0, 40, 31, 32, 32]), np.append(cols, [0, 55, 0, 31, 32, 3])
    expected = per_patch(demo.raster, model, rows, cols).numpy()
    np.testing.assert_allclose(result.probabilities[:, rows, cols], expected, atol=1e-5)
    np.testing.assert_allclose(result.confidence[0, rows, cols], expected.max(0), atol=1e-5)
    highest = np.sort(expected, axis=0)[-2:]
    clear = highest[1] - highest[0] > 1e-4
    assert clear.mean() > 0.9
    assert np.array_equal(result.classes[0, rows, cols][clear], expected.argmax(0)[clear] + 1)


def test_outputs_fit_together(demo, model_path, run_classify, tmp_path) -> None:
    result = run_classify(demo.raster, model_path, tmp_path)
    here = result.classes[0] > 0
    np.testing.assert_allclose(result.probabilities[:, here].sum(0), 1, atol=1e-5)
    assert np.array_equal(result.probabilities.argmax(0)[here] + 1, result.classes[0][here])
    assert np.array_equal(result.probabilities.max(0)[here], result.confidence[0][here])
    assert result.value["numbers"] == {"PIXELS": int(here.sum())}
    counts = np.bincount(result.classes[0][here], minlength=7)[1:]
    assert list(result.value["record"]["pixels"].values()) == counts.tolist()


def test_a_trained_network_finds_the_true_classes(demo, spectral_model, run_classify, tmp_path) -> None:
    result = run_classify(demo.raster, spectral_model, tmp_path)
    truth = read(demo.all_classes)
    assert (result.classes == truth)[truth > 0].mean() > 0.9


def test_tiles_leave_no_seams(demo, model_path, run_classify, tmp_path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "four").mkdir()
    one = run_classify(demo.raster, model_path, tmp_path / "one", memory_mb=ONE_TILE)
    four = run_classify(demo.raster, model_path, tmp_path / "four", memory_mb=SMALL_TILES)
    np.testing.assert_allclose(one.probabilities, four.probabilities, atol=1e-6)
    assert (one.classes == four.classes).mean() > 0.999
    assert np.array_equal(one.classes == 0, four.classes == 0)


def test_grid_names_colours_and_styles(demo, spectral_model, run_classify, tmp_path) -> None:
    paths = run_classify(demo.raster, spectral_model, tmp_path).paths
    card = load_model(spectral_model, PIXEL_CLASSIFICATION).card
    with rasterio.open(demo.raster) as scene:
        place = (scene.shape, scene.transform, scene.crs)
    for name, count, dtype in (
        ("classes", 1, "uint8"),
        ("confidence", 1, "float32"),
        ("probabilities", 6, "float32"),
    ):
        with rasterio.open(paths[name]) as dataset:
            assert (dataset.shape, dataset.transform, dataset.crs) == place
            assert (dataset.count, dataset.dtypes[0]) == (count, dtype)
            assert dataset.profile["tiled"] and dataset.compression is not None
            assert np.isnan(dataset.nodata) or (name == "classes" and dataset.nodata == 0)
            assert json.loads(dataset.tags()["EXPLANATION_LAYERS"])["model_digest"] == card.digest
        assert Path(paths[name]).with_suffix(".qml").read_text("utf-8").startswith("<qgis ")
    with rasterio.open(paths["classes"]) as dataset:
        colours = dataset.colormap(1)
    assert [colours[i + 1][:3] for i in range(6)] == [entry.rgb for entry in card.classes]
    names = Path(paths["classes"] + ".aux.xml").read_text("utf-8")
    style = Path(paths["classes"]).with_suffix(".qml").read_text("utf-8")
    for entry in card.classes:
        assert f"<Category>{entry.name}</Category>" in names
        assert f'label="{entry.name}"' in style and f'color="{entry.colour}"' in style
    with rasterio.open(paths["probabilities"]) as dataset:
        assert list(dataset.descriptions) == card.class_names


@pytest.mark.parametrize("offset", [0, 4])
def test_an_extent_gives_its_pixels_of_the_whole(demo, model_path, run_classify, tmp_path, offset) -> None:
    whole = run_classify(demo.raster, model_path, tmp_path)
    with rasterio.open(demo.raster) as scene:
        left, top = scene.transform * (10, 20)
        right, bottom = scene.transform * (30, 44)
        transform = scene.transform * Affine.translation(10, 20)
    # Less than a pixel off, an extent still takes in the pixels that it touches.
    extent = [left + offset, bottom + offset, right - offset, top - offset]
    (tmp_path / "part").mkdir()
    part = run_classify(demo.raster, model_path, tmp_path / "part", extent=extent)
    assert part.classes.shape == (1, 24, 20)
    np.testing.assert_allclose(part.probabilities, whole.probabilities[:, 20:44, 10:30], atol=1e-6)
    with rasterio.open(part.paths["classes"]) as dataset:
        assert dataset.transform == transform


def test_nodata_and_nan_stay_nodata(demo, spectral_model, run_classify, copy_raster, tmp_path) -> None:
    with rasterio.open(demo.raster) as dataset:
        values = dataset.read().astype(np.float32)
        missing = (values == dataset.nodata).any(0)
    values[3, 5, 5] = np.nan  # one band is enough
    values[:, 10, 10] = -32768
    values[7, 12, 12] = np.inf
    path = copy_raster(demo.raster, tmp_path / "holes.tif", values)
    result = run_classify(path, spectral_model, tmp_path)
    missing[[5, 10, 12], [5, 10, 12]] = True
    assert np.array_equal(result.classes[0] == 0, missing)
    assert np.array_equal(np.isnan(result.confidence[0]), missing)
    assert (np.isnan(result.probabilities) == missing).all()


def test_a_hole_changes_only_pixels_whose_patch_holds_it(
    demo, hybrid_model, run_classify, copy_raster, tmp_path
) -> None:
    with rasterio.open(demo.raster) as dataset:
        values = dataset.read()
    values[:, 20, 24] = -32768
    path = copy_raster(demo.raster, tmp_path / "hole.tif", values)
    (tmp_path / "whole").mkdir()
    whole = run_classify(demo.raster, hybrid_model, tmp_path / "whole").probabilities
    holed = run_classify(path, hybrid_model, tmp_path).probabilities
    same = np.isclose(whole, holed, atol=1e-6).all(0) | np.isnan(whole).any(0)
    changed = np.argwhere(~same)
    assert len(changed) > 20
    assert changed.min(0).tolist() >= [16, 20] and (changed.max(0) <= [24, 28]).all()


def test_a_neighbour_without_one_band_counts_as_the_mean_spectrum(
    demo, hybrid_model, run_classify, copy_raster, tmp_path
) -> None:
    with rasterio.open(demo.raster) as dataset:
        values = dataset.read()
    values[40, 20, 24] = -32768
    path = copy_raster(demo.raster, tmp_path / "hole.tif", values)
    result = run_classify(path, hybrid_model, tmp_path)
    rows, cols = np.array([20, 18, 24, 21]), np.array([25, 22, 28, 24])
    expected = per_patch(path, load_model(hybrid_model, PIXEL_CLASSIFICATION), rows, cols)
    np.testing.assert_allclose(result.probabilities[:, rows, cols], expected, atol=1e-5)


def test_a_scene_without_georeference_gives_maps_without_one(
    demo, spectral_model, run_classify, copy_raster, tmp_path
) -> None:
    path = copy_raster(demo.raster, tmp_path / "plain.tif", crs=None, transform=None)
    placed = run_classify(demo.raster, spectral_model, tmp_path)
    (tmp_path / "plain").mkdir()
    plain = run_classify(path, spectral_model, tmp_path / "plain")
    assert np.array_equal(placed.classes, plain.classes)
    with rasterio.open(plain.paths["classes"]) as dataset:
        assert dataset.crs is None and dataset.transform == Affine.identity()


def test_only_what_is_wanted_is_written(demo, spectral_model, context, tmp_path) -> None:
    job = ClassifyJob(demo.raster, spectral_model, confidence=str(tmp_path / "new" / "sure.tif"))
    value = classify(job, context)
    assert value["files"] == {"confidence": job.confidence}
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["sure.json", "sure.qml", "sure.tif"]


def test_equal_runs_give_equal_bytes(demo, model_path, run_classify, tmp_path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        run_classify(demo.raster, model_path, folder)
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir()) and len(names) == 10
    for name in names:
        if not name.endswith(".json"):
            assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_a_record_lies_beside_each_map(demo, spectral_model, run_classify, tmp_path) -> None:
    result = run_classify(demo.raster, spectral_model, tmp_path)
    record = json.loads((tmp_path / "classes.json").read_text("utf-8"))
    assert record == result.value["record"]
    assert record["job"]["scene"] == demo.raster and record["job"]["kind"] == "classify"
    assert record["model_digest"] == load_model(spectral_model, PIXEL_CLASSIFICATION).card.digest
    for name in ("confidence.json", "probabilities.json"):
        assert json.loads((tmp_path / name).read_text("utf-8")) == record


def test_progress_rises_to_the_end(demo, hybrid_model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("explanation_layers.workflows.context.PROGRESS_INTERVAL", 0.0)
    messages: list[dict] = []
    job = ClassifyJob(demo.raster, hybrid_model, classes=str(tmp_path / "c.tif"), memory_mb=SMALL_TILES)
    classify(job, Context("1", messages.append))
    fractions = [message["fraction"] for message in messages if message["type"] == "progress"]
    assert fractions == [0.0, 0.25, 0.5, 0.75, 1.0]
