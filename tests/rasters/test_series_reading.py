"""What a series reads: conversions, gaps, windows, halos, threads, many files, huge rasters."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from explanation_layers.rasters import series as module
from explanation_layers.rasters.series import open_series

DATES = ("2017-01-03", "2017-01-15", "2017-02-20", "2017-02-21")
DAYS = np.array([0, 12, 48, 49])
HEIGHT, WIDTH = 13, 9


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Values (date, channel, y, x) with gaps, and the series that reads them from a file per date."""
    generator = np.random.default_rng(3)
    values = generator.normal(-12, 3, (4, 2, HEIGHT, WIDTH)).astype(np.float32)
    values[generator.random(values.shape) < 0.3] = np.nan
    values[:, :, 2, 2] = np.nan
    folder = tmp_path_factory.mktemp("planted")
    place = rasterio.Affine(10, 0, 0, 0, -10, 0)
    profile = {
        "driver": "GTiff",
        "dtype": "float32",
        "nodata": -9999,
        "crs": "EPSG:32633",
        "transform": place,
    }
    for date, stored in zip(DATES, np.nan_to_num(values, nan=-9999)):
        path = folder / f"{date}.tif"
        with rasterio.open(path, "w", count=2, height=HEIGHT, width=WIDTH, **profile) as file:
            file.write(stored)
            file.descriptions = ("VV", "VH")
    return values, open_series([str(folder)])


def interpolated(values):
    """numpy.interp per pixel and channel; NaN where fewer than two dates were observed."""
    filled = np.full_like(values, np.nan)
    for channel, row, column in np.ndindex(values.shape[1:]):
        pixel = values[:, channel, row, column]
        seen = ~np.isnan(pixel)
        if seen.sum() >= 2:
            filled[:, channel, row, column] = np.interp(DAYS, DAYS[seen], pixel[seen])
    return filled.reshape(-1, *values.shape[2:])


def test_gaps_are_interpolated_and_told_apart(planted):
    values, series = planted
    expected = interpolated(values)
    read, observed = series.read_observed(series.grid.whole)
    np.testing.assert_allclose(read, expected, rtol=1e-5)
    np.testing.assert_array_equal(series.read(series.grid.whole), read)
    np.testing.assert_array_equal(observed, ~np.isnan(values).reshape(8, HEIGHT, WIDTH) & ~np.isnan(expected))
    assert np.isnan(read[:, 2, 2]).all() and not observed[:, 2, 2].any()
    assert not observed.all() and read.dtype == np.float32 and observed.dtype == bool


def test_a_pixel_observed_once_is_missing_in_that_channel_only(planted):
    values, series = planted
    once = np.argwhere((~np.isnan(values)).sum(axis=0) == 1)
    assert len(once) > 3
    read = series.read(series.grid.whole).reshape(values.shape)
    for channel, row, column in once:
        assert np.isnan(read[:, channel, row, column]).all()
        other = read[:, 1 - channel, row, column]
        assert np.isnan(other).all() == ((~np.isnan(values[:, 1 - channel, row, column])).sum() < 2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    top=st.integers(0, HEIGHT - 1),
    left=st.integers(0, WIDTH - 1),
    height=st.integers(1, HEIGHT),
    width=st.integers(1, WIDTH),
    halo=st.integers(0, 20),
    bands=st.one_of(st.none(), st.lists(st.integers(0, 7), min_size=1, max_size=8)),
)
def test_windows_are_parts_of_the_whole_mirrored_at_its_edges(planted, top, left, height, width, halo, bands):
    series = planted[1]
    window = Window(left, top, min(width, WIDTH - left), min(height, HEIGHT - top))
    whole = np.pad(series.read(series.grid.whole), ((0, 0), (halo, halo), (halo, halo)), mode="reflect")
    rows = slice(top, top + window.height + 2 * halo)
    columns = slice(left, left + window.width + 2 * halo)
    expected = whole[:, rows, columns] if bands is None else whole[bands][:, rows, columns]
    np.testing.assert_array_equal(series.read(window, halo, bands), expected)
    if halo == 0 and bands is None:
        np.testing.assert_array_equal(series.read_observed(window)[0], expected)


def test_threads_and_other_processes_read_the_same(planted):
    series = planted[1]
    whole = series.read(series.grid.whole)
    with ThreadPoolExecutor(4) as pool:
        for read in pool.map(lambda _: series.read(series.grid.whole), range(16)):
            np.testing.assert_array_equal(read, whole)
    copy = pickle.loads(pickle.dumps(series))
    assert copy == series
    np.testing.assert_array_equal(copy.read(series.grid.whole), whole)


STORED = np.array([-1, 0, 1e-6, 1e-5, 0.01, 1, 100], np.float32)


