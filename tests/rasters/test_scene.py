from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio._env import get_gdal_config
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.scene import open_scene

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Scenes of awkward sizes with their values."""
    made = {}
    for height, width in ((1, 1), (1, 7), (2, 3), (13, 9)):
        path = tmp_path_factory.mktemp("shapes") / "scene.tif"
        values = RANDOM.normal(size=(2, height, width)).astype(np.float32)
        profile = {"driver": "GTiff", "dtype": "float32", "crs": "EPSG:32633"}
        place = rasterio.Affine(1, 0, 9, 0, -1, 9)
        with rasterio.open(
            path, "w", count=2, height=height, width=width, transform=place, **profile
        ) as dataset:
            dataset.write(values)
        made[height, width] = (open_scene(str(path)), values)
    return made


@given(data=st.data(), shape=st.sampled_from([(1, 1), (1, 7), (2, 3), (13, 9)]), halo=st.integers(0, 30))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_window_with_halo_is_that_part_of_the_mirrored_whole(shapes, data, shape, halo):
    scene, values = shapes[shape]
    height, width = shape
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = Window(
        left, top, data.draw(st.integers(1, width - left)), data.draw(st.integers(1, height - top))
    )
    padded = np.pad(values, ((0, 0), (halo, halo), (halo, halo)), mode="reflect")
    expected = padded[:, top : top + window.height + 2 * halo, left : left + window.width + 2 * halo]
    read = scene.read(window, halo)
    assert read.dtype == np.float32 and read.flags.c_contiguous
    np.testing.assert_array_equal(read, expected)


def test_bands_are_chosen_in_the_order_asked_for(shapes):
    scene, values = shapes[13, 9]
    np.testing.assert_array_equal(scene.read(scene.grid.whole, bands=[1]), values[[1]])
    np.testing.assert_array_equal(scene.read(scene.grid.whole, bands=[1, 0]), values[[1, 0]])


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        ("uint8", 0),
        ("int16", -9999),
        ("int32", -2147483648),
        ("uint32", 4294967295),
        ("float32", -32768),
        ("float32", -3.4028234663852886e38),
        ("float32", float("nan")),
        ("float64", -1.7e308),
        ("float64", 0.1),
    ],
)
def test_nodata_becomes_nan_in_every_type(make_raster, dtype, nodata):
    values = np.arange(1, 13).reshape(1, 3, 4).astype(dtype)
    values[0, 1, 2] = nodata
    scene = open_scene(make_raster("a.tif", values, nodata=nodata))
    read = scene.read(scene.grid.whole)
    expected = np.arange(1, 13, dtype=np.float32).reshape(1, 3, 4)
    expected[0, 1, 2] = np.nan
    np.testing.assert_array_equal(read, expected)


def test_nodata_is_per_band_and_one_that_no_pixel_can_hold_is_none(tmp_path, make_raster):
    one = make_raster("one.tif", np.full((1, 2, 2), 7, np.uint8), nodata=7)
    two = make_raster("two.tif", np.full((1, 2, 2), 7, np.float32), nodata=-1)
    band = (
        '<VRTRasterBand dataType="{}" band="{}"><NoDataValue>{}</NoDataValue><SimpleSource>'
        "<SourceFilename>{}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
    )
    bands = (
        band.format("Byte", 1, 7, one) + band.format("Float32", 2, -1, two) + band.format("Byte", 3, 0.5, one)
    )
    path = tmp_path / "mixed.vrt"
    path.write_text(f'<VRTDataset rasterXSize="2" rasterYSize="2">{bands}</VRTDataset>')
    scene = open_scene(str(path))
    assert scene.dtype == "float32"
    read = scene.read(scene.grid.whole)
    assert np.isnan(read[0]).all() and (read[1] == 7).all() and (read[2] == 7).all()


def test_values_that_are_not_finite_become_nan(make_raster):
    values = np.array([[[1, np.nan, np.inf, -np.inf]]], dtype=np.float32)
    scene = open_scene(make_raster("a.tif", values))
    np.testing.assert_array_equal(scene.read(scene.grid.whole)[0, 0], [1, np.nan, np.nan, np.nan])


def test_a_mask_of_the_file_is_honoured(make_raster):
    hidden = np.full((3, 4), 255, np.uint8)
    hidden[1, 1] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = make_raster("a.tif", np.ones((2, 3, 4), np.uint8), finish=lambda file: file.write_mask(hidden))
    scene = open_scene(path)
    np.testing.assert_array_equal(np.isnan(scene.read(scene.grid.whole)), np.stack([hidden == 0] * 2))


def test_alpha_hides_pixels_and_is_no_good_band(make_raster):
    values = np.full((2, 3, 4), 255, np.uint8)
    values[1, 2, 3] = 0

    def name(file):
        file.colorinterp = [ColorInterp.gray, ColorInterp.alpha]

    scene = open_scene(make_raster("a.tif", values, alpha="YES", finish=name))
    assert [band.good for band in scene.bands] == [True, False]
    np.testing.assert_array_equal(np.isnan(scene.read(scene.grid.whole, bands=[0])[0]), values[1] == 0)


def test_threads_read_at_once_and_a_copy_in_another_process_reads_too(make_raster):
    values = RANDOM.integers(0, 60000, (3, 200, 150)).astype(np.uint16)
    scene = open_scene(
        make_raster("a.tif", values, tiled=True, blockxsize=16, blockysize=16, compress="deflate")
    )

    def read(i: int) -> bool:
        window = Window(i % 100, (7 * i) % 150, 40, 40)
        return np.array_equal(scene.read(window), values[(slice(None), *window.toslices())])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(300)))
    copy = pickle.loads(pickle.dumps(scene))
    assert copy == scene
    np.testing.assert_array_equal(copy.read(scene.grid.whole), values)


def test_the_cache_of_gdal_is_capped():
    assert get_gdal_config("GDAL_CACHEMAX") == 64 * 2**20


def test_a_file_written_anew_is_read_anew(make_raster):
    path = make_raster("a.tif", np.zeros((1, 2, 2), np.uint8))
    assert (open_scene(path).read(Window(0, 0, 2, 2)) == 0).all()
    make_raster("a.tif", np.ones((1, 2, 2), np.uint8))
    assert (open_scene(path).read(Window(0, 0, 2, 2)) == 1).all()


HUGE = """
import importlib.util, resource, sys
spec = importlib.util.spec_from_file_location("launcher", sys.argv[1] + "/engine/launcher.py")
launcher = importlib.util.module_from_spec(spec)
spec.loader.exec_module(launcher)
import pathlib
launcher.register(pathlib.Path(sys.argv[1]))
from explanation_layers.rasters.scene import Window, open_scene
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
scene = open_scene(sys.argv[2])
for i in range(8):
    assert scene.read(Window(90_000 - 256 * i, 90_000, 256, 256), halo=8).shape == (50, 272, 272)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in KiB on Linux only")
