"""What is explained (targets) and against what (baselines), as numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from rasterio.windows import Window
from torch import Tensor

from ..engine.jobs import TargetedJob
from ..models.card import SCENE_CLASSIFICATION, SERIES_AUTOENCODER, Card
from ..models.files import Model
from ..rasters.errors import InputError
from .truth_windows import TruthWindows

TARGETS = ("predicted", "class", "contrast")
# Differs from pixel to pixel by what is known of them: for the attribution of pixels alone.
REFERENCE = "reference"
# Those that are one spectrum for all pixels, each pixel's own, and that which suits what is explained.
SPECTRA = ("zero", "mean", "class_mean", "spectrum")
CONTINUUM, AUTO = "continuum", "auto"
BASELINES = (*SPECTRA, CONTINUUM, AUTO)
# Those that are made from the chip itself: for scene classifiers only.
OF_A_CHIP = ("chip_mean", "speckle")


class Target:
    """The explained output as a weighted sum of the logits, per pixel.

    `truth` is the reference, where the job's target is that of each pixel and the model classifies pixels.
    """

    def __init__(self, job: TargetedJob, card: Card, truth: TruthWindows | None = None) -> None:
        self._embeds = card.task == SERIES_AUTOENCODER
        choices = ", ".join(TARGETS[1:] if self._embeds else TARGETS)
        if job.target == REFERENCE and truth is None:
            raise InputError(
                "The target 'reference' is for classifiers of pixels, explained by 'attribution'; choose one "
                f"of {choices} here."
            )
        if job.target not in (*TARGETS, REFERENCE):
            raise InputError(f"There is no target '{job.target}'; choose one of {choices}.")
        if self._embeds and (job.target == "predicted" or not job.class_name):
            raise InputError(
                "An autoencoder predicts no class: choose TARGET class, and as CLASS a dimension of its "
                f"embedding, one of {', '.join(card.class_names)}."
            )
        if job.target == "class" and not job.class_name:
            raise InputError(
                f"The target 'class' needs a class; choose one of {', '.join(card.class_names)}."
            )
        self.kind, self.truth = job.target, truth
        self._class = _index(card, job.class_name) if job.target in ("class", "contrast") else None
        self._contrast = _index(card, job.contrast_class) if job.target == "contrast" else None
        if self._class is not None and self._class == self._contrast:
            raise InputError(
                f"The class '{card.class_names[self._class]}' can't be contrasted with itself; "
                "choose two classes."
            )

    def named(self, tile: Window) -> np.ndarray | None:
        """Return the class int64 (y, x) that the reference names, -1 where it names none.

        None with targets that need no reference.
        """
        return None if self.truth is None else self.truth.of(tile)

    def weights(self, logits: Tensor, named: np.ndarray | None = None) -> Tensor:
        """Return the weights (class, y, x) for logits (class, y, x) and what `named` gives for these pixels.

        A class that is not given is the pixel's predicted one, in a contrast the highest of the others.
        """
        first = self._plane(logits, self._class)
        if named is not None:
            given = torch.from_numpy(named).to(logits.device)
            first = torch.where(given >= 0, given, first)
        weights = _one_hot(first, len(logits))
        if self.kind == "contrast":
            others = logits.masked_fill(weights.bool(), float("-inf"))
            weights = weights - _one_hot(self._plane(others, self._contrast), len(logits))
        return weights

    def groups(self, logits: Tensor) -> Tensor:
        """Return what pixels are summarised by, int64 (y, x): their predicted class, or the dimension."""
        return self._plane(logits, self._class if self._embeds else None)

    @staticmethod
    def _plane(logits: Tensor, chosen: int | None) -> Tensor:
        return (
            logits.argmax(0) if chosen is None else torch.full(logits.shape[1:], chosen, device=logits.device)
        )


def baseline_spectrum(job: TargetedJob, model: Model) -> Tensor:
    """Return the job's baseline for pixels; see `baseline_values`."""
    return baseline_values(job.baseline, job.baseline_class, job.baseline_spectrum, model)


def baseline_values(
    name: str, class_name: str | None, spectrum: Sequence[float] | None, model: Model
) -> Tensor:
    """Return the baseline (band,) over the bands that the model reads, at prepared values.

    `auto` is the mean here; what suits pixels of spectra better is `pixel_baselines`' to choose.
    Raises InputError where a class or a spectrum is missing or does not fit.
    """
    card = model.card
    if name == "class_mean" and card.task == SERIES_AUTOENCODER:
        raise InputError("An autoencoder knows no classes; choose BASELINE mean, zero or spectrum.")
    if name == "zero":
        if card.task == SCENE_CLASSIFICATION:
            return torch.zeros_like(model.spectra.mean)  # after clipping: the lower limit
        values = torch.zeros_like(model.spectra.mean)
    elif name in ("mean", AUTO):
        values = model.spectra.mean
    elif name == "class_mean":
        if not class_name:
            raise InputError(
                f"The baseline 'class_mean' needs a class; choose one of {', '.join(card.class_names)}."
            )
        values = model.spectra.class_means[card.class_index(class_name)]
    elif name == "spectrum":
        values = _given_spectrum(spectrum, card)
    elif name == CONTINUUM:
        raise InputError(
            "The baseline 'continuum' is each pixel's own, which only the attribution of pixel classifiers "
            f"knows; choose one of {', '.join(SPECTRA)}."
        )
    elif name in OF_A_CHIP:
        raise InputError(
            f"The baseline '{name}' is for scene classifiers; choose one of {', '.join(BASELINES)}."
        )
    else:
        raise InputError(f"There is no baseline '{name}'; choose one of {', '.join(BASELINES)}.")
    return model.network.prepare(values[None, :, None, None])[0, :, 0, 0]


def model_units(baseline: Tensor) -> list[float]:
    """Return the baseline as plain numbers for the record."""
    return [float(f"{value:.7g}") for value in baseline.tolist()]


def _given_spectrum(values: Sequence[float] | None, card: Card) -> Tensor:
    if not values:
        raise InputError("The baseline 'spectrum' needs a spectrum; give one value per band.")
    used, every = card.used_bands, len(card.bands)
    if len(values) not in (every, len(used)):
        raise InputError(
            f"The baseline spectrum has {len(values)} values; the scene has {every} bands, of which the "
            f"model reads {len(used)}: give a value for each."
        )
    chosen = np.asarray(values, dtype=np.float32)
    if len(values) == every:
        chosen = chosen[used]
    if not np.isfinite(chosen).all():
        raise InputError(
            "The baseline spectrum has a value that is not a number in a band that the model reads."
        )
    return torch.from_numpy(chosen)


def _index(card: Card, name: str | None) -> int | None:
    return card.class_index(name) if name else None


def _one_hot(plane: Tensor, count: int) -> Tensor:
    return torch.nn.functional.one_hot(plane, count).movedim(-1, 0).float()