@pytest.mark.parametrize(
    ("values", "calibration", "expected"),
    [
        ("as_is", 7, STORED),
        ("db", 7, STORED + 7),
        ("power", 0, [-50, -50, -50, -50, -20, 0, 20]),
        ("power", 15, [-50, -50, -45, -35, -5, 15, 35]),
        ("amplitude", 0, [-50, -50, -50, -50, -40, 0, 40]),
        ("amplitude", -30, [-50, -50, -50, -50, -50, -30, 10]),
    ],
)
def test_values_become_decibels_by_the_stated_rule(make_raster, values, calibration, expected):
    paths = [make_raster(f"{d}.tif", STORED.reshape(1, 1, 7)) for d in DATES[:2]]
    read = open_series(paths, values=values, calibration=calibration).read(Window(0, 0, 7, 1))
    np.testing.assert_allclose(read, np.broadcast_to(np.reshape(expected, (1, 1, 7)), (2, 1, 7)), atol=1e-4)


def test_scales_and_offsets_of_the_file_come_before_decibels(make_raster):
    def finish(file):
        file.scales, file.offsets = (0.001,), (0.01,)

    paths = [
        make_raster(f"{d}.tif", np.full((1, 2, 2), 90, np.uint16), finish=finish, nodata=0) for d in DATES
    ]
    assert open_series(paths).read(Window(0, 0, 1, 1)).ravel().tolist() == [90] * 4
    power = open_series(paths, values="power").read(Window(0, 0, 1, 1))
    np.testing.assert_allclose(power.ravel(), [-10] * 4, atol=1e-5)


def test_gaps_are_interpolated_in_decibels(make_raster):
    paths = [
        make_raster(f"{d}.tif", np.full((1, 1, 1), v), nodata=9.0) for d, v in zip(DATES, (1, 9, 0.01, 1.0))
    ]
    read = open_series(paths, values="power").read(Window(0, 0, 1, 1)).ravel()
    np.testing.assert_allclose(read, [0, -20 * 12 / 48, -20, 0], atol=1e-5)


def test_each_file_is_read_once_and_not_again_where_nothing_is_missing(planted, monkeypatch):
    values, series = planted
    asked = []
    read = module.Scene.read
    monkeypatch.setattr(module.Scene, "read", lambda self, *a: asked.append(self.path) or read(self, *a))
    row, column = np.argwhere(~np.isnan(values[:, 1]).any(axis=0))[0]
    series.read(Window(column, row, 1, 1), 0, [1, 5])
    assert len(asked) == 2
    asked.clear()
    series.read(series.grid.whole)
    assert sorted(asked) == sorted(series.paths)


def test_files_beyond_what_a_process_may_hold_are_not_kept_open(make_raster, monkeypatch):
    monkeypatch.setattr(module, "_KEPT_OPEN", 2)
    paths = [make_raster(f"{d}.tif", np.full((1, 2, 2), i, np.float32)) for i, d in enumerate(DATES)]
    series = open_series(paths)
    for _ in range(2):
        assert series.read(Window(0, 0, 2, 2))[:, 0, 0].tolist() == [0, 1, 2, 3]
    if os.path.isdir("/proc/self/fd"):
        links = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
        assert [path in links for path in paths] == [True, True, False, False]


HUGE = """
import importlib.util, pathlib, resource, sys, time
spec = importlib.util.spec_from_file_location("_launcher", sys.argv[1] + "/engine/launcher.py")
launcher = importlib.util.module_from_spec(spec)
spec.loader.exec_module(launcher)
launcher.register(pathlib.Path(sys.argv[1]))
from rasterio.windows import Window
from explanation_layers.rasters.series import open_series
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
series = open_series(sys.argv[2:])
opened = time.perf_counter() - start
for i in range(8):
    assert series.read(Window(90_000 - 256 * i, 90_000, 256, 256), halo=8).shape == (60, 272, 272)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, opened)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in KiB on Linux only")
def test_a_huge_virtual_series_opens_at_once_and_is_read_in_bounded_memory(make_raster, tmp_path, root):
    values = np.ones((2, 64, 64), np.float32)
    values[:, :30] = 0
    source = make_raster("small.tif", values, nodata=0.0)
    band = (
        '<VRTRasterBand dataType="Float32" band="{0}"><Description>{1}</Description>'
        "<NoDataValue>0</NoDataValue><SimpleSource><SourceFilename>{2}</SourceFilename>"
        '<SourceBand>{0}</SourceBand><SrcRect xOff="0" yOff="0" xSize="64" ySize="64"/>'
        '<DstRect xOff="0" yOff="0" xSize="100000" ySize="100000"/></SimpleSource></VRTRasterBand>'
    )
    paths = []
    for day in range(1, 31):
        bands = "".join(band.format(i, name, source) for i, name in enumerate(("VV", "VH"), start=1))
        paths.append(str(tmp_path / f"201701{day:02}.vrt"))
        with open(paths[-1], "w") as file:
            file.write(f'<VRTDataset rasterXSize="100000" rasterYSize="100000">{bands}</VRTDataset>')
    command = [sys.executable, "-c", HUGE, str(root), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    memory, opened = done.stdout.split()
    assert int(memory) < 250 * 1024, "more than GDAL's cache and a few windows of 18 MB"
    assert float(opened) < 10
