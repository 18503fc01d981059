"""Model cards: whether a scene's bands fit, and which class a name means."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from explanation_layers.models.card import (
    PALETTE,
    PIXEL_CLASSIFICATION,
    SERIES_AUTOENCODER,
    Card,
    CardBand,
    card_classes,
)
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.wavelengths import Band

WAVELENGTHS = (450.0, 550.0, None, 850.0)


@pytest.fixture
def card() -> Card:
    bands = tuple(CardBand(f"b{i}", value, 10.0, i != 1) for i, value in enumerate(WAVELENGTHS))
    classes = card_classes(["water", "maize", "3"])
    return Card(PIXEL_CLASSIFICATION, "spectral_cnn", {"bands": 3}, bands, classes, {"seed": 1}, "abc")


def scene_bands(*wavelengths: float | None) -> list[Band]:
    return [Band(f"b{i}", value) for i, value in enumerate(wavelengths)]


def test_a_card_survives_json(card: Card) -> None:
    assert Card.from_dict(json.loads(json.dumps(card.to_dict()))) == card


def test_used_bands_leave_out_those_without_data(card: Card) -> None:
    assert card.used_bands == [0, 2, 3]


@pytest.mark.parametrize(("name", "index"), [("water", 0), ("maize", 1), ("1", 0), ("2", 1), ("3", 2)])
def test_a_class_is_found_by_name_or_by_number(card: Card, name: str, index: int) -> None:
    assert card.class_index(name) == index


def test_a_name_wins_over_a_number(card: Card) -> None:
    assert replace(card, classes=card_classes(["2", "1"])).class_index("2") == 0


@pytest.mark.parametrize("name", ["Water", "0", "4", "-1", "1.5", "", "²"])
def test_an_unknown_class_is_told_with_those_there_are(card: Card, name: str) -> None:
    with pytest.raises(InputError, match=f"no class '{name}'; its classes are water, maize, 3"):
        card.class_index(name)


@pytest.mark.parametrize(
    "wavelengths",
    [WAVELENGTHS, (451.4, 548.6, None, 850.0), (None, None, None, None), (450.0, 550.0, 2000.0, 850.0)],
)
def test_bands_fit_within_tolerance_and_where_a_wavelength_is_unknown(card: Card, wavelengths) -> None:
    card.check_bands(scene_bands(*wavelengths), "scene.tif")


@pytest.mark.parametrize(
    ("wavelengths", "sentence"),
    [
        ((450.0, 550.0, None), "scene.tif has 3 bands, the model was trained on 4; choose a raster"),
        ((850.0, 550.0, None, 450.0), "Band 1 of scene.tif is at 850 nm, the model's at 450 nm; put the"),
        ((450.0, 550.0, None, 851.6), "Band 4 of scene.tif is at 851.6 nm, the model's at 850 nm"),
    ],
)
def test_other_bands_are_refused(card: Card, wavelengths, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        card.check_bands(scene_bands(*wavelengths), "scene.tif")


def test_colours_are_apart_and_start_again_after_the_last() -> None:
    classes = card_classes([str(i) for i in range(25)])
    assert len({entry.colour for entry in classes}) == len(PALETTE) == 20
    assert classes[20].colour == classes[0].colour
    assert classes[0].rgb == (0x00, 0x72, 0xB2)


@pytest.fixture
def dated() -> Card:
    """A card of a series of two dates and two channels."""
    bands = tuple(
        CardBand(f"{date} {channel}", None, None, True, date)
        for date in ("2017-06-12", "2017-06-18")
        for channel in ("VV", "VH")
    )
    return Card(SERIES_AUTOENCODER, "conv_autoencoder", {}, bands, card_classes(["1", "2"]))


def dated_bands(card: Card) -> list[Band]:
    return [Band(band.name, date=band.date) for band in card.bands]


def test_dates_are_kept_and_bands_without_one_do_not_mention_it(card: Card, dated: Card) -> None:
    assert Card.from_dict(json.loads(json.dumps(dated.to_dict()))) == dated
    assert dated.to_dict()["bands"][0]["date"] == "2017-06-12"
    # As in the cards of models that were made before bands had dates: their digests still fit.
    assert set(card.to_dict()["bands"][0]) == {"name", "wavelength_nm", "fwhm_nm", "used"}


def test_a_series_of_the_same_dates_fits(dated: Card) -> None:
    dated.check_bands(dated_bands(dated), "series.tif", series=True)


@pytest.mark.parametrize(
    ("place", "band", "sentence"),
    [
        (2, Band("2017-06-19 VV", date="2017-06-19"), "Band 3 of series.tif is '2017-06-19 VV' of "
         "2017-06-19, the model's is '2017-06-18 VV' of 2017-06-18; choose"),
        (1, Band("2017-06-12 HH", date="2017-06-12"), "Band 2 of series.tif is '2017-06-12 HH'"),
        (0, Band("2017-06-12 VV"), "Band 1 of series.tif is '2017-06-12 VV' without a date"),
    ],
)  # fmt: skip
def test_the_first_band_of_another_date_or_name_is_told(
    dated: Card, place: int, band: Band, sentence: str
) -> None:
    bands = dated_bands(dated)
    bands[place] = band
    with pytest.raises(InputError, match=sentence):
        dated.check_bands(bands, "series.tif", series=True)


def test_too_few_dates_are_told(dated: Card) -> None:
    with pytest.raises(InputError, match="series.tif has 2 bands, the model was trained on 4"):
        dated.check_bands(dated_bands(dated)[:2], "series.tif", series=True)


def test_a_raster_is_no_series_whatever_its_bands_are_called(dated: Card) -> None:
    with pytest.raises(InputError, match="trained on a series, and stack.tif is read as one raster"):
        dated.check_bands(dated_bands(dated), "stack.tif")
