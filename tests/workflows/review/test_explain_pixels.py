"""A click: what is reported is the raster's, the classifier's and the attribution's, to the number."""

from __future__ import annotations

import base64
import json
import shutil
import statistics
import time

import numpy as np
import pytest
import rasterio

from explanation_layers.engine.jobs import AttributionJob, ExplainPixelsJob
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.scene import open_scene
from explanation_layers.workflows.attribution import explain
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.explain_pixels import explain_pixels

ROW, COL = 21, 34


def point(scene: str, row: int = ROW, col: int = COL) -> tuple[float, float]:
    return open_scene(scene).grid.transform * (col + 0.5, row + 0.5)


def click(context, scene, model, *places, **options):
    points = tuple(point(scene, *place) for place in places or [(ROW, COL)])
    return explain_pixels(ExplainPixelsJob(scene=scene, model=model, points=points, **options), context)


@pytest.mark.parametrize("architecture", ["spectral_model", "hybrid_model"])
def test_values_probabilities_and_attribution_are_those_of_the_rasters(
    architecture, request, demo, context, run_classify, tmp_path
):
    model = request.getfixturevalue(architecture)
    item = click(context, demo.raster, model, baseline="mean")["pixels"][0]
    with rasterio.open(demo.raster) as file:
        stored = file.read(window=((ROW, ROW + 1), (COL, COL + 1)))[:, 0, 0]
    whole = run_classify(demo.raster, model, tmp_path)
    raster = str(tmp_path / "attribution.tif")
    job = AttributionJob(scene=demo.raster, model=model, baseline="mean", attribution=raster)
    explain(job, Context("attribution", lambda message: None))
    with rasterio.open(raster) as file:
        expected = file.read()[:, ROW, COL]
    assert (item["row"], item["col"], item["pixels"]) == (ROW, COL, 1)
    np.testing.assert_allclose(item["values"], stored, rtol=1e-6)
    np.testing.assert_allclose(item["probabilities"], whole.probabilities[:, ROW, COL], atol=1e-5)
    assert item["classes"].index(item["predicted"]) + 1 == whole.classes[0, ROW, COL]
    found = np.array(item["attribution"], dtype=float)
    # Each settles on its own: as near to the integral as the tolerance of 1 % asks.
    assert np.nansum(abs(found - expected)) < 0.02 * np.nansum(abs(expected))
    assert abs(item["residual"]) < 0.01 * np.nansum(abs(found))


def test_a_contrast_starts_from_the_other_class_and_adds_up(demo, spectral_model, context):
    loaded = load_model(spectral_model, PIXEL_CLASSIFICATION)
    names = loaded.card.class_names
    options = {"target": "contrast", "class_name": names[0], "contrast_class": names[1]}
    item = click(context, demo.raster, spectral_model, **options)["pixels"][0]
    assert item["target"] == f"{names[0]} against {names[1]}"
    shares = np.log(item["probabilities"])
    start = loaded.network(loaded.spectra.class_means[1][None, :, None, None]).flatten()
    total = sum(value for value in item["attribution"] if value is not None) + item["residual"]
    assert total == pytest.approx(shares[0] - shares[1] - float(start[0] - start[1]), abs=1e-3)


@pytest.mark.parametrize("explainer", ["secant_contributions", "integrated_gradients", "saliency"])
def test_a_unet_is_explained_in_a_crop_that_gives_what_the_whole_scene_does(
    explainer, street, unet, context, run_classify, tmp_path
):
    whole = run_classify(street, unet, tmp_path)
    places = [(30, 40), (0, 73), (60, 0)]
    items = click(context, street, unet, *places, explainer=explainer)["pixels"]
    for (row, col), item in zip(places, items):
        np.testing.assert_allclose(item["probabilities"], whole.probabilities[:, row, col], atol=1e-5)
        assert (item["residual"] is None) == (explainer == "saliency")
    if explainer == "secant_contributions":
        assert max(abs(item["residual"]) for item in items) < 1e-4


