from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from explanation_layers.rasters.class_rasters import category_names
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.grid import Grid
from explanation_layers.rasters.scene import Band, open_scene
from explanation_layers.rasters.tiles import plan_tiles
from explanation_layers.rasters.writers import RasterWriter, class_dtype

GRID = Grid(300, 270, CRS.from_epsg(32633).to_wkt(), Affine(30, 0, 364095, 0, -30, 5809965))
UNPLACED = Grid(20, 10, None, Affine.identity())
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
BANDS = [Band("first", 418.24, 6.5), Band("second", 2445.53), Band("third")]


def _values(grid, count=3):
    values = np.random.default_rng(1).normal(size=(count, grid.height, grid.width)).astype(np.float32)
    values[:, 2, 3] = np.nan
    return values


def _write(path, grid, values, side=256, **options):
    with RasterWriter(str(path), grid, len(values), **options) as writer:
        for tile in plan_tiles(grid.whole, side):
            writer.write(tile, values[(slice(None), *tile.toslices())])


@pytest.mark.parametrize("grid", [GRID, UNPLACED])
@pytest.mark.parametrize("nodata", [float("nan"), -9999.0])
def test_what_is_written_is_read_back_on_the_same_grid(tmp_path, grid, nodata):
    values = _values(grid)
    _write(tmp_path / "a.tif", grid, values, nodata=nodata, bands=BANDS)
    scene = open_scene(str(tmp_path / "a.tif"))
    assert scene.grid == grid
    np.testing.assert_array_equal(scene.nodata, [nodata] * 3)
    np.testing.assert_array_equal(scene.read(grid.whole), values)
    assert [band.wavelength_nm for band in scene.bands] == [418.24, 2445.53, None]
    assert [band.fwhm_nm for band in scene.bands] == [6.5, None, None]
    assert [band.name for band in scene.bands] == ["B1 418 nm", "B2 2446 nm", "B3 third"]


def test_the_file_is_tiled_compressed_and_describes_itself(tmp_path):
    _write(
        tmp_path / "a.tif",
        GRID,
        _values(GRID),
        bands=BANDS,
        tags={"MODEL": "abc"},
        descriptions=["x", "y", "z"],
    )
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.profile["tiled"] and dataset.block_shapes == [(256, 256)] * 3
        assert dataset.compression.value == "ZSTD" and dataset.interleaving.value == "BAND"
        assert dataset.tags()["MODEL"] == "abc"
        assert dataset.descriptions == ("x", "y", "z")
        assert dataset.tags(1, ns="IMAGERY") == {"CENTRAL_WAVELENGTH_UM": "0.41824", "FWHM_UM": "0.0065"}
        assert dataset.tags(1)["wavelength_units"] == "Nanometers"


def test_dates_of_bands_are_written_and_read_back(tmp_path):
    bands = [Band("2017-06-12 B08", 842.0, date="2017-06-12"), Band("VH", date="2017-06-24"), Band("third")]
    _write(tmp_path / "a.tif", UNPLACED, _values(UNPLACED), bands=bands)
    read = open_scene(str(tmp_path / "a.tif")).bands
    assert [band.date for band in read] == ["2017-06-12", "2017-06-24", None]
    assert [band.name for band in read] == ["2017-06-12 B08", "2017-06-24 VH", "B3 third"]
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.tags(1)["date"] == "2017-06-12" and "date" not in dataset.tags(3)


def test_blocks_of_a_small_raster_are_small(tmp_path):
    _write(tmp_path / "a.tif", UNPLACED, _values(UNPLACED))
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.block_shapes[0] == (16, 32)


def test_the_same_data_give_the_same_bytes(tmp_path):
    for name in ("a.tif", "b.tif"):
        _write(tmp_path / name, GRID, _values(GRID), bands=BANDS)
    assert filecmp.cmp(tmp_path / "a.tif", tmp_path / "b.tif", shallow=False)


