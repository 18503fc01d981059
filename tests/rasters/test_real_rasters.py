from __future__ import annotations

import json
import sqlite3
import struct

import numpy as np
import pytest
from affine import Affine

from explanation_layers.rasters.labels import read_label_features, read_label_raster
from explanation_layers.rasters.outputs import Outputs
from explanation_layers.rasters.scene import open_scene
from explanation_layers.rasters.tiles import plan_tiles
from explanation_layers.rasters.writers import RasterWriter

COUNTS = [505, 953, 1694, 2070, 91, 359]


@pytest.fixture
def enmap(shared):
    """The folder of the EnMAP tiles."""
    return shared / "data" / "enmap_potsdam"


def test_enmap_tiles_have_wavelengths_bad_bands_and_nodata(enmap):
    paths = sorted((enmap / "images").glob("*.tif"))
    assert len(paths) == 18
    for path in paths:
        scene = open_scene(str(path))
        assert len(scene.bands) == 224 and scene.nodata == (-32768,) * 224
        assert scene.wavelengths_nm[0] == 418.24 and scene.wavelengths_nm[-1] == 2445.53
        bad = [i for i, band in enumerate(scene.bands) if not band.good]
        values = scene.read(scene.grid.whole)
        empty = np.flatnonzero(np.isnan(values).all(axis=(1, 2)))
        assert bad == empty.tolist() == list(range(129, 135))
        assert np.nanmin(values) >= -496 and np.nanmax(values) <= 10439


def test_enmap_labels_are_read_as_counted(enmap):
    total = np.zeros(6, dtype=int)
    for path in sorted((enmap / "labels").glob("*.tif")):
        labels = read_label_raster(str(path), open_scene(str(enmap / "images" / path.name)).grid)
        assert labels.warnings == ()
        for name, count in zip(labels.names, np.bincount(labels.classes)):
            total[int(name.removeprefix("class ")) - 1] += count
    assert total.tolist() == COUNTS


def test_enmap_labels_of_the_whole_scene_line_up_with_each_tile(enmap):
    for path in sorted((enmap / "images").glob("*.tif"))[::5]:
        grid = open_scene(str(path)).grid
        whole = read_label_raster(str(enmap / "enmap_landcover_unstyled.tif"), grid)
        tile = read_label_raster(str(enmap / "labels" / path.name), grid)
        assert whole.names == tile.names
        for a, b in ((whole.rows, tile.rows), (whole.cols, tile.cols), (whole.classes, tile.classes)):
            np.testing.assert_array_equal(a, b)


def test_enmap_written_by_tiles_lines_up_to_the_pixel(enmap, tmp_path):
    scene = open_scene(str(enmap / "images" / "enmap_potsdam_tile_128_0.tif"))
    window = scene.grid.window_of(
        (*np.add(scene.grid.extent[:2], 61), *np.subtract(scene.grid.extent[2:], 29))
    )
    path = str(tmp_path / "out.tif")
    with Outputs("job", [path], inputs=[scene.path]) as outputs:
        writer = RasterWriter(outputs.stage(path), scene.grid.sub(window), 224, bands=scene.bands)
        with writer:
            for tile in plan_tiles(window, 16):
                shifted = type(tile)(
                    tile.col_off - window.col_off, tile.row_off - window.row_off, tile.width, tile.height
                )
                writer.write(shifted, scene.read(tile))
    written = open_scene(path)
    assert (written.grid.width, written.grid.height) == (30, 30)
    assert written.wavelengths_nm == scene.wavelengths_nm
    assert scene.grid.window_of(written.grid.extent) == window
    np.testing.assert_array_equal(written.read(written.grid.whole), scene.read(window))


def test_enmap_points_label_pixels_of_their_place(enmap, tmp_path):
    with sqlite3.connect(f"file:{enmap / 'landcover_potsdam_point.gpkg'}?immutable=1", uri=True) as database:
        (system,) = database.execute("select srs_id from gpkg_geometry_columns").fetchone()
        rows = database.execute("select geom, level_2 from landcover_potsdam_point").fetchall()
    assert system == 32633
    items = []
    for blob, name in rows:
        start = 8 + (0, 32, 48, 48, 64)[(blob[3] >> 1) & 7]
        coordinates = struct.unpack("<2d", blob[start + 5 : start + 21])
        geometry = {"type": "Point", "coordinates": coordinates}
        items.append({"type": "Feature", "geometry": geometry, "properties": {"class": name}})
    path = tmp_path / "points.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    grid = open_scene(str(enmap / "enmap_landcover_unstyled.tif")).grid
    labels = read_label_features(str(path), grid)
    assert len(labels.rows) == len(rows) - _left_out(labels.warnings)
    centres = np.array([grid.transform * (c + 0.5, r + 0.5) for r, c in zip(labels.rows, labels.cols)])
    points = np.array([item["geometry"]["coordinates"] for item in items])
    nearest = np.abs(centres[:, None] - points[None]).max(axis=2).min(axis=1)
    assert (nearest <= 15 + 1e-6).all(), "each labelled pixel holds a point"


def _left_out(warnings):
    return sum(int(warning.split()[0]) for warning in warnings)


def test_indian_pines_as_an_envi_file_keeps_its_order_of_wavelengths(shared, tmp_path):
    folder = shared / "data" / "indian_pines"
    cube = np.load(folder / "Indian_pines_corrected.npy")
    wavelengths = [float(text) for text in (folder / "wavelengths_nm.txt").read_text().split()]
    assert wavelengths != sorted(wavelengths)
    cube.astype("<u2").tofile(tmp_path / "pines.dat")
    (tmp_path / "pines.hdr").write_text(
        "ENVI\nsamples = 145\nlines = 145\nbands = 200\ndata type = 12\ninterleave = bip\nbyte order = 0\n"
        f"wavelength units = Nanometers\nwavelength = {{{', '.join(map(str, wavelengths))}}}\n"
    )
    scene = open_scene(str(tmp_path / "pines.dat"))
    assert scene.wavelengths_nm == wavelengths
    assert not scene.grid.georeferenced
    window = scene.grid.window_of((10, -60, 50, -20))
    np.testing.assert_array_equal(scene.read(window), cube[20:60, 10:50].transpose(2, 0, 1))
    truth = np.load(folder / "Indian_pines_gt.npy")
    labels_path = str(tmp_path / "labels.tif")
    with RasterWriter(labels_path, scene.grid, 1, "uint8", 0) as writer:
        writer.write(scene.grid.whole, truth)
    labels = read_label_raster(labels_path, scene.grid)
    assert len(labels.names) == 16 and len(labels.rows) == np.count_nonzero(truth)
    np.testing.assert_array_equal(labels.classes + 1, truth[labels.rows, labels.cols])
    assert scene.grid.transform == Affine.identity()
