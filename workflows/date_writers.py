"""The rasters that Grad-SLAM leaves, and their styles."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
from rasterio.windows import Window

from ..engine.series_jobs import GradSlamJob
from ..rasters.date_styles import (
    date_colours,
    write_date_classes_qml,
    write_date_series_qml,
    write_signed_date_series_qml,
)
from ..rasters.outputs import Outputs, check_space
from ..rasters.scene import Grid
from ..rasters.series import Series
from ..rasters.styles import qml_path, write_sequential_qml
from ..rasters.wavelengths import Band
from ..rasters.writers import RasterWriter, class_dtype
from .date_directions import Directions
from .date_worker import DateResult
from .tiling import BLOCK

# Bins of the logarithm of the anomaly score, for Otsu's threshold.
_BINS = np.linspace(-12, 12, 4801)
# So many times the share that each date has where all are alike are in full colour.
_EVEN_SHARES = 3


class DateWriters:
    """The rasters that are wanted; bands are dates, or dates and directions, date by date."""

    def __init__(
        self, job: GradSlamJob, outputs: Outputs, series: Series, directions: Directions, grid: Grid,
        tags: dict[str, str], stack: ExitStack,
    ) -> None:  # fmt: skip
        self._job, self._outputs, self._series, self._directions = job, outputs, series, directions
        dates = [Band(day, date=day) for day in series.dates]
        each = [Band(f"{day} {name}", date=day) for day in series.dates for name in directions.names]
        planes: dict[str, Sequence[Band]] = {
            "date_importance": dates,
            "dimension_importance": each,
            "signed": each,
            "beyond_untrained": dates,
            "channel_share": [Band(name) for name in series.channels],
            "anomaly": [Band("mean squared reconstruction error")],
            "anomaly_dates": dates,
        }
        pixels = grid.width * grid.height
        wanted = job.wanted()
        sizes = {path: 4 * pixels * len(planes.get(name, ())) for name, path in wanted.items()}
        check_space(sizes)
        self._writers = {
            name: stack.enter_context(
                RasterWriter(
                    outputs.stage(wanted[name]), grid, len(bands), bands=bands,
                    descriptions=[band.name for band in bands], tags=tags, block=BLOCK,
                )
            )
            for name, bands in planes.items() if name in wanted
        }  # fmt: skip
        self._top = None
        if job.top_date:
            self._top = stack.enter_context(
                RasterWriter(
                    outputs.stage(job.top_date), grid, 1, class_dtype(len(dates)), 0,
                    descriptions=["most important date"], tags=tags, class_names=series.dates,
                    class_colours=date_colours(series.dates), block=BLOCK,
                )
            )  # fmt: skip
        self._anomalies = np.zeros(len(_BINS) - 1, dtype=np.int64)

    def write(self, window: Window, result: DateResult) -> None:
        """Write a tile."""
        height, width = int(window.height), int(window.width)
        planes = {
            "date_importance": result.combined,
            "dimension_importance": _by_date(result.importance),
            "signed": None if result.signed is None else _by_date(result.signed),
            "beyond_untrained": result.beyond,
            "channel_share": result.shares,
            "anomaly": None if result.anomaly is None else result.anomaly[:, None],
            "anomaly_dates": result.anomaly_dates,
        }
        for name, writer in self._writers.items():
            values = planes[name]
            if values is None:
                raise RuntimeError(f"The tile has no {name}.")
            every = np.full((values.shape[1], height, width), np.nan, dtype=np.float32)
            every[:, result.rows, result.cols] = values.T
            writer.write(window, every)
        if self._top:
            top = np.zeros((height, width), dtype=np.int64)
            top[result.rows, result.cols] = top_dates(result.combined)
            self._top.write(window, top)
        if result.anomaly is not None:
            logarithms = np.log10(np.maximum(result.anomaly, 1e-12)).clip(_BINS[0], _BINS[-1])
            self._anomalies += np.histogram(logarithms, _BINS)[0]

    def anomaly_threshold(self) -> float | None:
        """Return Otsu's threshold (1979) of the logarithm of the anomaly scores, as a score; None without."""
        counts = self._anomalies.astype(float)
        if np.count_nonzero(counts) < 2:
            return None
        middles = (_BINS[1:] + _BINS[:-1]) / 2
        below, sums = np.cumsum(counts), np.cumsum(counts * middles)
        above = below[-1] - below
        with np.errstate(divide="ignore", invalid="ignore"):
            between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
        best = np.flatnonzero(between == np.nanmax(between))
        return float(10 ** _BINS[1:][best].mean())

    def write_styles(self, limit: float) -> None:
        """Write the styles; `limit` is the importance that is shown in full colour."""
        dates, count = self._series.dates, len(self._directions.names)
        top = 1.0 if self._job.scaling in ("absolute_minmax", "signed_minmax") else limit
        for name in ("date_importance", "dimension_importance"):
            if path := getattr(self._job, name):
                target = self._outputs.stage(qml_path(path))
                bands = 1 if name == "date_importance" else count
                if self._job.scaling in ("none", "zscore", "maxabs"):
                    write_signed_date_series_qml(target, dates, top, bands)
                else:
                    write_date_series_qml(target, dates, 0.0, top, bands)
        if self._job.signed:
            write_signed_date_series_qml(self._outputs.stage(qml_path(self._job.signed)), dates, 1.0, count)
        if self._job.top_date:
            write_date_classes_qml(self._outputs.stage(qml_path(self._job.top_date)), dates)
        if self._job.channel_share:
            write_sequential_qml(self._outputs.stage(qml_path(self._job.channel_share)), 1, 0.0, 1.0)
        if self._job.beyond_untrained:
            target = self._outputs.stage(qml_path(self._job.beyond_untrained))
            write_signed_date_series_qml(target, dates, _EVEN_SHARES / len(dates), 1)
        score = self.anomaly_threshold() or 1.0
        if self._job.anomaly:
            write_sequential_qml(self._outputs.stage(qml_path(self._job.anomaly)), 1, 0.0, 2 * score)
        if self._job.anomaly_dates:
            target = self._outputs.stage(qml_path(self._job.anomaly_dates))
            write_signed_date_series_qml(target, dates, score / 4, 1)


def top_dates(combined: np.ndarray) -> np.ndarray:
    """Return the most important date (n,), counted from 1, of importance (n, date); 0 where none is."""
    known = np.where(np.isfinite(combined), combined, -np.inf)
    if not len(known):
        return np.zeros(0, dtype=np.int64)
    top = known.argmax(1)
    return np.where(known[np.arange(len(known)), top] > 0, top + 1, 0)


def _by_date(maps: np.ndarray) -> np.ndarray:
    """Bring maps (direction, n, date) to (n, date * direction), date by date."""
    directions, pixels, dates = maps.shape
    return maps.transpose(1, 2, 0).reshape(pixels, dates * directions)
