"""The rasters that unmixing leaves, and their styles."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np
from rasterio.windows import Window

from ..engine.unmix_jobs import UnmixJob
from ..models.card import Card
from ..models.unmixers import FCLS
from ..rasters.grid import Grid
from ..rasters.outputs import Outputs, check_space
from ..rasters.scene import Scene, describe_band
from ..rasters.styles import qml_path, write_diverging_qml, write_sequential_qml
from ..rasters.wavelengths import Band
from ..rasters.writers import RasterWriter
from .tiling import BLOCK
from .unmix_worker import UnmixedTile, part_names

# What least squares with fixed endmembers does not have.
_OF_IDNET = ("endmember_spread", "nonlinearity", "uncertainty")


def given(job: UnmixJob, card: Card) -> dict[str, str]:
    """Return the paths of the rasters that are wanted and that the method has."""
    return {name: path for name, path in job.wanted().items() if name not in lacking(card)}


def lacking(card: Card) -> dict[str, str]:
    """Return the outputs that are no rasters of the model, with the reason."""
    reasons = {"model": ""}
    if card.architecture == FCLS:
        reasons |= dict.fromkeys(_OF_IDNET, "METHOD fcls does not give")
    if not card.options.get("any_brightness"):
        reasons["brightness"] = "A model without ANY_BRIGHTNESS does not give"
    return reasons


class UnmixWriters:
    """The rasters of a job that its method gives."""

    def __init__(
        self, job: UnmixJob, outputs: Outputs, scene: Scene, card: Card, grid: Grid, tags: dict[str, str],
        stack: ExitStack,
    ) -> None:  # fmt: skip
        self._outputs, self._wanted = outputs, given(job, card)
        bands = bands_of(card, scene, job.parts_of)
        self._counts = {name: len(own) for name, own in bands.items()}
        pixels = grid.width * grid.height
        check_space({path: 4 * pixels * len(bands[name]) for name, path in self._wanted.items()})
        self._writers = {
            name: stack.enter_context(
                RasterWriter(
                    outputs.stage(path), grid, len(bands[name]), bands=bands[name],
                    descriptions=[band.name for band in bands[name]], tags=tags, block=BLOCK,
                )
            )
            for name, path in self._wanted.items()
        }  # fmt: skip

    def write(self, window: Window, tile: UnmixedTile) -> None:
        """Write a tile."""
        for name, writer in self._writers.items():
            every = np.full((self._counts[name], int(window.height), int(window.width)), np.nan, np.float32)
            if len(tile.rows):
                every[:, tile.rows, tile.cols] = tile.planes[name].T
            writer.write(window, every)

    def write_styles(self, limits: Mapping[str, float]) -> None:
        """Write the styles; `limits` are the values of full colour, by output."""
        for name, path in self._wanted.items():
            target = self._outputs.stage(qml_path(path))
            if name == "parts":
                write_diverging_qml(target, 1, 1.0)
            else:
                write_sequential_qml(target, 1, 0.0, 1.0 if name == "abundances" else limits.get(name, 0.0))


def bands_of(card: Card, scene: Scene, parts_of: str) -> dict[str, list[Band]]:
    """Return the bands of each raster."""
    materials = [Band(name) for name in card.class_names]
    names = part_names(card.class_names, card.architecture != FCLS)
    used = [(index, scene.bands[index]) for index in card.used_bands]
    every = [
        Band(f"{name} {describe_band(index, band)}", band.wavelength_nm, band.fwhm_nm)
        for name in names
        for index, band in used
    ]
    return {
        "abundances": materials,
        "endmember_spread": materials,
        "uncertainty": materials,
        "nonlinearity": [Band("nonlinear share of the mixing"), Band("nonlinear share of the abundances")],
        "reconstruction_error": [Band("root mean square error (reflectance)")],
        "brightness": [Band("brightness (times a mixture's)")],
        "parts": [Band(f"mean of {name}") for name in names] if parts_of == "mean" else every,
    }
