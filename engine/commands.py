"""Run a program line by line, stoppable at any moment with all that it started."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess  # nosec B404
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO, cast


class SetupError(Exception):
    """What is wrong with the engine's set-up and what to do, as a sentence for the user."""


class SetupCancelled(SetupError):
    """The user asked to stop."""


def run_command(
    command: Sequence[str],
    environment: Mapping[str, str],
    on_line: Callable[[str], None],
    is_cancelled: Callable[[], bool] = lambda: False,
) -> int:
    """Run `command`, hand every line that it prints to `on_line`, and return its exit code.

    Raises SetupCancelled within a fraction of a second of `is_cancelled` saying so, and OSError
    where the program can't be started.
    """
    # A list of arguments and no shell, hence nosec.
    process = subprocess.Popen(  # nosec B603
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=tempfile.gettempdir(),
        env=dict(environment),
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        start_new_session=os.name != "nt",
    )
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_read, args=(cast(IO[bytes], process.stdout), lines), daemon=True)
    reader.start()
    try:
        while True:
            if is_cancelled():
                raise SetupCancelled("Cancelled.")
            try:
                line = lines.get(timeout=0.05)
            except queue.Empty:
                continue
            if line is None:
                return process.wait()
            on_line(line)
    finally:
        if process.poll() is None:
            _kill(process)


def _read(stream: IO[bytes], lines: queue.Queue[str | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line.decode(errors="replace").rstrip())
    lines.put(None)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process; where the system has process groups, its children too."""
    if os.name == "nt":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
