"""Spectra of classes, their absorptions and where a network looks, on one axis of wavelengths, as one PNG."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import blended_transform_factory

from ..models.card import card_classes
from ..rasters.continuum import ATMOSPHERE_NM
from .dominant_feature import named_bands
from .feature_findings import IN_ATMOSPHERE, SPURIOUS, UNNAMED, USED, ClassFindings, Finder, Finding

# Inches: a class's three strips, what is above and below them, and the figure's margins.
_STRIPS, _BETWEEN, _LABELS, _TITLE, _TICKS = (1.05, 0.75, 0.75), 0.07, 1.1, 0.42, 0.42
_LEFT, _RIGHT, _TOP, _ACROSS = 0.75, 0.95, 0.75, 0.85
_WIDTHS = {1: 8.0, 2: 5.4, 3: 4.6}
_DOTS, _MOST_PIXELS, _LONGEST = 150, 40e6, 60_000
_DARK, _GREY, _PALE, _AIR, _GAP, _RED = "#303030", "#8a8a8a", "#c9c9c9", "#dfe7f1", "#f4f4f4", "#c0282d"
_LABEL_FONT, _LABEL_ANGLE, _LABEL_WIDTH = 6.6, 45, 19
# So many labels fit above a class, and so far apart (in inches).
_MOST_LABELS, _APART = 12, 0.29
# Peaks without a name are labelled from this share of the attributions on.
_LEAST_SHARE = 0.03
_MARKS = {USED: "●", SPURIOUS: "✕"}


def plot_features(
    path: str, finder: Finder, found: Sequence[ClassFindings], check: Callable[[], None] = lambda: None
) -> None:
    """Write a PNG with a panel for each class; `check` may raise to stop.

    From top to bottom: the mean spectrum under its continuum, the spectrum over its continuum, each band's
    share of the absolute attributions. A feature has the same colour in all panels.
    """
    columns = 1 if len(found) == 1 else 2 if len(found) <= 6 else 3
    rows = math.ceil(len(found) / columns)
    width = _LEFT + columns * _WIDTHS[columns] + (columns - 1) * _ACROSS + _RIGHT
    panel = _TITLE + _LABELS + sum(_STRIPS) + 2 * _BETWEEN + _TICKS
    height = _TOP + rows * panel
    dots = min(_DOTS, math.sqrt(_MOST_PIXELS / (width * height)), _LONGEST / max(width, height))
    figure = Figure(figsize=(width, height), dpi=dots)
    canvas = FigureCanvasAgg(figure)
    figure.text(
        0.15 / width, 1 - 0.14 / height, "Absorption features, and where the network looks", va="top",
        fontsize=12,
    )  # fmt: skip
    _legend(figure, width, height)
    names = list(named_bands(found))
    colours = {entry.name: entry.colour for entry in card_classes(names)}
    tallest = [max(float(np.nanmax(values)) for values in each) for each in _strips(finder, found)]
    for number, one in enumerate(found):
        check()
        row, column = divmod(number, columns)
        left = _LEFT + column * (_WIDTHS[columns] + _ACROSS)
        top = height - _TOP - row * panel
        _panel(
            figure, one, finder, colours, tallest, (left, top, _WIDTHS[columns]), (width, height),
            first=not column,
        )  # fmt: skip
    canvas.print_png(path, metadata={"Software": None})


def _strips(finder: Finder, found: Sequence[ClassFindings]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return what the spectra's and the shares' axes have to hold."""
    usable = np.concatenate(finder.ranges)
    return [one.hull[usable] for one in found], [one.share[usable] for one in found]


def _panel(
    figure: Figure, one: ClassFindings, finder: Finder, colours: dict[str, str], tallest: Sequence[float],
    place: tuple[float, float, float], size: tuple[float, float], first: bool,
) -> None:  # fmt: skip
    left, top, width = place
    figure.text(
        left / size[0], (top - 0.05) / size[1], _shortened(one.name, 44), va="top", fontsize=9.5,
        fontweight="bold", color=_DARK, parse_math=False,
    )  # fmt: skip
    figure.text(left / size[0], (top - 0.24) / size[1], _summary(one), va="top", fontsize=7, color=_GREY)
    bottom = top - _TITLE - _LABELS
    axes: list[Axes] = []
    for height in _STRIPS:
        bottom -= height
        axes.append(figure.add_axes((left / size[0], bottom / size[1], width / size[0], height / size[1])))
        bottom -= _BETWEEN
    low, high = _limits(finder)
    for number, each in enumerate(axes):
        each.set_xlim(low, high)
        _backdrop(each, finder, low, high)
        each.tick_params(labelsize=7, length=2.5, color=_PALE, labelbottom=number == len(axes) - 1)
        each.set_axisbelow(True)
        for spine in each.spines.values():
            spine.set_color(_PALE)
    _spectrum(axes[0], one, finder, tallest[0])
    _removed(axes[1], one, finder, colours)
    _shares(axes[2], one, finder, colours, tallest[1])
    for each, text in zip(axes, ("mean\nspectrum", "over its\ncontinuum", "share of\nattribution")):
        each.set_ylabel(text if first else "", fontsize=7.5, color=_DARK)
    axes[2].set_xlabel("wavelength (nm)", fontsize=7.5, color=_DARK, labelpad=1)
    _labels(axes, one, colours, width)


