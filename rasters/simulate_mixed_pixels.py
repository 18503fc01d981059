"""A scene of mixed pixels whose abundances, spectra and nonlinearity are known, and its truth's files."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.crs import CRS

from .grid import Grid
from .outputs import Outputs, check_space
from .simulate_materials import MATERIALS, material_spectra
from .simulate_mixtures import Design, Mixed, Mixtures
from .simulate_spectra import spectrometer
from .tiles import plan_tiles
from .wavelengths import Band
from .writers import RasterWriter

FILES = {
    "raster": "mixed_pixels.tif",
    "abundances": "mixed_pixels_abundances.tif",
    "nonlinearity": "mixed_pixels_nonlinearity.tif",
    "mixing": "mixed_pixels_mixing.tif",
    "spectra": "mixed_pixels_spectra.csv",
    "truth": "mixed_pixels_truth.json",
}
COUNT = 4  # materials
SCALE = 10000  # stored values are reflectance x 10000
TILE = 64  # a pixel has a spectrum of its own for each material, which are all in memory
EPSG = 32633
PIXEL_M = 4.0
CORNER = (361_020.0, 5_814_990.0)  # easting and northing of the upper left corner
_MIXING_COLOURS = ((230, 230, 230), (230, 159, 0), (0, 114, 178))
_PURE = 0.999


def write_mixed_pixels(
    folder: str, size: int, seed: int, job_id: str, on_progress: Callable[[float], None]
) -> dict[str, str]:
    """Write `FILES` into `folder`, replacing those of an earlier run; see `simulate.SceneMaker`.

    Memory grows with a tile, and by some bytes with each 64 pixels of the scene.
    """
    paths = {name: os.path.join(folder, file) for name, file in FILES.items()}
    wavelengths, fwhm = spectrometer()
    simulation = Mixtures(Design(material_spectra(wavelengths, COUNT)), size, seed)
    outputs = Outputs(job_id, list(paths.values()))
    check_space({paths["raster"]: 2 * len(wavelengths) * size**2, paths["abundances"]: 4 * COUNT * size**2})
    with outputs:
        staged = {name: outputs.stage(path) for name, path in paths.items()}
        pure, nonlinear = _write_rasters(staged, simulation, wavelengths, fwhm, seed, on_progress)
        write_spectra(staged["spectra"], wavelengths, [m.name for m in MATERIALS[:COUNT]],
                      simulation.design.spectra)  # fmt: skip
        truth = _truth(simulation, seed, wavelengths, fwhm, pure, nonlinear)
        Path(staged["truth"]).write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8", newline="\n")
    return paths


def write_spectra(path: str, wavelengths: np.ndarray, names: list[str], spectra: np.ndarray) -> None:
    """Write spectra (material, band) as CSV: a column of wavelengths in nm, and one per material."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["wavelength_nm", *names])
        writer.writerows([f"{w:g}", *(f"{v:.6g}" for v in row)] for w, row in zip(wavelengths, spectra.T))


def _write_rasters(
    staged: Mapping[str, str], simulation: Mixtures, wavelengths: np.ndarray, fwhm: np.ndarray, seed: int,
    on_progress: Callable[[float], None],
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Write the rasters tile by tile; return pure pixels (material,) and the mean nonlinearity (strip,)."""
    size, strips = simulation.size, simulation.design.strips
    grid = Grid(
        size, size, CRS.from_epsg(EPSG).to_wkt(), Affine(PIXEL_M, 0, CORNER[0], 0, -PIXEL_M, CORNER[1])
    )
    bands = [Band(f"{w:.1f} nm", float(w), float(f)) for w, f in zip(wavelengths, fwhm, strict=True)]
    tags = {"DESCRIPTION": f"Simulated reflectance x {SCALE} of mixed pixels, seed {seed}"}
    names = [material.name for material in MATERIALS[:COUNT]]
    pure, sums, pixels = np.zeros(COUNT, np.int64), np.zeros(len(strips)), np.zeros(len(strips))
    tiles = list(plan_tiles(grid.whole, TILE))
    with ExitStack() as stack:
        scene = stack.enter_context(
            RasterWriter(staged["raster"], grid, len(bands), "int16", -32768, bands, tags=tags, block=TILE)
        )
        abundances = stack.enter_context(
            RasterWriter(staged["abundances"], grid, COUNT, descriptions=names, tags=tags, block=TILE)
        )
        nonlinearity = stack.enter_context(
            RasterWriter(
                staged["nonlinearity"], grid, 1, descriptions=["nonlinear share"], tags=tags, block=TILE
            )
        )
        mixing = stack.enter_context(
            RasterWriter(
                staged["mixing"], grid, 1, "uint8", 0, descriptions=["mixing"], tags=tags, block=TILE,
                class_names=[strip.kind for strip in strips], class_colours=_MIXING_COLOURS,
            )
        )  # fmt: skip
        for done, tile in enumerate(tiles, start=1):
            mixed, shape = simulation.tile(tile), (int(tile.height), int(tile.width))
            scene.write(tile, _stored(mixed).reshape(-1, *shape))
            abundances.write(tile, mixed.abundances.T.reshape(-1, *shape))
            nonlinearity.write(tile, mixed.nonlinearity.reshape(shape))
            mixing.write(tile, (mixed.strips + 1).reshape(shape))
            pure += (mixed.abundances > _PURE).sum(axis=0)
            sums += np.bincount(mixed.strips, mixed.nonlinearity, len(strips))
            pixels += np.bincount(mixed.strips, minlength=len(strips))
            on_progress(done / len(tiles))
    return pure, sums / pixels


def _stored(mixed: Mixed) -> np.ndarray:
    """Return stored values (band, n), int16."""
    return np.rint(SCALE * mixed.values).astype(np.int16).T


def _truth(
    simulation: Mixtures, seed: int, wavelengths: np.ndarray, fwhm: np.ndarray, pure: np.ndarray,
    nonlinear: np.ndarray,
) -> dict:  # fmt: skip
    """Return what the pixels were mixed of."""
    design, size = simulation.design, simulation.size
    return {
        "scene_kind": "mixed_pixels",
        "size": size,
        "seed": seed,
        "note": "Reflectance is the linear mixture of each pixel's own spectra, and its nonlinear part, and "
        "white noise. Strips lie below each other, each as high. The nonlinearity of a pixel is the norm of "
        "the nonlinear part over the sum of its norm and that of the linear part. A pixel is pure from an "
        f"abundance of {_PURE} on.",
        "materials": [
            {"name": material.name, "pure_pixels": int(count), "spectrum": spectrum.round(6).tolist()}
            for material, count, spectrum in zip(MATERIALS, pure, design.spectra)
        ],
        "strips": [
            {"mixing": strip.kind, "strength": strip.strength, "mean_nonlinearity": round(float(mean), 6)}
            for strip, mean in zip(design.strips, nonlinear)
        ],
        "scale_spread": design.scale_spread,
        "shape_spread": design.shape_spread,
        "noise": design.noise,
        "scale": SCALE,
        "nodata": -32768,
        "wavelengths_nm": wavelengths.tolist(),
        "fwhm_nm": fwhm.tolist(),
    }
