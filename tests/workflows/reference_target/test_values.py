"""The target `reference`: at each pixel the logit of the class that a reference names there."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.workflows import attribution, dense_worker

from .conftest import RASTERS, picked, rectangle, same, write_features


@pytest.mark.parametrize(
    ("architecture", "explainer"),
    [
        ("spectral", "integrated_gradients"), ("spectral", "deeplift"), ("spectral", "occlusion"),
        ("spectral", "input_x_gradient"), ("hybrid", "integrated_gradients"), ("hybrid", "deeplift"),
        ("hybrid", "secant_contributions"), ("hybrid", "tangent_contributions"),
    ],
)  # fmt: skip
def test_each_pixel_gets_what_the_class_that_is_named_there_gets(
    run, site, spectral_model, hybrid_model, architecture, explainer
):
    model = spectral_model if architecture == "spectral" else hybrid_model
    options = {"explainer": explainer, "extent": site.extent, "steps": 8, "occlusion_bands": 20}
    named = site.classes[site.inside] - 1
    found = run(site.scene, model, target="reference", reference_raster=site.reference, **options)
    assert {-1, 0, 1, 2, 3, 4, 5} == set(np.unique(named))
    for key, values in picked(run, site.scene, model, named, **options).items():
        assert same(vars(found)[key], values), key
    assert found.numbers["PIXELS"] == (named >= 0).sum()
    assert np.isnan(found.attribution[:, named < 0]).all()


def test_steps_that_are_chosen_leave_it_within_the_tolerance(run, site, hybrid_model):
    options = {"extent": site.extent, "tolerance": 0.01}
    found = run(site.scene, hybrid_model, target="reference", reference_raster=site.reference, **options)
    named = site.classes[site.inside] - 1
    wanted = picked(run, site.scene, hybrid_model, named, **options)["attribution"]
    sizes = np.nansum(np.abs(wanted), 0)
    off = np.nansum(np.abs(found.attribution - wanted), 0)[named >= 0]
    assert np.array_equal(np.isnan(found.attribution), np.isnan(wanted))
    assert (off <= 0.03 * sizes[named >= 0]).mean() > 0.95 and off.sum() < 0.01 * sizes.sum()


def test_the_part_of_the_continuum_is_that_of_the_class_too(run, site, spectral_model):
    options = {"extent": site.extent, "baseline": "continuum", "rasters": RASTERS, "steps": 8}
    found = run(site.scene, spectral_model, target="reference", reference_raster=site.reference, **options)
    wanted = picked(run, site.scene, spectral_model, site.classes[site.inside] - 1, **options)
    assert set(wanted) == set(RASTERS)
    for key, values in wanted.items():
        assert same(vars(found)[key], values), key


@pytest.mark.parametrize("explainer", ["secant_contributions", "band_shapley", "input_x_gradient"])
def test_of_a_u_net(run, street, unet, street_labels, explainer):
    with rasterio.open(street_labels) as dataset:
        named = dataset.read(1).astype(int) - 1
    options = {"explainer": explainer, "samples": 2}
    found = run(street, unet, target="reference", reference_raster=street_labels, **options)
    named[:9, :12] = -1  # no data there
    for key, values in picked(run, street, unet, named, **options).items():
        assert same(vars(found)[key], values), key


@pytest.mark.parametrize("parts", ["rings", "regions"])
def test_other_parts_of_a_u_net(run, street, unet, street_labels, parts):
    options = {
        "explainer": "secant_contributions", "parts": parts, "region_raster": street_labels,
        "extent": [5e5 + 200, 5.8e6 - 320, 5e5 + 280, 5.8e6 - 250],
    }  # fmt: skip
    found = run(street, unet, target="reference", reference_raster=street_labels, **options)
    with rasterio.open(street_labels) as dataset:
        named = dataset.read(1, window=Window(20, 25, 8, 7)).astype(int) - 1
    wanted = picked(run, street, unet, named, **options)
    assert same(found.attribution, wanted["attribution"]) and same(found.saliency, wanted["saliency"])


@pytest.mark.parametrize("kind", ["patches", "unet"])
def test_tiles_give_what_one_piece_gives(
    run, monkeypatch, site, hybrid_model, street, unet, street_labels, kind
):
    scene, model, reference = site.scene, hybrid_model, site.reference
    if kind == "unet":
        scene, model, reference = street, unet, street_labels
    options = {"explainer": "secant_contributions", "target": "reference", "reference_raster": reference}
    whole = run(scene, model, **options)
    monkeypatch.setattr(attribution, "tile_side", lambda *_: 16)
    monkeypatch.setattr(dense_worker, "tile_side", lambda *_: 16)
    monkeypatch.setattr(dense_worker, "canvas_side", lambda *_: 32)
    parts = run(scene, model, **options)
    assert same(parts.attribution, whole.attribution) and same(parts.saliency, whole.saliency)
    assert parts.numbers["PIXELS"] == whole.numbers["PIXELS"]


def test_tiles_of_which_the_reference_says_nothing_are_not_worked_on(
    run, monkeypatch, tmp_path, site, spectral_model
):
    monkeypatch.setattr(attribution, "tile_side", lambda *_: 16)
    worked, worker = [], attribution.AttributionWorker
    explain_tile = worker.explain

    def noted(self, tile):
        worked.append((tile.col_off, tile.row_off))
        return explain_tile(self, tile)

    monkeypatch.setattr(worker, "explain", noted)
    path = write_features(tmp_path / "one.geojson", [(site.names[2], rectangle(site.grid, 33, 34, 4, 3))])
    found = run(site.scene, spectral_model, target="reference", reference_features=path, steps=4)
    assert worked == [(32, 32)]
    inside = np.zeros(site.classes.shape, dtype=bool)
    inside[34:37, 33:37] = True
    assert np.array_equal(np.isfinite(found.saliency[1]), inside)
    assert np.array_equal(np.isfinite(found.attribution).any(0), inside)
    assert found.numbers["PIXELS"] == 12


@pytest.mark.parametrize("options", [{"tolerance": 0.001}, {"steps": 8}], ids=["sums", "pixels"])
def test_the_table_alone_has_the_means_of_the_rasters_by_predicted_class(
    run, site, hybrid_model, run_classify, tmp_path, options
):
    options |= {"target": "reference", "reference_raster": site.reference, "extent": site.extent}
    found = run(site.scene, hybrid_model, **options)
    alone = run(site.scene, hybrid_model, rasters=(), table_only=True, **options)
    predicted = run_classify(site.scene, hybrid_model, tmp_path, extent=site.extent).classes[0]
    card = load_model(hybrid_model, PIXEL_CLASSIFICATION).card
    named = site.classes[site.inside] > 0
    seen = set()
    for row in found.rows:
        chosen = named & (predicted == 1 + card.class_names.index(row["class"]))
        values = found.attribution[row["band"] - 1][chosen]
        assert row["pixels"] == chosen.sum() and row["mean"] == pytest.approx(
            values.mean(), rel=1e-4, abs=1e-7
        )
        seen.add(row["class"])
    # More than one class is predicted, and named are others than these.
    assert len(seen) > 1
    means, others = ([row["mean"] for row in rows] for rows in (found.rows, alone.rows))
    assert [(row["class"], row["band"], row["pixels"]) for row in alone.rows] == [
        (row["class"], row["band"], row["pixels"]) for row in found.rows
    ]
    np.testing.assert_allclose(others, means, atol=0.02 * np.abs(means).max())
    assert alone.numbers["PIXELS"] == found.numbers["PIXELS"] == named.sum()


def test_the_record_counts_the_pixels_that_are_named(run, site, spectral_model):
    options = {"target": "reference", "reference_raster": site.reference, "extent": site.extent}
    record = run(site.scene, spectral_model, explainer="saliency", **options).result["record"]
    numbers, counts = np.unique(site.classes[site.inside], return_counts=True)
    assert record["reference_pixels"] == {
        site.names[number]: count for number, count in zip(numbers.tolist(), counts.tolist()) if number
    }
    assert record["job"]["reference_raster"] == site.reference
