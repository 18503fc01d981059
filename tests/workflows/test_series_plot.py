"""The plot of profiles: colours tell importance, gaps stay open, and names of any kind fit."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from explanation_layers.workflows.series_plot import ProfilePanel, plot_profiles

DATES = [date(2017, 1, 3) + timedelta(6 * step) for step in range(61) if step not in (3, 14, 36, 37)]
COUNT = len(DATES)


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def panel(
    title: str = "cotton", importance: np.ndarray | None = None, row: str = "dimension 1"
) -> ProfilePanel:
    mean = -12 + 3 * np.sin(np.linspace(0, np.pi, COUNT))
    return ProfilePanel(
        title, row, DATES, mean, mean - 1, mean + 1, np.zeros(COUNT) if importance is None else importance,
        {"VH": mean - 7}, "VV (dB)", 1234,
    )  # fmt: skip


def drawn(path: Path, panels: list[list[ProfilePanel]], title: str = "Grad-SLAM") -> np.ndarray:
    plot_profiles(str(path), panels, title)
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def share_of(picture: np.ndarray, colour: str) -> int:
    """Count the pixels of the first panel that are clearly red or blue."""
    red, _, blue = np.moveaxis(picture[:, : round(3.55 * 150)], -1, 0)
    return int((red - blue > 60).sum() if colour == "red" else (blue - red > 60).sum())


def test_important_dates_are_red_and_others_blue(tmp_path: Path) -> None:
    red, blue = [], []
    for number, important in enumerate((0, 10, 30, COUNT)):
        importance = np.zeros(COUNT)
        importance[:important] = 1
        picture = drawn(tmp_path / f"{number}.png", [[panel(importance=importance)]])
        red.append(share_of(picture, "red"))
        blue.append(share_of(picture, "blue"))
    assert np.all(np.diff(red) > 100) and np.all(np.diff(blue) < -100)
    # The line is about as long whatever its colour; the darkest red counts less.
    assert np.ptp(np.add(red, blue)) < 0.25 * red[-1]


def test_red_is_where_the_important_dates_are(tmp_path: Path) -> None:
    importance = np.zeros(COUNT)
    importance[20:24] = 1
    picture = drawn(tmp_path / "a.png", [[panel(importance=importance)]])
    plain = drawn(tmp_path / "b.png", [[panel()]])
    columns = np.nonzero((picture != plain).any(axis=(0, 2)))[0]
    # The panel is 2.5 inches of 150 dots, from 0.95 on; the axis is 2 % longer than the year at both ends.
    left, right = ((0.95 + 2.5 * (0.02 + days / 360) / 1.04) * 150
                   for days in ((DATES[20] - DATES[0]).days, (DATES[23] - DATES[0]).days))  # fmt: skip
    assert columns.min() == pytest.approx(left, abs=8) and columns.max() == pytest.approx(right, abs=8)


def test_gaps_are_open_and_unknown_importance_is_grey(tmp_path: Path) -> None:
    one = panel(importance=np.ones(COUNT))
    whole = share_of(drawn(tmp_path / "whole.png", [[one]]), "red")
    gap = one.mean.copy()
    gap[20:40] = np.nan
    gap[30] = -10.0  # a date alone is a dot
    with_gap = share_of(drawn(tmp_path / "gap.png", [[replace(one, mean=gap)]]), "red")
    importance = np.ones(COUNT)
    importance[20:40] = np.nan
    unknown = share_of(drawn(tmp_path / "unknown.png", [[replace(one, importance=importance)]]), "red")
    assert with_gap < 0.8 * whole and unknown < 0.8 * whole


def test_nothing_known_is_drawn_all_the_same(tmp_path: Path) -> None:
    nothing = np.full(COUNT, np.nan)
    empty = ProfilePanel("none", "dimension 1", DATES, nothing, nothing, nothing, nothing)
    assert drawn(tmp_path / "empty.png", [[empty]]).std() > 0


def test_many_classes_are_continued_below(tmp_path: Path) -> None:
    names = ["Sonnenblumen auf sehr trockenen und steinigen Böden im Süden der Provinz", "a_$b$^c", "rice",
             *(f"class {number}" for number in range(6))]  # fmt: skip
    rows = [[panel(name, np.linspace(0, 1, COUNT), f"dimension {d}") for name in names] for d in (1, 2)]
    many = drawn(tmp_path / "many.png", rows, "A title with $ and _ in it")
    few = drawn(tmp_path / "few.png", [row[:5] for row in rows])
    assert many.shape[1] == few.shape[1] and many.shape[0] > 1.8 * few.shape[0]


def test_the_same_panels_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        plot_profiles(str(tmp_path / name), [[panel()]], "Grad-SLAM")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_picture_of_many_classes_keeps_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explanation_layers.workflows.series_plot._MOST_PIXELS", 1e6)
    picture = drawn(tmp_path / "a.png", [[panel(f"class {number}") for number in range(14)]] * 2)
    assert picture.shape[0] * picture.shape[1] == pytest.approx(1e6, rel=0.01)
