"""The set-up of the engine, offline, with small wheels in place of the real libraries."""

from __future__ import annotations

import os
import sys
import time
import zipfile
from collections import namedtuple

import pytest

from explanation_layers.engine import interpreters, locate, setup
from explanation_layers.engine.commands import SetupCancelled, SetupError, run_command
from explanation_layers.engine.interpreters import find_base, probe
from explanation_layers.engine.locate import find_python, managed_python


def write_wheel(folder, name, version, needs=()):
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name}/__init__.py": f"__version__ = '{version}'\n",
        f"{info}/METADATA": metadata + "".join(f"Requires-Dist: {need}\n" for need in needs),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A folder of wheels that holds all of a short lock."""
    lock = tmp_path / "lock.txt"
    lock.write_text('# a lock\ntorch==9.9\nHelper.Lib==1.0\nghost==3 ; sys_platform == "win32"\n')
    monkeypatch.setattr(setup, "REQUIREMENTS", lock)
    monkeypatch.setattr(interpreters, "MODULES", ("torch",))
    folder = tmp_path / "wheels"
    folder.mkdir()
    write_wheel(folder, "torch", "9.9", needs=["helper-lib"])
    write_wheel(folder, "helper_lib", "1.0")
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the short lock names a library for Windows only")
def test_make_repair_remove(wheels, tmp_path):
    folder = tmp_path / "profile" / "explanation_layers"
    assert find_python("", folder) is None
    plan = setup.plan(folder, wheels)
    assert str(plan.place) in plan.summary
    assert "no download" in plan.summary
    assert not folder.exists()

    progress, log = [], []
    python, versions = setup.create(plan, lambda *report: progress.append(report), log.append)
    assert versions["torch"] == "9.9"
    assert versions["device"] == "cpu"
    assert find_python("", folder) == python
    assert [fraction for fraction, _ in progress] == sorted(fraction for fraction, _ in progress)
    assert progress[-1][0] == 1.0
    assert any("Successfully installed" in line for line in log)

    # A repair that fails leaves the engine as it was, and nothing of its own.
    write_wheel(wheels, "torch", "9.9", needs=["nowhere"])
    with pytest.raises(SetupError, match=r"Installing torch failed: .*nowhere"):
        setup.create(setup.plan(folder, wheels))
    assert find_python("", folder) == python
    assert names(folder) == ["engine-1", "engine.json"]

    write_wheel(wheels, "torch", "9.9")
    repaired, _ = setup.create(setup.plan(folder, wheels))
    assert find_python("", folder) == repaired != python
    assert names(folder) == ["engine-2", "engine.json"]

    assert setup.remove(folder)
    assert names(folder) == []
    assert not setup.remove(folder)


def test_missing_wheels_are_named_before_any_work(wheels, tmp_path):
    (wheels / "helper_lib-1.0-py3-none-any.whl").unlink()
    with pytest.raises(SetupError, match=r"has no wheel of Helper\.Lib 1\.0:"):
        setup.plan(tmp_path / "engine", wheels)
    with pytest.raises(SetupError, match="There is no folder of wheels"):
        setup.plan(tmp_path / "engine", tmp_path / "nothing")


def test_too_little_space_is_said_before_any_work(wheels, tmp_path, monkeypatch):
    plan = setup.plan(tmp_path / "engine", wheels)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(setup.shutil, "disk_usage", lambda folder: usage(0))
    with pytest.raises(SetupError, match=r"0\.0 GB are free"):
        setup.create(plan)
    assert not plan.folder.exists()


def test_a_cancel_stops_within_two_seconds_and_leaves_nothing(wheels, tmp_path):
    plan = setup.plan(tmp_path / "engine", wheels)
    began = time.monotonic()
    with pytest.raises(SetupCancelled):
        setup.create(plan, is_cancelled=lambda: time.monotonic() - began > 0.5)
    assert time.monotonic() - began < 2.0
    assert names(plan.folder) == []


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_a_cancel_ends_what_the_command_started_too(tmp_path):
    began = time.monotonic()
    command = ["/bin/sh", "-c", f"(sleep 1; touch {tmp_path}/late) & wait"]
    with pytest.raises(SetupCancelled):
        run_command(command, {}, print, lambda: time.monotonic() - began > 0.2)
    time.sleep(1.2)
    assert names(tmp_path) == []


def test_the_base_is_a_python_that_makes_environments():
    base = find_base()
    lines = []
    assert run_command([base.python, "-c", "import venv, ensurepip"], {}, lines.append) == 0, lines


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ('["/p/python", [3, 9], true, true]', "/p/python is 3.9"),
        ('["/p/python", [3, 12], false, true]', "in 32 bits"),
        ('["/p/python", [3, 12], true, false]', "python3-venv"),
        ("nonsense", "none was found"),
    ],
)
def test_why_no_base_will_do(monkeypatch, answer, says):
    monkeypatch.setattr(interpreters, "_candidates", lambda: [["/p/python"]])
    monkeypatch.setattr(interpreters, "_ask", lambda command: answer)
    with pytest.raises(SetupError, match="install one, or give") as caught:
        find_base()
    assert says in str(caught.value)


@pytest.mark.parametrize("python", ["/no/such/python", "/bin/ls", "/bin/echo"])
@pytest.mark.skipif(os.name == "nt", reason="names programs of other systems")
def test_probing_what_is_no_python(python):
    with pytest.raises(SetupError, match=python):
        probe(python)


def test_probing_a_python_that_lacks_something(monkeypatch):
    monkeypatch.setattr(interpreters, "MODULES", ("json", "no_such_torch"))
    with pytest.raises(SetupError, match="No module named 'no_such_torch'"):
        probe(sys.executable)


def test_variable_wins_over_settings_over_managed(tmp_path, monkeypatch):
    python = locate.environment_python(tmp_path / "engine-3")
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.delenv(locate.VARIABLE, raising=False)
    assert managed_python(tmp_path) is None  # not finished: no marker
    (tmp_path / locate.MARKER).write_text('{"environment": "engine-3"}')
    assert find_python("", tmp_path) == str(python)
    assert find_python("/mine", tmp_path) == "/mine"
    monkeypatch.setenv(locate.VARIABLE, "/theirs")
    assert find_python("/mine", tmp_path) == "/theirs"


@pytest.mark.parametrize("marker", ["", "[]", "{}", '{"environment": "engine-gone"}'])
def test_a_damaged_marker_means_no_engine(tmp_path, marker):
    (tmp_path / locate.MARKER).write_text(marker)
    assert managed_python(tmp_path) is None
