"""Where spectra, classes and attributions of a scene come from: a raster of them, or a model on the way."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Protocol, cast

import numpy as np
import torch
from rasterio.windows import Window

from ..engine.absorption_jobs import AbsorptionFeaturesJob as Job
from ..engine.jobs import AttributionJob
from ..explainers.registry import make_explainer
from ..explainers.two_legs import TwoLegs
from ..models.files import Model
from ..models.networks import PatchNetwork
from ..rasters.continuum import upper_hull
from ..rasters.labels import mask_of_features
from ..rasters.scene import Scene
from .attribution_rasters import AttributionRaster
from .attribution_worker import AttributionWorker
from .class_spectra import SpectralTile
from .class_windows import ClassWindows
from .classify import class_logits
from .context import Context
from .explainer_options import options_of
from .pixel_baselines import pixel_baseline
from .targets import CONTINUUM, Target
from .tiling import read_raw_tile, read_tile

# Explainers whose values are parts of what the output differs by from that of a baseline.
EXPLAINERS = ("integrated_gradients", "deeplift", "occlusion", "band_ablation")


class SpectralSource(Protocol):
    """Gives the tiles of a scene; `names` are those of the classes. `facts` go into the run record."""

    names: tuple[str, ...]
    facts: dict

    def read(self, tile: Window) -> SpectralTile:
        """Return what is known of a tile's pixels."""
        ...

    def exposure(self, sums: np.ndarray, departure: np.ndarray, deviation: np.ndarray) -> np.ndarray | None:
        """Return what chance keeps in place (band,), of what `ClassSpectra` knows; None where nothing is."""
        ...


class Explaining:
    """Explains a model at every pixel, or at those that `groups` give a class."""

    def __init__(
        self, job: Job, context: Context, scene: Scene, model: Model, groups: ClassWindows | None,
        window: Window, device: str, pool: Executor,
    ) -> None:  # fmt: skip
        self._context, self._scene, self._model, self._groups = context, scene, model, groups
        asked = AttributionJob(
            scene.path, job.model or "", explainer=job.explainer, baseline=job.baseline, extent=job.extent,
            mask_features=job.mask_features, wavelengths=job.wavelengths, seed=job.seed, device=job.device,
            memory_mb=job.memory_mb,
        )  # fmt: skip
        options = options_of(asked, model)
        baseline = pixel_baseline(asked, scene, model)
        model.network.to(device)
        explainer = (
            make_explainer(job.explainer, model.network, options)
            if baseline.reference is None
            else TwoLegs(job.explainer, model.network, options)
        )
        total = int(window.width * window.height) if groups is None else int(groups.pixels.sum())
        self._worker = AttributionWorker(
            asked, context, scene, model, Target(asked, model.card), baseline, explainer, total, pool
        )
        self._worker.learn()
        self.names = tuple(model.card.class_names) if groups is None else groups.names
        self.facts: dict = {"model_digest": model.card.digest, **baseline.facts}

    def read(self, tile: Window) -> SpectralTile:
        """See `SpectralSource`."""
        labels = None if self._groups is None else self._groups.of(tile)
        found = self._worker.explain(tile, None if labels is None else labels >= 0)
        raw, _ = read_raw_tile(self._scene, self._model.card, 0, tile, self._model.spectra.mean)
        with torch.no_grad():
            values, baseline = self._worker.prepared(raw)
            exposure = (values - baseline).abs().cpu().numpy()
        legs = None if found.level is None else np.stack([found.difference, found.level])
        classes = found.predicted if labels is None else np.where(found.predicted >= 0, labels, -1)
        return SpectralTile(classes, raw.numpy(), found.values, exposure, legs)

    def exposure(self, sums: np.ndarray, departure: np.ndarray, deviation: np.ndarray) -> np.ndarray | None:
        """See `SpectralSource`; in the units that the network's weights are for."""
        scale = cast(PatchNetwork, self._model.network).scaling.scale.detach().cpu().numpy().ravel()
        return np.divide(sums, np.abs(scale), where=scale != 0, out=np.zeros_like(sums))


class FromRaster:
    """Reads attributions that are there already; classes from `groups`, or from what a model sees."""

    def __init__(
        self, job: Job, context: Context, scene: Scene, given: AttributionRaster, used: Sequence[int],
        groups: ClassWindows | None, model: Model | None, wavelengths: np.ndarray,
        ranges: Sequence[np.ndarray], window: Window, device: str,
    ) -> None:  # fmt: skip
        self._job, self._context, self._scene, self._given = job, context, scene, given
        self._used, self._groups, self._model = list(used), groups, model
        self._wavelengths, self._ranges, self._device = wavelengths, ranges, device
        self._done, self._total = 0, int(window.width * window.height)
        if groups is not None:
            self.names = groups.names
        else:
            known = cast(Model, model)
            known.network.to(device)
            self.names = tuple(known.card.class_names)
        self.facts: dict = {"attributions_by": given.lineage}
        if model is not None:
            self.facts["model_digest"] = model.card.digest

    def read(self, tile: Window) -> SpectralTile:
        """See `SpectralSource`."""
        self._context.check()
        spectra = self._scene.read(tile, bands=self._used)
        values = self._given.read(tile, self._used)
        classes = self._classes(tile)
        valid = np.isfinite(spectra).all(0) & np.isfinite(values).all(0)
        if self._job.mask_features:
            valid &= mask_of_features(self._job.mask_features, self._scene.grid, tile)
        spectra[:, ~valid] = 0
        self._done += int(tile.width * tile.height)
        self._context.progress(
            self._done / self._total, f"Reading, {self._done} of {self._total} pixels done"
        )
        return SpectralTile(np.where(valid, classes, -1), spectra, values, self._sizes(spectra))

    def exposure(self, sums: np.ndarray, departure: np.ndarray, deviation: np.ndarray) -> np.ndarray | None:
        """See `SpectralSource`; over the deviation of all pixels, as networks scale their bands."""
        kind = self._given.baseline
        if kind is None:
            return None
        size = sums if kind in (CONTINUUM, "zero") else departure
        return np.divide(size, deviation, where=deviation > 0, out=np.zeros_like(size))

    def _sizes(self, spectra: np.ndarray) -> np.ndarray:
        """Return the size (band, y, x) of what the spectra differ by from the baseline, where it is known."""
        if self._given.baseline == CONTINUUM:
            pixels = spectra.reshape(len(spectra), -1).T
            hull = upper_hull(pixels, self._wavelengths, self._ranges)
            return np.abs(hull - pixels).T.reshape(spectra.shape)
        return np.abs(spectra) if self._given.baseline == "zero" else np.zeros_like(spectra)

    def _classes(self, tile: Window) -> np.ndarray:
        if self._groups is not None:
            return self._groups.of(tile)
        model = cast(Model, self._model)
        network = cast(PatchNetwork, model.network)
        values, valid = read_tile(self._scene, model.card, network, tile, model.spectra.mean)
        with torch.no_grad():
            logits = class_logits(network, values.to(self._device), self._context)
        return np.where(valid, logits.argmax(0).cpu().numpy(), -1)
