"""What the reviewer says of an error: verdict, corrected class, comment."""

from __future__ import annotations

from collections.abc import Sequence

from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QFormLayout,
    QGridLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...algorithms._text import tr
from .records import VERDICTS, ErrorRecord


def verdict_text(verdict: str) -> str:
    """Return a verdict in the user's language; the column keeps the word of the contract."""
    return {
        "model error": tr("model error"), "label error": tr("label error"),
        "both plausible": tr("both plausible"), "unsure": tr("unsure"),
    }[verdict]  # fmt: skip


class VerdictPanel(QWidget):
    """Tells of every change at once; a verdict that is pressed again is taken back (an empty text)."""

    judged = pyqtSignal(str)
    corrected = pyqtSignal(str)
    commented = pyqtSignal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        tips = (
            tr("The model is wrong, the reference is right (1)"),
            tr("The reference is wrong: the class below is right, at first the predicted one (2)"),
            tr("Both classes can be defended: left out of the corrected labels (3)"),
            tr("Can't be told: left out of the corrected labels (4)"),
        )
        grid = QGridLayout()
        self.buttons: dict[str, QPushButton] = {}
        for number, (verdict, tip) in enumerate(zip(VERDICTS, tips)):
            button = QPushButton(f"{number + 1}  {verdict_text(verdict)}")
            button.setCheckable(True)
            button.setToolTip(tip)
            button.clicked.connect(lambda checked, verdict=verdict: self.judge(verdict))
            self.buttons[verdict] = button
            grid.addWidget(button, number // 2, number % 2)
        self.classes = QComboBox()
        self.classes.setToolTip(
            tr("The class that is right here; it becomes the label when labels are exported")
        )
        self.classes.activated.connect(self._correct)
        self.comment = QLineEdit()
        self.comment.setPlaceholderText(tr("Why (C); Enter keeps it"))
        self.comment.setToolTip(tr("A comment, kept with the error when you press Enter or go on (C)"))
        self.comment.editingFinished.connect(self.keep_comment)
        self._comment = self._verdict = ""
        form = QFormLayout()
        form.addRow(tr("Corrected class"), self.classes)
        form.addRow(tr("Comment"), self.comment)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(grid)
        layout.addLayout(form)

    def set_classes(self, names: Sequence[str]) -> None:
        """Offer these classes, and none."""
        self.classes.clear()
        self.classes.addItem(tr("as the reference says"), "")
        for name in names:
            self.classes.addItem(name, name)

    def show_record(self, record: ErrorRecord | None) -> None:
        """Show what was said of `record`."""
        self.setEnabled(record is not None)
        self._verdict = record.verdict if record else ""
        for number, (verdict, button) in enumerate(self.buttons.items(), 1):
            chosen = verdict == self._verdict
            button.setChecked(chosen)
            # Some of QGIS's themes draw a checked button like any other.
            button.setText(f"{number}  {verdict_text(verdict)}{'  ✓' if chosen else ''}")
        self.classes.setCurrentIndex(max(0, self.classes.findData(record.corrected_class if record else "")))
        self._comment = record.comment if record else ""
        self.comment.setText(self._comment)

    def judge(self, verdict: str) -> None:
        """Give a verdict, or take it back where it is the one given.

        A comment that is being written is kept first: on macOS a pressed button takes no focus from it.
        """
        self.keep_comment()
        self.judged.emit("" if verdict == self._verdict else verdict)

    def _correct(self, index: int) -> None:
        self.keep_comment()
        self.corrected.emit(self.classes.itemData(index) or "")

    def keep_comment(self) -> None:
        """Tell of the comment as it is written now, where it has changed."""
        text = self.comment.text().strip()
        if text != self._comment:
            self._comment = text
            self.commented.emit(text)
