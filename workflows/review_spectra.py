"""Charts of the mean spectra of a confused pair of classes and of its errors, for the report of a review."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from ..rasters.dates import day_number
from ..rasters.scene import Scene
from ..rasters.series import Series

_DPI, _WIDTH = 110, 7.5  # inches
# Neighbours farther apart than this many median steps aren't joined: there bands were taken out.
_GAP = 3.0


@dataclass(frozen=True)
class Line:
    """A spectrum: `values` (band,) of the bands that are looked at, NaN where unknown."""

    name: str
    values: np.ndarray
    colour: str
    style: str


@dataclass(frozen=True)
class _Panel:
    """Part of the bands on one axis: `places` (n,) ascending, and `order` (n,), which bands lie there."""

    title: str
    places: np.ndarray
    order: np.ndarray


def pair_figure(scene: Scene, bands: Sequence[int], lines: Sequence[Line]) -> Figure:
    """Draw `lines` over wavelength, or band, or for a series over its dates with a panel per channel."""
    panels = _panels(scene, np.asarray(bands))
    dated = isinstance(scene, Series)
    height = 2.6 if len(panels) == 1 else 0.75 + 0.95 * len(panels)
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(rows, panels):
        for line in lines:
            if np.isfinite(line.values).any():
                places, values = _broken(panel.places, line.values[panel.order], not dated)
                axes.plot(places, values, line.style, color=line.colour, lw=1.2, label=line.name)
        axes.set_ylabel(panel.title, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.margins(x=0.01)
    if dated:
        locator = AutoDateLocator()
        rows[-1].xaxis.set_major_locator(locator)
        rows[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))
    else:
        known = _wavelengths(scene, bands) is not None
        rows[-1].set_xlabel("Wavelength (nm)" if known else "Band", fontsize=8)
    handles, names = rows[0].get_legend_handles_labels()
    # Above, not among the lines: no corner is free of lines in every panel.
    figure.legend(handles, names, loc="outside upper center", ncols=3, fontsize=7, frameon=False)
    return figure


def _panels(scene: Scene, bands: np.ndarray) -> list[_Panel]:
    if isinstance(scene, Series):
        count = len(scene.channels)
        days = np.array([date2num(date.fromordinal(day_number(day))) for day in scene.dates])
        panels = []
        for number, channel in enumerate(scene.channels):
            own = np.flatnonzero(bands % count == number)
            if len(own):
                panels.append(_Panel(channel, days[bands[own] // count], own))
        return panels
    known = _wavelengths(scene, bands)
    places = bands + 1.0 if known is None else known
    # Spectrometers with two detectors list the bands of their overlap twice.
    order = np.argsort(places, kind="stable")
    return [_Panel("", places[order], order)]


def _wavelengths(scene: Scene, bands: Sequence[int] | np.ndarray) -> np.ndarray | None:
    """Return the bands' wavelengths in nm; None where one isn't known."""
    known = [scene.bands[band].wavelength_nm for band in bands]
    return np.array(known, dtype=float) if all(known) else None


def _broken(places: np.ndarray, values: np.ndarray, at_gaps: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return a line with NaN put into its gaps, where matplotlib then draws nothing."""
    steps = np.diff(places)
    positive = steps[steps > 0]
    if not at_gaps or not len(positive):
        return places, values
    gaps = np.flatnonzero(steps > _GAP * np.median(positive)) + 1
    return np.insert(places, gaps, np.nan), np.insert(values.astype(float), gaps, np.nan)
