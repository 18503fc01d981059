"""Attribution that divides every pixel's output exactly: among bands, rings and regions, tile by tile."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch

from explanation_layers.engine.jobs import AttributionJob
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.rasters.scene import open_scene
from explanation_layers.workflows import dense_worker
from explanation_layers.workflows.attribution import explain
from explanation_layers.workflows.canvas import read_canvas_tile
from explanation_layers.workflows.context import Context

DENSE = ("secant_contributions", "tangent_contributions", "band_shapley")


@pytest.fixture
def run(context, tmp_path):
    def run(scene: str, model: str, **options: object) -> tuple[np.ndarray, np.ndarray, dict]:
        paths = {name: str(tmp_path / f"{name}.tif") for name in ("attribution", "saliency")}
        job = AttributionJob(scene, model, **{"explainer": "secant_contributions", **paths, **options})
        value = explain(job, context)
        arrays = []
        for path in paths.values():
            with rasterio.open(path) as dataset:
                arrays.append(dataset.read())
        return arrays[0], arrays[1], value

    return run


@torch.no_grad()
def logits_of(scene: str, model: str) -> np.ndarray:
    """The U-Net's logits (class, y, x) of the scene in one piece, NaN without data."""
    loaded, opened = load_model(model, PIXEL_CLASSIFICATION), open_scene(scene)
    read = read_canvas_tile(opened, loaded.card, loaded.network, opened.grid.whole, loaded.spectra.mean)
    found = loaded.network.logits(read.values[None])[0, :, *read.inner].numpy()
    return np.where(read.valid, found, np.nan)


@pytest.mark.parametrize("explainer", DENSE)
@pytest.mark.parametrize("target", ["predicted", "class", "contrast"])
def test_bands_reference_and_padding_are_the_logit_at_every_pixel(run, street, unet, explainer, target):
    values, saliency, value = run(
        street, unet, explainer=explainer, target=target, class_name=None if target == "predicted" else "sky",
        contrast_class="tree" if target == "contrast" else None, samples=4,
    )  # fmt: skip
    logits = logits_of(street, unet)
    wanted = {
        "predicted": logits.max(0), "class": logits[1], "contrast": logits[1] - logits[2],
    }[target]  # fmt: skip
    whole = values.sum(0) + saliency[3] + saliency[4]
    np.testing.assert_allclose(whole, wanted, atol=2e-5)
    np.testing.assert_allclose(saliency[2], wanted - whole, atol=2e-5)
    assert np.isnan(values[:, :9, :12]).all() and np.isfinite(values[:, 9:, 12:]).all()
    assert value["numbers"]["MEAN_RESIDUAL"] < 1e-5
    error = value["record"]["mean_standard_error"]
    assert error is None if explainer != "band_shapley" else 0 <= error < 0.1
    assert np.nanmax(np.abs(values)) > 0.01


@pytest.mark.parametrize("explainer", DENSE[:2])
@pytest.mark.parametrize("side", [32, 128])
def test_tiles_give_what_one_piece_gives(run, monkeypatch, street, unet, explainer, side):
    whole = run(street, unet, explainer=explainer)
    monkeypatch.setattr(dense_worker, "canvas_side", lambda *_: side)
    parts = run(street, unet, explainer=explainer)
    for one, other in zip(whole[:2], parts[:2]):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_padding_is_what_comes_from_beyond_the_edge_and_from_nodata(run, street, unet):
    saliency = run(street, unet)[1]
    # 61 x 74 pixels are mirrored to 64 x 76: what is farther off than the reach, 24 pixels, has no padding.
    height, width = saliency.shape[1:]
    assert np.abs(saliency[4, height - 3 :, 30:]).max() > 1e-4
    # Nodata is filled with the mean, which is the baseline: it gives nothing.
    assert np.nanmax(np.abs(saliency[4, : height - 27, 12 : width - 26])) == 0


@pytest.mark.parametrize("explainer", DENSE[:2])
def test_rings_and_regions_are_other_parts_of_the_same(run, street, unet, street_labels, explainer):
    extent = [5e5 + 200, 5.8e6 - 320, 5e5 + 280, 5.8e6 - 250]
    options = {"explainer": explainer, "extent": extent, "region_raster": street_labels}
    found = {parts: run(street, unet, parts=parts, **options) for parts in ("bands", "rings", "regions")}
    for _, saliency, _ in found.values():
        np.testing.assert_allclose(saliency, np.concatenate([saliency[:1], found["bands"][1][1:]]), atol=2e-5)
    rings, regions = found["rings"], found["regions"]
    assert rings[0].shape[0] == 4 and regions[0].shape[0] == 4
    names = [row[2] for row in rings[2]["tables"]["BAND_TABLE"]["rows"][:4]]
    assert names == ["the pixel itself", "1 to 3 px", "4 to 10 px", "beyond 10 px"]
    names = [row[2] for row in regions[2]["tables"]["BAND_TABLE"]["rows"][:4]]
    assert names == ["road", "sky", "tree", "elsewhere"]