def test_a_huge_virtual_raster_is_read_in_bounded_memory(make_raster, tmp_path, root):
    source = make_raster("small.tif", np.ones((50, 64, 64), np.float32))
    band = (
        '<VRTRasterBand dataType="Float32" band="{0}"><SimpleSource><SourceFilename>{1}</SourceFilename>'
        '<SourceBand>{0}</SourceBand><SrcRect xOff="0" yOff="0" xSize="64" ySize="64"/>'
        '<DstRect xOff="0" yOff="0" xSize="100000" ySize="100000"/></SimpleSource></VRTRasterBand>'
    )
    bands = "".join(band.format(i, source) for i in range(1, 51))
    path = tmp_path / "huge.vrt"
    path.write_text(f'<VRTDataset rasterXSize="100000" rasterYSize="100000">{bands}</VRTDataset>')
    done = subprocess.run(
        [sys.executable, "-c", HUGE, str(root), str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 200 * 1024, "more than GDAL's cache and a few windows of 15 MB"


def test_what_is_no_scene_is_refused_with_a_sentence(make_raster, tmp_path):
    with pytest.raises(InputError, match="There is no file"):
        open_scene(str(tmp_path / "nowhere.tif"))
    text = tmp_path / "text.tif"
    text.write_text("not a raster")
    with pytest.raises(InputError, match="can't be opened as a raster"):
        open_scene(str(text))
    with pytest.raises(InputError, match="can't be opened as a raster"):
        open_scene(str(tmp_path))
    with pytest.raises(InputError, match="complex numbers"):
        open_scene(make_raster("complex.tif", np.zeros((1, 2, 2), np.complex64)))
    corners = [GroundControlPoint(row, col, col, row) for row in (0, 2) for col in (0, 2)]

    def pin(file):
        file.gcps = (corners, CRS.from_epsg(4326))

    path = make_raster("gcps.tif", np.zeros((1, 2, 2), np.uint8), place=None, finish=pin)
    with pytest.raises(InputError, match="ground control points"):
        open_scene(path)


def test_a_file_cut_short_is_refused_on_reading(make_raster):
    path = make_raster("a.tif", RANDOM.normal(size=(2, 300, 300)), tiled=True)
    with open(path, "r+b") as file:
        file.truncate(40_000)
    scene = open_scene(path)
    with pytest.raises(InputError, match="damaged or cut short"):
        scene.read(scene.grid.whole)


def test_a_scene_without_georeference_has_the_grid_of_its_pixels(make_raster):
    scene = open_scene(make_raster("a.tif", np.zeros((1, 3, 5), np.uint8), place=None))
    assert not scene.grid.georeferenced and scene.grid.crs is None
    assert (scene.grid.width, scene.grid.height) == (5, 3)
