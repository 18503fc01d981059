"""Series for jobs: opened, cut to what a model was trained on, and read by pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from rasterio.windows import Window
from torch import Tensor

from ..engine.job_base import SeriesSource
from ..models.card import PIXEL_CLASSIFICATION, SERIES_AUTOENCODER, Card
from ..models.files import Model, load_model
from ..rasters.errors import InputError
from ..rasters.series import VALUES, Series, of_model, open_series
from .context import Context
from .draws import BLOCK, draw_from_blocks


@dataclass(frozen=True)
class SeriesPixels:
    """Pixels of a series: places int64 (n,), values float32 (n, band), and which were observed, (n, band)."""

    rows: np.ndarray
    cols: np.ndarray
    values: Tensor
    observed: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: np.ndarray) -> SeriesPixels:
        index = torch.from_numpy(chosen)
        return SeriesPixels(self.rows[chosen], self.cols[chosen], self.values[index], self.observed[index])


def open_source(source: SeriesSource, context: Context, values: str, calibration: float) -> Series:
    """Open the series that `source` names, its stored numbers being `values`, and say what was noticed.

    Raises InputError where it is none, or where `calibration` has no decibels to be added to.
    """
    if values not in VALUES:
        raise InputError(f"There are no values '{values}'; choose one of {', '.join(VALUES)}.")
    if values == "as_is" and calibration:
        raise InputError(
            "A calibration is added to decibels, and the values are used as they are; choose VALUES power, "
            "amplitude or db, or leave CALIBRATION 0."
        )
    series = open_series(
        source.paths, dates=source.dates, layer_dates=source.layer_dates, date_pattern=source.date_pattern,
        channels=source.channels, start=source.start, end=source.end, values=values, calibration=calibration,
    )  # fmt: skip
    for note in series.notes:
        context.log(note)
    return series


def open_series_pair(
    source: SeriesSource, model_path: str, context: Context, *tasks: str
) -> tuple[Series, Model]:
    """Open a model of series, and of a series the dates and channels that it reads, in its unit.

    Raises InputError where the model is of none of `tasks` (autoencoders and classifiers where none is
    given) or was trained on a single raster, or the series lacks a date or a channel.
    """
    model = load_model(model_path, *(tasks or (SERIES_AUTOENCODER, PIXEL_CLASSIFICATION)))
    card = model.card
    if not card.of_series:
        raise InputError(
            f"The model file {model_path} was trained on a single raster, not on a series; give a raster as "
            "INPUT, or choose a model that was trained on a series."
        )
    series = open_source(source, context, card.training["values"], card.training["calibration"])
    series = of_model(series, card_dates(card), card_channels(card))
    card.check_bands(series.bands, series.path, series=True)
    return series, model


def card_dates(card: Card) -> list[str]:
    """Return the dates of a series' model, in order."""
    return list(dict.fromkeys(band.date for band in card.bands if band.date))


def card_channels(card: Card) -> list[str]:
    """Return the channels of a series' model, in order."""
    return list(dict.fromkeys(band.name.removeprefix(f"{band.date} ") for band in card.bands))


def unit_of(values: str) -> str:
    """Return the unit of a series whose stored numbers are `values`, empty where it is not known."""
    return "" if values == "as_is" else "dB"


def read_pixels(
    series: Series, rows: np.ndarray, cols: np.ndarray, check: Callable[[], None]
) -> SeriesPixels:
    """Read single pixels, block by block, in whose order they come; those without data are left out."""
    blocks = np.stack([rows // BLOCK, cols // BLOCK])
    _, number = np.unique(blocks, axis=1, return_inverse=True)
    parts = []
    order = np.argsort(number.reshape(-1), kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(number.reshape(-1)[order])) + 1):
        if members.size:
            check()
            parts.append(_read_block(series, rows[members], cols[members]))
    return _joined(parts, len(series.bands))


def draw_pixels(
    series: Series, window: Window, count: int, seed: int, check: Callable[[], None],
    skip: np.ndarray | None = None,
) -> SeriesPixels:  # fmt: skip
    """Draw `count` pixels with data evenly over a window, fewer where it has no more.

    `skip` int64 (n,), sorted: row times width plus column of pixels to leave out.
    Raises InputError where none of the pixels looked at has data.
    """
    generator = np.random.default_rng(seed)

    def read(block: Window) -> SeriesPixels | None:
        height, width = int(block.height), int(block.width)
        places = np.arange(height * width)
        rows, cols = places // width + int(block.row_off), places % width + int(block.col_off)
        if skip is not None:
            kept = ~np.isin(rows * np.int64(series.grid.width) + cols, skip)
            rows, cols = rows[kept], cols[kept]
        return _read_block(series, rows, cols) if rows.size else None

    parts = draw_from_blocks(window, count, generator, check, read)
    drawn = _joined(parts, len(series.bands))
    if not len(drawn):
        raise InputError(
            f"No pixel of {series.path} has two or more dates with data in every channel where it was looked "
            "at; choose another extent, or other channels."
        )
    return drawn[np.sort(generator.permutation(len(drawn))[:count])]


def _read_block(series: Series, rows: np.ndarray, cols: np.ndarray) -> SeriesPixels:
    top, left = int(rows.min()), int(cols.min())
    box = Window(left, top, int(cols.max()) - left + 1, int(rows.max()) - top + 1)
    values, observed = series.read_observed(box)
    values, observed = values[:, rows - top, cols - left].T, observed[:, rows - top, cols - left].T
    valid = np.isfinite(values).all(1)
    return SeriesPixels(
        rows[valid], cols[valid],
        torch.from_numpy(np.ascontiguousarray(values[valid])),
        torch.from_numpy(np.ascontiguousarray(observed[valid])),
    )  # fmt: skip


def _joined(parts: list[SeriesPixels], bands: int) -> SeriesPixels:
    nothing = np.empty(0, np.int64)
    empty = SeriesPixels(nothing, nothing, torch.empty(0, bands), torch.empty(0, bands, dtype=torch.bool))
    every = [empty, *parts]
    return SeriesPixels(
        np.concatenate([part.rows for part in every]), np.concatenate([part.cols for part in every]),
        torch.cat([part.values for part in every]), torch.cat([part.observed for part in every]),
    )  # fmt: skip
