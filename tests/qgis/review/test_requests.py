"""Requests to the engine beside the window: the newest wins, errors are sentences, the end is clean."""

from __future__ import annotations

import threading
import time

import pytest

from explanation_layers.engine.client import EngineError
from explanation_layers.engine.jobs import ExplainPixelsJob, ProbeJob
from explanation_layers.plugin.review import requests
from explanation_layers.plugin.review.requests import PixelRequests


@pytest.fixture
def asked(qgis_app, pixel_engine):
    asker = PixelRequests()
    asker.heard = []
    asker.answered.connect(lambda key, result: asker.heard.append((key, "answer")))
    asker.failed.connect(lambda key, text: asker.heard.append((key, text)))
    yield asker
    asker.close()


def job(x: float = 0.0):
    return lambda: ExplainPixelsJob(model="m.safetensors", scene="s.tif", points=((x, 0.0),))


def test_answers_come_on_the_thread_of_the_window(asked, wait):
    threads = []
    asked.answered.connect(lambda key, result: threads.append(threading.current_thread()))
    asked.ask("a", job())
    wait(lambda: asked.heard)
    assert asked.heard == [("a", "answer")] and threads == [threading.main_thread()]


def test_of_those_that_wait_only_the_newest_is_asked(asked, pixel_engine, wait, data):
    go = threading.Event()

    def held(job):
        go.wait(10)
        return data.answer(job)

    pixel_engine.answer = held
    for number in range(10):
        asked.ask(number, job(float(number)))
    wait(lambda: pixel_engine.jobs)
    asked.ask("last", job(99.0))
    go.set()
    wait(lambda: not asked.busy)
    wait(lambda: len(asked.heard) >= 2)
    assert asked.heard[-1] == ("last", "answer")
    assert len(pixel_engine.jobs) <= 3  # the first that was under way, perhaps one more, and the last


def test_a_request_that_takes_long_is_cancelled_by_a_newer_one(asked, monkeypatch, wait, data):
    monkeypatch.setattr(requests, "PATIENCE_SECONDS", 0.05)

    class Engine:
        def run(self, job, is_cancelled):
            while job.points[0][0] == 0.0:
                if is_cancelled():
                    raise EngineError("cancelled", "Cancelled.")
                time.sleep(0.01)
            return data.answer(job)

    monkeypatch.setattr(requests, "engine_for", lambda *arguments: Engine())
    asked.ask("slow", job(0.0))
    time.sleep(0.1)
    asked.ask("new", job(1.0))
    wait(lambda: asked.heard)
    assert asked.heard == [("new", "answer")]


def test_errors_are_sentences_and_the_next_request_works(asked, pixel_engine, wait, data):
    def fail(job):
        raise EngineError("input", "The scene has 3 bands, the model reads 4.", "traceback")

    pixel_engine.answer = fail
    asked.ask("a", job())
    wait(lambda: asked.heard)

    def broken(job):
        raise KeyError("axis")

    pixel_engine.answer = broken
    asked.ask("b", job())
    wait(lambda: len(asked.heard) == 2)
    pixel_engine.answer = data.answer
    asked.ask("c", job())
    wait(lambda: len(asked.heard) == 3)
    assert asked.heard == [
        ("a", "The scene has 3 bands, the model reads 4."),
        ("b", "The pixel could not be explained: 'axis'."),
        ("c", "answer"),
    ]


def test_without_an_engine_the_sentence_says_how_to_get_one(qgis_app, no_engine, wait):
    asker, heard = PixelRequests(), []
    asker.failed.connect(lambda key, text: heard.append(text))
    asker.ask("a", ProbeJob)
    wait(lambda: heard)
    assert "No engine is set up" in heard[0]
    asker.close()


def test_after_closing_nothing_is_heard(asked, pixel_engine, data):
    pixel_engine.answer = lambda job: time.sleep(0.2) or data.answer(job)
    asked.ask("a", job())
    started = time.monotonic()
    asked.close()
    assert time.monotonic() - started < 2
    assert asked.heard == [] and not asked.busy
