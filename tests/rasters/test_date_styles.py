from __future__ import annotations

from datetime import date, datetime
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explanation_layers.rasters.date_styles import (
    date_colours,
    date_ranges,
    write_date_classes_qml,
    write_date_series_qml,
    write_signed_date_series_qml,
)

DATES = ["2017-01-03", "2017-01-15", "2017-02-20"]
DAYS = st.dates(date(1950, 1, 1), date(2099, 12, 31))


def test_ranges_go_from_midpoint_to_midpoint_and_half_a_gap_beyond_the_ends():
    noon = [
        datetime(2016, 12, 28, 12),
        datetime(2017, 1, 9, 12),
        datetime(2017, 2, 2, 12),
        datetime(2017, 3, 10, 12),
    ]
    assert date_ranges(DATES) == list(pairwise(noon))


def test_days_one_after_the_other_and_an_only_date_have_their_days():
    days = [datetime(2017, 1, 1), datetime(2017, 1, 2), datetime(2017, 1, 3)]
    assert date_ranges(["2017-01-01", "2017-01-02"]) == list(pairwise(days))
    assert date_ranges(["2017-01-01"]) == [(days[0], days[1])]


@given(st.lists(DAYS, min_size=1, max_size=30, unique=True))
def test_ranges_tile_time_and_hold_their_dates(days):
    dates = [day.isoformat() for day in sorted(days)]
    ranges = date_ranges(dates)
    assert all(before[1] == after[0] for before, after in pairwise(ranges))
    assert all(start <= datetime.fromisoformat(f"{d}T12:00") < end for d, (start, end) in zip(dates, ranges))


def test_each_date_has_the_range_of_its_first_band(tmp_path):
    path = str(tmp_path / "a.qml")
    write_date_series_qml(path, DATES, 0, 1, bands_per_date=2)
    root = ElementTree.parse(path).getroot()
    assert root.get("styleCategories") == "Symbology|Temporal"
    assert [entry.get("band") for entry in root.iter("range")] == ["1", "3", "5"]
    assert root.find("temporal").attrib == {"enabled": "1", "mode": "3", "bandNumber": "1", "fetchMode": "0"}
    values = [float(item.get("value")) for item in root.iter("item")]
    assert (values[0], values[-1]) == (0, 1)


def test_signed_values_are_white_at_zero_on_every_date(tmp_path):
    path = str(tmp_path / "a.qml")
    write_signed_date_series_qml(path, DATES, 0.25)
    root = ElementTree.parse(path).getroot()
    items = [(float(item.get("value")), item.get("color")) for item in root.iter("item")]
    assert (items[0][0], items[-1][0]) == (-0.25, 0.25) and (0, "#f7f7f7") in items
    assert len(list(root.iter("range"))) == 3


def test_a_raster_of_dates_has_a_colour_and_a_label_for_each(tmp_path):
    path = str(tmp_path / "a.qml")
    write_date_classes_qml(path, DATES)
    entries = list(ElementTree.parse(path).getroot().iter("paletteEntry"))
    assert [(entry.get("value"), entry.get("label")) for entry in entries] == list(zip("123", DATES))
    assert entries[0].get("color") == "#440154" and entries[2].get("color") == "#fde725"


@pytest.mark.parametrize(
    ("dates", "same"), [(["2017-01-01"], 1), (["2017-01-01", "2017-01-02", "2018-01-01"], 2)]
)
def test_colours_follow_time_and_not_the_count_of_dates(dates, same):
    colours = date_colours(dates)
    assert colours[0] == (68, 1, 84) and len(colours) == len(dates)
    assert all(abs(a - b) <= 1 for colour in colours[:same] for a, b in zip(colour, colours[0]))
    assert len(dates) == 1 or colours[-1] == (253, 231, 37)
