"""A job's context: throttled progress, time left, warnings, cancel."""

from __future__ import annotations

import pytest

from explanation_layers.rasters.errors import Cancelled
from explanation_layers.workflows import context as module
from explanation_layers.workflows.context import Context


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock)
    return clock


@pytest.fixture
def sent():
    return []


def test_progress_is_throttled_and_the_newest_goes_out_later(clock, sent):
    context = Context("j", sent.append)
    for step in range(50):
        context.progress(step / 100, f"step {step}")
    assert [message["text"] for message in sent] == ["step 0"]
    clock.now += 0.2
    context.check()
    context.check()
    assert [message["text"] for message in sent] == ["step 0", "step 49"]


@pytest.mark.parametrize(
    ("fraction", "elapsed", "left"),
    [(0.5, 10.0, 10.0), (0.25, 5.0, 15.0), (1.0, 5.0, 0.0), (0.019, 60.0, None), (0.5, 0.9, None)],
)
def test_seconds_left(clock, sent, fraction, elapsed, left):
    context = Context("j", sent.append)
    clock.now += elapsed
    context.progress(fraction)
    assert sent[0]["seconds_left"] == (left if left is None else pytest.approx(left))


@pytest.mark.parametrize(("given", "shown"), [(-1, 0.0), (0.3, 0.3), (7, 1.0)])
def test_fractions_stay_between_0_and_1(clock, sent, given, shown):
    Context("j", sent.append).progress(given)
    assert sent[0]["fraction"] == shown


def test_warnings_are_kept_and_sent(sent):
    context = Context("j", sent.append)
    context.log("a line")
    context.warn("beware")
    assert context.warnings == ["beware"]
    assert [(message["level"], message["text"]) for message in sent] == [
        ("info", "a line"),
        ("warning", "beware"),
    ]


def test_check_raises_once_cancelled(sent):
    context = Context("j", sent.append)
    context.check()
    context.cancel()
    assert context.cancelled
    with pytest.raises(Cancelled):
        context.check()
