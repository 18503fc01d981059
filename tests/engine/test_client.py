"""The client against a real process with fake jobs: results, errors, deaths, cancels."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from explanation_layers.engine.client import Engine, EngineError, engine_for, shutdown_all

pytestmark = pytest.mark.filterwarnings("error")


def failure(engine, job, **options) -> EngineError:
    with pytest.raises(EngineError) as caught:
        engine.run(job, **options)
    return caught.value


def staged_files(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".part-")]


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


class CancelOnceStaged:
    """Cancels as soon as the job reports progress, and measures how long the job still took."""

    def __init__(self):
        self.since = None

    def on_progress(self, fraction, text, seconds_left):
        self.since = time.monotonic()

    def __call__(self):
        return self.since is not None


def test_result_and_what_libraries_print(engine, fake):
    assert engine.run(fake.FakeJob("echo", value=2.5)) == {"numbers": {"value": 2.5}}


def test_warm_same_process_for_two_jobs(engine, fake):
    assert engine.pid is None
    pids = {engine.run(fake.FakeJob("pid"))["numbers"]["pid"] for _ in range(2)}
    assert pids == {engine.pid}


def test_progress_log_and_warnings(engine, fake):
    progress, log = [], []
    value = engine.run(
        fake.FakeJob("talk"),
        on_progress=lambda *report: progress.append(report),
        on_log=lambda *line: log.append(line),
    )
    assert progress == [(step / 4, f"step {step}", None) for step in range(5)]
    assert log == [("info", "a line"), ("warning", "beware")]
    assert value == {"warnings": ["beware"]}


@pytest.mark.parametrize(
    ("action", "kind", "text"),
    [
        ("input_error", "input", "There is no band 7 in x.tif: choose 1 to 5."),
        ("bug", "internal", "KeyError: 'missing'"),
        ("out_of_memory", "memory", "lower the memory budget"),
        ("unsendable", "internal", "not JSON serializable"),
    ],
)
def test_errors_are_data_and_the_engine_outlives_them(engine, fake, action, kind, text):
    error = failure(engine, fake.FakeJob(action))
    assert (error.kind, text in str(error)) == (kind, True)
    assert ("Traceback" in error.detail) == (kind != "input")
    pid = engine.pid
    assert engine.run(fake.FakeJob("pid")) == {"numbers": {"pid": pid}}


def test_unknown_kind_is_an_error_and_not_a_death(engine, fake):
    error = failure(engine, fake.UnknownJob())
    assert error.kind == "internal"
    assert "unheard_of" in str(error)
    assert engine.run(fake.FakeJob("echo"))


@pytest.mark.parametrize(
    ("action", "survives"),
    [("staged_then_wait", True), ("staged_then_deaf", False), ("staged_then_frozen", False)],
)
def test_cancel_takes_less_than_two_seconds(engine, fake, tmp_path, action, survives):
    cancel = CancelOnceStaged()
    job = fake.FakeJob(action, path=str(tmp_path / "out.tif"))
    error = failure(engine, job, on_progress=cancel.on_progress, is_cancelled=cancel)
    assert time.monotonic() - cancel.since < 2.0
    assert error.kind == "cancelled"
    assert (engine.pid is not None) == survives
    assert staged_files(tmp_path) == []
    assert engine.run(fake.FakeJob("echo"))


def test_killed_in_mid_job(engine, fake, tmp_path):
    other = tmp_path / ".part-of-another-job-out.tif"
    other.write_text("not ours")
    job = fake.FakeJob("staged_then_deaf", path=str(tmp_path / "out.tif"))
    error = failure(engine, job, on_progress=lambda *report: os.kill(engine.pid, signal.SIGKILL))
    assert error.kind == "memory"
    assert "killed, perhaps because memory ran out" in str(error)
    assert staged_files(tmp_path) == [other.name]
    assert engine.run(fake.FakeJob("echo"))


@pytest.mark.skipif(os.name == "nt", reason="kills by signal")
def test_no_engine_outlives_the_client(fake, tmp_path):
    script = f"""
