"""Profiles of classes over time, coloured by how important each date is, as one PNG.

After figure 4 of Di Martino et al. 2023, DOI 10.1109/LGRS.2023.3302906: a column per class, a row per
direction of the embedding.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

# Inches.
_PANEL, _LEFT, _RIGHT, _TOP, _BOTTOM, _HEAD = (2.5, 1.7), 0.95, 1.0, 0.45, 0.4, 0.6
_ACROSS, _DOWN = 0.34, 0.12  # between panels
_COLUMNS = 6  # more classes go on below
_DOTS, _MOST_PIXELS, _LONGEST = 150, 40e6, 60_000  # in an inch; of the picture, and of its longer side
_TITLE_WIDTH, _ROW_WIDTH = 26, 22  # characters in a line
_COLOURS = "RdBu_r"  # ColorBrewer's, as in rasters.styles: blue low, red high, told apart by the colour-blind
_SCALE = Normalize(0, 1)
_DARK, _GREY, _BAND = "#404040", "#b0b0b0", "#e3e3e3"


@dataclass(frozen=True)
class ProfilePanel:
    """What one panel shows: a class's mean over time, its range, and each date's importance.

    `mean`, `low` and `high` (date,) are in `unit`, NaN in gaps; `importance` (date,) runs from 0 to 1, NaN
    where it isn't known. `backdrops` are other means (date,) in the same unit, by name. `pixels` counts.
    """

    title: str
    row_title: str
    dates: list[date]
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    importance: np.ndarray
    backdrops: dict[str, np.ndarray] = field(default_factory=dict)
    unit: str = ""
    pixels: int = 0


def plot_profiles(path: str, panels: Sequence[Sequence[ProfilePanel]], title: str) -> None:
    """Write a PNG of `panels`, rows of columns: the same columns in every row.

    All panels share both axes, time to scale. A date colours the line halfway to its neighbours; what isn't
    known is grey, and gaps are left open. More than `_COLUMNS` columns are continued below.
    """
    blocks = list(_blocks(panels))
    columns = max(len(rows[0]) for rows in blocks)
    width = _LEFT + columns * (_PANEL[0] + _ACROSS) + _RIGHT
    heights = [_HEAD + len(rows) * (_PANEL[1] + _DOWN) + _BOTTOM for rows in blocks]
    height = _TOP + sum(heights)
    dots = min(_DOTS, math.sqrt(_MOST_PIXELS / (width * height)), _LONGEST / max(width, height))
    figure = Figure(figsize=(width, height), dpi=dots)
    canvas = FigureCanvasAgg(figure)
    figure.text(0.1 / width, 1 - 0.12 / height, title, va="top", fontsize=11, parse_math=False)
    limits = _limits([panel for row in panels for panel in row])
    top = height - _TOP
    for rows, block_height in zip(blocks, heights):
        bottom = top - _HEAD
        for number, row in enumerate(rows):
            bottom -= _PANEL[1] + _DOWN
            for column, panel in enumerate(row):
                left = _LEFT + column * (_PANEL[0] + _ACROSS)
                axes = figure.add_axes((left / width, bottom / height, _PANEL[0] / width, _PANEL[1] / height))
                _draw(axes, panel, limits)
                _label(axes, panel, first_row=not number, last_row=row is rows[-1], first_column=not column)
        top -= block_height
    bar = figure.add_axes(
        (1 - 0.8 / width, (height - _TOP - _HEAD - _PANEL[1]) / height, 0.14 / width, _PANEL[1] / height)
    )
    colours = figure.colorbar(ScalarMappable(_SCALE, _COLOURS), cax=bar, ticks=(0, 0.5, 1))
    colours.set_label("importance of the date", fontsize=8)
    colours.ax.tick_params(labelsize=7)
    canvas.print_png(path, metadata={"Software": None})


def _blocks(panels: Sequence[Sequence[ProfilePanel]]) -> Iterator[list[Sequence[ProfilePanel]]]:
    """Yield the rows of panels, cut into pieces of about as many columns."""
    count = len(panels[0])
    per_block = math.ceil(count / math.ceil(count / _COLUMNS))
    for start in range(0, count, per_block):
        yield [row[start : start + per_block] for row in panels]


def _limits(panels: Sequence[ProfilePanel]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the range of time, in matplotlib's days, and of values that holds all panels."""
    days = [day for panel in panels for day in (panel.dates[0], panel.dates[-1])]
    first, last = float(date2num(min(days))), float(date2num(max(days)))
    shown = [v for panel in panels for v in (panel.mean, panel.low, panel.high, *panel.backdrops.values())]
    values = np.concatenate(shown)
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.5
    aside = 0.02 * (last - first) or 1.0
    return (first - aside, last + aside), (float(low - margin), float(high + margin))


