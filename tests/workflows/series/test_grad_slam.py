import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from explanation_layers.engine.jobs import GradSlamJob, SeriesSource
from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.grad_slam import explain

from .conftest import CHANNELS, DATES, EMPTY, GAP, PLANTED, SIDE, make_series

RASTERS = (
    "date_importance", "dimension_importance", "signed", "top_date", "channel_share", "anomaly",
    "anomaly_dates",
)  # fmt: skip


def explaining(scene, model, **settings):
    return GradSlamJob(series=scene.source, model=model, label_features=scene.parcels, **settings)


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read(masked=True).astype(float).filled(np.nan)


@pytest.fixture(scope="module")
def found(scene, model, tmp_path_factory):
    """Everything that gradslam leaves for the dimensions, as (job, result, arrays by name)."""
    folder = tmp_path_factory.mktemp("dates")
    paths = {name: str(folder / f"{name}.tif") for name in RASTERS}
    job = explaining(scene, model, **paths, plot=str(folder / "plot.png"))
    result = explain(job, Context("job", lambda message: None, 0))
    return job, result, {name: read(path) for name, path in paths.items()}


@pytest.fixture(scope="module")
def valid(scene):
    return np.isfinite(scene.power).any((0, 1))


def test_bands_are_dates_and_say_so(found):
    job, _, arrays = found
    assert len(arrays["date_importance"]) == len(DATES)
    assert len(arrays["dimension_importance"]) == 2 * len(DATES)
    with rasterio.open(job.date_importance) as dataset:
        assert dataset.descriptions == DATES
        assert [dataset.tags(number)["date"] for number in dataset.indexes] == list(DATES)
    with rasterio.open(job.signed) as dataset:
        assert dataset.descriptions[:2] == (f"{DATES[0]} dimension 1", f"{DATES[0]} dimension 2")


def test_dates_without_data_have_no_importance(found, valid):
    _, _, arrays = found
    importance = arrays["date_importance"]
    known = np.isfinite(importance)
    rows, cols, day = GAP
    expected = np.broadcast_to(valid, importance.shape).copy()
    expected[day, rows, cols] = False
    assert np.array_equal(known, expected)
    assert np.isnan(importance[(slice(None), *EMPTY)]).all()


def test_importance_runs_from_0_to_1_and_combines_the_dimensions_by_their_variance(found, valid):
    _, result, arrays = found
    maps = arrays["dimension_importance"].reshape(len(DATES), 2, SIDE, SIDE)
    assert np.nanmin(maps) >= 0 and np.nanmax(maps) <= 1 + 1e-6
    weights = list(result["record"]["weights_when_combined"].values())
    assert sum(weights) == pytest.approx(1)
    combined = np.sqrt(sum(weight * maps[:, d] ** 2 for d, weight in enumerate(weights)))
    np.testing.assert_allclose(arrays["date_importance"][:, valid], combined[:, valid], atol=1e-5)


def test_the_top_date_is_the_largest_importance(found, valid):
    _, _, arrays = found
    known = np.nan_to_num(arrays["date_importance"], nan=-1)
    assert np.array_equal(arrays["top_date"][0][valid], known.argmax(0)[valid] + 1)


def test_shares_of_channels_add_up(found, valid):
    _, _, arrays = found
    shares = arrays["channel_share"]
    np.testing.assert_allclose(shares[:, valid].sum(0), 1, atol=1e-5)
    # Only VV tells classes apart.
    assert shares[0][valid].mean() > 0.6


def test_profiles_are_the_decibels_of_mean_power(found, scene):
    _, result, _ = found
    rows = result["tables"]["PROFILES"]["rows"]
    assert len(rows) == len(PLANTED) * 2 * len(DATES) * len(CHANNELS)
    profile = {(row[0], row[2], row[3]): row for row in rows if row[1] == "dimension 1"}
    for number, name in enumerate(PLANTED):
        members = scene.power[:, :, scene.classes == number]
        for t, date in enumerate(DATES):
            for c, channel in enumerate(CHANNELS):
                row = profile[name, date, channel]
                assert row[4] == pytest.approx(10 * np.log10(np.nanmean(members[t, c])), abs=1e-3)
                low, high = np.nanpercentile(10 * np.log10(members[t, c]), (10, 90))
                assert row[5:7] == pytest.approx([low, high], abs=1e-3)
                assert row[9] == np.isfinite(members[t, c]).sum()
        shown = [profile[name, date, "VV"][8] for date in DATES]
        assert min(shown) == 0 and max(shown) == 1


def test_element_wise_contrast_is_strongest_where_the_two_classes_differ(scene, model, context, tmp_path):
    for first, second in (("beet", "maize"), ("maize", "wheat"), ("wheat", "beet")):
        job = explaining(
            scene, model, target="contrast", class_name=first, contrast_class=second, variant="element_wise",
            signed=str(tmp_path / f"{first}.tif"),
        )  # fmt: skip
        result = explain(job, context)
        rows = [row for row in result["tables"]["PROFILES"]["rows"] if row[3] == "VV"]
        # The kernels of the first convolution are 7 dates wide, so that a map is a date or so blurred.
        differ = {DATES[t + i] for name in (first, second) for t in PLANTED[name] for i in (-1, 0, 1)}
        for name in (first, second):
            by_date = {row[2]: row[7] for row in rows if row[0] == name}
            top = sorted(by_date, key=by_date.get)[-2:]
            assert set(top) <= differ, (first, second, name, top)
    signed = read(tmp_path / "beet.tif")
    assert np.nanmin(signed) >= -1 and np.nanmax(signed) <= 1 + 1e-6 and np.nanmin(signed) < 0


