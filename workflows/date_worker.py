"""Explaining the tiles of a series: which dates made each pixel's embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from rasterio.windows import Window
from torch import Tensor

from ..engine.series_jobs import GradSlamJob
from ..explainers.channel_shares import channel_contributions, shares_of
from ..explainers.date_dependence import anomaly
from ..explainers.grad_slam import importance
from ..models.autoencoder import Autoencoder
from ..models.files import Model
from ..rasters.series import Series
from .context import Context
from .date_directions import Directions
from .date_maps import DateMaps, shares

# Share of the memory budget that the activations of a batch may take.
_BATCH_SHARE = 8


class DateResult(NamedTuple):
    """What a tile's pixels with data give; they are at `rows` and `cols` of the tile, n of them.

    `values` (n, date * channel), NaN where not observed. `importance` and `signed` (direction, n, date), and
    `combined` (n, date), NaN at dates with no channel observed. `beyond` and `untrained` (n, date): the share
    that a date has of the pixel's importance less its mean share by networks that learnt nothing, and that
    mean; NaN likewise. `shares` (n, channel). `anomaly` (n,):
    mean squared error of the reconstruction in deviations of the channels, and `anomaly_dates` (n, date) what
    each date adds to it; `anomaly_residual` (n,). None where they are not wanted.
    """

    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray
    importance: np.ndarray
    signed: np.ndarray | None
    combined: np.ndarray
    beyond: np.ndarray | None
    untrained: np.ndarray | None
    shares: np.ndarray | None
    anomaly: np.ndarray | None
    anomaly_dates: np.ndarray | None
    anomaly_residual: np.ndarray | None


class DateWorker:
    """Explains one tile after the other; `total` pixels in all, for the progress.

    `untrained`: models that learnt nothing, and their directions; none where that is not wanted.
    """

    def __init__(
        self, job: GradSlamJob, context: Context, series: Series, model: Model, directions: Directions,
        untrained: Sequence[tuple[Model, Directions]], total: int, device: str,
    ) -> None:  # fmt: skip
        self._job, self._context, self._series = job, context, series
        self._directions, self._device = directions, device
        self._network = cast(Autoencoder, model.network.to(device))
        self._start = self._network.prepare(model.spectra.mean[None].to(device))[0]
        memory = job.memory_mb * 2**20 // _BATCH_SHARE
        self._maps, *self._untrained = (
            DateMaps(job, cast(Autoencoder, m.network), d, memory, device, context.check)
            for m, d in ((model, directions), *untrained)
        )
        self._done, self._total = 0, total

    def explain(self, tile: Window) -> DateResult:
        """Return the maps of a tile."""
        self._context.check()
        values, observed = self._series.read_observed(tile)
        valid = np.isfinite(values).all(0)
        self._tick(int((~valid).sum()))
        rows, cols = np.nonzero(valid)
        series, seen = torch.from_numpy(values[:, valid].T.copy()), observed[:, valid].T
        prepared = self._network.prepare(series.to(self._device))
        found = self._maps.of(prepared, self._tick)
        signed = importance(found.signed, "maxabs").cpu() if self._job.signed else None
        shape = (len(rows), len(self._series.dates), len(self._series.channels))
        gaps = torch.from_numpy(~seen.reshape(shape).any(2))
        beyond, untrained = self._beyond(prepared, found.combined, gaps)
        score, dates, residual = self._anomaly(prepared, seen)
        return DateResult(
            rows=rows, cols=cols,
            values=np.where(seen, series.numpy(), np.nan).astype(np.float32),
            importance=found.importance.masked_fill(gaps, float("nan")).numpy(),
            signed=signed.masked_fill(gaps, float("nan")).numpy() if signed is not None else None,
            combined=found.combined.masked_fill(gaps, float("nan")).numpy(),
            beyond=beyond, untrained=untrained,
            shares=self._shares(prepared),
            anomaly=score, anomaly_dates=dates, anomaly_residual=residual,
        )  # fmt: skip

    def _beyond(
        self, prepared: Tensor, combined: Tensor, gaps: Tensor
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        if not self._untrained:
            return None, None
        mean = torch.zeros_like(combined)
        for maps in self._untrained:
            found = maps.of(prepared, lambda series: self._context.check())
            mean += shares(found.combined, gaps) / len(self._untrained)
        beyond = shares(combined, gaps) - mean
        nowhere = float("nan")
        return beyond.masked_fill(gaps, nowhere).numpy(), mean.masked_fill(gaps, nowhere).numpy()

    def _shares(self, prepared: Tensor) -> np.ndarray | None:
        if not self._job.channel_share:
            return None
        vectors = self._directions.vectors.to(self._device)
        parts = channel_contributions(self._network, prepared, self._start, vectors, self._context.check)
        return torch.einsum("d,dnc->nc", self._directions.weights, shares_of(parts).cpu()).numpy()

    @torch.no_grad()
    def _anomaly(
        self, prepared: Tensor, seen: np.ndarray
    ) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
        observed, network = torch.from_numpy(seen.copy()), self._network
        if self._job.anomaly_dates:
            found = anomaly(
                network, prepared, self._start, self._job.anomaly_steps, observed, self._context.check
            )
            dates = found.values.unflatten(1, (len(self._series.dates), -1)).sum(2)
            return found.score.cpu().numpy(), dates.cpu().numpy(), found.residual.cpu().numpy()
        if not self._job.anomaly:
            return None, None, None
        scores = [torch.empty(0)]
        size = self._maps.batch_size
        for part, counted in zip(prepared.split(size), observed.split(size)):
            self._context.check()
            errors = network.decoder(network.encode(part)) - network.scaled(part)
            squares = errors.square().cpu() * counted
            scores.append(squares.sum(1) / counted.sum(1).clamp_min(1))
        return torch.cat(scores).numpy(), None, None

    def _tick(self, pixels: int) -> None:
        self._context.check()
        self._done += pixels
        text = f"Explaining, {self._done} of {self._total} pixels done"
        self._context.progress(0.1 + 0.9 * self._done / self._total, text)
