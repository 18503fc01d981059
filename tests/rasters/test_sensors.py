"""SENSOR_BANDS: read as a person writes it, and a sentence for what can't be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.grid import Grid
from explanation_layers.rasters.scene import Scene, open_scene
from explanation_layers.rasters.sensors import covered_nm, sensors_of
from explanation_layers.rasters.stack import open_stack
from explanation_layers.rasters.wavelengths import Band
from explanation_layers.rasters.writers import RasterWriter


def write(path: Path, wavelengths: list[float | None], side: int = 4) -> str:
    grid = Grid(side, side, None, Affine(40 / side, 0, 0, 0, -40 / side, 40))
    bands = [Band(f"B{i}", value, 10.0 if value else None) for i, value in enumerate(wavelengths)]
    with RasterWriter(str(path), grid, len(bands), bands=bands) as writer:
        writer.write(grid.whole, np.ones((len(bands), side, side), np.float32))
    return str(path)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Ten bands from 500 to 1400 nm."""
    return open_scene(write(tmp_path / "scene.tif", [500 + 100.0 * i for i in range(10)]))


@pytest.mark.parametrize(
    ("text", "bands"),
    [
        ("VNIR:1-6; SWIR:7-10", ((0, 1, 2, 3, 4, 5), (6, 7, 8, 9))),
        (" VNIR : 1-2, 5 ;SWIR:9-10,7; ", ((0, 1, 4), (6, 8, 9))),
        ("VNIR:400-1000 nm; SWIR:1000-2500nm", ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))),
        ("VNIR:0.45-0.75, 0.95-1.05 um; SWIR:1.1-2.5µm", ((0, 1, 2, 5), (6, 7, 8, 9))),
        ("one:1;two:2;three:3", ((0,), (1,), (2,))),
    ],
)
def test_ways_to_write_them(scene: Scene, text: str, bands: tuple) -> None:
    assert tuple(sensor.bands for sensor in sensors_of(text, scene)) == bands


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "SENSOR_BANDS is missing"),
        ("VNIR:1-10", "names one sensor"),
        ("VNIR:1-6; SWIR:6-10", "Band 6 is VNIR's and SWIR's"),
        ("VNIR:1-6; SWIR:7-11", "band 11, and .* has bands 1 to 10"),
        ("VNIR:0-6; SWIR:7-9", "band 0, and"),
        ("VNIR:1-6; SWIR:", "The sensor SWIR has no bands"),
        ("VNIR:1-6; 7-10", "'7-10', which is no sensor"),
        ("VNIR:1-6; SWIR:7 to 9", "'7 to 9', which is no range"),
        ("VNIR:6-1; SWIR:7-9", "run backwards"),
        ("VNIR:1-6; SWIR:7.5", "whole numbers"),
        ("VNIR:1-6,3; SWIR:7", "VNIR has a band twice"),
        ("A:1-3; A:4-6", "two sensors 'A'"),
        ("VNIR:1-6; SWIR:2000-2400 nm", "no band of SWIR from 2000 to below 2400 nm"),
    ],
)
def test_what_cannot_be_is_told(scene: Scene, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        sensors_of(text, scene)


def test_wavelengths_that_the_scene_does_not_tell_are_asked_for(tmp_path: Path) -> None:
    bare = open_scene(write(tmp_path / "bare.tif", [None, None]))
    with pytest.raises(InputError, match="tells no wavelengths; give the numbers"):
        sensors_of("A:400-1000 nm; B:2", bare)


def test_bad_bands_are_left_out_but_not_all_of_a_sensor(scene: Scene) -> None:
    bands = tuple(replace(band, good=i != 2 and i < 8) for i, band in enumerate(scene.bands))
    vnir, swir = sensors_of("VNIR:1-5; SWIR:6-10", replace(scene, bands=bands))
    assert (vnir.bands, vnir.named, swir.bands) == ((0, 1, 3, 4), (0, 1, 2, 3, 4), (5, 6, 7))
    with pytest.raises(InputError, match="All bands of SWIR are marked as bad"):
        sensors_of("VNIR:1-5; SWIR:9-10", replace(scene, bands=bands))


def test_each_raster_of_several_is_a_sensor(tmp_path: Path) -> None:
    paths = [write(tmp_path / "vnir.tif", [500, 600, 700]), write(tmp_path / "swir.tif", [1500, 2000], 2)]
    found = sensors_of("", open_stack(paths))
    assert [(sensor.name, sensor.bands) for sensor in found] == [("vnir", (0, 1, 2)), ("swir", (3, 4))]


def test_covered_nanometres_are_widths_or_spacing() -> None:
    bands = [Band("a", 500.0, 8.0), Band("b", 510.0, 9.0), Band("c", 530.0, None)]
    assert covered_nm(bands) == 8 + 9 + 15
    assert covered_nm([Band("a", 500.0), Band("b", None)]) is None
    assert covered_nm([Band("a", 500.0)]) is None
