from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from explanation_layers.engine.jobs import SeriesSource
from explanation_layers.models.card import SERIES_AUTOENCODER
from explanation_layers.models.files import load_model
from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.rasters.series import open_series
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.series_labels import read_series_labels
from explanation_layers.workflows.series_reading import card_channels, card_dates, draw_pixels, read_pixels
from explanation_layers.workflows.train_autoencoder import train

from .conftest import CHANNELS, DATES, EMPTY, GAP, PLANTED, SIDE, training


def opened(scene):
    return open_series([scene.raster], values="power")


def test_the_card_tells_dates_channels_and_how_values_were_read(model):
    card = load_model(model, SERIES_AUTOENCODER).card
    assert tuple(card_dates(card)) == DATES and tuple(card_channels(card)) == CHANNELS
    assert card.training["values"] == "power" and card.class_names == ["dimension 1", "dimension 2"]


def test_most_of_the_variance_of_the_planted_channel_is_explained(trained):
    _, result = trained
    rows = {(row[0], row[1]): row for row in result["tables"]["ERRORS"]["rows"]}
    assert set(rows) == {(part, name) for part in ("training", "validation", "test") for name in CHANNELS}
    # Each class is 6 dB apart on two dates of 14; speckle of 40 looks has a deviation of 0.69 dB.
    assert rows["test", "VV"][5] > 0.8
    assert 0.4 < rows["test", "VV"][4] < 1.2
    assert result["numbers"]["RECONSTRUCTION_ERROR"] == pytest.approx(
        (rows["test", "VV"][3] + rows["test", "VH"][3]) / 2
    )


def test_parcels_that_test_are_in_no_training(scene, model, context):
    job = training(scene, "unused")
    series = opened(scene)
    labels = read_series_labels(job, series.grid, context)
    split = labels.split(job.test_share, job.seed)
    tests = labels.keys[split.test]
    drawn = draw_pixels(series, series.grid.whole, 10**6, 0, context.check, tests)
    assert not np.isin(drawn.rows * SIDE + drawn.cols, tests).any()
    # Everything else with data is drawn: the scene less the test parcels and the empty corner.
    empty = np.zeros((SIDE, SIDE), dtype=bool)
    empty[EMPTY] = True
    inside = np.zeros(SIDE * SIDE, dtype=bool)
    inside[tests] = True
    assert len(drawn) == (~empty.ravel() & ~inside).sum()
    record = load_model(model, SERIES_AUTOENCODER).card.training["pixels"]
    assert record["test"] == (~empty.ravel() & inside).sum()
    assert record["training"] + record["validation"] == len(drawn)


def test_a_draw_is_even_and_repeatable(scene, context):
    series = opened(scene)
    first, again = (draw_pixels(series, series.grid.whole, 300, 7, context.check) for _ in range(2))
    assert len(first) == 300 and np.array_equal(first.rows, again.rows)
    halves = np.count_nonzero(first.rows < SIDE // 2)
    assert 110 < halves < 190
    other = draw_pixels(series, series.grid.whole, 300, 8, context.check)
    assert not np.array_equal(first.cols, other.cols)


def test_pixels_come_as_the_raster_has_them_with_gaps_filled_and_marked(scene, context):
    rows, cols = np.array([40, 3, 3, 45, 20]), np.array([1, 3, 30, 45, 20])
    pixels = read_pixels(opened(scene), rows, cols, context.check)
    assert sorted(zip(pixels.rows.tolist(), pixels.cols.tolist())) == [(3, 3), (3, 30), (20, 20), (40, 1)]
    for row, col, values, observed in zip(pixels.rows, pixels.cols, pixels.values, pixels.observed):
        expected = 10 * np.log10(scene.power[:, :, row, col])
        seen = observed.reshape(len(DATES), 2).numpy()
        np.testing.assert_allclose(values.reshape(len(DATES), 2).numpy()[seen], expected[seen], atol=1e-4)
        assert seen.all() == ((row, col) != (3, 3))
    gap = GAP[2]
    at = next(i for i in range(len(pixels)) if (pixels.rows[i], pixels.cols[i]) == (3, 3))
    before, after = (10 * np.log10(scene.power[t, 0, 3, 3]) for t in (gap - 1, gap + 1))
    # From 4 March by 6 of 24 days to 28 March.
    assert float(pixels.values[at, 2 * gap]) == pytest.approx(before + (after - before) * 6 / 24, abs=1e-4)


def test_the_same_seed_gives_the_same_model(scene, tmp_path, context):
    digests = []
    for name in ("a", "b"):
        result = train(training(scene, tmp_path / f"{name}.safetensors", epochs=2), context)
        digests.append(result["record"]["model_digest"])
    assert digests[0] == digests[1]
    other = train(training(scene, tmp_path / "c.safetensors", epochs=2, seed=1), context)
    assert other["record"]["model_digest"] != digests[0]


def test_the_report_says_what_was_measured(trained):
    path, result = trained
    text = Path(path).with_name("report.html").read_text(encoding="utf-8")
    assert "14 dates from 2017-01-03 to 2017-07-20" in text and "dB²" in text
    for row in result["tables"]["ERRORS"]["rows"]:
        assert f"{row[3]:.4g}" in text


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"values": "loud"}, "no values 'loud'; choose one of as_is, power, amplitude, db"),
        ({"values": "as_is", "calibration": -83.0}, "CALIBRATION 0"),
        ({"embedding_dimensions": 0}, "can't have 0 dimensions"),
        ({"sample": 5}, "sample can't be 5"),
        ({"test_share": 1.5}, "test share 1.5 is not between 0 and 1"),
        (
            {"extent": [300_840.0, 5_799_040.0, 300_960.0, 5_799_160.0]},
            "No pixel of .* has two or more dates",
        ),
        ({"extent": [3e5, 5_799_980.0, 300_060.0, 58e5]}, "pixel.s. with data are there to train on"),
    ],
)
def test_what_can_not_be_trained_is_said_before_anything_is_written(
    scene, tmp_path, context, settings, sentence
):
    model = tmp_path / "model.safetensors"
    with pytest.raises(InputError, match=sentence):
        train(training(scene, model, **settings), context)
    assert not list(tmp_path.iterdir())


def test_one_date_is_no_series(scene, tmp_path, context):
    job = training(scene, tmp_path / "model.safetensors")
    first = SeriesSource((scene.raster,), end=DATES[0])
    with pytest.raises(InputError, match="a series needs two or more"):
        train(replace(job, series=first), context)


def test_a_training_that_is_stopped_leaves_nothing(scene, tmp_path):
    context = Context("stopped", lambda message: None, 0)

    def listen(message):
        if message["type"] == "progress" and "epoch" in message["text"]:
            context.cancel()

    context._send = listen
    with pytest.raises(Cancelled):
        train(training(scene, tmp_path / "model.safetensors", epochs=500), context)
    assert not list(tmp_path.iterdir())


def test_an_input_is_never_an_output(scene, context):
    with pytest.raises(InputError, match="is an input of this job"):
        train(training(scene, scene.raster), context)
    with rasterio.open(scene.raster) as dataset:
        assert dataset.count == 2 * len(DATES)


def test_the_classes_are_those_planted(scene, context):
    labels = read_series_labels(training(scene, "unused"), opened(scene).grid, context)
    assert labels.names == tuple(PLANTED)
    assert len(np.unique(labels.parcels)) == 64
