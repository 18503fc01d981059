"""All scores of all explainers for one model, chip by chip."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from ..engine.jobs import EvaluateExplainersJob
from ..explainers.base import Attribution
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
from ..models.scene_networks import SceneNetwork
from ..models.segmentation_networks import SegmentationNetwork
from .chip_batches import CHIPS_AT_ONCE
from .evaluation_inputs import Baseline, Inputs
from .evaluation_metrics import OF_PLACES
from .evaluation_pieces import gathered, pieces
from .evaluation_result import ModelScores, examples, is_flat, is_placeless, picture_of
from .evaluation_sample import Sample
from .evaluation_settings import options_of, radius_of, workers_within

# Values of these are outputs per input; those of the others are outputs.
GRADIENTS = frozenset({"saliency", "guided_backpropagation", "deconvolution", "guided_grad_cam"})
BLOCK = 5
REMOVALS = 50
CURVE_STEPS = 20
# Chips that are scored together, so that their copies fill the batches.
_TOGETHER = 4
# Forward passes alone keep no layer's output: so many times the copies fit, up to what still gains.
_FORWARD, _MOST_FORWARD = 8, 64
# Inputs that a forward pass of one holds: of a chip, its baseline, its copy, and what is told of it.
_COPIES = 8
_TIMED = 2


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
        self.network, self.device = model.network.to(device), device
        self.inputs = Inputs(self.network, sample, baseline, device)
        shape = self.inputs.read([0])[0].shape
        self.workers = workers_within(job, shape)
        self.options = options_of(job, model, max(shape[-2:]))
        self.several = Several(self.names, self.network, self.options)
        self.batch = min(self.several.batch_size, CHIPS_AT_ONCE)
        inputs = self.options.memory // (_COPIES * 4 * shape.numel())
        self.forward_batch = max(1, min(_FORWARD * self.batch, _MOST_FORWARD, inputs))
        # Copies of a few fill no batch that has room for fewer.
        self.together = min(_TOGETHER, self.batch)
        # Maps of two networks by all explainers.
        maps = 2 * 4 * len(self.names) * shape.numel()
        self.kept = max(self.workers, self.options.memory // maps)

    @torch.no_grad()
    def scores(self, pool: ThreadPoolExecutor) -> ModelScores:
        """Score every chip, on the workers of `pool`."""
        count = len(self.sample)
        predicted = self.inputs.predict(pieces(count, self.forward_batch))
        shown = examples(self.sample.classes, predicted)
        seconds = pool.submit(self._seconds).result()
        parts = gathered(pool, self._score, pieces(count, self.together))
        values = {name: np.concatenate([part[0][name] for part in parts], 1) for name in parts[0][0]}
        flags = [np.concatenate(flag, 1) for flag in zip(*(part[1] for part in parts))]
        zero, flat, constant, placeless = flags
        # A chip whose output is that of its baseline has no ratio of its own.
        difference = values.pop("difference").mean(1, keepdims=True)
        values["residual"] /= np.where(difference > 0, difference, np.nan)
        found = self._randomised(pool) if self.job.randomised_chips else {}
        if found:
            values["randomised_similarity"] = np.abs(np.stack(list(found.values()))).mean(0)
        for scores in (*values.values(), *found.values()):
            scores[zero | flat] = np.nan
        for metric in set(values) & OF_PLACES:
            values[metric][placeless] = np.nan
        return ModelScores(
            names=self.names, values=values, zero=zero, flat=flat, constant=constant, placeless=placeless,
            stages=found, seconds=seconds, predicted=predicted, shown=shown,
            inputs=self.inputs.looks(shown), maps=self._pictures(shown, pool),
        )  # fmt: skip

    def units(self) -> int:
        """Return how many copies are explained in all, for the progress."""
        draws = 1 + self.job.samples * (2 if self.speckled else 1)
        taken = min(self.job.randomised_chips, len(self.sample))
        return len(self.sample) * draws + taken * (1 + len(stages(self.network)))

    @property
    def speckled(self) -> SceneNetwork | None:
        """The network where sensitivity to speckle is scored, None where it is not."""
        scored = self.job.speckle_looks > 0
        return self.network if scored and isinstance(self.network, SceneNetwork) else None

    @torch.no_grad()
    def _score(self, group: range) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
        """Return scores by metric, and what is zero, flat, constant and placeless, (explainer, chip)."""
        (x, baseline), keys = self.inputs.read(group), [self.sample.keys[i] for i in group]
        explain, output, probability = self._functions(self.inputs.numbers(group), baseline)
        maps, references = self._explained(explain, x)
        found: dict[str, dict[str, Tensor]] = {name: {} for name in self.names}
        mapped = _maps_of(explain)
        moved = sensitivity(mapped, maps, self._noisy(x, keys), self.batch, self.check)
        for name, score in moved.items():
            found[name] |= {"max_sensitivity": score.maximum, "average_sensitivity": score.average}
        if self.speckled:
            copies = self._speckled(self.speckled, group, keys)
            for name, score in sensitivity(mapped, maps, copies, self.batch, self.check).items():
                found[name]["speckle_sensitivity"] = score.maximum
        self._add_faithfulness(found, x, baseline, keys, maps, output, probability)
        self._add_residuals(found, x, baseline, maps, references, output)
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
            [is_placeless(maps[name]) & ~is_flat(maps[name]) for name in self.names],
        )
        return values, [torch.stack(flag).cpu().numpy() for flag in flags]

    def _functions(self, members: Tensor, baseline: Tensor) -> tuple[Callable, Callable, Callable]:
        """Return how copies of some chips are explained, and their target's logit and probability."""

        def explain(values: Tensor, of: Tensor) -> dict[str, Attribution]:
            weights = self.inputs.weights(members[of], values.shape)
            found = self.several.attribute(values, baseline[of], weights)
            self.tick(len(values))
            return found

        def output(values: Tensor, of: Tensor) -> Tensor:
            return self.inputs.output(values, members[of])

        def probability(values: Tensor, of: Tensor) -> Tensor:
            return self.inputs.probability(values, members[of])

        return explain, output, probability

    def _explained(self, explain: Callable, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the maps (n, band, y, x), and the outputs (n,) that they start from, by explainer."""
        of = torch.arange(len(x), device=self.device)
        parts = [explain(x[piece], piece) for piece in of.split(self.batch)]
        maps = {name: torch.cat([part[name].values for part in parts]) for name in self.names}
        return maps, {name: torch.cat([part[name].reference for part in parts]) for name in self.names}

    def _noisy(self, x: Tensor, keys: list[int]) -> Copies:
        return uniform_copies(x, radius_of(self.job, self.network), self.job.samples, self.job.seed, keys)

    def _speckled(self, network: SceneNetwork, group: range, keys: list[int]) -> Copies:
        raw = self.sample.raw[list(group)].to(self.device)
        return speckled_copies(
            raw, network.values, network.prepare, self.job.speckle_looks, self.job.samples,
            self.job.seed + 1, keys,
        )  # fmt: skip

    def _add_faithfulness(
        self, found: dict, x: Tensor, baseline: Tensor, keys: list[int], maps: dict[str, Tensor],
        output: Callable, probability: Callable,
    ) -> None:  # fmt: skip
        seed = self.job.seed + 2
        if not isinstance(self.network, SceneNetwork):
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
        self, found: dict, x: Tensor, baseline: Tensor, maps: dict[str, Tensor],
        references: dict[str, Tensor], output: Callable,
    ) -> None:  # fmt: skip
        """Add residual and difference; the one is divided by the mean of the other over all chips later.

        Tangents are exact from a reference of their own, which is not the output at the baseline.
        """
        of = torch.arange(len(x), device=self.device)
        end, start = output(x, of), output(baseline, of)
        for name in self.names:
            score = completeness(maps[name], end, references[name] if self._own_start(name) else start)
            adds_up = self.several.explainers[name].contributions
            found[name]["residual"] = (
                score.residual if adds_up else torch.full_like(score.residual, torch.nan)
            )
            found[name]["difference"] = score.difference

    def _own_start(self, name: str) -> bool:
        explainer = self.several.explainers[name]
        return explainer.exact and not explainer.uses_baseline

    def _add_complexity(self, found: dict, maps: dict[str, Tensor], keys: list[int]) -> None:
        names = ("png_kb", "figure_kb", "shuffled_ratio", "entropy_bits", "gini")
        for name in self.names:
            self.check()
            signed = self.several.explainers[name].signed
            scores = torch.tensor([complexity(values, signed, key) for values, key in zip(maps[name], keys)])
            found[name] |= dict(zip(names, scores.T))

    def _add_places(self, found: dict, x: Tensor, maps: dict[str, Tensor], group: range) -> None:
        names = ("mass_in_mask", "rank_in_mask", "pointing_game", "auc_in_mask")
        masks = None if self.sample.masks is None else self.sample.masks[list(group)].to(self.device)
        for name in self.names:
            if masks is not None:
                found[name] |= dict(zip(names, localisation(maps[name], masks)))
            if isinstance(self.network, SceneNetwork):
                bright = bright_return(x, self.job.bright_share)
                found[name]["bright_share"] = share_inside(maps[name], bright)

    def _randomised(self, pool: ThreadPoolExecutor) -> dict[str, np.ndarray]:
        """Return Spearman's correlation (explainer, chip) by stage, NaN for chips that are not taken."""
        found = {
            stage: np.full((len(self.names), len(self.sample)), np.nan) for stage in stages(self.network)
        }
        for piece in pieces(min(self.job.randomised_chips, len(self.sample)), self.kept):
            taken = list(piece)
            trained = self._maps(self.several, taken, pool)
            for stage, mixed in cascade(self.network, self.job.seed):
                maps = self._maps(Several(self.names, mixed, self.options), taken, pool)

                found[stage][:, taken] = self._alike(maps, trained, pool)
        return found

    def _alike(
        self, maps: dict[str, Tensor], trained: dict[str, Tensor], pool: ThreadPoolExecutor
    ) -> list[np.ndarray]:
        """Return the correlations of maps with those of the trained network, (chip,) by explainer."""

        def of(name: str) -> np.ndarray:
            self.check()
            both = maps[name], trained[name]
            if isinstance(self.network, SegmentationNetwork):
                # Any map of a single pixel falls off around it, whatever was learnt: bands tell.
                both = maps[name].sum((2, 3), keepdim=True), trained[name].sum((2, 3), keepdim=True)
            return similarity(*both).cpu().numpy()

        return list(pool.map(of, self.names))

    def _pictures(self, shown: Sequence[int], pool: ThreadPoolExecutor) -> dict[str, np.ndarray]:
        """Return what is drawn of the maps of examples, by explainer; one by one, as maps are large."""
        found: dict[str, list[np.ndarray]] = {name: [] for name in self.names}
        for chip in shown:
            for name, values in self._maps(self.several, [chip], pool).items():
                found[name].append(picture_of(values)[0].cpu().numpy())
        return {name: np.stack(pictures) for name, pictures in found.items()}

    def _maps(self, several: Several, chips: list[int], pool: ThreadPoolExecutor) -> dict[str, Tensor]:
        """Return the maps of some chips by explainer."""

        @torch.no_grad()
        def explain(piece: range) -> dict[str, Tensor]:
            self.check()
            found = several.attribute(*self.inputs.arguments([chips[i] for i in piece]))
            self.tick(len(piece))
            return {name: attribution.values for name, attribution in found.items()}

        parts = gathered(pool, explain, pieces(len(chips), self.together))
        return {name: torch.cat([part[name] for part in parts]) for name in self.names}

    @torch.no_grad()
    def _seconds(self) -> np.ndarray:
        """Return the seconds per chip (explainer,) of each method alone, on one worker."""
        arguments = self.inputs.arguments(range(min(_TIMED, len(self.sample))))
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


def _maps_of(explain: Callable[[Tensor, Tensor], dict[str, Attribution]]) -> Explain:
    """Return what gives the maps alone."""
    return lambda values, of: {name: found.values for name, found in explain(values, of).items()}
