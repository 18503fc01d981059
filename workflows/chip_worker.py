"""Explaining batches of chips, each on one of the workers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from ..explainers.base import Explainer
from ..models.files import Model
from .chip_baselines import ChipBaseline
from .chip_batches import has_say, prepared
from .slide import Chips
from .targets import Target


class Explained(NamedTuple):
    """What explains n chips, of which those without enough data have no say.

    `values` float32 (n, band + 1, s, s): the attribution, of one band where the method has no more, and the
    residual spread over the pixels. `valid` bool (n, s, s): where the chip has data, nowhere without a say.
    The others (n, ...): `sums` (n, band) of the attribution, target's `output` and its `reference`, from
    which the values start, `residual` (NaN where the values are no contributions), `predicted` class with
    its `confidence`, `evaluations`.
    """

    values: np.ndarray
    valid: np.ndarray
    has_say: np.ndarray
    sums: np.ndarray
    absolute: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    output: np.ndarray
    reference: np.ndarray
    residual: np.ndarray
    settled: np.ndarray
    evaluations: np.ndarray


class ChipWorker:
    """Explains one batch after the other; safe to call from several threads at once."""

    def __init__(self, model: Model, target: Target, baseline: ChipBaseline, explainer: Explainer) -> None:
        self._model, self._target, self._baseline = model, target, baseline
        self._explainer = explainer
        self.bands = len(model.card.used_bands) if explainer.per_band else 1

    @torch.no_grad()
    def __call__(self, chips: Chips) -> Explained:
        """Return what explains a batch."""
        finite, voices = has_say(chips.values)
        result = self._empty(finite & voices[:, None, None], voices)
        if not voices.any():
            return result
        x = prepared(self._model, chips.values[voices])
        baseline = self._baseline(x)
        logits = self._model.network.logits(x).flatten(1)
        weights = self._target.weights(logits.T[:, :, None])[:, :, 0].T
        found = self._explainer.attribute(x, baseline, weights.contiguous())
        reference = found.reference
        if self._explainer.uses_baseline and not torch.isfinite(reference).all():
            reference = self._explainer.output(baseline, weights)
        output = (logits * weights).sum(1)
        residual = torch.full_like(output, float("nan"))
        if self._explainer.contributions:
            residual = output - found.reference - found.values.sum((1, 2, 3))
        pixels = x.shape[-1] ** 2
        result.values[voices, :-1] = found.values.cpu().numpy()
        result.values[voices, -1] = (residual / pixels).cpu().numpy()[:, None, None]
        shares = logits.softmax(1)
        for name, value in (
            ("sums", found.values.sum((2, 3))), ("absolute", found.values.abs().sum((1, 2, 3))),
            ("predicted", shares.argmax(1)), ("confidence", shares.amax(1)),
            ("output", output), ("reference", reference), ("residual", residual),
            ("settled", found.settled), ("evaluations", found.evaluations),
        ):  # fmt: skip
            getattr(result, name)[voices] = value.cpu().numpy()
        return result

    def _empty(self, valid: np.ndarray, voices: np.ndarray) -> Explained:
        n, side = len(valid), valid.shape[-1]

        def unknown(*shape: int) -> np.ndarray:
            return np.full((n, *shape), np.nan, dtype=np.float32)

        return Explained(
            values=unknown(self.bands + 1, side, side), valid=valid, has_say=voices,
            sums=unknown(self.bands), absolute=unknown(), predicted=np.full(n, -1), confidence=unknown(),
            output=unknown(), reference=unknown(), residual=unknown(), settled=np.ones(n, dtype=bool),
            evaluations=np.zeros(n, dtype=np.int64),
        )  # fmt: skip
