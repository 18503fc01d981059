"""What the scores of one model's explainers are kept in, and which maps and chips stand out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Rows of a montage.
_MOST_SHOWN = 6
# A map that varies by no more than this share of its largest value is flat: that is rounding.
_FLAT = 1e-6


@dataclass(frozen=True)
class ModelScores:
    """What one model's explainers came to.

    `values` by metric float64 (explainer, chip), NaN where a score is not defined, as all are of a map that
    is `zero` or `flat`, the same everywhere; these, `constant`, which no draw moved, and `placeless`, with
    one value for all pixels of a band, bool (explainer, chip). `stages` by stage: Spearman's correlation
    (explainer, chip) with the trained map, NaN for chips that were not taken. `seconds` (explainer,) a chip,
    each alone. `predicted` int64 (chip,). Of the chips `shown`: `inputs` (shown, band, y, x) and, by
    explainer, `maps`, see `picture_of`.
    """

    names: tuple[str, ...]
    values: dict[str, np.ndarray]
    zero: np.ndarray
    flat: np.ndarray
    constant: np.ndarray
    placeless: np.ndarray
    stages: dict[str, np.ndarray]
    seconds: np.ndarray
    predicted: np.ndarray
    shown: tuple[int, ...]
    inputs: np.ndarray
    maps: dict[str, np.ndarray]


def examples(classes: np.ndarray, predicted: np.ndarray) -> tuple[int, ...]:
    """Return the first chip of each class (of the predicted ones where a class is not known)."""
    kinds = np.where(classes >= 0, classes, predicted)
    return tuple(sorted(np.unique(kinds, return_index=True)[1].tolist())[:_MOST_SHOWN])


def is_flat(values: Tensor) -> Tensor:
    """Return which maps (n, band, y, x) have the same value everywhere, and so point nowhere."""
    cells = values.flatten(1)
    if cells.shape[1] == 1:
        return torch.zeros(len(cells), dtype=torch.bool, device=cells.device)
    return cells.amax(1) - cells.amin(1) <= _FLAT * cells.abs().amax(1)


def is_placeless(values: Tensor) -> Tensor:
    """Return which maps (n, band, y, x) have one value for each band, spread evenly over several pixels."""
    cells = values.flatten(2)
    if cells.shape[2] == 1:
        return torch.zeros(len(cells), dtype=torch.bool, device=cells.device)
    return (cells.amax(2) - cells.amin(2) <= _FLAT * cells.abs().amax(2)).all(1)


def picture_of(values: Tensor) -> Tensor:
    """Return what is drawn of maps (n, band, y, x), float64: their sums (n, 1, y, x) over bands.

    Of single pixels, or where all pixels of a band have one value, the values of the bands (n, band, 1, 1).
    """
    if values.shape[2:] == (1, 1) or bool((is_placeless(values) & ~is_flat(values)).all()):
        return values[:, :, :1, :1].double()
    return values.double().sum(1, keepdim=True)