def _summary(one: ClassFindings) -> str:
    parts = [f"{one.pixels:,} pixels"]
    if one.overlap and one.overlap.share is not None and one.overlap.p is not None:
        parts.append(
            f"{one.overlap.share:.0%} of the attribution on absorptions "
            f"(chance {one.overlap.expected:.0%}, p {one.overlap.p:.3f})"
        )
    if one.absorption_share is not None:
        parts.append(f"absorption share {one.absorption_share:.0%}")
    return "  ·  ".join(parts)


def _limits(finder: Finder) -> tuple[float, float]:
    known = finder.at[np.isfinite(finder.at)]
    margin = 0.015 * (known.max() - known.min())
    return float(known.min() - margin), float(known.max() + margin)


def _backdrop(axes: Axes, finder: Finder, low: float, high: float) -> None:
    """Shade what lies between the ranges, and the windows of the atmosphere."""
    reached = low
    for bands in [*finder.ranges, None]:
        start = high if bands is None else float(finder.at[bands[0]])
        if start > reached:
            axes.axvspan(reached, start, color=_GAP, linewidth=0, zorder=0)
        reached = max(reached, high if bands is None else float(finder.at[bands[-1]]))
    for window in ATMOSPHERE_NM:
        if window[0] < high and window[1] > low:
            axes.axvspan(max(window[0], low), min(window[1], high), color=_AIR, linewidth=0, zorder=0.5)


def _spectrum(axes: Axes, one: ClassFindings, finder: Finder, tallest: float) -> None:
    for bands in finder.ranges:
        axes.plot(finder.at[bands], one.hull[bands], color=_GREY, linewidth=0.8, linestyle=(0, (4, 2)))
        axes.plot(finder.at[bands], one.mean[bands], color=_DARK, linewidth=1.2)
    axes.set_ylim(min(0.0, float(np.nanmin(one.mean))), 1.06 * tallest or 1.0)
    axes.locator_params(axis="y", nbins=4)


def _removed(axes: Axes, one: ClassFindings, finder: Finder, colours: dict[str, str]) -> None:
    for bands in finder.ranges:
        at, removed = finder.at[bands], one.removed[bands]
        axes.fill_between(at, removed, 1, color="#ececec", linewidth=0)
        for each in _absorptions(one):
            own = each.bands[bands]
            axes.fill_between(
                at, removed, 1, where=own, color=_colour(each, colours), alpha=0.45, linewidth=0
            )
        axes.plot(at, removed, color=_DARK, linewidth=1.0)
    least = float(np.nanmin(one.removed))
    axes.set_ylim(least - 0.08 * (1 - least) - 0.005, 1 + 0.06 * (1 - least) + 0.002)
    axes.locator_params(axis="y", nbins=4)


def _shares(
    axes: Axes, one: ClassFindings, finder: Finder, colours: dict[str, str], tallest: float
) -> None:  # fmt: skip
    for bands in finder.ranges:
        at, share = finder.at[bands], 100 * one.share[bands]
        axes.fill_between(at, 0, share, step="mid", color="#b5b5b5", linewidth=0)
        for each in _absorptions(one):
            own = each.bands[bands]
            axes.fill_between(at, 0, share, where=own, step="mid", color=_colour(each, colours), linewidth=0)
    axes.set_ylim(0, 106 * tallest or 1.0)
    axes.locator_params(axis="y", nbins=4)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")


def _absorptions(one: ClassFindings) -> list[Finding]:
    return [each for each in one.features if each.absorption]


def _colour(each: Finding, colours: dict[str, str]) -> str:
    if each.verdict == SPURIOUS:
        return _RED
    return colours.get(each.match.name, _GREY) if each.absorption else _GREY