def _draw(
    axes: Axes, panel: ProfilePanel, limits: tuple[tuple[float, float], tuple[float, float]]
) -> None:  # fmt: skip
    days = date2num(panel.dates)
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])
    axes.fill_between(days, panel.low, panel.high, color=_BAND, linewidth=0)
    for name, values in panel.backdrops.items():
        axes.plot(days, values, color=_GREY, linewidth=0.8)
        known = np.flatnonzero(np.isfinite(values))
        if len(known):
            axes.annotate(
                name, (days[known[0]], values[known[0]]), (0, 3), textcoords="offset points",
                fontsize=6.5, color="#808080", parse_math=False,
            )  # fmt: skip
    dark = np.isfinite(panel.mean)
    # Drawn around the colours, so that the pale ones in the middle of the scale are seen as well.
    axes.plot(days, panel.mean, color=_DARK, linewidth=3.2, solid_capstyle="round")
    lines = LineCollection(
        _strokes(days, panel.mean), colors=_colours(panel.importance[dark]), linewidths=2, capstyle="butt",
        zorder=3,
    )  # fmt: skip
    axes.add_collection(lines, autolim=False)
    axes.scatter(
        days[dark], panel.mean[dark], s=9, c=_colours(panel.importance[dark]), edgecolors=_DARK,
        linewidths=0.5, zorder=4,
    )  # fmt: skip


def _strokes(days: np.ndarray, mean: np.ndarray) -> list[np.ndarray]:
    """Return the line (point, 2) of each date that has a value: halfway from and to its neighbours."""
    points = np.stack([days, mean], axis=1)
    halves = (points[1:] + points[:-1]) / 2
    before, behind = np.vstack([points[:1], halves]), np.vstack([halves, points[-1:]])
    strokes = np.stack([before, points, behind], axis=1)
    return [stroke[np.isfinite(stroke[:, 1])] for stroke in strokes[np.isfinite(mean)]]


def _colours(importance: np.ndarray) -> np.ndarray:
    """Return the colours (date, 4); grey where the importance isn't known."""
    return colormaps[_COLOURS].with_extremes(bad=_GREY)(np.ma.masked_invalid(importance))


def _label(axes: Axes, panel: ProfilePanel, first_row: bool, last_row: bool, first_column: bool) -> None:
    locator = AutoDateLocator(minticks=3, maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.tick_params(labelsize=7, labelbottom=last_row, labelleft=first_column)
    axes.xaxis.get_offset_text().set_fontsize(7)
    axes.xaxis.get_offset_text().set_visible(last_row)
    axes.grid(axis="x", color="#f0f0f0", linewidth=0.6)
    axes.set_axisbelow(True)
    if first_row:
        title = f"{_wrapped(panel.title, _TITLE_WIDTH)}\n{panel.pixels:,} pixels"
        axes.set_title(title, fontsize=8, pad=4, parse_math=False)
    if first_column:
        axes.set_ylabel(
            f"{_wrapped(panel.row_title, _ROW_WIDTH)}\n{panel.unit}", fontsize=7.5, parse_math=False
        )


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width, max_lines=2, placeholder=" …"))
