"""Rasters that `attribution` wrote, read again: do they fit a scene, and what are they from."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import numpy as np
from rasterio.windows import Window

from ..models.card import WAVELENGTH_TOLERANCE_NM
from ..rasters.datasets import open_dataset
from ..rasters.errors import InputError
from ..rasters.scene import Scene, open_scene
from ..rasters.tiles import plan_tiles
from .context import Context
from .record import record_path
from .targets import AUTO

_BLOCK = 128
# Of a pixel's place on the other raster.
_SNAP = 1e-2
# Explainers without a baseline: gradients alone, and what they are multiplied by.
_FROM_ZERO, _FROM_SPECTRA = ("input_x_gradient",), ("gradient_shap",)
_GRADIENTS = ("saliency", "guided_backpropagation", "deconvolution", "tangent_contributions")


class AttributionRaster:
    """A raster of attributions of a scene, or of a part of it.

    `window` is the part; `baseline` the name of what the attributions start from, None where it is unknown or
    there is none; `lineage` what the raster tells of its making. Raises InputError where the raster does not
    fit the scene.
    """

    def __init__(self, path: str, scene: Scene, context: Context) -> None:
        self.path, self._raster = path, open_scene(path)
        self.window = self._placed(scene)
        self.lineage = _lineage(path)
        self._check_bands(scene)
        asked = self.lineage.get("job", {})
        if asked.get("parts", "bands") != "bands":
            raise InputError(f"The bands of {path} are {asked['parts']}; choose an attribution of bands.")
        made_of = asked.get("scene")
        if made_of and os.path.realpath(made_of) != os.path.realpath(scene.path):
            context.warn(
                f"{path} was made of {made_of}, not of {scene.path}; see that they are the same scene."
            )
        self.baseline = _baseline(self.lineage)
        if self.baseline is None and asked.get("explainer") not in _GRADIENTS:
            context.warn(
                f"{path} doesn't tell what its attributions start from: chance can't allow for where that "
                "puts them."
            )

    def read(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        """Return float32 (band, y, x) of a window of the scene, which lies in the raster's own."""
        own = Window(
            window.col_off - self.window.col_off, window.row_off - self.window.row_off, window.width,
            window.height,
        )  # fmt: skip
        return self._raster.read(own, bands=bands)

    def used_bands(self, window: Window, context: Context) -> list[int]:
        """Return the bands (from 0) that have values, told from the first block with any in the window."""
        every = range(len(self._raster.bands))
        for block in plan_tiles(window, _BLOCK):
            context.check()
            known = np.isfinite(self.read(block, every)).any((1, 2))
            if known.any():
                return np.flatnonzero(known).tolist()
        raise InputError(f"{self.path} holds no attribution where it was to be read; choose another extent.")

    def absorption_shares(self) -> dict[str, float]:
        """Return the absorption share by predicted class that the run record beside the raster tells."""
        try:
            with open(record_path(self.path), encoding="utf-8") as file:
                record = json.load(file)
            made = record["job"]["attribution"]
            shares = record["absorption_share"]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return dict(shares) if shares and os.path.basename(made or "") == os.path.basename(self.path) else {}

    def _placed(self, scene: Scene) -> Window:
        own, grid = self._raster.grid, scene.grid
        if own.same_as(grid):
            return grid.whole
        if not own.same_crs_as(grid):
            raise InputError(
                f"The attributions {self.path} are in another coordinate system than {scene.path}; choose "
                "the raster that 'attribution' made of this scene."
            )
        # Without georeference parts lie as QGIS shows the whole, rows downwards (`Grid.sub`).
        base = grid.display_transform(0.0) if own.georeferenced else grid.transform
        corners = [~base * (own.transform * corner) for corner in ((0, 0), (own.width, own.height))]
        (left, top), (right, bottom) = [tuple(map(round, corner)) for corner in corners]
        near = all(abs(value - round(value)) < _SNAP for corner in corners for value in corner)
        same = (right - left, bottom - top) == (own.width, own.height)
        if not (near and same and left >= 0 and top >= 0 and right <= grid.width and bottom <= grid.height):
            raise InputError(
                f"The attributions {self.path} are not on the grid of {scene.path}; choose the raster that "
                "'attribution' made of this scene or of a part of it."
            )
        return Window(left, top, own.width, own.height)

    def _check_bands(self, scene: Scene) -> None:
        if len(self._raster.bands) != len(scene.bands):
            raise InputError(
                f"The attributions {self.path} have {len(self._raster.bands)} bands and the scene "
                f"{scene.path} has {len(scene.bands)}; choose the raster that 'attribution' made of this "
                "scene."
            )
        for number, (own, theirs) in enumerate(zip(self._raster.bands, scene.bands), start=1):
            if own.wavelength_nm is None or theirs.wavelength_nm is None:
                continue
            if abs(own.wavelength_nm - theirs.wavelength_nm) > WAVELENGTH_TOLERANCE_NM:
                raise InputError(
                    f"Band {number} of the attributions {self.path} is at {own.wavelength_nm:g} nm, that of "
                    f"the scene {scene.path} at {theirs.wavelength_nm:g} nm: they are of another scene; "
                    "choose those of this one."
                )


def _lineage(path: str) -> dict:
    with open_dataset(path) as dataset:
        text = dataset.tags().get("EXPLANATION_LAYERS", "")
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _baseline(lineage: dict) -> str | None:
    asked = lineage.get("job", {})
    explainer = asked.get("explainer")
    if explainer in _FROM_ZERO:
        return "zero"
    if explainer in _FROM_SPECTRA:
        return "mean"
    if explainer is None or explainer in _GRADIENTS:
        return None
    name = asked.get("baseline")
    return lineage.get("baseline") if name == AUTO else name
