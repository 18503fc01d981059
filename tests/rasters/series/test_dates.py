"""Where the dates of a series are from, and which source comes before which."""

from __future__ import annotations

import pytest

from explanation_layers.rasters.series import open_series

from .conftest import COMPACT, DATES, values_of


def items(key, *texts, band=None):
    def finish(file, number):
        file.update_tags(*([band] if band else []), **{key: texts[number]})

    return finish


@pytest.mark.parametrize(
    ("finish", "source"),
    [
        (items("ACQUISITION_DATE", *DATES), "the files' metadata"),
        (items("TIFFTAG_DATETIME", *[f"{d.replace('-', ':')} 10:00:00" for d in DATES]), "TIFFTAG_DATETIME"),
        (items("date", *DATES, band=1), "the bands' metadata"),
        (lambda file, number: file.set_band_description(1, DATES[number]), "the bands' descriptions"),
    ],
)
def test_dates_are_found_where_files_keep_them(rasters, finish, source):
    series = open_series(rasters("a.tif", "b.tif", "c.tif", finish=finish))
    assert series.dates == DATES and source in series.notes[0]


def test_what_layers_tell_comes_before_metadata_and_what_is_given_before_all(rasters):
    paths = rasters(*[f"{d}.tif" for d in COMPACT], finish=items("ACQUISITION_DATE", *DATES))
    told = ("2018-01-01", "2018-01-02", "2018-01-03")
    series = open_series(paths, layer_dates=[(date,) for date in told])
    assert series.dates == told and "temporal properties" in series.notes[0]
    given = ("2019-001", "2019-01-02", "20190103")
    series = open_series(paths, layer_dates=[(date,) for date in told], dates=given)
    assert series.dates == ("2019-01-01", "2019-01-02", "2019-01-03")
    # Layers that tell no date, or not all of them, count for nothing.
    assert open_series(paths, layer_dates=[(told[0],), (), (told[2],)]).dates == DATES


def test_one_date_of_processing_in_all_files_counts_for_nothing(rasters):
    processed = items("TIFFTAG_DATETIME", *["2020:05:05 10:00:00"] * 3)
    series = open_series(rasters(*[f"{d}.tif" for d in COMPACT], finish=processed))
    assert series.dates == DATES and len(series.notes) == 1


def test_names_that_tell_other_dates_than_metadata_are_pointed_out(rasters):
    processed = items("TIFFTAG_DATETIME", *[f"2020:05:0{day} 10:00:00" for day in (1, 2, 3)])
    series = open_series(rasters(*[f"{d}.tif" for d in COMPACT], finish=processed))
    assert series.dates == ("2020-05-01", "2020-05-02", "2020-05-03")
    assert "The dates in the files' names are others, 2017-01-03 to 2017-02-20" in series.notes[1]


def test_the_date_in_a_name_that_differs_between_files_is_taken(rasters):
    series = open_series(rasters(*[f"made20200505_of_{date}.tif" for date in COMPACT]))
    assert series.dates == DATES


def test_a_pattern_for_names(rasters):
    series = open_series(rasters("a03012017.tif", "a15012017.tif", "a20022017.tif"), date_pattern="%d%m%Y")
    assert series.dates == DATES and values_of(series) == [[0], [10], [20]]
