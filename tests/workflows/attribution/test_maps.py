"""What the rasters of attribution hold: whole maps, their residual, extents, masks, tiles without seams."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio

from explanation_layers.explainers.registry import PIXEL_EXPLAINERS
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.rasters.scene import open_scene

from .conftest import HOLE, UNREAD, extent_of, logits_at, mask_of, records, same


@pytest.mark.parametrize("name", PIXEL_EXPLAINERS)
def test_every_explainer_writes_whole_maps_of_a_spectral_network(site, run, name: str) -> None:
    made = run(explainer=name, extent=extent_of(site, 0, 0, 16, 12))
    check_maps(site, made, name)


@pytest.mark.parametrize("name", PIXEL_EXPLAINERS)
def test_every_explainer_writes_whole_maps_of_a_patch_network(site, run, name: str) -> None:
    made = run(explainer=name, architecture="hybrid_cnn", extent=extent_of(site, 4, 4, 8, 5))
    check_maps(site, made, name)


def check_maps(site: SimpleNamespace, made: SimpleNamespace, name: str) -> None:
    read = np.delete(made.attribution, UNREAD, axis=0)
    assert np.isnan(made.attribution[UNREAD]).all()
    col, row = (round(v) for v in ~site.grid.transform * (made.job.extent[0], made.job.extent[3]))
    empty = np.zeros(read.shape[1:], bool)
    empty[HOLE[0] - row, HOLE[1] - col] = True
    assert np.array_equal(np.isnan(read), np.broadcast_to(empty, read.shape))
    assert made.result["numbers"]["PIXELS"] == (~empty).sum()
    total, signed, residual, *reference_and_padding = made.saliency
    assert len(reference_and_padding) == 2 * PIXEL_EXPLAINERS[name].exact
    assert all(np.array_equal(np.isnan(each), empty) for each in reference_and_padding)
    assert same(total, np.abs(read).sum(0)) and same(signed, read.sum(0))
    if not PIXEL_EXPLAINERS[name].contributions:
        assert np.isnan(residual).all()
        assert made.result["numbers"]["MEAN_RESIDUAL"] is None
        assert any("not contributions" in text for text in made.result["warnings"])
    else:
        assert np.array_equal(np.isnan(residual), empty)
        assert made.result["numbers"]["MEAN_RESIDUAL"] >= 0
    assert made.result["record"]["job"]["explainer"] == name


@pytest.mark.parametrize("architecture", ["spectral_cnn", "hybrid_cnn"])
@pytest.mark.parametrize("name", ["integrated_gradients", "input_x_gradient", "band_ablation"])
def test_the_residual_is_what_the_attributions_leave_of_the_output_difference(
    site, run, architecture: str, name: str
) -> None:
    made = run(explainer=name, architecture=architecture, extent=extent_of(site, 20, 16, 7, 5), steps=3)
    logits = logits_at(site, architecture)[:, 16:21, 20:27]
    model = load_model(site.models[architecture], PIXEL_CLASSIFICATION)
    side = model.network.patch_size
    mean = model.spectra.mean[None, :, None, None].expand(-1, -1, side, side)
    baseline = model.network(mean).flatten().numpy()
    predicted = logits.argmax(0)
    before = 0 if name == "input_x_gradient" else baseline[predicted]
    difference = np.take_along_axis(logits, predicted[None], 0)[0] - before
    expected = difference - np.nansum(made.attribution, axis=0)
    assert np.abs(made.saliency[2] - expected).max() <= 1e-4 * np.abs(difference).max()
    mean_residual = np.abs(expected).sum() / np.abs(difference).sum()
    assert made.result["numbers"]["MEAN_RESIDUAL"] == pytest.approx(mean_residual, rel=1e-3, abs=1e-5)


def test_the_refined_residual_is_under_a_hundredth(site, run) -> None:
    made = run(extent=extent_of(site, 16, 16, 12, 12))
    assert made.result["numbers"]["MEAN_RESIDUAL"] < 0.01
    assert made.result["numbers"]["UNSETTLED"] == 0
    assert made.result["warnings"] == []


def test_the_attribution_raster_says_what_its_bands_are(site, run) -> None:
    made = run(explainer="input_x_gradient", extent=extent_of(site, 5, 7, 9, 6))
    scene, written = open_scene(site.scene), open_scene(made.job.attribution)
    assert written.wavelengths_nm == pytest.approx(scene.wavelengths_nm)
    with rasterio.open(made.job.attribution) as dataset:
        assert all(dataset.descriptions)
        assert json.loads(dataset.tags()["EXPLANATION_LAYERS"])["job"]["explainer"] == "input_x_gradient"
        assert dataset.dtypes == ("float32",) * site.bands and np.isnan(dataset.nodata)
    with rasterio.open(made.job.saliency) as dataset:
        assert dataset.descriptions == ("total absolute", "signed sum", "residual")
    for path in (made.job.attribution, made.job.saliency):
        assert Path(path).with_suffix(".qml").exists() and Path(path).with_suffix(".json").exists()


@pytest.mark.parametrize("architecture", ["spectral_cnn", "hybrid_cnn"])
def test_an_extent_gives_its_pixels_of_the_whole(site, run, architecture: str) -> None:
    large = run("large", architecture, explainer="deeplift", extent=extent_of(site, 8, 8, 14, 10))
    small = run("small", architecture, explainer="deeplift", extent=extent_of(site, 12, 10, 6, 5))
    assert same(small.attribution, large.attribution[:, 2:7, 4:10])
    assert same(small.saliency, large.saliency[:, 2:7, 4:10])
    transform = small.profile["attribution"]["transform"]
    assert transform.almost_equals(site.grid.transform * site.grid.transform.translation(12, 10))
    assert small.profile["attribution"]["crs"] == rasterio.open(site.scene).crs


def test_an_extent_within_pixels_is_taken_outward(site, run) -> None:
    left, bottom, right, top = extent_of(site, 10, 10, 5, 4)
    made = run(explainer="saliency", extent=[left + 1, bottom + 1, right - 1, top - 1])
    assert made.attribution.shape[1:] == (4, 5)


def test_outside_the_mask_is_nodata_and_inside_as_without_it(site, run, tmp_path: Path) -> None:
    inside = mask_of(tmp_path / "mask.geojson", extent_of(site, 12, 10, 6, 5))
    extent = extent_of(site, 8, 8, 14, 5)
    plain = run("plain", explainer="deeplift", extent=extent)
    masked = run("masked", explainer="deeplift", extent=extent, mask_features=inside)
    # The raster covers what mask and extent have in common.
    assert masked.attribution.shape[1:] == (3, 6)
    assert same(masked.attribution, plain.attribution[:, 2:5, 4:10])
    assert masked.result["numbers"]["PIXELS"] == 18


@pytest.mark.parametrize("name", PIXEL_EXPLAINERS)
def test_a_mask_with_a_hole_leaves_the_hole_out(site, run, tmp_path: Path, name: str) -> None:
    path = Path(mask_of(tmp_path / "mask.geojson", extent_of(site, 12, 10, 6, 5)))
    document = json.loads(path.read_text())
    left, bottom, right, top = extent_of(site, 14, 11, 2, 2)
    ring = [[left, bottom], [left, top], [right, top], [right, bottom], [left, bottom]]
    document["features"][0]["geometry"]["coordinates"].append(ring)
    path.write_text(json.dumps(document))
    made = run(explainer=name, mask_features=str(path))
    empty = np.zeros((5, 6), bool)
    empty[1:3, 2:4] = True
    assert np.array_equal(np.isnan(made.attribution[0]), empty)


@pytest.mark.parametrize("name", ["integrated_gradients", "deeplift", "saliency", "occlusion"])
def test_a_tile_without_data_is_left_out(site, run, tmp_path: Path, name: str) -> None:
    path = tmp_path / "mask.geojson"
    features = []
    for corner in ((0, 0), (40, 0), (0, 36)):
        mask_of(path, extent_of(site, *corner, 4, 2))
        features += json.loads(path.read_text())["features"]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    # Four tiles of 32 pixels, of which the last holds nothing of the mask.
    made = run(explainer=name, mask_features=str(path), memory_mb=1)
    assert made.result["numbers"]["PIXELS"] == 24


def test_nodata_stays_nodata(site, run) -> None:
    made = run(explainer="saliency")
    empty = (np.delete(site.values, UNREAD, axis=0) == -32768).any(0)
    assert empty.sum() > 10
    assert np.array_equal(np.isnan(made.attribution[0]), empty)
    assert np.array_equal(np.isnan(made.saliency[0]), empty)


@pytest.mark.parametrize("name", PIXEL_EXPLAINERS)
@pytest.mark.parametrize("architecture", ["spectral_cnn", "hybrid_cnn"])
def test_tiles_leave_no_seams(site, run, architecture: str, name: str) -> None:
    # Tiles of 32 pixels: the seam runs down these windows, or across.
    extent = extent_of(site, 2, 3, *((3, 37) if architecture == "hybrid_cnn" else (37, 5)))
    options = {"explainer": name, "architecture": architecture, "extent": extent, "samples": 3}
    one = run("one", **options)
    tiles = run("tiles", **options, memory_mb=1)
    assert same(tiles.attribution, one.attribution)
    assert same(tiles.saliency[:2], one.saliency[:2])
    assert len(tiles.result["tables"]["BAND_TABLE"]["rows"]) == len(
        one.result["tables"]["BAND_TABLE"]["rows"]
    )
    for ours, theirs in zip(*(records(made.result["tables"]["BAND_TABLE"]) for made in (tiles, one))):
        assert ours["pixels"] == theirs["pixels"]
        assert ours["mean"] == pytest.approx(theirs["mean"], rel=1e-4, abs=1e-4 * theirs["mean_absolute"])


def test_equal_runs_give_equal_bytes(site, run) -> None:
    options = {"explainer": "gradient_shap", "extent": extent_of(site, 8, 8, 10, 10)}
    first = run(**options)
    files = [Path(path) for path in first.job.output_paths()]
    files += [path.with_suffix(".qml") for path in files]
    before = [path.read_bytes() for path in files]
    again = run(**options)
    assert [path.read_bytes() for path in files] == before
    assert again.result["tables"] == first.result["tables"]


def test_pixels_that_did_not_settle_are_counted_and_warned_of(site, run) -> None:
    made = run(extent=extent_of(site, 14, 14, 8, 6), max_steps=2, tolerance=1e-6)
    count = made.result["numbers"]["UNSETTLED"]
    assert 0 < count <= 48
    assert any(text.startswith(f"{count} of 48 pixels had not settled") for text in made.result["warnings"])
    assert made.result["record"]["unsettled"] == count
    assert made.result["record"]["warnings"] == made.result["warnings"]


def test_residuals_above_the_tolerance_are_counted_and_warned_of(site, run) -> None:
    made = run(explainer="input_x_gradient", extent=extent_of(site, 14, 14, 8, 6))
    assert any("residual is above 0.01" in text for text in made.result["warnings"])
