"""What a model keeps of the spectra it was trained on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..models.files import Spectra

# Spectra kept in the model file, for baselines that are drawn from the training data.
_BACKGROUND = 128


def spectra_of(spectra: Tensor, classes: np.ndarray, count: int, seed: int) -> Spectra:
    """Return means of the spectra (n, band) of training pixels, of each of `count` classes, and a sample."""
    centres = spectra.double()
    means = torch.stack([centres[torch.from_numpy(classes == number)].mean(0) for number in range(count)])
    chosen = np.random.default_rng(seed).permutation(len(classes))[:_BACKGROUND]
    return Spectra(centres.mean(0).float(), means.float(), centres[torch.from_numpy(chosen)].float())
