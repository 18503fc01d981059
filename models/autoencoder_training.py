"""Training of autoencoders of time series on the CPU or a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..rasters.errors import InputError
from .autoencoder import Autoencoder

# Percentiles of the training series beyond which values are clipped.
_LIMITS = (0.1, 99.9)
# The learning rate is halved after so many epochs without a better one.
_PLATEAU = 5
_BATCH = 1024


@dataclass(frozen=True)
class AutoencoderSettings:
    """How to train; it stops after `patience` epochs in a row that are no better than the best one.

    `weight_decay` is Adam's. Nothing else draws weights of dates that tell nothing away from where they
    began, and maps of dates show those (docs/planted-evidence.md).
    """

    epochs: int = 60
    patience: int = 12
    learning_rate: float = 1e-3
    batch_size: int = 256
    seed: int = 0
    device: str = "cpu"
    weight_decay: float = 1e-3


@dataclass(frozen=True)
class AutoencoderEpoch:
    """One epoch's losses: mean squared errors of scaled values. Without validation series NaN."""

    number: int
    loss: float
    validation_loss: float


def fit_autoencoder(
    network: Autoencoder, series: Tensor, observed: Tensor | None, train: np.ndarray, validation: np.ndarray,
    settings: AutoencoderSettings, on_epoch: Callable[[AutoencoderEpoch], None],
    on_batch: Callable[[float], None],
) -> list[AutoencoderEpoch]:  # fmt: skip
    """Train in place, keep the weights of the best epoch, and return the history.

    `series` (n, date * channel) without gaps, in the raster's values; `observed` bool of the same shape is
    False where a value was filled in: it goes into the encoder, but counts neither in the loss nor in the
    scaling. `train` and `validation` are rows. Limits and scaling of the channels are set from the training
    rows, which are shown in an order that follows the seed. Adam; the rate is halved when the loss stays.
    The best epoch is that of lowest validation loss, of lowest training loss where there is no validation.
    `on_batch` gets the share of all epochs that is done and may raise to stop. Raises InputError where the
    loss grows beyond all numbers.
    """
    generator = np.random.default_rng(settings.seed)
    set_channels(network, series[train], None if observed is None else observed[train])
    network.to(settings.device).train()
    optimizer = torch.optim.Adam(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=_PLATEAU)
    batches = max(1, round(len(train) / settings.batch_size))
    history: list[AutoencoderEpoch] = []
    best, best_epoch, best_weights = math.inf, 0, _copy_of(network)
    for number in range(1, settings.epochs + 1):
        network.train()
        total = count = 0.0
        for place, rows in enumerate(np.array_split(generator.permutation(train), batches), start=1):
            error, counted = _squared_error(network, series, observed, rows)
            optimizer.zero_grad()
            (error / counted).backward()
            optimizer.step()
            total += float(error.detach())
            count += counted
            on_batch((number - 1 + place / batches) / settings.epochs)
        if not math.isfinite(total):
            raise InputError(
                f"The loss grew beyond all bounds in epoch {number}; choose a smaller learning rate."
            )
        history.append(
            AutoencoderEpoch(number, total / count, _mean_error(network, series, observed, validation))
        )
        on_epoch(history[-1])
        loss = history[-1].validation_loss if len(validation) else history[-1].loss
        schedule.step(loss)
        if loss < best:
            best, best_epoch, best_weights = loss, number, _copy_of(network)
        elif number - best_epoch >= settings.patience:
            break
    network.load_state_dict(best_weights)
    network.eval().to("cpu")
    return history


def set_channels(network: Autoencoder, series: Tensor, observed: Tensor | None = None) -> None:
    """Set each channel's limits, mean and deviation over all dates, from what `series` have observed.

    Arguments as those of `fit_autoencoder`. Raises InputError where nothing of a channel was observed.
    """
    values = series.reshape(-1, network.channels).numpy()
    known = None if observed is None else observed.reshape(-1, network.channels).numpy()
    for channel in range(network.channels):
        own = values[:, channel] if known is None else values[known[:, channel], channel]
        if not len(own):
            raise InputError(
                f"Channel {channel + 1} has no value at any date of the training series; leave it out."
            )
        low, high = np.percentile(own, _LIMITS)
        clipped = own.clip(low, high)
        deviation = float(clipped.std(dtype=np.float64))
        network.low[channel], network.high[channel] = float(low), float(high)
        # The same at all dates: a scaling by date would take the season away.
        network.scaling.offset[channel :: network.channels] = float(clipped.mean(dtype=np.float64))
        network.scaling.scale[channel :: network.channels] = deviation if deviation > 1e-12 else 1.0


@torch.no_grad()
def reconstruction_error(network: Autoencoder, series: Tensor, observed: Tensor | None = None) -> Tensor:
    """Return each channel's mean squared error (channel,), in the squared unit of the raster, such as dB².

    Of clipped values, where observed; NaN for a channel of which nothing was. Arguments as those of
    `fit_autoencoder`.
    """
    device = network.scaling.offset.device
    total, count = torch.zeros(2, network.channels, dtype=torch.float64)
    for rows in torch.arange(len(series)).split(_BATCH):
        prepared = network.prepare(series[rows].to(device))
        squares = (network.decode(network.encode(prepared)) - prepared).square().cpu()
        counted = torch.ones_like(squares) if observed is None else observed[rows].to(squares)
        total += (squares * counted).double().reshape(-1, network.channels).sum(0)
        count += counted.double().reshape(-1, network.channels).sum(0)
    return (total / torch.where(count > 0, count, torch.nan)).float()


def _squared_error(
    network: Autoencoder, series: Tensor, observed: Tensor | None, rows: np.ndarray
) -> tuple[Tensor, float]:
    """Return the sum of squared errors of scaled values, and how many values that are."""
    chosen, device = torch.from_numpy(rows), network.scaling.offset.device
    prepared = network.prepare(series[chosen].to(device))
    errors = network.decoder(network.encode(prepared)) - network.scaled(prepared)
    if observed is None:
        return errors.square().sum(), errors.numel()
    counted = observed[chosen].to(device)
    return (errors * counted).square().sum(), max(1.0, float(counted.sum()))


@torch.no_grad()
def _mean_error(network: Autoencoder, series: Tensor, observed: Tensor | None, rows: np.ndarray) -> float:
    if not len(rows):
        return math.nan
    network.eval()
    parts = np.array_split(rows, -(-len(rows) // _BATCH))
    errors = [_squared_error(network, series, observed, part) for part in parts]
    return sum(float(error) for error, _ in errors) / sum(counted for _, counted in errors)


def _copy_of(network: Autoencoder) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