def test_pixels_that_are_never_written_are_nodata(tmp_path):
    with RasterWriter(str(tmp_path / "a.tif"), GRID, 1) as writer:
        writer.write(Window(0, 0, 2, 2), np.ones((2, 2), np.float32))
    read = open_scene(str(tmp_path / "a.tif")).read(GRID.whole)
    assert np.count_nonzero(np.isfinite(read)) == 4


def test_a_raster_of_classes_has_colours_and_names(tmp_path):
    names, colours = ["roof & wall", 'a "b" <c>', "tree"], [(255, 0, 0), (1, 2, 3), (0, 255, 0)]
    path = str(tmp_path / "a.tif")
    classes = np.arange(200, dtype=np.uint8).reshape(1, 10, 20) % 4
    _write(path, UNPLACED, classes, dtype="uint8", nodata=0, class_names=names, class_colours=colours)
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), classes)
        table = dataset.colormap(1)
        assert [table[i][:3] for i in (1, 2, 3)] == colours and table[0][3] == 0
        assert dataset.nodata == 0
    assert category_names(path) == dict(enumerate(names, start=1))
    if gdalinfo := shutil.which("gdalinfo"):
        said = subprocess.run([gdalinfo, path], capture_output=True, text=True, check=True).stdout
        assert all(f"{i}: {name}" in said for i, name in enumerate(names, start=1))


def test_more_than_255_classes_take_two_bytes(tmp_path):
    assert (class_dtype(255), class_dtype(256)) == ("uint8", "uint16")
    classes = np.full((1, 10, 20), 300, np.uint16)
    names, colours = [f"c{i}" for i in range(300)], [(i % 256, 0, 0) for i in range(300)]
    path = str(tmp_path / "a.tif")
    _write(path, UNPLACED, classes, dtype="uint16", nodata=0, class_names=names, class_colours=colours)
    with rasterio.open(path) as dataset:
        assert dataset.colormap(1)[300][0] == 299 % 256
        assert (dataset.read() == 300).all()


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        RasterWriter(str(tmp_path / "nowhere" / "a.tif"), GRID, 1)


ON_A_FULL_DISK = """
import importlib.util, os, pathlib, resource, sys
spec = importlib.util.spec_from_file_location("launcher", sys.argv[1] + "/engine/launcher.py")
launcher = importlib.util.module_from_spec(spec)
spec.loader.exec_module(launcher)
launcher.register(pathlib.Path(sys.argv[1]))
import numpy as np
from affine import Affine
from explanation_layers.rasters.grid import Grid
from explanation_layers.rasters.outputs import InputError, Outputs
from explanation_layers.rasters.tiles import plan_tiles
from explanation_layers.rasters.writers import RasterWriter

grid = Grid(512, 512, None, Affine.identity())
values = np.random.default_rng(0).normal(size=(4, 512, 512)).astype("float32")
path = sys.argv[2] + "/a.tif"

def write():
    with Outputs("job", [path]) as outputs:
        with RasterWriter(outputs.stage(path), grid, 4) as writer:
            for tile in plan_tiles(grid.whole, int(sys.argv[3])):
                writer.write(tile, values[(slice(None), *tile.toslices())])

write()
size = os.path.getsize(path)
os.remove(path)
for share in (0.0, 0.01, 0.3, 0.7, 0.95, 0.999):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size * share), resource.RLIM_INFINITY))
    try:
        write()
        print("written")
    except InputError as error:
        print(error)
    assert not os.listdir(sys.argv[2]), os.listdir(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
write()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file size are Unix's")
@pytest.mark.parametrize("side", [256, 512])
def test_a_full_disk_is_noticed_wherever_it_happens_and_nothing_is_left(tmp_path, root, side):
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(root), str(tmp_path), str(side)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    assert all(line.startswith(f"The disk of the folder {tmp_path} is full or failed") for line in lines)
    assert os.listdir(tmp_path) == ["a.tif"]
