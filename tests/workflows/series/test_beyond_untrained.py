"""Importance beyond networks that learnt nothing."""

import json

import numpy as np
import pytest
import rasterio
import torch

from explanation_layers.engine.jobs import GradSlamJob
from explanation_layers.explainers.grad_slam import GradSlam, importance
from explanation_layers.models.card import SERIES_AUTOENCODER
from explanation_layers.models.files import load_model
from explanation_layers.rasters.errors import InputError
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.date_maps import shares, untrained
from explanation_layers.workflows.grad_slam import explain

from .conftest import DATES, GAP


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read(masked=True).astype(float).filled(np.nan)


def explaining(scene, model, tmp_path, **settings):
    paths = {name: str(tmp_path / f"{name}.tif") for name in ("date_importance", "beyond_untrained")}
    return GradSlamJob(series=scene.source, model=model, label_features=scene.parcels, **paths, **settings)


@pytest.fixture(scope="module")
def found(scene, model, tmp_path_factory):
    """A job with three untrained networks, as (job, result, importance, what is beyond)."""
    job = explaining(scene, model, tmp_path_factory.mktemp("beyond"), untrained=3, variant="element_wise")
    result = explain(job, Context("job", lambda message: None, 0))
    return job, result, read(job.date_importance), read(job.beyond_untrained)


def test_fresh_weights_are_drawn_by_their_seed_and_the_scaling_is_kept(model):
    trained = load_model(model, SERIES_AUTOENCODER)
    before = torch.get_rng_state()
    one, again, other = (untrained(trained, seed).network for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [dict(network.named_parameters()) for network in (one, again, other, trained.network)]
    for name, weight in weights[0].items():
        assert torch.equal(weight, weights[1][name])
        assert not torch.equal(weight, weights[2][name]) and not torch.equal(weight, weights[3][name])
    for name, value in trained.network.named_buffers():
        assert torch.equal(value, dict(one.named_buffers())[name]), name


def test_it_is_the_share_less_the_mean_share_by_untrained_networks(found, scene, model):
    job, _, combined, beyond = found
    trained = load_model(model, SERIES_AUTOENCODER)
    seeds = np.random.SeedSequence([job.seed, 1]).generate_state(3)
    whole = np.argwhere(np.isfinite(scene.power).all((0, 1)))
    rows, cols = whole[:: len(whole) // 5].T
    decibels = 10 * np.log10(scene.power[:, :, rows, cols])
    series = torch.from_numpy(decibels.reshape(-1, len(rows)).T.astype(np.float32))
    expected = []
    for seed in seeds:
        network = untrained(trained, int(seed)).network
        background = network.encode(network.prepare(trained.spectra.background))
        weights = background.var(0, correction=0)
        maps = GradSlam(network, "element_wise").maps(network.prepare(series), torch.eye(2)).maps
        maps = importance(maps, "absolute_minmax").square()
        whole = torch.einsum("d,dnt->nt", weights / weights.sum(), maps).sqrt().numpy()
        expected.append(whole / whole.sum(1, keepdims=True))
    own = combined[:, rows, cols].T
    own = own / own.sum(1, keepdims=True)
    np.testing.assert_allclose(beyond[:, rows, cols].T, own - np.mean(expected, 0), atol=1e-4)


def test_what_some_dates_gain_others_lose_and_gaps_stay_empty(found):
    _, _, combined, beyond = found
    assert np.array_equal(np.isnan(combined), np.isnan(beyond))
    rows, cols, day = GAP
    assert np.isnan(beyond[day, rows, cols]).all()
    valid = np.isfinite(beyond).any(0)
    np.testing.assert_allclose(np.nansum(beyond, 0)[valid], 0, atol=1e-5)


def test_the_record_and_the_number_say_how_alike_the_networks_are(found):
    job, result, _, beyond = found
    with open(job.beyond_untrained.replace(".tif", ".json"), encoding="utf-8") as file:
        record = json.load(file)
    assert record["untrained_networks"] == 3
    correlation = result["numbers"]["UNTRAINED_CORRELATION"]
    assert record["untrained_correlation"] == correlation and -1 <= correlation <= 1
    assert len(beyond) == len(DATES)


def test_a_contrast_is_compared_too(scene, model, context, tmp_path):
    job = explaining(
        scene, model, tmp_path, target="contrast", class_name="beet", contrast_class="maize", untrained=2
    )
    explain(job, context)
    beyond = read(job.beyond_untrained)
    assert np.isfinite(beyond).any() and np.nanmax(np.abs(beyond)) > 0.01


def test_it_is_not_computed_where_nobody_asks(scene, model, context, tmp_path):
    job = GradSlamJob(series=scene.source, model=model, date_importance=str(tmp_path / "dates.tif"))
    result = explain(job, context)
    assert "UNTRAINED_CORRELATION" not in result["numbers"]
    assert result["record"]["untrained_networks"] == 0


def test_shares_of_what_is_nowhere_are_0():
    maps = torch.tensor([[1.0, 3.0, 4.0], [0.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    gaps = torch.tensor([[False, False, True], [False] * 3, [False, False, True]])
    assert shares(maps, gaps).tolist() == [[0.25, 0.75, 0], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"scaling": "zscore"}, "BEYOND_UNTRAINED is told in shares of sizes"),
        ({"untrained": 0}, "can't be 0 untrained"),
    ],
)
def test_what_can_not_be_compared_is_said(scene, model, context, tmp_path, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        explain(explaining(scene, model, tmp_path, **settings), context)
    assert not list(tmp_path.iterdir())
