"""The report of a training: one page, nothing in it runs or is fetched, names can't break it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from explanation_layers.engine.jobs import TrainClassifierJob
from explanation_layers.models.card import PIXEL_CLASSIFICATION, Card, CardBand, card_classes
from explanation_layers.models.metrics import accuracy_of
from explanation_layers.models.splits import Split
from explanation_layers.models.training import Epoch
from explanation_layers.workflows.report import training_report
from explanation_layers.workflows.train_classifier import Trial

CONFUSION = np.array([[30, 10], [0, 0]])


@pytest.fixture
def page() -> str:
    job = TrainClassifierJob("/data/a&b.tif", "m.safetensors", label_raster="l.tif")
    bands = (CardBand("b1", None, None, True), CardBand("b2", None, None, False))
    classes = card_classes(["<script>alert(1)</script>", "Grünland"])
    card = Card(PIXEL_CLASSIFICATION, "spectral_cnn", {}, bands, classes, {"parameters": 1234}, "ab" * 32)
    history = [Epoch(1, 2.0, 1.0, 0.5), Epoch(2, 1.0, float("nan"), float("nan")), Epoch(3, 0.5, 0.5, 0.9)]
    trials = [
        Trial(Split("blocks", np.arange(60), np.arange(40), 16), history, accuracy_of(CONFUSION), 0.25),
        Trial(Split("random", np.arange(70), np.arange(30)), history[:1], accuracy_of(CONFUSION.T), 1.0),
    ]
    record = {"warnings": ["3 labels < 4"], "versions": {"torch": "2.x"}, "seconds": 1.5}
    return training_report(job, card, trials, record)


def test_names_are_text_not_markup(page: str) -> None:
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    assert "/data/a&amp;b.tif" in page and "3 labels &lt; 4" in page and "Grünland" in page


def test_nothing_is_fetched(page: str) -> None:
    assert not re.search(r"""(src|href)\s*=|@import|url\(""", page)


def test_figures_of_both_splits(page: str) -> None:
    assert "spatial blocks of 16 pixels (this model)" in page
    row = re.search(r"spatial blocks.*?</tr>", page, re.DOTALL)[0]
    assert re.findall(r"<td>(.*?)</td>", row) == [
        "60", "40", "75.00 %", "0.0000", "37.50 %", "60.00 %", "75.00 %", "25.00 %"
    ]  # fmt: skip
    row = re.search(r"<td>random.*?</tr>", page, re.DOTALL)[0]
    assert re.findall(r"<td>(.*?)</td>", row)[1:4] == ["70", "30", "75.00 %"]


def test_confusion_with_recall_and_a_dash_for_what_is_undefined(page: str) -> None:
    rows = re.findall(r"<tr><td><span class=\"chip\".*?</tr>", page, re.DOTALL)
    assert len(rows) == 4
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in rows]
    assert cells[0] == ["30", "10", "75.00 %", "100.00 %", "75.00 %"]
    assert cells[1] == ["0", "0", "–", "0.00 %", "0.00 %"]


def test_curves_run_from_the_first_to_the_last_epoch_and_skip_what_is_undefined(page: str) -> None:
    lines = re.findall(r'points="(.*?)"', page)
    assert lines[0] == "0.0,0.0 320.0,100.0 640.0,150.0"
    assert lines[1] == "0.0,100.0 640.0,150.0"
    assert lines[2] == "0.0,0.0" and len(lines) == 4