def _labels(axes: Sequence[Axes], one: ClassFindings, colours: dict[str, str], width: float) -> None:
    """Write the features' names above the strips, with lines down to where they are."""
    shown = sorted(_labelled(one), key=lambda each: each.wavelength_nm)
    if not shown:
        return
    low, high = axes[0].get_xlim()
    wanted = [(each.wavelength_nm - low) / (high - low) for each in shown]
    places = _apart(wanted, _APART / width)
    top = axes[0]
    fraction = blended_transform_factory(top.transAxes, top.transAxes)
    for each, at, foot in zip(shown, wanted, places, strict=True):
        colour, used = _colour(each, colours), each.verdict in _MARKS
        for strip in axes:
            strip.axvline(each.wavelength_nm, color=colour, linewidth=0.6, alpha=0.8 if used else 0.45)
        top.plot(
            [at, at, foot], [1, 1.03, 1.13], transform=fraction, color=colour, linewidth=0.6, clip_on=False,
            alpha=0.8 if used else 0.45,
        )  # fmt: skip
        top.text(
            foot, 1.15, f"{_MARKS.get(each.verdict, '○')} {_label(each)}", linespacing=1.0,
            transform=fraction, rotation=_LABEL_ANGLE, rotation_mode="anchor", ha="left", va="bottom",
            fontsize=_LABEL_FONT, fontweight="bold" if used else "normal", parse_math=False,
            color=_RED if each.verdict == SPURIOUS else _DARK if used else _GREY,
        )  # fmt: skip


def _label(each: Finding) -> str:
    name = "" if each.match.name == "unnamed" else f" {each.match.name}"
    air = ", air" if each.flag == "atmosphere" and each.match.name != "atmospheric" else ""
    text = f"{each.wavelength_nm:.0f}{name}{air}"
    return "\n    ".join(textwrap.wrap(text, _LABEL_WIDTH, max_lines=2, placeholder=" …"))


def _labelled(one: ClassFindings) -> list[Finding]:
    """Return the features to name: what is used or spurious first, then by depth and share."""

    def rank(each: Finding) -> tuple[bool, float]:
        depth = each.absorption.depth if each.absorption else 0.0
        return each.verdict not in _MARKS, -max(depth, each.score.share or 0.0)

    worth = [
        each for each in one.features
        if each.absorption
        or each.verdict == SPURIOUS
        or (each.verdict in (UNNAMED, IN_ATMOSPHERE) and (each.score.share or 0.0) >= _LEAST_SHARE)
    ]  # fmt: skip
    return sorted(worth, key=rank)[:_MOST_LABELS]


def _apart(wanted: Sequence[float], least: float) -> list[float]:
    """Return places that are `least` apart, in the same order and as near to the wanted ones as that lets."""
    groups: list[list[float]] = []
    for value in wanted:
        groups.append([value])
        # A group lies evenly around the mean of what its members want.
        while len(groups) > 1 and _start(groups[-1], least) < _end(groups[-2], least) + least:
            last = groups.pop()
            groups[-1] += last
    return [_start(group, least) + least * place for group in groups for place in range(len(group))]


def _start(group: Sequence[float], least: float) -> float:
    middle = sum(group) / len(group) - least * (len(group) - 1) / 2
    return max(0.0, min(middle, 1.0 - least * (len(group) - 1)))


def _end(group: Sequence[float], least: float) -> float:
    return _start(group, least) + least * (len(group) - 1)


def _legend(figure: Figure, width: float, height: float) -> None:
    line = Line2D([], [], color=_GREY, linewidth=0.8, linestyle=(0, (4, 2)), label="continuum")
    handles = [
        _mark("●", _DARK, "used and present"), _mark("○", _GREY, "present, not used"),
        _mark("✕", _RED, "used, not present (spurious)"), line,
        Patch(color=_AIR, label="water vapour"), Patch(color=_GAP, label="no data, or between spectrometers"),
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.08 / width, 1 - 0.32 / height),
        ncols=len(handles), fontsize=7, frameon=False, handlelength=1.4, columnspacing=1.4, handletextpad=0.5,
    )  # fmt: skip


def _mark(symbol: str, colour: str, label: str) -> Line2D:
    return Line2D([], [], linestyle="", marker=f"${symbol}$", color=colour, markersize=6, label=label)


def _shortened(text: str, width: int) -> str:
    return textwrap.shorten(text, width, placeholder=" …") if len(text) > width else text
