"""Which errors to step through, and in which order."""

from __future__ import annotations

from collections.abc import Mapping

from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QCheckBox, QComboBox, QFormLayout, QHBoxLayout, QWidget

from ...algorithms._text import tr
from .matrix import Pair, PairCount
from .records import SORTED_BY, SUSPICIONS, Filter


def pair_text(pair: Pair) -> str:
    """Return a pair of classes as a person would say it."""
    return tr("{true} seen as {predicted}").format(true=pair[0], predicted=pair[1])


def suspicion_text(suspicion: str) -> str:
    """Return a suspicion in the user's language; the column keeps the word of the contract."""
    return {
        "label error": tr("label error"), "mixed pixel": tr("mixed pixel"), "edge": tr("edge"),
        "shadow or cloud": tr("shadow or cloud"), "unseen spectrum": tr("unseen spectrum"),
        "genuine confusion": tr("genuine confusion"),
    }.get(suspicion, suspicion)  # fmt: skip


def narrow(combo: QComboBox) -> None:
    """Let a combo box be narrower than its longest entry."""
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(8)


class FilterBar(QWidget):
    """Choices of pair, suspicion and order; `filtered` and `sorted` tell of what the user chose."""

    filtered = pyqtSignal(object)
    sorted = pyqtSignal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.pairs, self.suspicions, self.columns = QComboBox(), QComboBox(), QComboBox()
        for combo in (self.pairs, self.suspicions, self.columns):
            narrow(combo)
        self.suspicions.addItem(tr("all suspicions"), None)
        for suspicion in SUSPICIONS:
            self.suspicions.addItem(suspicion_text(suspicion), suspicion)
        titles = {
            "error_id": tr("by rank"), "instructive": tr("most instructive first"),
            "confidence": tr("most confident first"), "margin": tr("largest margin first"),
            "pixels": tr("largest first"), "nearest_distance": tr("least like the training first"),
            "true_class": tr("by true class"), "predicted_class": tr("by predicted class"),
            "suspicion": tr("by suspicion"),
        }  # fmt: skip
        for column in SORTED_BY:
            self.columns.addItem(titles[column], column)
        self.open_only = QCheckBox(tr("Only unreviewed"))
        self.pairs.setToolTip(tr("Steps only through errors of this pair of classes"))
        self.suspicions.setToolTip(tr("Steps only through errors with this suspicion"))
        self.columns.setToolTip(tr("The order of the errors"))
        self.pairs.activated.connect(self._tell)
        self.suspicions.activated.connect(self._tell)
        self.open_only.toggled.connect(self._tell)
        self.columns.activated.connect(lambda index: self.sorted.emit(self.columns.itemData(index)))
        chosen, order = QHBoxLayout(), QHBoxLayout()
        chosen.addWidget(self.pairs, 1)
        chosen.addWidget(self.suspicions, 1)
        order.addWidget(self.columns, 1)
        order.addWidget(self.open_only)
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addRow(tr("Show"), chosen)
        layout.addRow(tr("Order"), order)

    def show_pairs(self, counts: Mapping[Pair, PairCount]) -> None:
        """Offer the pairs of classes that have errors, the most frequent first; all pass again."""
        self.pairs.clear()
        self.pairs.addItem(tr("all pairs"), None)
        for pair, count in sorted(counts.items(), key=lambda item: (-item[1].errors, item[0])):
            self.pairs.addItem(f"{pair_text(pair)} ({count.errors})", pair)

    def reset(self) -> None:
        """Let all errors pass, in the order of their rank, without telling anyone."""
        self.open_only.blockSignals(True)
        self.open_only.setChecked(False)
        self.open_only.blockSignals(False)
        for combo in (self.pairs, self.suspicions, self.columns):
            combo.setCurrentIndex(0)

    def choose_pair(self, pair: Pair | None) -> None:
        """Choose a pair as if it was chosen here."""
        for index in range(self.pairs.count()):
            if self.pairs.itemData(index) == pair:
                self.pairs.setCurrentIndex(index)
        self._tell()

    def _tell(self, *_: object) -> None:
        pair = self.pairs.currentData()
        chosen = Filter(
            tuple(pair) if pair else None, self.suspicions.currentData(), self.open_only.isChecked()
        )
        self.filtered.emit(chosen)
