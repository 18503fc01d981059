"""An engine of fake jobs for the tests of the bridge."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from explanation_layers.engine.client import Engine

FAKE_ENGINE = Path(__file__).with_name("fake_engine.py")


@pytest.fixture(scope="session")
def fake():
    """The module of the fake engine: `fake.FakeJob`, `fake.UnknownJob`."""
    if "fake_engine" not in sys.modules:
        spec = importlib.util.spec_from_file_location("fake_engine", FAKE_ENGINE)
        sys.modules["fake_engine"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["fake_engine"])
    return sys.modules["fake_engine"]


@pytest.fixture
def make_engine():
    """Make engines that run fake jobs; they end with the test."""
    engines = []

    def make(python=sys.executable, launcher=FAKE_ENGINE, **options):
        engines.append(Engine(python, launcher=launcher, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.stop()


@pytest.fixture
def engine(make_engine):
    """An engine that runs fake jobs."""
    return make_engine()
