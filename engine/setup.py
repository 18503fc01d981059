"""Makes, repairs and removes the managed environment of the engine.

Each environment is built in a folder of its own, where it stays, since a virtual environment can't
be moved. A marker file beside it, written last, says which one counts: an unfinished one is no
engine, and a repair leaves the old one alone until the new one is whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .commands import SetupCancelled, SetupError, run_command
from .environment import pip_environment
from .interpreters import Base, find_base, probe
from .locate import MARKER, environment_python

__all__ = ["Plan", "SetupCancelled", "SetupError", "create", "plan", "probe", "remove"]

REQUIREMENTS = Path(__file__).resolve().parents[1] / "resources" / "engine-requirements.txt"
GIGABYTE = 10**9

OnProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class Step:
    """One command of the set-up; `end` is the fraction of the whole that is done after it."""

    text: str
    command: list[str]
    end: float


@dataclass(frozen=True)
class Plan:
    """What a set-up would do; nothing is done yet.

    `folder` holds the marker, `place` the new environment. Sizes are estimates in bytes.
    """

    folder: Path
    place: Path
    base: Base
    steps: tuple[Step, ...]
    download_bytes: int
    disk_bytes: int

    @property
    def summary(self) -> str:
        """Size and place in a sentence, for the user's consent."""
        download = (
            f"a download of up to {self.download_bytes / GIGABYTE:.1f} GB"
            if self.download_bytes
            else "no download"
        )
        return (
            f"The engine will be made in {self.place} with Python {self.base.version} ({self.base.python}): "
            f"{download}, up to {self.disk_bytes / GIGABYTE:.1f} GB on disk."
        )


def plan(folder: Path, wheels: Path | None = None, device: str = "auto") -> Plan:
    """Say what a set-up in `folder` would do; SetupError where it can't be done.

    With `wheels`, a folder of wheel files, nothing is downloaded; it must hold all that is locked.
    """
    if wheels is not None:
        _check_wheels(wheels)
    base = find_base()
    place = _new_place(folder)
    python = str(environment_python(place))
    source = ["--isolated", "--no-index", "--find-links", str(wheels)] if wheels else []
    # Wheels only: what would have to be compiled fails at once, with a name, and not after an hour.
    install = [python, "-I", "-m", "pip", "install", "--only-binary", ":all:", *source]
    steps = (
        Step("Making the environment", [base.python, "-I", "-m", "venv", str(place)], 0.05),
        Step("Installing torch", [*install, "--constraint", str(REQUIREMENTS), "torch"], 0.7),
        Step("Installing the other libraries", [*install, "--requirement", str(REQUIREMENTS)], 0.95),
    )
    download, disk = _sizes(wheels, device)
    return Plan(folder, place, base, steps, download, disk)


