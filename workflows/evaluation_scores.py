"""All scores of all explainers for one model, chip by chip."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ..engine.jobs import EvaluateExplainersJob
from ..explainers.scores.completeness import completeness
from ..explainers.scores.complexity import complexity
from ..explainers.scores.copies import Copies, Explain
from ..explainers.scores.infidelity import band_removals, infidelity, square_removals
from ..explainers.scores.localisation import bright_return, localisation, share_inside
from ..explainers.scores.perturbation import bands, blocks, deletion_insertion
from ..explainers.scores.randomisation import cascade, similarity, stages
from ..explainers.scores.sensitivity import sensitivity, speckled_copies, uniform_copies
from ..explainers.several import Several
from ..models.files import Model
from ..models.networks import PatchNetwork
from ..models.scene_networks import SceneNetwork
from .chip_batches import CHIPS_AT_ONCE
from .evaluation_result import ModelScores, examples, is_flat
from .evaluation_sample import Sample
from .evaluation_settings import options_of, radius_of

# Values of these are outputs per input; those of the others are outputs.
GRADIENTS = frozenset({"saliency", "guided_backpropagation", "deconvolution", "guided_grad_cam"})
BLOCK = 5
REMOVALS = 50
CURVE_STEPS = 20
# Chips that are scored together, so that their copies fill the batches.
_TOGETHER = 4
# Forward passes alone keep no layer's output: so many times the copies fit, up to what still gains.
_FORWARD, _MOST_FORWARD = 8, 64
_TIMED = 2

Baseline = Callable[[Tensor], Tensor]
T = TypeVar("T")


class Judge:
    """Scores the explainers of a job for one model on its sample.

    `tick` gets how many copies have been explained since it was last called; `check` may raise to stop.
    """

    def __init__(
        self, job: EvaluateExplainersJob, model: Model, sample: Sample, baseline: Baseline, device: str,
        tick: Callable[[int], None], check: Callable[[], None],
    ) -> None:  # fmt: skip
        self.job, self.sample, self.tick, self.check = job, sample, tick, check
        self.names = tuple(job.explainers)
        self.options = options_of(job, model)
        self.network = model.network.to(device)
        self.several = Several(self.names, self.network, self.options)
        self.batch = min(self.several.batch_size, CHIPS_AT_ONCE)
        self.forward_batch = min(_FORWARD * self.batch, _MOST_FORWARD)
        self.x = self.network.prepare(sample.raw.to(device))
        self.baseline = baseline(self.x)
        self.device = device

    @torch.no_grad()
    def scores(self, pool: ThreadPoolExecutor) -> ModelScores:
        """Score every chip, on the workers of `pool`."""
        predicted = torch.cat([
            self.network.logits(piece).flatten(1).argmax(1) for piece in self.x.split(self.forward_batch)
        ])  # fmt: skip
        self.weights = torch.nn.functional.one_hot(predicted, self.network.classes).to(self.x.dtype)
        shown = examples(self.sample.classes, predicted.cpu().numpy())
        count = len(self.x)
        seconds = pool.submit(self._seconds).result()
        parts = _gathered(pool, self._score, _pieces(count, _TOGETHER))
        values = {name: np.concatenate([part[0][name] for part in parts], 1) for name in parts[0][0]}
        zero, flat, constant = (np.concatenate([part[1][i] for part in parts], 1) for i in range(3))
        # A chip whose output is that of its baseline has no ratio of its own.
        difference = values.pop("difference").mean(1, keepdims=True)
        values["residual"] /= np.where(difference > 0, difference, np.nan)
        found = self._randomised(pool) if self.job.randomised_chips else {}
        if found:
            values["randomised_similarity"] = np.abs(np.stack(list(found.values()))).mean(0)
        for scores in (*values.values(), *found.values()):
            scores[zero | flat] = np.nan
        maps = {
            name: shown_maps.cpu().numpy()
            for name, shown_maps in self._maps(self.several, list(shown), pool).items()
        }
        return ModelScores(
            names=self.names, values=values, zero=zero, flat=flat, constant=constant, stages=found,
            seconds=seconds, predicted=predicted.cpu().numpy(), shown=shown, maps=maps,
            inputs=self.x[list(shown)].cpu().numpy(),
        )  # fmt: skip

    def units(self) -> int:
        """Return how many copies are explained in all, for the progress."""
        draws = 1 + self.job.samples * (2 if self.speckled else 1)
        taken = min(self.job.randomised_chips, len(self.x))
        return len(self.x) * draws + taken * (1 + len(stages(self.network)))

    @property
    def speckled(self) -> SceneNetwork | None:
        """The network where sensitivity to speckle is scored, None where it is not."""
        scored = self.job.speckle_looks > 0
        return self.network if scored and isinstance(self.network, SceneNetwork) else None

    @torch.no_grad()
    def _score(self, group: range) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
        """Return scores by metric, and what is zero, flat and constant, (explainer, chip) of some chips."""
        members = torch.tensor(list(group), device=self.device)
        x, baseline, keys = self.x[members], self.baseline[members], [self.sample.keys[i] for i in group]
        explain, output, probability = self._functions(members)
        maps = self._explained(explain, x)
        found: dict[str, dict[str, Tensor]] = {name: {} for name in self.names}
        moved = sensitivity(explain, maps, self._noisy(x, keys), self.batch, self.check)
        for name, score in moved.items():
            found[name] |= {"max_sensitivity": score.maximum, "average_sensitivity": score.average}
        if self.speckled:
            copies = self._speckled(self.speckled, group, keys)
            for name, score in sensitivity(explain, maps, copies, self.batch, self.check).items():
                found[name]["speckle_sensitivity"] = score.maximum
        self._add_faithfulness(found, x, baseline, keys, maps, output, probability)
        self._add_residuals(found, x, baseline, maps, output)
        self._add_complexity(found, maps, keys)
        self._add_places(found, x, maps, group)
        values = {
            metric: np.stack([found[name][metric].double().cpu().numpy() for name in self.names])
            for metric in found[self.names[0]]
        }
        flags: tuple[list[Tensor], ...] = (
            [moved[name].zero for name in self.names],
            [is_flat(maps[name]) & ~moved[name].zero for name in self.names],
            [moved[name].constant for name in self.names],
        )
        return values, [torch.stack(flag).cpu().numpy() for flag in flags]

    def _functions(self, members: Tensor) -> tuple[Explain, Callable, Callable]:
        """Return how copies of some chips are explained, and their target's logit and probability."""
        weights, baseline = self.weights[members], self.baseline[members]

        def explain(values: Tensor, of: Tensor) -> dict[str, Tensor]:
            found = self.several.attribute(values, baseline[of], weights[of])
            self.tick(len(values))
            return {name: attribution.values for name, attribution in found.items()}

        def output(values: Tensor, of: Tensor) -> Tensor:
            return (self.network.logits(values).flatten(1) * weights[of]).sum(1)

        def probability(values: Tensor, of: Tensor) -> Tensor:
            return (self.network.logits(values).flatten(1).softmax(1) * weights[of]).sum(1)

        return explain, output, probability

    def _explained(self, explain: Explain, x: Tensor) -> dict[str, Tensor]:
        of = torch.arange(len(x), device=self.device)
        parts = [explain(x[piece], piece) for piece in of.split(self.batch)]
        return {name: torch.cat([part[name] for part in parts]) for name in self.names}

    def _noisy(self, x: Tensor, keys: list[int]) -> Copies:
        return uniform_copies(x, radius_of(self.job, self.network), self.job.samples, self.job.seed, keys)

    def _speckled(self, network: SceneNetwork, group: range, keys: list[int]) -> Copies:
        raw = self.sample.raw[group.start : group.stop].to(self.device)
        return speckled_copies(
            raw, network.values, network.prepare, self.job.speckle_looks, self.job.samples,
            self.job.seed + 1, keys,
        )  # fmt: skip

    def _add_faithfulness(
        self, found: dict, x: Tensor, baseline: Tensor, keys: list[int], maps: dict[str, Tensor],
        output: Callable, probability: Callable,
    ) -> None:  # fmt: skip
        seed = self.job.seed + 2
        if isinstance(self.network, PatchNetwork):
            units = bands(x.shape[1])
            removals = band_removals(x.shape[1], REMOVALS, seed, keys, self.device)
        else:
            units = blocks(x.shape[-1], BLOCK)
            removals = square_removals(x.shape[-1], REMOVALS, seed, keys, BLOCK, self.device)
        batch, check = self.forward_batch, self.check
        faithful = infidelity(output, x, baseline, maps, GRADIENTS, removals, batch, check)
        curves = deletion_insertion(
            probability, x, baseline, maps, GRADIENTS, units, batch, CURVE_STEPS, check
        )
        for name in self.names:
            found[name] |= {
                "infidelity": faithful[name].plain, "infidelity_scaled": faithful[name].scaled,
                "deletion": curves[name].deletion, "insertion": curves[name].insertion,
            }  # fmt: skip

    def _add_residuals(
        self, found: dict, x: Tensor, baseline: Tensor, maps: dict[str, Tensor], output: Callable
    ) -> None:
        """Add residual and difference; the one is divided by the mean of the other over all chips later."""
        of = torch.arange(len(x), device=self.device)
        outputs = output(x, of), output(baseline, of)
        for name in self.names:
            score = completeness(maps[name], *outputs)
            adds_up = self.several.explainers[name].contributions
            found[name]["residual"] = (
                score.residual if adds_up else torch.full_like(score.residual, torch.nan)
            )
            found[name]["difference"] = score.difference

    def _add_complexity(self, found: dict, maps: dict[str, Tensor], keys: list[int]) -> None:
        names = ("png_kb", "figure_kb", "shuffled_ratio", "entropy_bits", "gini")
        for name in self.names:
            self.check()
            signed = self.several.explainers[name].signed
            scores = torch.tensor([complexity(values, signed, key) for values, key in zip(maps[name], keys)])
            found[name] |= dict(zip(names, scores.T))

    def _add_places(self, found: dict, x: Tensor, maps: dict[str, Tensor], group: range) -> None:
        names = ("mass_in_mask", "rank_in_mask", "pointing_game", "auc_in_mask")
        for name in self.names:
            if self.sample.masks is not None:
                masks = self.sample.masks[group.start : group.stop].to(self.device)
                found[name] |= dict(zip(names, localisation(maps[name], masks)))
            if isinstance(self.network, SceneNetwork):
                bright = bright_return(x, self.job.bright_share)
                found[name]["bright_share"] = share_inside(maps[name], bright)

    def _randomised(self, pool: ThreadPoolExecutor) -> dict[str, np.ndarray]:
        """Return Spearman's correlation (explainer, chip) by stage, NaN for chips that are not taken."""
        taken = list(range(min(self.job.randomised_chips, len(self.x))))
        trained = self._maps(self.several, taken, pool)
        found = {}
        for stage, mixed in cascade(self.network, self.job.seed):
            maps = self._maps(Several(self.names, mixed, self.options), taken, pool)
            alike = np.full((len(self.names), len(self.x)), np.nan)
            for i, name in enumerate(self.names):
                alike[i, taken] = similarity(maps[name], trained[name]).cpu().numpy()
            found[stage] = alike
        return found

    def _maps(self, several: Several, chips: list[int], pool: ThreadPoolExecutor) -> dict[str, Tensor]:
        """Return the maps of some chips by explainer."""

        @torch.no_grad()
        def explain(piece: range) -> dict[str, Tensor]:
            self.check()
            members = torch.tensor([chips[i] for i in piece], device=self.device)
            found = several.attribute(self.x[members], self.baseline[members], self.weights[members])
            self.tick(len(members))
            return {name: attribution.values for name, attribution in found.items()}

        parts = _gathered(pool, explain, _pieces(len(chips), min(self.batch, _TOGETHER)))
        return {name: torch.cat([part[name] for part in parts]) for name in self.names}

    @torch.no_grad()
    def _seconds(self) -> np.ndarray:
        """Return the seconds per chip (explainer,) of each method alone, on one worker."""
        chips = slice(0, min(_TIMED, len(self.x)))
        arguments = self.x[chips], self.baseline[chips], self.weights[chips]
        self.several.attribute(*(argument[:1] for argument in arguments))
        seconds = []
        for name in self.names:
            started = self._now()
            self.several.explainers[name].attribute(*arguments)
            seconds.append((self._now() - started) / len(arguments[0]))
        return np.array(seconds)

    def _now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def _gathered(pool: ThreadPoolExecutor, function: Callable[[range], T], ranges: Iterable[range]) -> list[T]:
    """Return what a function makes of each range, in order; where one fails the rest is not begun."""
    futures = [pool.submit(function, piece) for piece in ranges]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()


def _pieces(count: int, size: int) -> list[range]:
    """Return ranges of up to `size` that make up 0 to `count`."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]