def test_regions_are_where_the_features_are(run, tmp_path, street, unet):
    """A region beyond the reach of a pixel gives it nothing; one that is the whole scene gives all."""

    def region(x: float, y: float, side: float, name: str) -> dict:
        ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
        return {
            "type": "Feature", "properties": {"class": name},
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        }  # fmt: skip

    path = tmp_path / "regions.geojson"
    features = [region(5e5, 5.8e6 - 610, 100, "far"), region(5e5 + 600, 5.8e6 - 140, 140, "near")]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    extent = [5e5 + 640, 5.8e6 - 100, 5e5 + 680, 5.8e6 - 60]
    values = run(street, unet, parts="regions", region_features=str(path), extent=extent)[0]
    assert np.abs(values[0]).max() == 0 and np.abs(values[1]).min() > 0


def test_the_brightness_is_a_band_of_its_own(run, street, save_unet):
    model = save_unet(normalisation="per_pixel", brightness=True, strength=0.5)
    values, saliency, value = run(street, model)
    assert values.shape[0] == 4 and np.nanmax(np.abs(values[3])) > 1e-3
    np.testing.assert_allclose(
        values.sum(0) + saliency[3] + saliency[4], logits_of(street, model).max(0), atol=2e-5
    )
    assert value["tables"]["BAND_TABLE"]["rows"][3][2] == "B4 logarithm of the brightness"


@pytest.mark.parametrize("explainer", DENSE)
@pytest.mark.parametrize("model", ["spectral_model", "hybrid_model"])
def test_classifiers_of_patches_are_explained_densely(run, request, demo, explainer, model):
    path, extent = request.getfixturevalue(model), None
    with rasterio.open(demo.raster) as dataset:
        left, top = dataset.transform.c, dataset.transform.f
        size = dataset.transform.a
    extent = [left, top - 12 * size, left + 12 * size, top]
    _, saliency, value = run(
        demo.raster, path, explainer=explainer, extent=extent, samples=2, baseline="mean"
    )
    assert value["numbers"]["MEAN_RESIDUAL"] < 1e-4
    assert np.abs(saliency[2]).max() < 1e-4 * np.abs(saliency[3] + saliency[1]).max()
    # Only patches reach beyond the scene's edge.
    assert (np.abs(saliency[4]).max() > 0) == (model == "hybrid_model")


def test_rings_of_patches_end_with_the_patch(run, demo, hybrid_model):
    with rasterio.open(demo.raster) as dataset:
        place, size = dataset.transform, dataset.transform.a
    extent = [place.c + 20 * size, place.f - 24 * size, place.c + 24 * size, place.f - 20 * size]
    values, saliency, _ = run(demo.raster, hybrid_model, parts="rings", ring_limits=(0, 2, 4), extent=extent)
    assert np.abs(values[3]).max() == 0 and np.abs(values[:3]).min() > 0
    bands = run(demo.raster, hybrid_model, extent=extent)[1]
    np.testing.assert_allclose(saliency[1], bands[1], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"parts": "layers"}, "There are no parts 'layers'"),
        ({"parts": "regions"}, "REGIONS"),
        ({"parts": "rings", "ring_limits": (3, 0)}, "do not rise"),
        ({"parts": "rings", "explainer": "band_shapley"}, "knows no rings as parts"),
        ({"explainer": "deeplift"}, "can't explain a segmentation network"),
        ({"explainer": "grad_cam"}, "secant_contributions"),
    ],
)
def test_what_can_not_be_is_said_before_any_work(run, tmp_path, street, unet, options, sentence):
    with pytest.raises(InputError, match=sentence):
        run(street, unet, **options)
    assert not list(tmp_path.iterdir())


def test_a_cancel_leaves_nothing(tmp_path, street, unet):
    context = Context("test", lambda message: None)
    job = AttributionJob(street, unet, explainer="band_shapley", samples=1000,
                         attribution=str(tmp_path / "a.tif"))  # fmt: skip
    seen = []

    def stop(message: dict) -> None:
        seen.append(message)
        if message["type"] == "progress" and message["text"].startswith("Explaining"):
            context.cancel()

    context._send = stop
    with pytest.raises(Cancelled):
        explain(replace(job), context)
    assert seen and not list(tmp_path.iterdir())
