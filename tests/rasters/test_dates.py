from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explanation_layers.rasters.dates import (
    acquisition_date,
    day_number,
    find_dates,
    given_date,
    netcdf_date,
    parse_date,
    without_dates,
)
from explanation_layers.rasters.errors import InputError

DAYS = st.dates(date(1950, 1, 1), date(2099, 12, 31))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2017-06-12", "2017-06-12"),
        (" 2017-06-12T05:40:05Z ", "2017-06-12"),
        ("2017:06:12 05:40:05", "2017-06-12"),
        ("20170612", "2017-06-12"),
        ("20170612T054005", "2017-06-12"),
        ("2017-163", "2017-06-12"),
        ("2017163", "2017-06-12"),
        ("2016-366", "2016-12-31"),
        ("12-JUN-2017 05:40:05.123", "2017-06-12"),
        ("2017-02-29", None),
        ("2017-366", None),
        ("2017-000", None),
        ("1899-01-01", None),
        ("2017-06", None),
        ("about 2017-06-12", None),
        ("163", None),
        ("", None),
    ],
)
def test_a_text_that_is_a_date(text, expected):
    assert parse_date(text) == expected


@pytest.mark.parametrize(
    ("name", "dates", "rest"),
    [
        ("S1_VV_20170612", ["2017-06-12"], "S1_VV"),
        ("2017-06-12 VV", ["2017-06-12"], "VV"),
        ("VV_2017_06_12", ["2017-06-12"], "VV"),
        ("2017.06.12", ["2017-06-12"], ""),
        ("IMG20170612093000", ["2017-06-12"], "IMG"),
        ("T31UFS_20170612T105031_B02", ["2017-06-12"], "T31UFS_ _B02"),
        ("MOD13Q1.A2017163.h12v10.006.2017180093000", ["2017-06-12"], "MOD13Q1.A .h12v10.006.2017180093000"),
        (
            "LC08_L2SP_198024_20170612_20200903_02_T1",
            ["2017-06-12", "2020-09-03"],
            "LC08_L2SP_198024_ _ _02_T1",
        ),
        ("Sigma0_VV_slv1_12Jun2017", ["2017-06-12"], "Sigma0_VV_slv1"),
        ("S32631X402380Y1491460_amp", [], "S32631X402380Y1491460_amp"),
        ("20171340_2017400", [], "20171340_2017400"),
    ],
)
def test_dates_within_names(name, dates, rest):
    assert find_dates(name) == dates
    assert without_dates(name) == rest


@pytest.mark.parametrize(
    ("name", "pattern", "dates"),
    [
        ("a_12062017_b", "%d%m%Y", ["2017-06-12"]),
        ("a_120617_b", "%d%m%y", ["2017-06-12"]),
        ("LC81980242017163LGN00", "LC8198024%Y%j", ["2017-06-12"]),
        ("IMG20170612093000", "%Y%m%d", ["2017-06-12"]),
        ("x12June2017", "%d%B%Y", ["2017-06-12"]),
        ("month 2017-06", "%Y-%m", ["2017-06-01"]),
        ("a+b 2017.06", "a+b %Y.%m", ["2017-06-01"]),
        ("S1_20170612", "%Y-%m-%d", []),
        ("S1_2017366", "%Y%j", []),
    ],
)
def test_dates_by_a_pattern(name, pattern, dates):
    assert find_dates(name, pattern) == dates


@pytest.mark.parametrize("pattern", ["YYYYMMDD", "%m%d", "%Y", "%Y%Q%m", "%Y%m%"])
def test_a_pattern_that_is_no_date_is_refused(pattern):
    with pytest.raises(InputError, match="date pattern"):
        find_dates("S1_20170612", pattern)


def test_a_given_text_that_is_no_date_is_refused_by_name():
    with pytest.raises(InputError, match="'soon' is not a date"):
        given_date("soon")


@given(DAYS, st.sampled_from(["%Y-%m-%d", "%Y%m%d", "%Y_%m_%d", "%Y.%m.%d", "%Y%j", "%d%b%Y"]))
def test_every_day_is_found_however_it_is_written(day, form):
    written = day.strftime(form)
    assert find_dates(f"S1A_{written}_VV.tif") == [day.isoformat()]
    assert without_dates(f"VV_{written}") == "VV"


@given(DAYS, DAYS)
def test_day_numbers_count_days(day, other):
    assert day_number(other.isoformat()) - day_number(day.isoformat()) == (other - day).days


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ({"ACQUISITION_DATE": "2017-06-12"}, "2017-06-12"),
        ({"start_time": "2017-06-12T10:45:26"}, "2017-06-12"),
        ({"NC_GLOBAL#time_coverage_start": "20170612"}, "2017-06-12"),
        ({"SENSING_ORBIT_NUMBER": "51", "SENSING_TIME": "2017-06-12T10:00:00Z"}, "2017-06-12"),
        ({"ACQUISITIONDATETIME": "2017-06-12 10:00:00"}, "2017-06-12"),
        ({"date": "2017-06-12"}, "2017-06-12"),
        ({"PROCESSING_DATE": "2017-06-12", "acquisition stop time": "2017-06-12", "time": "10:45"}, None),
        ({"TIFFTAG_DATETIME": "2017:06:12 10:00:00"}, None),
    ],
)
def test_dates_of_acquisition_in_metadata(items, expected):
    assert acquisition_date(items) == expected


@pytest.mark.parametrize(
    ("units", "value", "expected"),
    [
        ("days since 1990-01-01", "11262", "2020-11-01"),
        ("days since 1990-01-01 12:00:00", "11261.5", "2020-11-01"),
        ("hours since 1900-01-01 00:00:00.0", str(24 * 42_000), "2014-12-29"),
        ("seconds since 1970-01-01T00:00:00Z", "1497225600", "2017-06-12"),
        ("months since 1990-01-01", "3", None),
        ("metres", "3", None),
        ("days since 1990-01-01", "nan", None),
    ],
)
def test_cf_times_of_netcdf_bands(units, value, expected):
    assert netcdf_date({"t#units": units}, {"NETCDF_DIM_t": value})[0] == expected


def test_a_calendar_of_other_days_gives_no_date():
    items = {"t#units": "days since 1990-01-01", "t#calendar": "360_day"}
    assert netcdf_date(items, {"NETCDF_DIM_t": "11262"}) == (None, [])


def test_other_dimensions_of_a_netcdf_band_are_told():
    items = {"t#units": "days since 1990-01-01"}
    assert netcdf_date(items, {"NETCDF_DIM_t": "0", "NETCDF_DIM_pol": "1"}) == ("1990-01-01", ["pol 1"])
