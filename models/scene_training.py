"""Training of classifiers of whole chips on the CPU or a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..rasters.errors import InputError
from .scene_networks import SceneNetwork

AUGMENTATIONS = ("none", "shift", "shift_flip", "shift_flip_rotate")
SCHEDULES = ("cosine", "one_cycle", "step", "constant")

# Stochastic gradient descent as in the paper of the residual networks, with Nesterov's momentum.
_MOMENTUM = 0.9
_WEIGHT_DECAY = 5e-4
# Keeps networks that have seen every chip many times from being sure of them; Szegedy et al. 2016.
_LABEL_SMOOTHING = 0.1
# Share of the steps over which the rate rises to the learning rate.
_WARM_UP = {"cosine": 0.05, "one_cycle": 0.3, "step": 0.05, "constant": 0.05}
# Chips are shifted by up to their side over this: 4 pixels of 64.
_SHIFTS_PER_SIDE = 16
_PREDICTION_BATCH = 64


@dataclass(frozen=True)
class SceneTrainingSettings:
    """How to train; `balanced` shows equally many chips of every class in an epoch."""

    epochs: int
    learning_rate: float
    schedule: str
    batch_size: int
    augmentation: str
    balanced: bool
    seed: int
    device: str = "cpu"


def fit_scenes(
    network: SceneNetwork, chips: Tensor, classes: Tensor, train: np.ndarray,
    settings: SceneTrainingSettings, on_epoch: Callable[[int, float], None],
    on_batch: Callable[[float], None],
) -> tuple[float, ...]:  # fmt: skip
    """Train in place on those of the prepared chips (n, band, s, s) that `train` names.

    Returns the mean loss of each epoch. The chips come in another order each epoch, changed as `augmented`
    says. `on_epoch` gets the epoch's number and loss, `on_batch` the share of all epochs that is done; it may
    raise to stop. Last, the batch norms get the statistics that go with the final weights. Raises InputError
    where the loss grows beyond all numbers.
    """
    torch.manual_seed(settings.seed)
    generator = np.random.default_rng(settings.seed)
    device = torch.device(settings.device)
    network.to(device).train()
    optimizer = _optimizer(network, settings.learning_rate)
    # Rounded down: a batch of one chip has no statistics where the network has shrunk it to one pixel.
    batches = max(1, len(train) // settings.batch_size)
    steps = settings.epochs * batches
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate(settings.schedule, (step + 0.5) / steps)
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=_LABEL_SMOOTHING)
    losses = []
    for number in range(1, settings.epochs + 1):
        total = 0.0
        order = train[epoch_order(classes.numpy()[train], settings.balanced, generator)]
        for count, members in enumerate(np.array_split(order, batches), start=1):
            batch = torch.from_numpy(members)
            changed = augmented(chips[batch], settings.augmentation, generator).to(device)
            loss = loss_of(network.logits(changed).flatten(1), classes[batch].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(members)
            on_batch((number - 1 + count / batches) / settings.epochs)
        if not math.isfinite(total):
            raise InputError(
                f"The loss grew beyond all bounds in epoch {number}; choose a smaller learning rate."
            )
        losses.append(total / len(order))
        on_epoch(number, losses[-1])
    # One more pass, as in an epoch: batches of one class each would not tell how the classes differ.
    order = train[epoch_order(classes.numpy()[train], settings.balanced, generator)]
    _restart_statistics(network)
    with torch.no_grad():
        for members in np.array_split(order, batches):
            on_batch(1.0)
            batch = augmented(chips[torch.from_numpy(members)], settings.augmentation, generator)
            network.logits(batch.to(device))
    network.eval().to("cpu")
    return tuple(losses)


def predict_scenes(
    network: SceneNetwork, chips: Tensor, chosen: np.ndarray, device: str, check: Callable[[], None]
) -> np.ndarray:
    """Return the predicted class of each chosen one of the prepared chips, int64; `check` may raise."""
    network.eval().to(device)
    predicted = []
    with torch.no_grad():
        for batch in torch.from_numpy(chosen).split(_PREDICTION_BATCH):
            check()
            predicted.append(network.logits(chips[batch].to(device)).flatten(1).argmax(1).cpu())
    network.to("cpu")
    return torch.cat(predicted).numpy()


def rate(schedule: str, done: float) -> float:
    """Return the share of the learning rate to use when the share `done` of all steps is done.

    All rise at first. Then `cosine` and `one_cycle` (which rises for longer; Smith & Topin 2018) fall to
    nothing, `step` falls to a tenth after half of the steps and again after three quarters, and `constant`
    stays.
    """
    warm_up = _WARM_UP[schedule]
    if done < warm_up:
        return done / warm_up
    if schedule == "constant":
        return 1.0
    if schedule == "step":
        return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


def epoch_order(classes: np.ndarray, balanced: bool, generator: np.random.Generator) -> np.ndarray:
    """Return which chips an epoch shows, as many as there are, in random order.

    Each once; or, `balanced`, equally many of each class: no chip twice before all others of its class.
    """
    count = len(classes)
    if not balanced:
        return generator.permutation(count)
    present = generator.permutation(np.unique(classes))
    wanted = np.full(len(present), count // len(present)) + (np.arange(len(present)) < count % len(present))
    drawn = []
    for number, many in zip(present, wanted):
        members = np.flatnonzero(classes == number)
        rounds = [generator.permutation(members) for _ in range(-(-many // len(members)))]
        drawn.append(np.concatenate(rounds)[:many])
    return generator.permutation(np.concatenate(drawn))


def augmented(chips: Tensor, augmentation: str, generator: np.random.Generator) -> Tensor:
    """Return the chips (n, band, s, s) changed at random, each in its own way.

    `shift`: moved by up to a sixteenth of the side, what comes in is mirrored. `shift_flip`: and half of
    them upside down, which in a radar image with rows along the azimuth keeps shadow and layover where they
    are. `shift_flip_rotate`: and flipped left-right and turned by quarters, for images from above.
    """
    if augmentation == "none":
        return chips
    count, side = len(chips), chips.shape[-1]
    most = side // _SHIFTS_PER_SIDE
    shifts = generator.integers(-most, most + 1, (2, count, 1))
    # How the rows and columns of each changed chip are read from the original, (n, s) each.
    rows, cols = (side - 1 - np.abs(side - 1 - np.abs(np.arange(side) + shift)) for shift in shifts)
    flips = generator.random((3, count, 1)) < 0.5
    if augmentation != "shift":
        rows = np.where(flips[0], rows[:, ::-1], rows)
    rows, cols = rows[:, :, None], cols[:, None, :]
    if augmentation == "shift_flip_rotate":
        cols = np.where(flips[1][:, None], cols[:, :, ::-1], cols)
        turned = flips[2][:, None]
        rows, cols = np.where(turned, rows.swapaxes(1, 2), rows), np.where(turned, cols.swapaxes(1, 2), cols)
    each = torch.arange(count)[:, None, None]
    return chips[each, :, torch.from_numpy(rows), torch.from_numpy(cols)].movedim(-1, 1)


def _restart_statistics(network: SceneNetwork) -> None:
    """Let the batch norms' statistics become the mean over the batches from here on.

    The running statistics lag behind the weights: after few steps they are still those of the first ones.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None


def _optimizer(network: SceneNetwork, learning_rate: float) -> torch.optim.Optimizer:
    """Weights decay; biases and the batch norms' scales, which are few and near their place, do not."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return torch.optim.SGD(
        [{"params": weights, "weight_decay": _WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}],
        lr=learning_rate, momentum=_MOMENTUM, nesterov=True,
    )  # fmt: skip
