"""A hyperspectral scene with known evidence: reflectance, labels as points and raster, and the truth."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform as reproject
from rasterio.windows import Window

from . import simulate_spectra as spectra
from .grid import Grid
from .outputs import Outputs, check_space
from .simulate_layout import PatchMap, PointSample, RandomField
from .tiles import plan_tiles
from .wavelengths import Band
from .writers import RasterWriter

FILES = {
    "raster": "scene.tif",
    "labels": "labels.geojson",
    "label_raster": "classes.tif",
    "truth": "truth.json",
}
NODATA = -32768
SCALE = 10000  # stored values are reflectance x 10000
TILE = 128
POINTS_PER_CLASS = 300  # from 128 pixels a side on; fewer in smaller scenes
EPSG = 32633
PIXEL_M = 30.0
CORNER = (361_020.0, 5_814_990.0)  # easting and northing of the upper left corner


def write_hyperspectral(
    folder: str, size: int, seed: int, job_id: str, on_progress: Callable[[float], None]
) -> dict[str, str]:
    """Write `FILES` into `folder`, replacing those of an earlier run; see `simulate.SceneMaker`.

    Memory grows with a tile, and by about two bytes with each pixel of the scene.
    """
    paths = {name: os.path.join(folder, file) for name, file in FILES.items()}
    wavelengths, fwhm = spectra.spectrometer()
    bands = [Band(f"{w:.1f} nm", float(w), float(f)) for w, f in zip(wavelengths, fwhm, strict=True)]
    grid = Grid(
        size, size, CRS.from_epsg(EPSG).to_wkt(), Affine(PIXEL_M, 0, CORNER[0], 0, -PIXEL_M, CORNER[1])
    )
    outputs = Outputs(job_id, list(paths.values()))
    check_space({paths["raster"]: 2 * len(bands) * size**2, paths["label_raster"]: size**2})
    with outputs:
        staged = {name: outputs.stage(path) for name, path in paths.items()}
        pixels, points = _write_rasters(staged, grid, bands, seed, on_progress)
        write_json(staged["labels"], point_labels(points, spectra.CLASSES, PIXEL_M))
        write_json(staged["truth"], _truth(wavelengths, fwhm, size, seed, pixels, points))
    return paths


class _Simulation:
    """The scene before it is written: everything that is drawn once, and tiles made from it."""

    def __init__(self, size: int, seed: int, wavelengths: np.ndarray) -> None:
        rng = np.random.default_rng([seed])
        self._size, self._seed, self._wavelengths = size, seed, wavelengths
        self._patches = PatchMap(size, len(spectra.CLASSES), rng)
        self._fields = [RandomField(size, 2 * self._patches.side, rng) for _ in spectra.LATENTS]

    def tile(self, window: Window) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
        """Return stored values (band, y, x), classes (y, x) with -1 for none, and the tile's generator."""
        rng = np.random.default_rng([self._seed, window.row_off, window.col_off])
        missed = outside_swath(window, self._size)
        classes = np.where(missed, -1, self._patches.read(window))
        latents = np.stack([field.read(window, rng).ravel() for field in self._fields])
        values = spectra.reflectance(self._wavelengths, classes.ravel(), latents)
        values += spectra.NOISE * rng.standard_normal(values.shape, dtype=np.float32)
        stored = np.rint(SCALE * values).astype(np.int16).T.reshape(-1, *classes.shape)
        stored[:, missed] = NODATA
        return stored, classes, rng