def create(
    plan: Plan,
    on_progress: OnProgress = lambda fraction, text: None,
    on_log: Callable[[str], None] = lambda line: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> tuple[str, dict[str, str]]:
    """Carry out `plan` and return the interpreter and its versions (see `probe`).

    Every line of pip goes to `on_log`. On any failure or a cancel what was made is removed, and an
    engine that was there before is left as it was. Raises SetupError, SetupCancelled.
    """
    _check_space(plan)
    plan.folder.mkdir(parents=True, exist_ok=True)
    python = str(environment_python(plan.place))
    try:
        begin = 0.0
        for step in plan.steps:
            _run(step, begin, on_progress, on_log, is_cancelled)
            begin = step.end
        on_progress(begin, "Checking the engine")
        versions = probe(python, is_cancelled)
    except BaseException:
        shutil.rmtree(plan.place, ignore_errors=True)
        raise
    _point_to(plan.folder, plan.place.name)
    for place in _places(plan.folder):
        if place != plan.place:
            shutil.rmtree(place, ignore_errors=True)
    on_progress(1.0, "The engine is ready")
    return python, versions


def remove(folder: Path) -> bool:
    """Remove the managed environment in `folder` and say whether there was one; end its engine before.

    Raises SetupError where files can't be removed.
    """
    places = list(_places(folder))
    (folder / MARKER).unlink(missing_ok=True)
    for place in places:
        try:
            shutil.rmtree(place)
        except OSError as error:
            raise SetupError(
                f"{place} could not be removed whole ({error}): close other QGIS windows and try again, "
                "or remove the folder by hand."
            ) from error
    return bool(places)


def _run(
    step: Step,
    begin: float,
    on_progress: OnProgress,
    on_log: Callable[[str], None],
    is_cancelled: Callable[[], bool],
) -> None:
    """Run one command; its progress is counted in the packages that pip turns to."""
    on_progress(begin, step.text)
    lines = []
    expected = sum(1 for _ in _locked())
    turned_to = 0

    def on_line(line: str) -> None:
        nonlocal turned_to
        lines.append(line)
        on_log(line)
        if line.startswith(("Collecting ", "Processing ")):
            turned_to += 1
            share = min(turned_to / expected, 1.0)
            on_progress(begin + (step.end - begin) * share, f"{step.text}: {line.split()[1]}")

    try:
        code = run_command(step.command, pip_environment(step.command[0]), on_line, is_cancelled)
    except OSError as error:
        raise SetupError(f"{step.text} failed: {error}.") from error
    if code != 0:
        raise SetupError(f"{step.text} failed: {_telling_line(lines)}. The log has every line of it.")


def _telling_line(lines: list[str]) -> str:
    """Return the line that says best why pip failed."""
    errors = [line for line in lines if line.startswith("ERROR: ")]
    told = next(iter(errors[-1:] or [line for line in lines[::-1] if line.strip()]), "it said nothing")
    return told.replace("ERROR: ", "").strip().rstrip(".")


def _locked() -> Iterator[tuple[str, str]]:
    """Yield name and version of every requirement that this system has."""
    for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines():
        requirement, _, marker = line.partition(";")
        if "==" in requirement and not line.startswith("#") and ("win32" not in marker or os.name == "nt"):
            name, _, version = requirement.strip().partition("==")
            yield name, version


def _check_wheels(wheels: Path) -> None:
    """Raise SetupError, naming what is missing, where the folder can't serve the locked requirements."""
    if not wheels.is_dir():
        raise SetupError(f"There is no folder of wheels {wheels}.")
    held = set()
    for wheel in wheels.glob("*.whl"):
        name, version = wheel.name.split("-")[:2]
        held.add((_normal(name), version.partition("+")[0]))
    missing = [f"{name} {version}" for name, version in _locked() if (_normal(name), version) not in held]
    if missing:
        raise SetupError(
            f"The folder {wheels} has no wheel of {', '.join(missing)}: fill it on a machine with a network "
            f"by `pip download --dest FOLDER --requirement {REQUIREMENTS}`."
        )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _sizes(wheels: Path | None, device: str) -> tuple[int, int]:
    """Estimate bytes to download and on disk; on Linux pip's usual torch brings CUDA along."""
    if wheels is not None:
        return 0, 4 * sum(wheel.stat().st_size for wheel in wheels.glob("*.whl"))
    if device == "cuda" or sys.platform == "linux":
        return 4 * GIGABYTE, 8 * GIGABYTE
    return GIGABYTE // 2, 2 * GIGABYTE


def _check_space(plan: Plan) -> None:
    there = next(folder for folder in [plan.folder, *plan.folder.parents] if folder.exists())
    free = shutil.disk_usage(there).free
    if free < plan.disk_bytes:
        raise SetupError(
            f"The engine needs up to {plan.disk_bytes / GIGABYTE:.1f} GB in {plan.folder}, where "
            f"{free / GIGABYTE:.1f} GB are free: free some space, or use a PYTHON from elsewhere."
        )


def _new_place(folder: Path) -> Path:
    number = 1
    while (folder / f"engine-{number}").exists():
        number += 1
    return folder / f"engine-{number}"


def _places(folder: Path) -> Iterator[Path]:
    """Yield every environment in `folder`, finished or not."""
    yield from sorted(place for place in folder.glob("engine-*") if place.is_dir())


def _point_to(folder: Path, name: str) -> None:
    """Make the environment `name` the one that counts, at one stroke."""
    unfinished = folder / f"{MARKER}.part"
    unfinished.write_text(json.dumps({"environment": name}), encoding="utf-8")
    unfinished.replace(folder / MARKER)