import importlib.util, os, signal, sys
spec = importlib.util.spec_from_file_location("launcher", {str(fake.ROOT / "engine" / "launcher.py")!r})
launcher = importlib.util.module_from_spec(spec)
spec.loader.exec_module(launcher)
launcher.register(launcher.Path({str(fake.ROOT)!r}))
spec = importlib.util.spec_from_file_location("fake_engine", {fake.__file__!r})
fake = importlib.util.module_from_spec(spec)
sys.modules["fake_engine"] = fake
spec.loader.exec_module(fake)
from explanation_layers.engine.client import Engine
engine = Engine(sys.executable, launcher=launcher.Path({fake.__file__!r}))
def die(*report):
    print(engine.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
engine.run(fake.FakeJob("staged_then_wait", path={str(tmp_path / "out.tif")!r}), on_progress=die)
"""
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False)
    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: not is_running(int(done.stdout)), 2.0)
    assert staged_files(tmp_path) == []


def test_ends_in_mid_job(engine, fake):
    error = failure(engine, fake.FakeJob("exit"))
    assert error.kind == "engine"
    assert "exit code 3" in str(error)
    assert "the last words" in str(error)
    assert engine.run(fake.FakeJob("echo"))


def test_caller_that_fails_leaves_nothing_running(engine, fake, tmp_path):
    def on_progress(*report):
        raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError, match="the caller's own"):
        engine.run(fake.FakeJob("staged_then_deaf", path=str(tmp_path / "o.tif")), on_progress=on_progress)
    assert engine.pid is None
    assert staged_files(tmp_path) == []


def test_idle_engine_ends_and_the_next_run_starts_another(make_engine, fake):
    engine = make_engine(idle_seconds=0.2)
    first = engine.run(fake.FakeJob("pid"))
    wait_until(lambda: engine.pid is None)
    assert engine.run(fake.FakeJob("pid")) != first


def test_the_second_caller_waits_and_can_cancel(engine, fake, tmp_path):
    cancel = CancelOnceStaged()
    stop = threading.Event()
    job = fake.FakeJob("staged_then_wait", path=str(tmp_path / "out.tif"))
    errors = []

    def first():
        errors.append(failure(engine, job, on_progress=cancel.on_progress, is_cancelled=stop.is_set))

    thread = threading.Thread(target=first)
    thread.start()
    wait_until(cancel)
    assert failure(engine, fake.FakeJob("echo"), is_cancelled=lambda: True).kind == "cancelled"
    stop.set()
    thread.join(5)
    assert errors[0].kind == "cancelled"
    assert engine.run(fake.FakeJob("echo"))


@pytest.mark.parametrize(
    ("python", "says"),
    [
        ("/no/such/python", "can't be started"),
        ("/bin/ls", "didn't start the engine"),
        ("/bin/echo", "it said nothing"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="names programs of other systems")
def test_an_interpreter_that_is_none(make_engine, fake, python, says):
    error = failure(make_engine(python=python), fake.FakeJob("echo"))
    assert error.kind == "engine"
    for part in (python, says, "explain:setupengine"):
        assert part in str(error)


def test_an_interpreter_without_the_libraries(make_engine, fake, tmp_path):
    script = tmp_path / "bare.py"
    script.write_text(
        fake.Path(fake.__file__)
        .read_text()
        .replace("Path(__file__).resolve().parents[2]", f"Path({str(fake.ROOT)!r})")
        .replace("requirements=()", "requirements=('json', 'no_such_torch')")
    )
    error = failure(make_engine(launcher=script), fake.FakeJob("echo"))
    assert f"{sys.executable} lacks no_such_torch" in str(error)


def test_an_interpreter_that_never_answers(make_engine, fake, tmp_path):
    script = tmp_path / "silent.py"
    script.write_text("import time; time.sleep(60)")
    engine = make_engine(launcher=script, start_seconds=0.3)
    assert "within 0.3 s" in str(failure(engine, fake.FakeJob("echo")))
    assert failure(engine, fake.FakeJob("echo"), is_cancelled=lambda: True).kind == "cancelled"


def test_stderr_goes_to_the_log(make_engine, fake, tmp_path):
    engine = make_engine(log_folder=tmp_path / "logs")
    engine.run(fake.FakeJob("echo"))
    engine.stop()
    assert "and so does its C code" in (tmp_path / "logs" / "engine.log").read_text()


def test_one_engine_per_interpreter(tmp_path):
    python = str(tmp_path / "python")
    assert isinstance(engine_for(python), Engine)
    assert engine_for(python) is engine_for(python)
    before = engine_for(python)
    shutdown_all()
    assert engine_for(python) is not before
    shutdown_all()
