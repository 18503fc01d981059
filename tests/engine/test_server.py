"""The engine process by hand: ready at once, robust to bad lines, gone when nobody listens."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from explanation_layers.engine.environment import engine_environment, pip_environment
from explanation_layers.engine.jobs import JOBS
from explanation_layers.engine.messages import decode, encode
from explanation_layers.engine.process import LAUNCHER
from explanation_layers.workflows.server import REGISTRY

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def start(tmp_path):
    """Start an engine process by hand."""
    processes = []

    def start(launcher, *arguments):
        command = [sys.executable, "-I", "-u", str(launcher), *arguments]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def server(start, fake):
    process = start(fake.__file__)
    assert answer(process)["type"] == "ready"
    return process


def say(process, line: bytes):
    process.stdin.write(line + b"\n")
    process.stdin.flush()


def answer(process):
    return json.loads(process.stdout.readline())


def test_the_real_engine_is_ready_before_torch_could_be(start):
    began = time.monotonic()
    ready = answer(start(LAUNCHER))
    assert time.monotonic() - began < 1.5
    assert ready["type"] == "ready"
    assert ready["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[]",
        b'{"type": 1}',
        b'{"type": "dance"}',
        b'{"type": "run"}',
        b'{"type": "run", "id": "1", "job": 3}',
        b'{"type": "run", "id": "1", "job": {"kind": "fake", "colour": "red"}}',
        b'{"type": "run", "id": "1", "job": {"kind": "fake"}}',
    ],
)
def test_a_malformed_line_is_answered_and_survived(server, line):
    say(server, line)
    assert answer(server)["kind"] == "internal"
    say(server, b'{"type": "run", "id": "2", "job": {"kind": "fake", "action": "echo"}}')
    assert answer(server) == {"type": "result", "id": "2", "value": {"numbers": {"value": 0.0}}}


def test_a_waiting_job_can_be_cancelled(server, tmp_path):
    job = {"kind": "fake", "action": "staged_then_wait", "path": str(tmp_path / "o.tif")}
    say(server, json.dumps({"type": "run", "id": "1", "job": job}).encode())
    assert answer(server)["type"] == "progress"
    say(server, b'{"type": "run", "id": "2", "job": {"kind": "fake", "action": "echo"}}')
    say(server, b'{"type": "cancel", "id": "2"}')
    say(server, b'{"type": "cancel", "id": "of no job"}')
    say(server, b'{"type": "cancel", "id": "1"}')
    assert [(error["id"], error["kind"]) for error in (answer(server), answer(server))] == [
        ("1", "cancelled"),
        ("2", "cancelled"),
    ]


@pytest.mark.parametrize("farewell", ["quit", "end of stream"])
def test_it_leaves_at_once_and_lets_the_job_clean_up(server, tmp_path, farewell):
    job = {"kind": "fake", "action": "staged_then_wait", "path": str(tmp_path / "o.tif")}
    say(server, json.dumps({"type": "run", "id": "1", "job": job}).encode())
    assert answer(server)["type"] == "progress"
    began = time.monotonic()
    if farewell == "quit":
        say(server, b'{"type": "quit"}')
    else:
        server.stdin.close()
    assert server.wait(5) == 0
    assert time.monotonic() - began < 1.5
    assert list(tmp_path.iterdir()) == []


def test_every_job_has_a_worker():
    assert set(REGISTRY) == set(JOBS) - {"fake"}


def test_messages_survive_the_trip():
    message = {"type": "log", "text": "Größe\n\u2028", "value": [1.5, None]}
    line = encode(message)
    assert line.count(b"\n") == 1
    assert decode(line) == message


def test_environments_let_through_what_is_listed_and_no_more():
    source = {
        "HOME": "/home/a",
        "CUDA_VISIBLE_DEVICES": "0",
        "PATH": "/qgis/bin",
        "PYTHONPATH": "/qgis",
        "PYTHONHOME": "/qgis",
        "GDAL_DATA": "/qgis",
        "PROJ_LIB": "/qgis",
        "LD_LIBRARY_PATH": "/qgis",
        "https_proxy": "proxy",
        "PIP_INDEX_URL": "index",
        "SECRET": "s",
    }
    engine = engine_environment("/venv/bin/python", source)
    own = {"GOMP_SPINCOUNT": "1000", "PYTHONNOUSERSITE": "1"}
    assert set(engine) == {"HOME", "CUDA_VISIBLE_DEVICES", "PATH", *own}
    assert own.items() <= engine.items()
    assert engine_environment("p", {"GOMP_SPINCOUNT": "7"})["GOMP_SPINCOUNT"] == "7"
    assert "/qgis" not in engine["PATH"]
    assert engine["PATH"].startswith("/venv/bin")
    pip = pip_environment("/venv/bin/python", source)
    assert set(pip) - set(engine) == {
        "https_proxy",
        "PIP_INDEX_URL",
        "PIP_DISABLE_PIP_VERSION_CHECK",
        "PIP_NO_INPUT",
    }
