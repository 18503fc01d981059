import numpy as np
import pytest
import rasterio
import torch

from explanation_layers.engine.jobs import AttributionJob
from explanation_layers.explainers.registry import PIXEL_EXPLAINERS
from explanation_layers.models.card import SERIES_AUTOENCODER
from explanation_layers.models.files import load_model
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.series import open_series
from explanation_layers.workflows.attribution import explain

from .conftest import DATES, GAP, SIDE

EXTENT = [3e5, 5_799_760.0, 300_240.0, 58e5]  # 12 x 12 pixels at the upper left, the gap among them


def explaining(scene, model, **settings):
    usual = {"target": "class", "class_name": "dimension 1", "extent": EXTENT}
    return AttributionJob(None, model, series=scene.source, **{**usual, **settings})


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read(masked=True).astype(float).filled(np.nan)


def embedding(scene, model):
    """The embedding (dimension, y, x) of the extent, and that of the mean series (dimension,)."""
    loaded = load_model(model, SERIES_AUTOENCODER)
    values = open_series([scene.raster], values="power").read(rasterio.windows.Window(0, 0, 12, 12))
    with torch.no_grad():
        rows = loaded.network.prepare(torch.from_numpy(values.reshape(len(values), -1).T.copy()))
        mean = loaded.network.encode(loaded.network.prepare(loaded.spectra.mean[None]))[0]
        return loaded.network.encode(rows).T.reshape(-1, 12, 12).numpy(), mean.numpy()


@pytest.mark.parametrize(
    "explainer", ["integrated_gradients", "deeplift", "secant_contributions", "band_shapley"]
)
def test_dates_and_channels_add_up_to_the_embedding(scene, model, context, tmp_path, explainer):
    paths = {name: str(tmp_path / f"{name}.tif") for name in ("attribution", "saliency")}
    result = explain(explaining(scene, model, explainer=explainer, samples=4, **paths), context)
    values, saliency = read(paths["attribution"]), read(paths["saliency"])
    assert values.shape == (2 * len(DATES), 12, 12)
    found, mean = embedding(scene, model)
    # The signed sum counts what was filled in as well; the raster of dates leaves that out.
    np.testing.assert_allclose(saliency[1] + saliency[2], found[0] - mean[0], atol=2e-3)
    assert result["numbers"]["MEAN_RESIDUAL"] < 0.02
    rows, cols, day = GAP
    gap = np.zeros(values.shape, dtype=bool)
    gap[2 * day : 2 * day + 2, rows, cols] = True
    assert np.array_equal(np.isnan(values), gap)
    outside = ~gap.any(0)
    np.testing.assert_allclose(values.sum(0)[outside], saliency[1][outside], atol=1e-4)


def test_the_raster_and_the_table_name_dates_and_channels(scene, model, context, tmp_path):
    path = str(tmp_path / "attribution.tif")
    result = explain(explaining(scene, model, explainer="input_x_gradient", attribution=path), context)
    with rasterio.open(path) as dataset:
        assert dataset.descriptions[:3] == (f"{DATES[0]} VV", f"{DATES[0]} VH", f"{DATES[1]} VV")
        assert dataset.tags(3)["date"] == DATES[1]
    style = (tmp_path / "attribution.qml").read_text()
    assert "<temporal" in style and style.count("<range ") == len(DATES)
    rows = result["tables"]["BAND_TABLE"]["rows"]
    assert {row[0] for row in rows} == {"dimension 1"}
    assert [row[2] for row in rows][:2] == [f"{DATES[0]} VV", f"{DATES[0]} VH"]


def test_occlusion_replaces_all_channels_of_a_date(scene, model, context, tmp_path):
    path = str(tmp_path / "occlusion.tif")
    explain(explaining(scene, model, explainer="occlusion", attribution=path), context)
    values = read(path)
    loaded = load_model(model, SERIES_AUTOENCODER)
    series = open_series([scene.raster], values="power").read(rasterio.windows.Window(10, 10, 1, 1))[:, 0, 0]
    network, mean = loaded.network, loaded.network.prepare(loaded.spectra.mean[None])[0]
    with torch.no_grad():
        x = network.prepare(torch.from_numpy(series)[None])
        for day in range(len(DATES)):
            without = x.clone()
            without[0, 2 * day : 2 * day + 2] = mean[2 * day : 2 * day + 2]
            fall = float((network.encode(x) - network.encode(without))[0, 0])
            # A window's effect is shared alike by the channels that it replaces.
            assert values[2 * day : 2 * day + 2, 10, 10].sum() == pytest.approx(fall, abs=1e-4)


def test_band_ablation_replaces_one_channel_of_a_date(scene, model, context, tmp_path):
    path = str(tmp_path / "ablation.tif")
    explain(explaining(scene, model, explainer="band_ablation", attribution=path), context)
    loaded = load_model(model, SERIES_AUTOENCODER)
    series = open_series([scene.raster], values="power").read(rasterio.windows.Window(10, 10, 1, 1))[:, 0, 0]
    network, mean = loaded.network, loaded.network.prepare(loaded.spectra.mean[None])[0]
    with torch.no_grad():
        x = network.prepare(torch.from_numpy(series)[None])
        without = x.clone()
        without[0, 9] = mean[9]
        fall = float((network.encode(x) - network.encode(without))[0, 0])
    assert read(path)[9, 10, 10] == pytest.approx(fall, abs=1e-4)


@pytest.mark.parametrize("explainer", sorted(PIXEL_EXPLAINERS))
def test_every_method_serves(scene, model, context, tmp_path, explainer):
    path = str(tmp_path / "attribution.tif")
    job = explaining(
        scene, model, explainer=explainer, attribution=path, steps=4, samples=2,
        extent=[300_200.0, 5_799_720.0, 300_280.0, 5_799_800.0],
    )  # fmt: skip
    explain(job, context)
    values = read(path)
    assert np.isfinite(values).all() and np.abs(values).sum() > 0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"target": "predicted", "class_name": None}, "An autoencoder predicts no class"),
        ({"class_name": "dimension 3"}, "no class 'dimension 3'"),
        ({"baseline": "class_mean", "baseline_class": "dimension 1"}, "knows no classes"),
        ({"explainer": "grad_cam"}, "can't explain a"),
        ({"patches": "chips"}, "the raster INPUT, the rasters SERIES or the chips in PATCHES"),
    ],
)
def test_what_can_not_be_is_said(scene, model, context, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        explain(explaining(scene, model, **settings), context)


def test_the_size_of_the_scene_is_no_matter(scene, model, context, tmp_path):
    whole, part = str(tmp_path / "whole.tif"), str(tmp_path / "part.tif")
    explain(explaining(scene, model, explainer="deeplift", attribution=whole, extent=None), context)
    explain(explaining(scene, model, explainer="deeplift", attribution=part), context)
    assert read(whole).shape[1:] == (SIDE, SIDE)
    np.testing.assert_allclose(read(part), read(whole)[:, :12, :12], atol=1e-5)
