"""What training needs of segmentation networks: their samples, training, test and spectra."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..engine.jobs import TrainClassifierJob
from ..models.epochs import Epoch, TrainingSettings
from ..models.files import Spectra
from ..models.segmentation_networks import SegmentationNetwork, build_segmentation_network
from ..models.segmentation_training import fit_segmentation
from ..models.splits import Split
from ..models.training import set_scaling
from ..rasters.labels import LabelledPixels
from ..rasters.scene import Scene
from .canvas import canvas_side, read_canvas_bands
from .chip_batches import stoppable
from .classify_dense import dense_bytes, dense_logits
from .context import Context
from .learning import Learnt
from .samples import MOST_PIXELS_PER_CLASS, pixels_by_block
from .segmentation_samples import read_pages
from .training_spectra import spectra_of


class SegmentationLearner:
    """Learns from crops of the scene, of whose pixels the labelled ones count."""

    def __init__(
        self, job: TrainClassifierJob, context: Context, scene: Scene, labels: LabelledPixels,
        bands: list[int],
    ) -> None:  # fmt: skip
        self._job, self._context, self._scene, self._bands = job, context, scene, bands
        per_pixel = job.normalisation == "per_pixel"
        self.options: dict[str, Any] = {
            "bands": len(bands),
            "classes": len(labels.names),
            "normalisation": job.normalisation,
            "depth": job.depth,
            "filters": job.filters,
            "brightness": per_pixel and job.brightness,
            "strength": job.normalisation_strength if per_pixel else 1.0,
        }
        self.samples = read_pages(
            scene, labels, bands, job.tile_size, 2**job.depth, context.check, context.warn, job.memory_mb
        )

    def learn(
        self, split: Split, settings: TrainingSettings,
        on_epoch: Callable[[Epoch], None], on_batch: Callable[[float], None],
    ) -> Learnt:  # fmt: skip
        """Train on the training pixels of `split`, and classify its test pixels."""
        torch.manual_seed(settings.seed)
        network = build_segmentation_network(self._job.architecture, **self.options)
        spectra = self.samples.spectra(self._some_of(split))
        set_scaling(network, spectra)
        fill = spectra.double().mean(0).float()
        self.samples.fill(fill)
        with stoppable(network, self._context):
            history = fit_segmentation(network, self.samples, split.train, settings, on_epoch, on_batch)
        predicted = self._predict(network.explainable(), split.test, fill)
        return Learnt(network, history, predicted, self._shared_share(split, network.reach))

    @torch.no_grad()
    def _predict(self, network: SegmentationNetwork, chosen: np.ndarray, fill: Tensor) -> np.ndarray:
        """Return the classes of labelled pixels, int64 (n,), as the scene's classification has them."""
        side = canvas_side(self._job.memory_mb, dense_bytes(network), network.reach)
        rows, cols = self.samples.rows[chosen], self.samples.cols[chosen]
        predicted = np.empty(len(chosen), dtype=np.int64)
        with stoppable(network, self._context):
            for members, window in pixels_by_block(rows, cols, self._scene, side):
                tile = read_canvas_bands(self._scene, self._bands, network, window, fill)
                classes = dense_logits(network, tile).argmax(0).numpy()
                places = rows[members] - int(window.row_off), cols[members] - int(window.col_off)
                predicted[members] = classes[places]
        return predicted

    def _shared_share(self, split: Split, reach: int) -> float:
        places = np.stack([self.samples.rows, self.samples.cols], 1)
        distance, _ = cKDTree(places[split.train]).query(places[split.test], p=np.inf)
        return float((distance <= 2 * reach).mean())

    def spectra(self, split: Split) -> Spectra:
        """Return mean spectra of the training pixels, and some of them."""
        chosen = self._some_of(split)
        classes = self.samples.classes.numpy()[chosen]
        return spectra_of(self.samples.spectra(chosen), classes, len(self.samples.names), self._job.seed)

    def _some_of(self, split: Split) -> np.ndarray:
        """Return training pixels, of a class with very many some at random."""
        generator = np.random.default_rng(self._job.seed)
        classes = self.samples.classes.numpy()[split.train]
        kept = [
            generator.permutation(split.train[classes == number])[:MOST_PIXELS_PER_CLASS]
            for number in range(len(self.samples.names))
        ]
        return np.sort(np.concatenate(kept))
