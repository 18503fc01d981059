"""The widgets of the page of mistakes, and how they show what they are given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from qgis.core import Qgis
from qgis.gui import QgsMapLayerComboBox
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ...algorithms._text import tr
from .filters import FilterBar, narrow, suspicion_text
from .matrix import ConfusionMatrix, Pair, PairCount
from .pixel_view import PixelView
from .records import ErrorRecord
from .verdict_panel import VerdictPanel


class MistakesForm(QWidget):
    """Choice of layer, filter, stepping, the error itself, and the verdict; the matrix is `table`, apart."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = QgsMapLayerComboBox()
        self.layers.setFilters(Qgis.LayerFilter.VectorLayer)
        self.layers.setAllowEmptyLayer(True, tr("choose a layer of errors"))
        narrow(self.layers)
        self.menu = QToolButton()
        self.menu.setText("☰")
        self.menu.setToolTip(tr("Export corrected labels, train with them, save a copy"))
        self.menu.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.filters = FilterBar()
        self.place, self.facts = QLabel(), QLabel()
        self.facts.setWordWrap(True)
        self.facts.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.facts.setTextFormat(Qt.TextFormat.RichText)
        self.done = QProgressBar()
        self.done.setMaximumHeight(self.fontMetrics().height())
        self.previous = _button("◀", tr("Previous error (P)"))
        self.next = _button("▶", tr("Next error (N)"))
        self.to_error = _button(tr("Zoom"), tr("Bring the error into the middle of the map (Z)"))
        self.blink = _button(tr("Flash"), tr("Let the error blink on the map (F)"))
        self.view, self.verdicts, self.matrix = PixelView(), VerdictPanel(), ConfusionMatrix()
        self.pair, self.see = QLabel(), QPushButton(tr("Step through them"))
        self.pair.setWordWrap(True)
        self.see.setToolTip(tr("Shows the errors of the chosen cell on the page of mistakes"))
        self.show_pair(None)
        self.go_on = QCheckBox(tr("Go on after a verdict"))
        self.go_on.setChecked(True)
        self._lay_out()

    def _lay_out(self) -> None:
        chosen, steps = QHBoxLayout(), QHBoxLayout()
        chosen.addWidget(self.layers, 1)
        chosen.addWidget(self.menu)
        for widget in (self.previous, self.next):
            steps.addWidget(widget)
        steps.addWidget(self.place, 1)
        for widget in (self.to_error, self.blink):
            steps.addWidget(widget)
        top = QFormLayout()
        top.addRow(tr("Errors"), chosen)
        self.table = QWidget()
        inside = QVBoxLayout(self.table)
        for widget in (self.pair, self.see, self.matrix):
            inside.addWidget(widget)
        inside.addStretch()
        layout = QVBoxLayout(self)
        layout.addLayout(top)
        layout.addWidget(self.filters)
        layout.addWidget(self.done)
        layout.addLayout(steps)
        layout.addWidget(self.facts)
        layout.addWidget(self.view, 1)
        layout.addWidget(self.verdicts)
        layout.addWidget(self.go_on)

    def show_nothing(self, text: str) -> None:
        """Show a sentence where there is no error to show."""
        self.facts.clear()
        self.place.clear()
        self.view.show_note(text)
        self.verdicts.show_record(None)

    def show_facts(self, record: ErrorRecord) -> None:
        """Show what the layer knows of an error: classes, numbers, suspicion and its rule, evidence."""
        title = tr("{true} seen as {predicted}").format(
            true=f"<b>{escape(record.true_class)}</b>", predicted=f"<b>{escape(record.predicted_class)}</b>"
        )
        numbers = [tr("{n} pixels").format(n=record.pixels) if record.pixels != 1 else tr("1 pixel")]
        for text, value in (
            (tr("confidence {value}"), record.confidence),
            (tr("margin {value}"), record.margin),
        ):
            if not math.isnan(value):
                numbers.append(text.format(value=f"{value:.2f}"))
        lines = [f"{title} · {' · '.join(numbers)}"]
        if record.suspicion:
            lines.append(f"<b>{escape(suspicion_text(record.suspicion))}</b>: {escape(record.rule)}")
        if record.evidence:
            lines.append(tr("Evidence: {bands}").format(bands=escape(record.evidence)))
        self.facts.setText("<br>".join(lines))

    def show_progress(self, place: int, listed: int, reviewed: int, total: int) -> None:
        """Show which error of those listed this is, and how many have a verdict."""
        self.place.setText(tr("{place} of {listed}").format(place=place, listed=listed))
        self.done.setRange(0, max(1, total))
        self.done.setValue(reviewed)
        self.done.setFormat(tr("{reviewed} of {total} reviewed").format(reviewed=reviewed, total=total))

    def show_counts(self, classes: Sequence[str], counts: Mapping[Pair, PairCount]) -> None:
        """Show the matrix; of classes without any error there is no row."""
        found = {name for pair in counts for name in pair}
        self.matrix.show_counts([name for name in classes if name in found], counts)

    def show_pair(self, pair: Pair | None) -> None:
        """Mark a cell of the matrix and say what it holds."""
        self.matrix.set_pair(pair)
        self.see.setEnabled(pair is not None)
        self.pair.setText(
            self.matrix.words(pair)
            if pair
            else tr("Click a cell to select its errors on the map and to step through these only.")
        )


def _button(text: str, tip: str) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.setToolTip(tip)
    button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return button
