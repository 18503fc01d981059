"""Two sensors over one place with known evidence: a VNIR raster, a coarser SWIR raster, and both stacked."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from . import simulate_dual_spectra as spectra
from .errors import InputError
from .grid import Grid
from .outputs import Outputs, check_space
from .simulate_dual_spectra import CLASSES, SENSORS, SWIR
from .simulate_hyperspectral import (
    CORNER,
    EPSG,
    NODATA,
    POINTS_PER_CLASS,
    SCALE,
    indices,
    outside_swath,
    point_labels,
    write_json,
)
from .simulate_layout import PatchMap, PointSample, RandomField
from .tiles import plan_tiles
from .wavelengths import Band
from .writers import RasterWriter

FILES = {
    "raster": "stack.tif",
    "vnir": "vnir.tif",
    "swir": "swir.tif",
    "labels": "labels.geojson",
    "label_raster": "classes.tif",
    "truth": "truth.json",
}
SMALLEST = 64  # pixels; a smaller scene has too few patches for its classes
TILE = 128  # a multiple of every sensor's pixel
PIXEL_M = 10.0  # of the fine grid


def write_dual_sensor(
    folder: str, size: int, seed: int, job_id: str, on_progress: Callable[[float], None]
) -> dict[str, str]:
    """Write `FILES` into `folder`, replacing those of an earlier run; see `simulate.SceneMaker`.

    Memory grows with a tile, and by about two bytes with each pixel of the scene.
    Raises InputError where a scene is too small for its classes.
    """
    if size < SMALLEST:
        raise InputError(
            f"A scene of two sensors and {size} pixels is too small for its {len(CLASSES)} classes; choose a "
            f"size from {SMALLEST}."
        )
    paths = {name: os.path.join(folder, file) for name, file in FILES.items()}
    grids = {sensor.name: _grid(size, sensor.pixel) for sensor in SENSORS}
    bands = {sensor.name: _bands(sensor) for sensor in SENSORS}
    outputs = Outputs(job_id, list(paths.values()))
    stored = {name: 2 * len(bands[name]) * grids[name].width ** 2 for name in grids}
    every = 2 * sum(map(len, bands.values())) * size**2
    check_space({paths["raster"]: every, **{paths[name.lower()]: size for name, size in stored.items()}})
    with outputs:
        staged = {name: outputs.stage(path) for name, path in paths.items()}
        pixels, points = _write_rasters(staged, grids, bands, size, seed, on_progress)
        write_json(staged["labels"], point_labels(points, CLASSES, PIXEL_M))
        write_json(staged["truth"], _truth(bands, size, seed, pixels, points))
    return paths


@dataclass(frozen=True)
class _Tile:
    """A tile of the fine grid: stored values (band, y, x) of each sensor on its own grid, classes (y, x)."""

    values: dict[str, np.ndarray]
    classes: np.ndarray
    rng: np.random.Generator


class _Simulation:
    """The scene before it is written: everything that is drawn once, and tiles made from it.

    Classes, and which feature pixels of the pair have, are drawn in pixels of the coarser sensor, so that
    none of these is a mixture.
    """

    def __init__(self, size: int, seed: int) -> None:
        rng = np.random.default_rng([seed])
        self._size, self._seed = size, seed
        coarse = -(-size // SWIR.pixel)
        self._patches = PatchMap(coarse, len(CLASSES), rng)
        self._level = RandomField(coarse, 2 * self._patches.side, rng)
        self._fields = {
            sensor.name: [
                RandomField(-(-size // sensor.pixel), 2 * self._patches.side, rng) for _ in spectra.LATENTS
            ]
            for sensor in SENSORS
        }

    def tile(self, window: Window) -> _Tile:
        """Return a tile of the fine grid, whose corner lies on a pixel of every sensor."""
        rng = np.random.default_rng([self._seed, window.row_off, window.col_off])
        coarse = _coarse(window, SWIR.pixel)
        classes = np.where(
            outside_swath(coarse, -(-self._size // SWIR.pixel)), -1, self._patches.read(coarse)
        )
        level = self._level.read(coarse, rng)
        vnir_has = rng.random(classes.shape) < 0.5
        # The pair: both or neither of its features, or one of the two.
        has = {"VNIR": vnir_has, "SWIR": vnir_has ^ (classes == spectra.PAIR[1])}
        values = {}
        for sensor in SENSORS:
            repeat, own = SWIR.pixel // sensor.pixel, _coarse(window, sensor.pixel)

            def fine(maps: np.ndarray, repeat: int = repeat, own: Window = own) -> np.ndarray:
                return repeated(maps, repeat, own).ravel()

            latents = np.stack([field.read(own, rng).ravel() for field in self._fields[sensor.name]])
            found = spectra.reflectance(sensor, fine(classes), fine(level), latents, fine(has[sensor.name]))
            found += spectra.NOISE * rng.standard_normal(found.shape, dtype=np.float32)
            stored = np.rint(SCALE * found).astype(np.int16).T.reshape(-1, int(own.height), int(own.width))
            stored[:, repeated(classes, repeat, own) < 0] = NODATA
            values[sensor.name] = stored
        return _Tile(values, repeated(classes, SWIR.pixel, window), rng)


def repeated(maps: np.ndarray, times: int, window: Window) -> np.ndarray:
    """Return maps (..., y, x) with each pixel `times` as often both ways, cut to the size of `window`."""
    large = maps.repeat(times, -2).repeat(times, -1)
    return large[..., : int(window.height), : int(window.width)]


def _coarse(window: Window, pixel: int) -> Window:
    """Return the pixels of a grid with `pixel` times larger ones that a window of the fine grid touches."""
    height, width = -(-int(window.height) // pixel), -(-int(window.width) // pixel)
    return Window(int(window.col_off) // pixel, int(window.row_off) // pixel, width, height)


def _grid(size: int, pixel: int) -> Grid:
    side, metres = -(-size // pixel), PIXEL_M * pixel
    transform = Affine(metres, 0, CORNER[0], 0, -metres, CORNER[1])
    return Grid(side, side, CRS.from_epsg(EPSG).to_wkt(), transform)


def _bands(sensor: spectra.Sensor) -> list[Band]:
    return [Band(f"{w:.0f} nm", float(w), sensor.fwhm_nm) for w in sensor.wavelengths()]


def _write_rasters(
    staged: dict[str, str], grids: dict[str, Grid], bands: dict[str, list[Band]], size: int, seed: int,
    on_progress: Callable[[float], None],
) -> tuple[np.ndarray, PointSample]:  # fmt: skip
    """Write all rasters tile by tile; return pixels per class (class,) and the labelled points."""
    simulation = _Simulation(size, seed)
    points = PointSample(len(CLASSES), min(POINTS_PER_CLASS, POINTS_PER_CLASS * size // 128))
    pixels = np.zeros(len(CLASSES), np.int64)
    fine = _grid(size, 1)
    tags = {"DESCRIPTION": f"Simulated reflectance x {SCALE}, seed {seed}"}
    tiles = list(plan_tiles(fine.whole, TILE))
    with ExitStack() as stack:

        def writer(name: str, grid: Grid, own: list[Band], block: int) -> RasterWriter:
            return stack.enter_context(
                RasterWriter(staged[name], grid, len(own), "int16", NODATA, own, tags=tags, block=block)
            )

        sensors = {
            s.name: writer(s.name.lower(), grids[s.name], bands[s.name], TILE // s.pixel) for s in SENSORS
        }
        both = writer("raster", fine, [band for sensor in SENSORS for band in bands[sensor.name]], TILE)
        class_raster = stack.enter_context(
            RasterWriter(
                staged["label_raster"], fine, 1, "uint8", 0, descriptions=["class"], tags=tags,
                class_names=[planted.name for planted in CLASSES],
                class_colours=[planted.colour for planted in CLASSES], block=TILE,
            )
        )  # fmt: skip
        for done, window in enumerate(tiles, start=1):
            tile = simulation.tile(window)
            for sensor in SENSORS:
                sensors[sensor.name].write(_coarse(window, sensor.pixel), tile.values[sensor.name])
            whole = [repeated(tile.values[sensor.name], sensor.pixel, window) for sensor in SENSORS]
            both.write(window, np.concatenate(whole))
            class_raster.write(window, (tile.classes + 1).astype(np.uint8))
            pixels += np.bincount(tile.classes[tile.classes >= 0], minlength=len(CLASSES))
            points.add(window, tile.classes, tile.rng)
            on_progress(done / len(tiles))
    return pixels, points


def _truth(
    bands: dict[str, list[Band]], size: int, seed: int, pixels: np.ndarray, points: PointSample
) -> dict:
    """Return what was planted where; bands are those of the stack."""
    own, unplanted = spectra.evidence()
    labelled = np.bincount(points.read()[0], minlength=len(own))
    wavelengths = np.concatenate([sensor.wavelengths() for sensor in SENSORS])
    counts = [len(bands[sensor.name]) for sensor in SENSORS]
    firsts = np.cumsum([0, *counts])
    return {
        "scene_kind": "dual_sensor",
        "size": size,
        "seed": seed,
        "note": "Bands are those of the stack and count from 0. On the grid of the stack each pixel of the "
        f"SWIR is repeated {SWIR.pixel} x {SWIR.pixel} times. Classes, and which feature a pixel of the pair "
        "has, are drawn in pixels of the SWIR, so that none is a mixture.",
        "sensors": [
            {
                "name": sensor.name,
                "file": FILES[sensor.name.lower()],
                "first_band": int(first),
                "bands": count,
                "pixel_m": PIXEL_M * sensor.pixel,
                "wavelengths_nm": sensor.wavelengths().tolist(),
                "fwhm_nm": sensor.fwhm_nm,
                "decoy": {
                    **asdict(sensor.decoy),
                    "bands": indices(sensor.decoy.shape(wavelengths) > spectra.EVIDENCE_SHARE),
                },
            }
            for sensor, first, count in zip(SENSORS, firsts, counts)
        ],
        "sensor_bands": "; ".join(
            f"{sensor.name}:{first + 1}-{first + count}"
            for sensor, first, count in zip(SENSORS, firsts, counts)
        ),
        "classes": [
            {
                "id": i + 1,
                "name": planted.name,
                "sensors": [sensor.name for sensor in spectra.sensors_of(planted)],
                "features": [asdict(feature) for feature in planted.features],
                "bands": indices(own[i]),
                "bands_of_other_classes": indices(np.delete(own, i, axis=0).any(axis=0) & ~own[i]),
                "pixels": int(pixels[i]),
                "points": int(labelled[i]),
            }
            for i, planted in enumerate(CLASSES)
        ],
        "pair": {
            "classes": [CLASSES[place].name for place in spectra.PAIR],
            "rule": "Each sensor sees its feature in half of the pixels of either class; the one class has "
            "both or neither, the other has one of the two.",
        },
        "unplanted_bands": indices(unplanted),
        "shared_by_all_classes": {
            "level_spread": spectra.LEVEL_SPREAD,
            "gain_spread": spectra.GAIN_SPREAD,
            "slope_spread": spectra.SLOPE_SPREAD,
            "noise": spectra.NOISE,
        },
        "scale": SCALE,
        "nodata": NODATA,
    }