def test_a_polygon_is_the_mean_of_its_pixels(demo, spectral_model, context, tmp_path):
    grid = open_scene(demo.raster).grid
    corners = [grid.transform * place for place in ((10, 20), (13, 20), (13, 22), (10, 22), (10, 20))]
    geometry = {"type": "Polygon", "coordinates": [corners]}
    path = tmp_path / "polygon.geojson"
    path.write_text(json.dumps({
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {}, "geometry": geometry}],
    }))  # fmt: skip
    job = ExplainPixelsJob(
        scene=demo.raster, model=spectral_model, polygon_features=str(path), target="class", class_name="1",
        chip_size=0,
    )  # fmt: skip
    mean = explain_pixels(job, context)["pixels"][0]
    places = [(row, col) for row in (20, 21) for col in (10, 11, 12)]
    options = {"target": "class", "class_name": "1"}
    each = click(context, demo.raster, spectral_model, *places, **options)["pixels"]
    assert mean["pixels"] == 6
    assert mean["chip"] is None
    for name in ("values", "attribution", "probabilities"):
        expected = np.array([item[name] for item in each], dtype=float).mean(0)
        np.testing.assert_allclose(np.array(mean[name], dtype=float), expected, atol=1e-4)
    x, y = grid.transform * (11.5, 21)
    assert (mean["x"], mean["y"]) == pytest.approx((x, y))


def test_no_data_and_places_outside_are_said(street, unet, context):
    value = click(context, street, unet, (2, 3))
    item = value["pixels"][0]
    assert item["pixels"] == 0
    assert item["predicted"] is None
    assert item["values"][0] is None
    assert "no data" in value["warnings"][0]
    with pytest.raises(InputError, match="outside"):
        click(context, street, unet, (-3, 3))
    with pytest.raises(InputError, match="no pixel"):
        explain_pixels(ExplainPixelsJob(scene=street, model=unet), context)
    with pytest.raises(InputError, match="one of the two"):
        explain_pixels(ExplainPixelsJob(model=unet, points=((0.0, 0.0),)), context)
    with pytest.raises(InputError, match="grad_cam"):
        click(context, street, unet, explainer="grad_cam")


def test_axis_means_and_chip(demo, spectral_model, context):
    value = click(context, demo.raster, spectral_model, (0, 0), chip_size=16)
    scene = open_scene(demo.raster)
    assert value["axis"]["kind"] == "wavelength"
    assert value["axis"]["values"] == scene.wavelengths_nm
    assert value["axis"]["names"][0].endswith("nm")
    model = load_model(spectral_model, PIXEL_CLASSIFICATION)
    means = value["means"][model.card.class_names[2]]
    np.testing.assert_allclose(
        np.array(means)[model.card.used_bands].astype(float), model.spectra.class_means[2], rtol=1e-6
    )
    chip = value["pixels"][0]["chip"]
    picture = np.frombuffer(base64.b64decode(chip["rgb_base64"]), np.uint8).reshape(16, 16, 3)
    # The corner of the scene is in the middle: what lies beyond is grey.
    assert (picture[:8] == 128).all()
    assert (picture[:, :8] == 128).all()
    assert picture[8:, 8:].std() > 10


def test_a_changed_file_is_opened_anew(demo, spectral_model, context, tmp_path, copy_raster):
    scene = str(tmp_path / "scene.tif")
    shutil.copy(demo.raster, scene)
    before = click(context, scene, spectral_model)["pixels"][0]
    with rasterio.open(scene) as file:
        values = file.read()
    copy_raster(demo.raster, tmp_path / "new.tif", values[:, ::-1].copy())
    (tmp_path / "new.tif").replace(scene)
    after = click(context, scene, spectral_model)["pixels"][0]
    assert before["values"] != after["values"]


def test_clicks_are_answered_in_time_by_a_warm_engine(demo, hybrid_model, engine):
    """The middle of the clicks of a patch network; the bound is wide, for busy machines."""
    times = []
    for number in range(25):
        job = ExplainPixelsJob(
            scene=demo.raster, model=hybrid_model, points=(point(demo.raster, number, 2 * number),)
        )
        start = time.perf_counter()
        assert engine.run(job)["pixels"][0]["predicted"]
        times.append(time.perf_counter() - start)
    assert statistics.median(times[1:]) < 0.3
