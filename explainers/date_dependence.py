"""What an autoencoder's output depends on: each date of the reconstruction, and its error, on the dates."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..models.autoencoder import Autoencoder
from ..models.relus import Record, Rule, recording
from .costs import layer_bytes
from .encoder_passes import EncoderPasses

_MEMORY = 64 * 2**20


class Anomaly(NamedTuple):
    """How badly series are reconstructed, and by which dates.

    `score` (n,): mean squared error of scaled values; 1 is what each channel's mean would have. `values` (n,
    date * channel): what each value adds to the score. `residual` (n,): score - score of the start - values.
    """

    score: Tensor
    values: Tensor
    residual: Tensor


@torch.no_grad()
def date_dependence(
    network: Autoencoder, prepared: Tensor, check: Callable[[], None] = lambda: None
) -> Tensor:
    """Return how much each reconstructed date depends on each date of the series, (date out, date in).

    The mean over prepared series (n, date * channel) of the root of the sum over channels of J², with J =
    (d xhat / d e) (d e / d x), both at prepared values: through the bottleneck, with one way back through the
    encoder and one forward through the decoder for each dimension. `check` may raise to stop.
    """
    dates, channels, dimensions = network.dates, network.channels, network.classes
    total = prepared.new_zeros(dates, dates)
    per_series = 2 * layer_bytes(network, 1) + 8 * (
        dates**2 + dates * dimensions * (dimensions + 2 * channels)
    )
    for part in prepared.split(max(1, _MEMORY // per_series)):
        passes = EncoderPasses(network, part, check)
        by_series = torch.stack([_last(passes, row) for row in torch.eye(dimensions)], 2)
        by_series = (by_series / network.scaling.scale[:, None]).unflatten(1, (dates, channels))
        by_embedding = _decoder_slopes(network, passes.embedding).unflatten(1, (dates, channels))
        # The squared norm of a product B A is the inner product of B'B and A A'.
        ins, outs = (
            torch.einsum("ntcd,ntce->ntde", rows, rows).flatten(2) for rows in (by_series, by_embedding)
        )
        total += (outs @ ins.transpose(1, 2)).clamp_min_(0).sqrt_().sum(0)
    return total / max(1, len(prepared))


def anomaly(
    network: Autoencoder, prepared: Tensor, start: Tensor, steps: int = 16,
    observed: Tensor | None = None, check: Callable[[], None] = lambda: None,
) -> Anomaly:  # fmt: skip
    """Explain the reconstruction error of prepared series (n, date * channel) from a series `start`.

    Integrated gradients of the error over the straight path from `start` (date * channel,), by the secants of
    `steps` segments, which add up at any number of them. Only values that are `observed`, bool as the series,
    count in the error. `check` may raise to stop.
    """
    found: list[Anomaly] = []
    at_once = max(1, _MEMORY // (3 * (steps + 1) * layer_bytes(network, 1)))
    for rows in torch.arange(len(prepared)).split(at_once):
        check()
        part = prepared[rows]
        counted = torch.ones_like(part) if observed is None else observed[rows].to(part)
        found.append(_anomaly(network, part, start.to(part), steps, counted))
    if not found:
        return Anomaly(prepared.new_empty(0), prepared.clone(), prepared.new_empty(0))
    return Anomaly(*map(torch.cat, zip(*found)))


def _anomaly(network: Autoencoder, x: Tensor, start: Tensor, steps: int, counted: Tensor) -> Anomaly:
    positions = torch.linspace(0, 1, steps + 1, dtype=x.dtype, device=x.device)
    path = torch.lerp(start.expand_as(x)[:, None], x[:, None], positions[:, None])
    count = counted.sum(1).clamp_min(1)
    with torch.enable_grad(), recording(Record(Rule("secant"))):
        points = path.flatten(0, 1).requires_grad_(True)
        scaled = network.scaled(points)
        errors = (network.decoder(network.encode(points)) - scaled).unflatten(0, path.shape[:2])
        seen = errors.detach() * counted[:, None]
        # Of a square the secant is the sum of both ends. The last point begins no segment.
        sums = torch.cat([seen[:, 1:] + seen[:, :-1], torch.zeros_like(seen[:, :1])], 1)
        slopes = torch.autograd.grad((errors * sums).sum(), points)[0].unflatten(0, path.shape[:2])
    scores = seen.square().sum(2) / count[:, None]
    values = slopes.sum(1) * (x - start) / steps / count[:, None]
    return Anomaly(scores[:, -1], values, scores[:, -1] - scores[:, 0] - values.sum(1))


def _last(passes: EncoderPasses, direction: Tensor) -> Tensor:
    """Return the gradient (n, date * channel) by the scaled series."""
    *_, (_, gradient) = passes.gradients(direction)
    return gradient


def _decoder_slopes(network: Autoencoder, embedding: Tensor) -> Tensor:
    """Return d xhat / d e (n, date * channel, dimension), forward through the decoder, at prepared values."""
    z, rows = embedding, torch.eye(embedding.shape[1]).to(embedding).expand(len(embedding), -1, -1)
    for layer in network.decoder:
        z = layer(z)
        rows = rows @ layer.weight.T if isinstance(layer, torch.nn.Linear) else rows * (z > 0)[:, None]
    return (rows * network.scaling.scale).transpose(1, 2)
