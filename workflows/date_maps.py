"""Importance of dates by one network: Grad-SLAM in all directions, scaled and combined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor

from ..engine.series_jobs import GradSlamJob
from ..explainers.grad_slam import GradSlam, importance
from ..models.autoencoder import Autoencoder, build_autoencoder
from ..models.files import Model
from .date_directions import Directions


class Maps(NamedTuple):
    """`signed` (layer, direction, n, date), `importance` (direction, n, date), `combined` (n, date)."""

    signed: Tensor
    importance: Tensor
    combined: Tensor


class DateMaps:
    """The maps of one network; `memory`: bytes that a batch may take. `check` is called often."""

    def __init__(
        self, job: GradSlamJob, network: Autoencoder, directions: Directions, memory: int, device: str,
        check: Callable[[], None],
    ) -> None:  # fmt: skip
        self._scaling, self._weights = job.scaling, directions.weights
        self._grad_slam = GradSlam(network.to(device), job.variant, job.layers, memory)
        self._vectors = directions.vectors.to(device)
        self.batch_size = self._grad_slam.batch_size
        means = [
            self._grad_slam.maps(network.prepare(side.to(device)), self._vectors, lambda series: check())
            .maps.mean(2, keepdim=True)
            for side in directions.sides
        ]  # fmt: skip
        # Of a contrast: the mean of the mean maps of its two classes, (layer, direction, 1, date).
        self._middle = torch.stack(means).mean(0) if means else torch.zeros(1, device=device)

    def of(self, prepared: Tensor, tick: Callable[[int], None]) -> Maps:
        """Return the maps of prepared series (n, date * channel); `tick` gets the number just done."""
        departures = self._grad_slam.maps(prepared, self._vectors, tick).maps - self._middle
        maps = importance(departures, self._scaling).cpu()
        combined = (
            maps[0] if len(maps) == 1 else torch.einsum("d,dnt->nt", self._weights, maps.square()).sqrt()
        )
        return Maps(departures, maps, combined)


def untrained(model: Model, seed: int) -> Model:
    """Return the model with fresh weights, drawn by `seed`; limits and scaling of the channels are kept."""
    trained = cast(Autoencoder, model.network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_autoencoder(model.card.architecture, **model.card.options)
    network.load_state_dict(dict(trained.named_buffers()), strict=False)
    return replace(model, network=network.eval().requires_grad_(False))


def shares(combined: Tensor, gaps: Tensor) -> Tensor:
    """Return what share of a pixel's importance (n, date) each date has; 0 at `gaps`, and where none has."""
    known = combined.masked_fill(gaps, 0)
    total = known.sum(1, keepdim=True)
    return torch.where(total > 0, known / total, 0)