def _write_rasters(
    staged: dict[str, str], grid: Grid, bands: Sequence[Band], seed: int, on_progress: Callable[[float], None]
) -> tuple[np.ndarray, PointSample]:
    """Write scene and classes tile by tile; return pixels per class (class,) and the labelled points."""
    count = len(spectra.CLASSES)
    simulation = _Simulation(grid.width, seed, np.array([band.wavelength_nm for band in bands]))
    points = PointSample(count, min(POINTS_PER_CLASS, POINTS_PER_CLASS * grid.width // 128))
    pixels = np.zeros(count, np.int64)
    tags = {"DESCRIPTION": f"Simulated reflectance x {SCALE}, seed {seed}"}
    tiles = list(plan_tiles(grid.whole, TILE))
    names = [spectral_class.name for spectral_class in spectra.CLASSES]
    colours = [spectral_class.colour for spectral_class in spectra.CLASSES]
    with (
        RasterWriter(
            staged["raster"], grid, len(bands), "int16", NODATA, bands, tags=tags, block=TILE
        ) as scene,
        RasterWriter(
            staged["label_raster"], grid, 1, "uint8", 0, descriptions=["class"], tags=tags,
            class_names=names, class_colours=colours, block=TILE,
        ) as class_raster,
    ):  # fmt: skip
        for done, tile in enumerate(tiles, start=1):
            stored, classes, rng = simulation.tile(tile)
            scene.write(tile, stored)
            class_raster.write(tile, (classes + 1).astype(np.uint8))
            pixels += np.bincount(classes[classes >= 0], minlength=count)
            points.add(tile, classes, rng)
            on_progress(done / len(tiles))
    return pixels, points


def outside_swath(window: Window, size: int) -> np.ndarray:
    """Return which pixels (y, x) the sensor missed: the lower right corner of the scene."""
    rows = size - 1 - window.row_off - np.arange(window.height)
    columns = size - 1 - window.col_off - np.arange(window.width)
    return rows[:, None] + columns[None, :] < size // 8


def point_labels(points: PointSample, planted: Sequence[spectra.SpectralClass], pixel_m: float) -> dict:
    """Return the points of the `planted` classes as GeoJSON in longitude and latitude, as the format asks."""
    classes, rows, columns = points.read()
    eastings, northings = CORNER[0] + pixel_m * columns, CORNER[1] - pixel_m * rows
    longitudes, latitudes = reproject(CRS.from_epsg(EPSG), CRS.from_epsg(4326), eastings, northings)
    features = [
        {
            "type": "Feature",
            "properties": {"class": planted[c].name, "class_id": int(c) + 1},
            "geometry": {"type": "Point", "coordinates": [round(x, 9), round(y, 9)]},
        }
        for c, x, y in zip(classes, longitudes, latitudes, strict=True)
    ]
    return {"type": "FeatureCollection", "name": "labels", "features": features}


def _truth(
    wavelengths: np.ndarray, fwhm: np.ndarray, size: int, seed: int, pixels: np.ndarray, points: PointSample
) -> dict:
    """Return what was planted where."""
    own, unplanted = spectra.evidence(wavelengths)
    labelled = np.bincount(points.read()[0], minlength=len(own))
    return {
        "scene_kind": "hyperspectral",
        "size": size,
        "seed": seed,
        "note": "Bands count from 0. A band is evidence of a class inside the full width at half depth of "
        f"its features, and unplanted where every class has under {spectra.TRACE_SHARE:.0%} of full depth.",
        "classes": [
            {
                "id": i + 1,
                "name": planted.name,
                "features": [asdict(feature) for feature in planted.features],
                "bands": indices(own[i]),
                "bands_of_other_classes": indices(np.delete(own, i, axis=0).any(axis=0) & ~own[i]),
                "pixels": int(pixels[i]),
                "points": int(labelled[i]),
            }
            for i, planted in enumerate(spectra.CLASSES)
        ],
        "unplanted_bands": indices(unplanted),
        "decoy": {
            **asdict(spectra.DECOY),
            "bands": indices(spectra.DECOY.shape(wavelengths) > spectra.EVIDENCE_SHARE),
        },
        "shared_by_all_classes": {
            "level_spread": spectra.LEVEL_SPREAD,
            "slope_spread": spectra.SLOPE_SPREAD,
            "curvature_spread": spectra.CURVATURE_SPREAD,
            "noise": spectra.NOISE,
        },
        "scale": SCALE,
        "nodata": NODATA,
        "wavelengths_nm": wavelengths.tolist(),
        "fwhm_nm": fwhm.tolist(),
    }


def indices(chosen: np.ndarray) -> list[int]:
    """Return where a bool (n,) is true."""
    return np.flatnonzero(chosen).tolist()


def write_json(path: str, value: dict) -> None:
    """Write JSON that is the same on all systems."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
