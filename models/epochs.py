"""The course of a pixel classifier's training: steps, moving average, validation, the best epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..rasters.errors import InputError

N = TypeVar("N", bound=nn.Module)

_VALIDATION_SHARE = 0.1
# Validation on averaged weights: single epochs jump by several per cent on a hundred validation pixels.
_AVERAGE_DECAY = 0.98


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; it stops after `patience` epochs in a row that are worse than the best one.

    `batch_size` counts pixels or patches, or crops of a segmentation network.
    """

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


def run_epochs(
    network: N, settings: TrainingSettings, batches: int, losses: Callable[[], Iterator[tuple[Tensor, int]]],
    validate: Callable[[N], tuple[float, float]], validated: bool,
    on_epoch: Callable[[Epoch], None], on_batch: Callable[[float], None],
) -> list[Epoch]:  # fmt: skip
    """Train in place with Adam, keep the weights of the best epoch, and return the history.

    `losses` yields, for one epoch, the loss and weight of each of its `batches`. `validate` gives loss and
    accuracy of the moving average of the weights, which is what is kept: of the last epoch of highest
    accuracy, or of lowest training loss unless `validated`. The learning rate rises to `learning_rate` and
    falls to nothing over the epochs (Smith & Topin 2018).
    `on_batch` gets the share of all epochs that is done and may raise to stop.
    Raises InputError where the loss grows beyond all numbers.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * batches
    )
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(_AVERAGE_DECAY))
    average = cast(N, averaged.module)
    history: list[Epoch] = []
    best, best_epoch, best_weights = float("-inf"), 0, _copy_of(network)
    for number in range(1, settings.epochs + 1):
        network.train()
        total = weight = 0.0
        for count, (loss, share) in enumerate(losses(), 1):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            averaged.update_parameters(network)
            total += float(loss.detach()) * share
            weight += share
            on_batch((number - 1 + count / batches) / settings.epochs)
        if not math.isfinite(total):
            raise InputError(
                f"The loss grew beyond all bounds in epoch {number}; choose a smaller learning rate."
            )
        average.eval()
        validation = validate(average)
        history.append(Epoch(number, total / weight, *validation))
        on_epoch(history[-1])
        merit = validation[1] if validated else -history[-1].loss
        if merit >= best:
            best, best_epoch, best_weights = merit, number, _copy_of(average)
        elif number - best_epoch >= settings.patience:
            break
    network.load_state_dict(best_weights)
    network.eval().to("cpu")
    return history


def held_out_of(classes: np.ndarray, train: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return a tenth of the training samples of each class, none of a class with fewer than ten."""
    parts = [np.empty(0, np.int64)]
    for number in np.unique(classes[train]):
        members = generator.permutation(train[classes[train] == number])
        parts.append(members[: int(_VALIDATION_SHARE * len(members))])
    return np.sort(np.concatenate(parts))


def class_weights_of(classes: Tensor, settings: TrainingSettings, count: int, power: float = 0.5) -> Tensor:
    """Weights in inverse proportion to a power of a class's samples, with mean 1 over the samples.

    All 1 where the settings want no weights.
    """
    if not settings.class_weights:
        return torch.ones(count)
    counts = torch.bincount(classes, minlength=count).float().clamp_min(1)
    weights = counts**-power
    return weights * counts.sum() / (weights * counts).sum()


def _copy_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