def test_a_window_is_a_part_of_the_whole(found, scene, model, context, tmp_path):
    _, _, arrays = found
    path = str(tmp_path / "part.tif")
    extent = [300_040.0, 5_799_300.0, 300_700.0, 5_799_900.0]
    explain(explaining(scene, model, date_importance=path, extent=extent), context)
    np.testing.assert_allclose(read(path), arrays["date_importance"][:, 5:35, 2:35], atol=1e-5)


def test_without_labels_all_pixels_are_one_profile(scene, model, context, valid):
    job = replace(explaining(scene, model), label_features=None, dimensions=(2,))
    result = explain(job, context)
    rows = result["tables"]["PROFILES"]["rows"]
    assert {(row[0], row[1]) for row in rows} == {("all pixels", "dimension 2")}
    assert {row[9] for row in rows} == {valid.sum(), valid.sum() - 36}
    assert len(result["strings"]["TOP_DATES"].split(", ")) == 3


def test_an_anomaly_stands_out_and_its_dates_explain_it(found, scene, model, context, tmp_path):
    power = scene.power.copy()
    power[9:11, :, 20, 20] *= 30
    strange = make_series(tmp_path)
    with rasterio.open(strange.raster, "r+") as dataset:
        dataset.write(power.reshape(-1, SIDE, SIDE).astype(np.float32))
    paths = {name: str(tmp_path / f"{name}.tif") for name in ("anomaly", "anomaly_dates")}
    result = explain(explaining(strange, model, **paths), context)
    score, dates = read(paths["anomaly"])[0], read(paths["anomaly_dates"])
    assert np.unravel_index(np.nanargmax(score), score.shape) == (20, 20)
    assert score[20, 20] > result["numbers"]["ANOMALY_THRESHOLD"]
    assert set(np.argsort(dates[:, 20, 20])[-2:].tolist()) == {9, 10}
    assert result["record"]["anomaly_mean_residual"] < 1e-4
    # Elsewhere it is what it was.
    before = found[2]["anomaly"][0]
    kept = np.isfinite(before)
    kept[20, 20] = False
    np.testing.assert_allclose(score[kept], before[kept], atol=1e-5)


def test_the_table_of_dependence_is_of_every_pair_of_dates(found):
    _, result, _ = found
    rows = result["tables"]["DEPENDENCE"]["rows"]
    assert len(rows) == len(DATES) ** 2 and all(row[2] >= 0 for row in rows)


def test_the_record_says_how(found):
    job, result, _ = found
    with open(job.date_importance.replace(".tif", ".json"), encoding="utf-8") as file:
        record = json.load(file)
    assert record["job"]["variant"] == "pooled" and record["job"]["scaling"] == "absolute_minmax"
    assert record["model_digest"] and record["directions"] == {
        "dimension 1": [1.0, 0.0], "dimension 2": [0.0, 1.0]
    }  # fmt: skip
    # Kernels of 7, 5 and 3 dates, one behind the other.
    assert record["dates_that_layers_see"] == {"layer 1": 7, "layer 2": 11, "layer 3": 13}
    assert record["pixels"] == result["numbers"]["PIXELS"] == SIDE * SIDE - 36


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"variant": "best"}, "no variant 'best'"),
        ({"scaling": "big"}, "no scaling 'big'"),
        ({"layers": (4,)}, "no layer 4; its 3 convolutions"),
        ({"dimensions": (3,)}, "no dimension 3; it has 2"),
        ({"dimensions": (1, 1)}, "twice"),
        ({"target": "contrast", "class_name": "beet", "contrast_class": "rice"}, "no class 'rice'"),
        ({"target": "contrast", "class_name": "beet", "contrast_class": "beet"}, "at the same place"),
        ({"target": "contrast", "label_features": None}, "needs LABELS"),
        ({"plot_channel": "HH"}, "no channel 'HH' to plot; choose one of VV, VH"),
        ({"extent": [3e5, 5_799_960.0, 300_040.0, 58e5], "label_features": "EMPTY"}, "No labelled pixel in"),
        ({"extent": [300_840.0, 5_799_040.0, 300_960.0, 5_799_160.0]}, "holds no pixel with data"),
        ({"anomaly_steps": 0}, "can't be 0 steps"),
        ({"series": SeriesSource(("/nowhere/series.tif",))}, "/nowhere/series.tif"),
    ],
)
def test_what_can_not_be_explained_is_said(scene, model, context, tmp_path, settings, sentence):
    if settings.get("label_features") == "EMPTY":
        settings = {**settings, "label_features": _one_parcel(scene, tmp_path.parent / "one.geojson")}
    job = replace(explaining(scene, model, date_importance=str(tmp_path / "dates.tif")), **settings)
    with pytest.raises(InputError, match=sentence):
        explain(job, context)
    assert not list(tmp_path.iterdir())


def test_a_stopped_job_leaves_nothing(scene, model, tmp_path):
    context = Context("stopped", lambda message: None, 0)

    def listen(message):
        if message["type"] == "progress" and message["text"].startswith("Explaining"):
            context.cancel()

    context._send = listen
    with pytest.raises(Cancelled):
        explain(explaining(scene, model, date_importance=str(tmp_path / "dates.tif")), context)
    assert not list(tmp_path.iterdir())


def _one_parcel(scene, path):
    """Write the last parcel with data alone, and return the file."""
    document = json.loads(Path(scene.parcels).read_text())
    document["features"] = document["features"][-2:-1]
    path.write_text(json.dumps(document))
    return str(path)
