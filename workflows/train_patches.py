"""What training needs of pixel and patch classifiers: their samples, training, test and spectra."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace

import numpy as np
import torch

from ..engine.jobs import TrainClassifierJob
from ..models.epochs import Epoch, TrainingSettings
from ..models.files import Spectra
from ..models.networks import build
from ..models.splits import Split
from ..models.training import fit, predict, set_statistics
from ..rasters.labels import LabelledPixels
from ..rasters.scene import Scene
from .context import Context
from .learning import Learnt
from .samples import read_samples
from .training_spectra import spectra_of


class PatchLearner:
    """Learns from the patches around labelled pixels."""

    def __init__(
        self, job: TrainClassifierJob, context: Context, scene: Scene, labels: LabelledPixels,
        bands: list[int],
    ) -> None:  # fmt: skip
        self._job, self._context = job, context
        self._side = 1 if job.architecture == "spectral_cnn" else job.patch_size
        self.samples = read_samples(
            scene, labels, bands, self._side, job.seed, context.check, context.warn, job.memory_mb
        )
        self.options = {
            "bands": len(bands),
            "classes": len(labels.names),
            "patch_size": self._side,
            "normalisation": job.normalisation,
            "components": min(job.components, len(bands)),
        }

    def of_bands(self, places: list[int]) -> PatchLearner:
        """Return a learner from the same samples that reads some of the bands, given by their places."""
        learner = copy(self)
        learner.samples = replace(self.samples, spectra=self.samples.spectra[:, places])
        components = min(self._job.components, len(places))
        learner.options = {**self.options, "bands": len(places), "components": components}
        return learner

    def learn(
        self, split: Split, settings: TrainingSettings,
        on_epoch: Callable[[Epoch], None], on_batch: Callable[[float], None],
    ) -> Learnt:  # fmt: skip
        """Train on the training pixels of `split`, and classify its test pixels."""
        torch.manual_seed(settings.seed)
        network = build(self._job.architecture, **self.options)
        set_statistics(network, self.samples, split.train)
        history = fit(network, self.samples, split.train, settings, on_epoch, on_batch)
        predicted = predict(network, self.samples, split.test, self._context.check)
        return Learnt(network, history, predicted, self._shared_share(split))

    def _shared_share(self, split: Split) -> float:
        used = np.zeros(len(self.samples.spectra), dtype=bool)
        index = self.samples.index.numpy()
        used[index[split.train].ravel()] = True
        return float(used[index[split.test]].any(1).mean())

    def spectra(self, split: Split) -> Spectra:
        """Return mean spectra of the training pixels, and some of them."""
        train = torch.from_numpy(split.train)
        classes = self.samples.classes[train].numpy()
        return spectra_of(self.samples.centres(train), classes, len(self.samples.names), self._job.seed)
