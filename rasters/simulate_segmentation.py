"""Two street scenes with known evidence for networks that classify all pixels of a window at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from . import simulate_street as street
from . import simulate_street_spectra as spectra
from .errors import InputError
from .grid import Grid
from .outputs import Outputs, check_space
from .simulate_layout import RandomField
from .simulate_street import Street
from .simulate_street_spectra import CLASSES
from .tiles import plan_tiles
from .wavelengths import Band
from .writers import RasterWriter

FILES = {
    "raster": "segmentation.tif",
    "label_raster": "segmentation_labels.tif",
    "strata": "segmentation_strata.tif",
    "test_raster": "segmentation_test.tif",
    "test_label_raster": "segmentation_test_labels.tif",
    "test_strata": "segmentation_test_strata.tif",
    "truth": "segmentation_truth.json",
}
SMALLEST = 64  # pixels; a smaller street has too few barriers
TILE = 128
EPSG = 32633
PIXEL_M = 0.5
CORNER = (361_020.0, 5_814_990.0)  # easting and northing of the upper left corner of the first scene
_SCENES = ("", "test_")  # each by the start of its outputs' names; the place is the stream of random numbers


def write_segmentation(
    folder: str, size: int, seed: int, job_id: str, on_progress: Callable[[float], None]
) -> dict[str, str]:
    """Write `FILES` into `folder`, replacing those of an earlier run; see `simulate.SceneMaker`.

    Memory grows with a tile, and by about six bytes with each pixel of a scene.
    Raises InputError where a scene is too small for its barriers.
    """
    if size < SMALLEST:
        raise InputError(
            f"A street of {size} pixels is too small for its barriers; choose a size from {SMALLEST}."
        )
    paths = {name: os.path.join(folder, file) for name, file in FILES.items()}
    outputs = Outputs(job_id, list(paths.values()))
    check_space({paths["raster"]: 2 * (4 * len(spectra.WAVELENGTHS) + 2) * size**2})
    with outputs:
        staged = {name: outputs.stage(path) for name, path in paths.items()}
        pixels: list[np.ndarray] = []
        for stream, start in enumerate(_SCENES):
            parts = {name: staged[f"{start}{name}"] for name in ("raster", "label_raster", "strata")}
            pixels.append(
                _write_scene(
                    parts,
                    _Simulation(size, seed, stream),
                    # Called before the next scene is begun.
                    lambda share: on_progress((len(pixels) + share) / len(_SCENES)),
                )
            )
        text = json.dumps(_truth(size, seed, pixels), indent=1) + "\n"
        Path(staged["truth"]).write_text(text, encoding="utf-8", newline="\n")
    return paths


class _Simulation:
    """A scene before it is written: everything that is drawn once, and tiles made from it."""

    def __init__(self, size: int, seed: int, stream: int) -> None:
        rng = np.random.default_rng([seed, stream])
        self._keys = [seed, stream]
        self.street = Street(size, rng)
        self._brightness = RandomField(size, max(16, size // 6), rng)
        self._spectra = spectra.reflectances()
        # The test scene lies east of the other, side by side.
        place = Affine(PIXEL_M, 0, CORNER[0] + stream * size * PIXEL_M, 0, -PIXEL_M, CORNER[1])
        self.grid = Grid(size, size, CRS.from_epsg(EPSG).to_wkt(), place)
        self.seed = seed

    def tile(self, window: Window) -> np.ndarray:
        """Return reflectance (band, y, x), float32, of `window`."""
        rng = np.random.default_rng([*self._keys, window.row_off, window.col_off])
        part = window.toslices()
        level = np.exp(spectra.BRIGHTNESS_SPREAD * self._brightness.read(window, rng))
        level *= self.street.factors[self.street.light[part]]
        values = self._spectra[self.street.classes[part] - 1] * level[..., None]
        values += spectra.NOISE * rng.standard_normal(values.shape, dtype=np.float32)
        return np.moveaxis(np.maximum(values, 0), -1, 0)


def _write_scene(
    paths: Mapping[str, str], simulation: _Simulation, on_progress: Callable[[float], None]
) -> np.ndarray:
    """Write raster, label_raster and strata by tiles; return the labelled pixels per class (class,)."""
    grid, tags = simulation.grid, {"DESCRIPTION": f"Simulated street, seed {simulation.seed}"}
    bands = [Band(f"{w:.1f} nm", float(w), spectra.FWHM) for w in spectra.WAVELENGTHS]
    pixels = np.zeros(len(CLASSES) + 1, np.int64)
    tiles = list(plan_tiles(grid.whole, TILE))
    names, colours = [c.name for c in CLASSES], [c.colour for c in CLASSES]
    with (
        RasterWriter(paths["raster"], grid, len(bands), bands=bands, tags=tags, block=TILE) as scene,
        RasterWriter(
            paths["label_raster"], grid, 1, "uint8", 0, descriptions=["class"], tags=tags, class_names=names,
            class_colours=colours, block=TILE,
        ) as classes,
        RasterWriter(
            paths["strata"], grid, 1, "uint8", 0, descriptions=["stratum"], tags=tags,
            class_names=street.STRATA, class_colours=street.STRATA_COLOURS, block=TILE,
        ) as parts,
    ):  # fmt: skip
        for done, tile in enumerate(tiles, start=1):
            labelled = simulation.street.labels(tile)
            scene.write(tile, simulation.tile(tile))
            classes.write(tile, labelled)
            parts.write(tile, simulation.street.strata(tile))
            pixels += np.bincount(labelled.ravel(), minlength=len(pixels))
            on_progress(done / len(tiles))
    return pixels[1:]


def _truth(size: int, seed: int, pixels: Sequence[np.ndarray]) -> dict:
    """Return what was planted; `pixels` are those labelled per class, of either scene."""
    every = list(range(len(spectra.WAVELENGTHS)))
    return {
        "scene_kind": "segmentation",
        "size": size,
        "seed": seed,
        "note": "Bands count from 0. Distances are Chebyshev, in pixels. A class of a pair is told from the "
        "other one by the pair's bands at the pair's distance and by nothing else, and from all others "
        f"by the spectrum of the pixel. Stratum {street.EDGE} is up to {street.BOUNDARY} pixels from an edge "
        "of a class or of a shadow.",
        "classes": [
            {
                "id": i,
                "name": planted.name,
                "evidence": planted.evidence,
                "bands": list(spectra.PAINT_BANDS) if i in (spectra.OTHER, spectra.PAINTED) else every,
                "distance": street.SIGNAL_DISTANCE if i in (spectra.OPEN, spectra.CLOSED) else 0,
                "pixels": int(pixels[0][i - 1]),
                "test_pixels": int(pixels[1][i - 1]),
            }
            for i, planted in enumerate(CLASSES, start=1)
        ],
        "pairs": [
            {
                "classes": [spectra.OTHER, spectra.PAINTED],
                "bands": list(spectra.PAINT_BANDS),
                "distance": 0,
                "rule": "Painted other where the middle one of the bands is under the two others.",
            },
            {
                "classes": [spectra.OPEN, spectra.CLOSED],
                "bands": every,
                "distance": street.SIGNAL_DISTANCE,
                "marker": spectra.SIGNAL,
                "rule": "Barrier closed where there is a pixel of Signal at the distance, open elsewhere. "
                f"No pixel of Signal is nearer; those of other barriers are {street.SIGNAL_CLEARANCE} away "
                "or more.",
            },
        ],
        "spectra": spectra.reflectances().round(6).tolist(),
        "strata": {str(i): name for i, name in enumerate(street.STRATA, start=1)},
        "shared_by_all_classes": {
            "brightness_spread": spectra.BRIGHTNESS_SPREAD,
            "noise": spectra.NOISE,
            "shadow_factor": list(spectra.SHADOW),
        },
        "wavelengths_nm": spectra.WAVELENGTHS.tolist(),
        "fwhm_nm": spectra.FWHM,
    }
