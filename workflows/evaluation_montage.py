"""The montage of an evaluation: chips of different classes with the maps of every explainer, as one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..explainers.registry import explainers_of
from ..explainers.scores.complexity import scaled_to_picture
from .evaluation_metrics import readable
from .evaluation_table import Judged

# Inches, and dots in one.
_CELL, _TITLE, _MARGIN = 1.35, 0.5, 0.32
_DOTS = 150


def montage(entries: Sequence[Judged]) -> bytes:
    """Return a PNG: a row per example chip, a column per explainer, its scores under its name.

    Maps are summed over bands and scaled as for the file sizes: signed ones blue to red around 0, others
    black to yellow. What has a single pixel, or one value in all pixels of a band, is drawn over its bands.
    A cross marks the pixel of a crop that is explained.
    """
    names = entries[0].scores.names
    rows = [len(entry.scores.shown) for entry in entries]
    width = _MARGIN + _CELL * (len(names) + 1)
    height = sum(_TITLE + _CELL * count for count in rows) + 0.1
    figure = Figure(figsize=(width, height), dpi=_DOTS)
    canvas = FigureCanvasAgg(figure)
    top = height
    for entry, count in zip(entries, rows):
        figure.text(_MARGIN / 2 / width, (top - 0.06) / height, _title(entry), va="top", fontsize=8)
        top -= _TITLE
        for row in range(count):
            top -= _CELL
            for column in range(len(names) + 1):
                left = _MARGIN + _CELL * column
                axes = figure.add_axes(
                    (left / width, top / height, 0.94 * _CELL / width, 0.94 * _CELL / height)
                )
                _draw(axes, entry, row, column)
    file = io.BytesIO()
    canvas.print_png(file, metadata={"Software": None})
    return file.getvalue()


def _title(entry: Judged) -> str:
    return f"{entry.name} ({entry.bands})" if entry.bands != entry.name else entry.name


def _draw(axes, entry: Judged, row: int, column: int) -> None:  # type: ignore[no-untyped-def]
    """Draw the chip (column 0) or the map of an explainer, with the head of the column and of the row."""
    index = entry.scores.shown[row]
    axes.set_xticks([])
    axes.set_yticks([])
    if column:
        name = entry.scores.names[column - 1]
        values = entry.scores.maps[name][row]
    else:
        values = entry.scores.inputs[row]
    if values.shape[-1] == 1:
        axes.plot(values[:, 0, 0], linewidth=0.8, color="#0072b2" if column else "#222222")
    else:
        summed = values.astype(np.float64).sum(0)
        if column:
            signed = explainers_of(entry.model.network, single=True)[name].signed
            axes.imshow(
                scaled_to_picture(summed), cmap="RdBu_r" if signed else "inferno",
                vmin=-1 if signed else 0, vmax=1, interpolation="nearest",
            )  # fmt: skip
        else:
            axes.imshow(summed, cmap="gray", interpolation="nearest")
        if entry.sample.places is not None:
            row_of_pixel, col_of_pixel = entry.sample.places[index].tolist()
            axes.plot(col_of_pixel, row_of_pixel, "+", markersize=5, markeredgewidth=0.5, color="#009e73")
    if row == 0:
        axes.set_title(_column_title(entry, column), fontsize=6.5, pad=3, linespacing=1.25)
    if column == 0:
        axes.set_ylabel(_class_name(entry, index), fontsize=7, labelpad=2)


def _column_title(entry: Judged, column: int) -> str:
    if not column:
        return "spectrum" if entry.scores.inputs.shape[-1] == 1 else "chip"
    name = entry.scores.names[column - 1]
    sensitivity = entry.intervals["max_sensitivity"][column - 1].mean
    size = entry.intervals["png_kb"][column - 1].mean
    known = [(sensitivity, f"{sensitivity:.3g}"), (size, f"{size:.2f} KB")]
    return f"{readable(name)}\n{' · '.join(text for value, text in known if np.isfinite(value))}"


def _class_name(entry: Judged, index: int) -> str:
    """Return the class that is explained, which is the predicted one, and the true one where it differs."""
    known = entry.model.card.class_names
    predicted, true = int(entry.scores.predicted[index]), int(entry.sample.classes[index])
    if true in (-1, predicted):
        return known[predicted]
    return f"{known[predicted]} (is {known[true]})"
