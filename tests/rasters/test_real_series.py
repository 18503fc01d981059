"""The series beside the repository: Sentinel-1 over Niger, MODIS over Mato Grosso, WorldCereal's netCDF."""

from __future__ import annotations

import numpy as np
import pytest

from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.series import of_model, open_series

DECIBELS = {"values": "amplitude", "calibration": -83}


@pytest.fixture
def niger(shared):
    """The folder and the virtual raster of 60 dates."""
    place = shared / "data" / "s1_series_niger" / "S32631X402380Y1491460sS1_A_vh_mtfil"
    return str(place), f"{place}.vrt"


def test_niger_from_a_folder_and_from_one_raster_is_the_same(niger, shared):
    folder, raster = (open_series([path], **DECIBELS) for path in niger)
    listed = (shared / "data" / "s1_series_niger").glob("*.dates")
    dates = [text[:4] + "-" + text[4:6] + "-" + text[6:] for text in next(listed).read_text().split()]
    assert list(folder.dates) == list(raster.dates) == dates and len(dates) == 60
    assert folder.channels == raster.channels == ("VH",)
    assert "the files' names" in folder.notes[0] and "the bands' metadata" in raster.notes[0]
    values = folder.read(folder.grid.whole)
    np.testing.assert_array_equal(values, raster.read(raster.grid.whole))
    assert values.shape == (60, 38, 44) and round(float(values.min()), 1) == -24.1
    assert round(float(values.max()), 1) == -8.5


def test_niger_in_2016(niger):
    series = open_series([niger[0]], start="2016-01-01", end="2016-12-31")
    assert (
        all(date.startswith("2016") for date in series.dates) and len(series.bands) == len(series.dates) > 10
    )


def test_mato_grosso_of_a_file_per_channel(shared):
    folder = shared / "data" / "modis_mato_grosso_cube"
    paths = [str(folder / f"{name}.tif") for name in ("blue", "red", "nir", "mir", "evi", "ndvi")]
    dates = (folder / "timeline").read_text().split()
    series = open_series(paths, dates=dates)
    assert series.channels == ("blue", "red", "nir", "mir", "evi", "ndvi") and list(series.dates) == dates
    values, observed = series.read_observed(series.grid.whole)
    assert np.count_nonzero(~observed) == 78 and {band % 6 for band in np.argwhere(~observed)[:, 0]} == {0, 4}
    assert not np.isnan(values).any() and values.min() > 0 and values.max() < 1
    with pytest.raises(InputError, match="No dates were found for .*blue.tif: .* DATES"):
        open_series(paths[:1])
    season = of_model(series, dates[:23], ("ndvi", "evi"))
    assert season.read(season.grid.whole).shape == (46, 27, 37)
    np.testing.assert_array_equal(season.read(season.grid.whole)[0], values[5])


@pytest.mark.parametrize(
    ("form", "variables"), [("{}", 15), ('NETCDF:"{}":S1-SIGMA0-VV', 1), ("netcdf:{}:S1-SIGMA0-VV", 1)]
)
def test_worldcereal_opens_in_every_way_that_gdal_names_it(shared, form, variables):
    path = str(shared / "data" / "worldcereal_s1_s2" / "worldcereal_preprocessed_inputs.nc")
    series = open_series([form.format(path)])
    assert len(series.channels) == variables and "S1-SIGMA0-VV" in series.channels
    assert series.dates == tuple(
        [f"2020-{m}-01" for m in (11, 12)] + [f"2021-{m:02}-01" for m in range(1, 11)]
    )
    assert series.paths == (path,)


def test_worldcereal_backscatter_and_its_nodata(shared):
    path = str(shared / "data" / "worldcereal_s1_s2" / "worldcereal_preprocessed_inputs.nc")
    radar = open_series([path], channels=("VV", "VH"), **DECIBELS)
    assert radar.channels == ("S1-SIGMA0-VV", "S1-SIGMA0-VH")
    values, observed = radar.read_observed(radar.grid.whole)
    assert observed.all() and -30 < values.min() < np.percentile(values, 99) < 0
    assert np.median(values[0::2]) > np.median(values[1::2])
    # 65535, which the file does not declare, is nodata; months without any Sentinel-2 image are filled in.
    blue = open_series([path], channels=("S2-L2A-B02",))
    values, observed = blue.read_observed(blue.grid.whole)
    assert np.count_nonzero(~observed) == 20_000 and values.max() < 20_000
    empty = np.flatnonzero(~observed.any(axis=(1, 2)))
    assert len(empty) == 2
