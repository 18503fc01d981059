"""Training of pixel and patch classifiers on the CPU or a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..rasters.errors import InputError
from .networks import PatchNetwork
from .samples import PatchSamples

_VALIDATION_SHARE = 0.1
_PREDICTION_BATCH = 256
# Validation on averaged weights: single epochs jump by several per cent on a hundred validation pixels.
_AVERAGE_DECAY = 0.98


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; it stops after `patience` epochs in a row that are worse than the best one."""

    epochs: int
    patience: int
    learning_rate: float
    batch_size: int
    class_weights: bool
    seed: int
    device: str = "cpu"


@dataclass(frozen=True)
class Epoch:
    """One epoch's losses and validation accuracy (NaN without validation samples)."""

    number: int
    loss: float
    validation_loss: float
    validation_accuracy: float


def set_statistics(network: PatchNetwork, samples: PatchSamples, train: np.ndarray) -> None:
    """Set band scaling, and the projection where there is one, from the training pixels alone.

    `standard` and `per_pixel` centre and scale each band of the prepared spectra; `none` divides all
    bands by one number, their root mean square. The projection is whitened PCA (of the training patches).
    """
    chosen = torch.from_numpy(train)
    spectra = network.prepare(samples.centres(chosen)[:, :, None, None])[:, :, 0, 0].double()
    if network.normalisation == "none":
        network.scaling.scale.fill_(float(spectra.square().mean().sqrt().clamp_min(1e-12)))
    else:
        network.scaling.offset.copy_(spectra.mean(0))
        deviation = spectra.std(0, correction=0)
        network.scaling.scale.copy_(torch.where(deviation > 1e-12, deviation, 1.0))
    if (projection := network.projection) is not None:
        around = torch.unique(samples.index[chosen].long())
        step = max(1, len(around) // 20_000)
        pixels = network.prepare(samples.spectra[around[::step]][:, :, None, None])
        scaled = network.scaling(pixels)[:, :, 0, 0].double()
        _, values, directions = torch.linalg.svd(scaled - scaled.mean(0), full_matrices=False)
        count = min(len(projection.matrix), len(values))
        values = values.clamp_min(max(1e-6 * float(values[0]), 1e-12)) / len(scaled) ** 0.5
        # The sign of a singular vector is arbitrary: fix it, so that the same data give the same weights.
        signs = torch.sign(directions.gather(1, directions.abs().argmax(1, keepdim=True)))
        projection.matrix.zero_()
        projection.matrix[:count] = (directions * signs / values[:, None])[:count].float()


def fit(
    network: PatchNetwork, samples: PatchSamples, train: np.ndarray, settings: TrainingSettings,
    on_epoch: Callable[[Epoch], None], on_batch: Callable[[float], None],
) -> list[Epoch]:  # fmt: skip
    """Train in place, keep the weights of the best epoch, and return the history.

    The learning rate rises to `learning_rate` and falls to nothing over the epochs (Smith & Topin 2018).
    A tenth of the training samples of each class (none of a class with fewer than ten) is held out for
    validation: the last epoch of highest accuracy is kept; without any, that of lowest training loss.
    What is validated and kept is the moving average of the weights. Patches are flipped at random.
    `on_batch` gets the share of all epochs that is done and may raise to stop.
    Raises InputError where the loss grows beyond all numbers.
    """
    torch.manual_seed(settings.seed)
    generator = np.random.default_rng(settings.seed)
    held_out = _held_out(samples.classes.numpy(), train, generator)
    fitted = np.setdiff1d(train, held_out)
    device = torch.device(settings.device)
    network.to(device)
    loss_of = nn.CrossEntropyLoss(
        weight=_class_weights(samples, fitted, settings, network.classes).to(device)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    batches = max(1, round(len(fitted) / settings.batch_size))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * batches
    )
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(_AVERAGE_DECAY))
    average = cast(PatchNetwork, averaged.module)
    history: list[Epoch] = []
    best, best_epoch, best_weights = float("-inf"), 0, _copy_of(network)
    for number in range(1, settings.epochs + 1):
        network.train()
        total = 0.0
        order = generator.permutation(fitted)
        for count, batch in enumerate(np.array_split(order, batches)):
            chosen = torch.from_numpy(batch)
            patches = _flipped(samples.patches(chosen), generator).to(device)
            loss = loss_of(network(patches).flatten(1), samples.classes[chosen].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            averaged.update_parameters(network)
            total += float(loss.detach()) * len(batch)
            on_batch((number - 1 + (count + 1) / batches) / settings.epochs)
        if not math.isfinite(total):
            raise InputError(
                f"The loss grew beyond all bounds in epoch {number}; choose a smaller learning rate."
            )
        validation = _validate(average, samples, held_out, loss_of, device)
        history.append(Epoch(number, total / len(order), *validation))
        on_epoch(history[-1])
        merit = validation[1] if len(held_out) else -history[-1].loss
        if merit >= best:
            best, best_epoch, best_weights = merit, number, _copy_of(average)
        elif number - best_epoch >= settings.patience:
            break
    network.load_state_dict(best_weights)
    network.eval().to("cpu")
    return history


def predict(
    network: PatchNetwork, samples: PatchSamples, chosen: np.ndarray, check: Callable[[], None]
) -> np.ndarray:
    """Return the predicted class of each chosen sample, int64 (n,); `check` may raise to stop."""
    predicted = []
    with torch.no_grad():
        for start in range(0, len(chosen), _PREDICTION_BATCH):
            check()
            batch = torch.from_numpy(chosen[start : start + _PREDICTION_BATCH])
            predicted.append(network(samples.patches(batch)).flatten(1).argmax(1).numpy())
    return np.concatenate(predicted)


def _held_out(classes: np.ndarray, train: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    parts = [np.empty(0, np.int64)]
    for number in np.unique(classes[train]):
        members = generator.permutation(train[classes[train] == number])
        parts.append(members[: int(_VALIDATION_SHARE * len(members))])
    return np.sort(np.concatenate(parts))


def _class_weights(
    samples: PatchSamples, train: np.ndarray, settings: TrainingSettings, count: int
) -> Tensor:
    """Weights in inverse proportion to the square root of a class's samples, with mean 1 over the samples."""
    if not settings.class_weights:
        return torch.ones(count)
    counts = torch.bincount(samples.classes[torch.from_numpy(train)], minlength=count).float().clamp_min(1)
    weights = counts.rsqrt()
    return weights * counts.sum() / (weights * counts).sum()


def _flipped(patches: Tensor, generator: np.random.Generator) -> Tensor:
    """Flip a batch left-right, top-bottom, both or not at all."""
    if patches.shape[-1] > 1:
        axes = [axis for axis in (2, 3) if generator.random() < 0.5]
        return patches.flip(axes) if axes else patches
    return patches


def _validate(
    network: PatchNetwork, samples: PatchSamples, chosen: np.ndarray, loss_of: nn.Module, device: torch.device
) -> tuple[float, float]:
    if not len(chosen):
        return float("nan"), float("nan")
    network.eval()
    loss = hits = 0.0
    with torch.no_grad():
        for start in range(0, len(chosen), _PREDICTION_BATCH):
            batch = torch.from_numpy(chosen[start : start + _PREDICTION_BATCH])
            logits = network(samples.patches(batch).to(device)).flatten(1)
            truth = samples.classes[batch].to(device)
            loss += float(loss_of(logits, truth)) * len(batch)
            hits += float((logits.argmax(1) == truth).sum())
    return loss / len(chosen), hits / len(chosen)


def _copy_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
