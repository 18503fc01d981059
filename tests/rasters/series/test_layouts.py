"""How rasters become a series: files, bands and variables of dates and channels, and parts of a series."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio.shutil

from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.scene import describe_band, open_scene
from explanation_layers.rasters.series import of_model, open_series
from explanation_layers.rasters.writers import RasterWriter

from .conftest import COMPACT, DATES, described, values_of


def test_a_file_per_date(rasters):
    paths = rasters(*[f"ndvi_{date}.tif" for date in COMPACT])
    series = open_series(paths)
    assert series.dates == DATES and series.channels == ("ndvi",)
    assert values_of(series) == [[0], [10], [20]]
    assert [band.name for band in series.bands] == [f"{date} ndvi" for date in DATES]
    assert [band.date for band in series.bands] == list(DATES)
    assert series.paths == tuple(paths) and series.path == paths[0] and series.nodata == (None,) * 3
    assert series.notes == (f"The dates were read from the files' names: 3 from {DATES[0]} to {DATES[2]}.",)
    assert series.grid.same_as(open_scene(paths[0]).grid)


def test_files_out_of_order_are_sorted_and_that_is_said(rasters):
    paths = rasters(*[f"{date}.tif" for date in (COMPACT[2], COMPACT[0], COMPACT[1])])
    series = open_series(paths)
    assert series.dates == DATES and values_of(series) == [[10], [20], [0]]
    assert series.channels == ("value",) and series.bands[0].name == DATES[0]
    assert series.notes[1] == "The rasters were put into the order of their dates."


def test_a_folder_of_files(rasters, tmp_path):
    rasters(*[f"s_{date}.tif" for date in COMPACT])
    (tmp_path / "s_20170103.tif.aux.xml").write_text("<PAMDataset/>")
    (tmp_path / "notes.txt").write_text("20170104")
    (tmp_path / ".hidden.tif").write_text("")
    assert open_series([str(tmp_path)]).dates == DATES


def test_files_of_date_and_polarisation(rasters):
    names = [f"S1_{channel}_{date}.tif" for channel in ("VV", "VH") for date in COMPACT]
    series = open_series(rasters(*names))
    assert series.channels == ("VV", "VH") and values_of(series) == [[0, 30], [10, 40], [20, 50]]
    assert series.bands[3].name == f"{DATES[1]} VH"
    swapped = open_series(rasters(*names), channels=("vh", "VV"))
    assert swapped.channels == ("VH", "VV") and values_of(swapped) == [[30, 0], [40, 10], [50, 20]]
    assert values_of(open_series(rasters(*names), channels=("VH",))) == [[30], [40], [50]]


def test_files_of_date_and_something_else(rasters):
    names = [f"T31_{date}T1051_{channel}.tif" for date in COMPACT for channel in ("B04", "B08")]
    series = open_series(rasters(*names))
    assert series.channels == ("B04", "B08") and values_of(series) == [[0, 10], [20, 30], [40, 50]]


def test_product_names_that_differ_in_more_than_the_date_are_one_channel(rasters):
    names = [f"S1A_{date}T05400{i}_{i}F3A_Orb.tif" for i, date in enumerate(COMPACT)]
    series = open_series(rasters(*names))
    assert series.channels == ("S1A_Orb",) and values_of(series) == [[0], [10], [20]]


@pytest.mark.parametrize(
    ("texts", "channels"),
    [
        (("VV", "VH"), ("VV", "VH")),
        (("Sigma0_VV_db", "Sigma0_VH_db"), ("VV", "VH")),
        (("red", "near infrared"), ("red", "near infrared")),
        ((), ("Band 1", "Band 2")),
    ],
)
def test_a_file_of_several_channels_per_date(rasters, texts, channels):
    series = open_series(rasters(*[f"{d}.tif" for d in COMPACT], bands=2, finish=described(*texts)))
    assert series.channels == channels and values_of(series) == [[0, 1], [10, 11], [20, 21]]


def test_a_file_per_channel_with_a_band_per_date(rasters):
    paths = rasters("mt_red.tif", "mt_nir.tif", bands=3)
    series = open_series(paths, dates=DATES)
    assert series.channels == ("red", "nir") and values_of(series) == [[0, 10], [1, 11], [2, 12]]
    assert series.notes[0].startswith("The dates were read from the parameter DATES: 3 ")


def test_files_that_follow_one_another_in_time(rasters):
    paths = rasters("ndvi_2016.tif", "ndvi_2017.tif", bands=2)
    dates = ("2016-01-01", "2016-07-01", "2017-01-01", "2017-07-01")
    series = open_series(paths, dates=dates)
    assert series.dates == dates and values_of(series) == [[0], [1], [10], [11]]
    paths = rasters("vv_2016.tif", "vv_2017.tif", "vh_2016.tif", "vh_2017.tif", bands=2)
    layer_dates = [dates[:2], dates[2:]] * 2
    series = open_series(paths, layer_dates=layer_dates)
    assert series.channels == ("VV", "VH") and values_of(series) == [[0, 20], [1, 21], [10, 30], [11, 31]]


@pytest.mark.parametrize(
    ("texts", "channels", "expected"),
    [
        (DATES, ("value",), [[0], [1], [2]]),
        ([f"{d} VV" for d in DATES], ("VV",), [[0], [1], [2]]),
        ([f"{d} {c}" for d in DATES for c in ("VV", "VH")], ("VV", "VH"), [[0, 1], [2, 3], [4, 5]]),
        ([f"{c} {d}" for c in ("VV", "VH") for d in COMPACT], ("VV", "VH"), [[0, 3], [1, 4], [2, 5]]),
        ([f"{c}_{d}" for c in ("red", "nir") for d in DATES], ("red", "nir"), [[0, 3], [1, 4], [2, 5]]),
        (
            ["Sigma0_VV_mst_03Jan2017", "Sigma0_VV_slv1_15Jan2017", "Sigma0_VV_slv2_20Feb2017"],
            ("VV",),
            [[0], [1], [2]],
        ),
        ([f"scene{i} {d}" for i, d in enumerate(DATES)], ("value",), [[0], [1], [2]]),
    ],
)
def test_one_raster_with_described_bands(rasters, texts, channels, expected):
    series = open_series(rasters("cube.tif", bands=len(texts), finish=described(*texts)))
    assert series.dates == DATES and series.channels == channels and values_of(series) == expected


@pytest.mark.parametrize(
    ("texts", "channels", "expected"),
    [
        ([], ("Band 1", "Band 2"), [[0, 1], [2, 3], [4, 5]]),
        (["a", "b"] * 3, ("a", "b"), [[0, 1], [2, 3], [4, 5]]),
        (["a"] * 3 + ["b"] * 3, ("a", "b"), [[0, 3], [1, 4], [2, 5]]),
        (
            [f"VV {i}" for i in range(3)] + [f"VH {i}" for i in range(3)],
            ("VV", "VH"),
            [[0, 3], [1, 4], [2, 5]],
        ),
    ],
)
def test_one_raster_of_dates_times_bands_by_given_dates(rasters, texts, channels, expected):
    series = open_series(rasters("cube.tif", bands=6, finish=described(*texts)), dates=COMPACT)
    assert series.dates == DATES and series.channels == channels and values_of(series) == expected


def test_netcdf_variables_along_time_are_channels(rasters, tmp_path):
    def finish(file, number):
        file.update_tags(
            **{
                "NETCDF_DIM_EXTRA": "{t}",
                "NETCDF_DIM_t_DEF": "{3,6}",
                "NETCDF_DIM_t_VALUES": "{9864,9876,9912}",
                "t#units": "days since 1990-01-01",
            }
        )
        for band, day in enumerate((9864, 9876, 9912), start=1):
            file.update_tags(band, NETCDF_DIM_t=str(day), NETCDF_VARNAME=("VV", "VH")[number])

    paths = []
    for source, name in zip(rasters("a.tif", "b.tif", bands=3, finish=finish), ("VV", "VH")):
        path = tmp_path / f"{name}.nc"
        rasterio.shutil.copy(source, path, driver="netCDF", FORMAT="NC4")
        paths.append(f'NETCDF:"{path}":{name}' if name == "VH" else str(path))
    series = open_series(paths)
    assert series.dates == DATES and series.channels == ("VV", "VH")
    assert values_of(series) == [[0, 10], [1, 11], [2, 12]]
    assert series.paths == (str(tmp_path / "VV.nc"), str(tmp_path / "VH.nc"))


def test_netcdf_files_that_gdal_made_of_bands(rasters, tmp_path):
    paths = []
    for source, date in zip(rasters("a.tif", "b.tif", "c.tif", bands=2), DATES):
        paths.append(str(tmp_path / f"{date}.nc"))
        rasterio.shutil.copy(source, paths[-1], driver="netCDF", FORMAT="NC4")
    series = open_series(paths)
    assert series.dates == DATES and series.channels == ("Band1", "Band2")
    assert values_of(series) == [[0, 1], [10, 11], [20, 21]] and series.paths == tuple(paths)
    in_one = open_series(paths[:1], dates=DATES[:2])
    assert in_one.channels == ("value",) and values_of(in_one) == [[0], [1]]


def test_nodata_that_an_unsigned_netcdf_variable_declares_is_kept(make_raster, tmp_path):
    paths = []
    for date, value in zip(DATES, (7, 8, 32769)):
        source = make_raster("a.tif", np.full((1, 4, 6), value, np.uint16), nodata=7)
        paths.append(str(tmp_path / f"{date}.nc"))
        rasterio.shutil.copy(source, paths[-1], driver="netCDF", FORMAT="NC4")
    assert values_of(open_series(paths)) == [[8], [8], [32769]]


def test_a_virtual_raster_of_files_with_dates_in_their_names(rasters, tmp_path):
    rasters(*[f"s_{date}.tif" for date in COMPACT])
    bands = "".join(
        f'<VRTRasterBand dataType="Float32" band="{i}"><SimpleSource><SourceFilename relativeToVRT="1">'
        f"s_{date}.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for i, date in enumerate(COMPACT, start=1)
    )
    path = tmp_path / "stack.vrt"
    path.write_text(f'<VRTDataset rasterXSize="6" rasterYSize="4">{bands}</VRTDataset>')
    series = open_series([str(path)])
    assert series.dates == DATES and values_of(series) == [[0], [10], [20]]


def test_a_channel_without_a_raster_on_a_date_has_a_gap_there(rasters):
    names = [f"{c}_{d}.tif" for c in ("VV", "VH") for d in COMPACT if (c, d) != ("VH", COMPACT[1])]
    series = open_series(rasters(*names))
    assert series.channels == ("VV", "VH")
    # VH is 30 and 40 on 3 January and 20 February: 12 of 48 days after the first it is 32.5.
    assert values_of(series) == [[0, 30], [10, 32.5], [20, 40]]
    assert series.notes[1] == f"VH has no raster of {DATES[1]}; these dates are filled in."
    observed = series.read_observed(series.grid.whole)[1]
    assert observed[[0, 1, 2, 4, 5]].all() and not observed[3].any()


def test_a_part_of_the_dates(rasters):
    paths = rasters(*[f"{date}.tif" for date in COMPACT])
    assert open_series(paths, start="2017-01-15").dates == DATES[1:]
    assert open_series(paths, end="20170115").dates == DATES[:2]
    with pytest.raises(InputError, match="1 of the 3 dates lie from 2017-01-16 to 2017-02-20"):
        open_series(paths, start="2017-01-16")


def test_written_bands_are_read_back_with_their_dates(rasters, tmp_path):
    series = open_series(rasters(*[f"{c}_{d}.tif" for c in ("VV", "VH") for d in COMPACT]))
    path = str(tmp_path / "out.tif")
    with RasterWriter(path, series.grid, len(series.bands), bands=series.bands) as writer:
        writer.write(series.grid.whole, series.read(series.grid.whole))
    again = open_series([path])
    assert (again.dates, again.channels, values_of(again)) == (
        series.dates,
        series.channels,
        values_of(series),
    )
    assert [describe_band(i, band) for i, band in enumerate(open_scene(path).bands)] == [
        band.name for band in series.bands
    ]


def test_a_series_is_cut_to_a_models_dates_and_channels(rasters):
    series = open_series(rasters(*[f"{c}_{d}.tif" for c in ("VV", "VH") for d in COMPACT]))
    cut = of_model(series, DATES[1:], ("VH",))
    assert cut.dates == DATES[1:] and cut.channels == ("VH",) and values_of(cut) == [[40], [50]]
    assert "Of 3 dates, the 2 that the model was trained on are used." in cut.notes
    assert of_model(series, DATES, ("VV", "VH")).notes == series.notes
    turned = of_model(series, DATES, ("VH", "VV"))
    assert turned.bands[0].name == f"{DATES[0]} VH" and values_of(turned)[0] == [30, 0]
    with pytest.raises(InputError, match="lacks 2017-01-04, 2017-01-05, 2017-01-06 and 1 more"):
        of_model(series, [*DATES, *[f"2017-01-0{day}" for day in (4, 5, 6, 7)]], ("VV",))
    with pytest.raises(InputError, match="needs the channel HH, and .* has VV, VH"):
        of_model(series, DATES, ("HH",))


def test_the_only_channel_serves_a_model_of_one_under_any_name_but_another_polarisation(rasters):
    series = open_series(rasters(*[f"{d}.tif" for d in COMPACT]))
    assert of_model(series, DATES, ("ndvi",)).channels == ("ndvi",)
    series = open_series(rasters(*[f"VV_{d}.tif" for d in COMPACT]))
    assert "VV serve as the model's Sigma0_VV" in of_model(series, DATES, ("Sigma0_VV",)).notes[-1]
    with pytest.raises(InputError, match="needs the channel VH"):
        of_model(series, DATES, ("VH",))
