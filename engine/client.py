"""Runs jobs in a warm engine: one engine per interpreter, one job at a time, cancel within 2 s."""

from __future__ import annotations

import atexit
import queue
import threading
import time
from pathlib import Path

from .jobs import Job
from .process import LAUNCHER, EngineProcess
from .run import POLL_SECONDS, EngineError, GoneIdle, IsCancelled, JobRun, OnLog, OnProgress, cancelled

IDLE_SECONDS = 600.0
START_SECONDS = 60.0  # a cold disk and a virus scanner can hold up even a bare interpreter

__all__ = ["Engine", "EngineError", "engine_for", "shutdown_all"]


class Engine:
    """The engine of the interpreter `python`: started when first needed, then kept warm.

    It ends by itself after `idle_seconds` without a job. What it prints goes to `engine.log` in
    `log_folder`, if that is given.
    """

    def __init__(
        self,
        python: str,
        log_folder: Path | None = None,
        idle_seconds: float = IDLE_SECONDS,
        launcher: Path = LAUNCHER,
        start_seconds: float = START_SECONDS,
    ) -> None:
        self.python = python
        self._log_folder = log_folder
        self._idle_seconds = idle_seconds
        self._launcher = launcher
        self._start_seconds = start_seconds
        self._process: EngineProcess | None = None
        self._turn = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The number of the running process, None where none runs."""
        process = self._process
        return process.pid if process and process.exit_code is None else None

    def run(
        self,
        job: Job,
        on_progress: OnProgress = lambda fraction, text, seconds_left: None,
        on_log: OnLog = lambda level, text: None,
        is_cancelled: IsCancelled = lambda: False,
    ) -> dict:
        """Do `job` and return the value of its result.

        The three functions are called in the caller's thread. Raises EngineError: the job's own
        errors, or that the engine can't be started or died; the next run starts a fresh one.
        """
        while not self._turn.acquire(timeout=POLL_SECONDS):
            if is_cancelled():
                raise cancelled()
        try:
            while True:
                process = self._ready_process(is_cancelled)
                try:
                    return _follow(process, JobRun(process, job, on_progress, on_log, is_cancelled))
                except GoneIdle:
                    continue
        finally:
            self._turn.release()

    def stop(self) -> None:
        """End the process, whatever it does; a job that is running fails."""
        if process := self._process:
            process.stop(0.5)

    def _ready_process(self, is_cancelled: IsCancelled) -> EngineProcess:
        if self._process is not None and self._process.exit_code is not None:
            self._process.stop(0.0)  # closes what is left of it
            self._process = None
        if self._process is None:
            self._process = self._start(is_cancelled)
        return self._process

    def _start(self, is_cancelled: IsCancelled) -> EngineProcess:
        try:
            process = EngineProcess(self.python, self._launcher, self._idle_seconds, self._log_folder)
        except (OSError, ValueError) as error:
            raise self._unusable(f"can't be started ({error})") from error
        try:
            ready = self._first_message(process, is_cancelled)
            if ready["missing"]:
                raise self._unusable(f"lacks {', '.join(ready['missing'])}")
        except BaseException:
            process.kill()
            process.stop(0.2)
            raise
        return process

    def _first_message(self, process: EngineProcess, is_cancelled: IsCancelled) -> dict:
        deadline = time.monotonic() + self._start_seconds
        while time.monotonic() < deadline:
            if is_cancelled():
                raise cancelled()
            try:
                message = process.messages.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if message is None:
                process.wait(1.0)
                raise self._unusable(f"didn't start the engine: {process.last_line}")
            if message["type"] == "ready":
                return message
        raise self._unusable(f"didn't start the engine within {self._start_seconds:g} s")

    def _unusable(self, what: str) -> EngineError:
        return EngineError(
            "engine",
            f"The engine's interpreter {self.python} {what}. Run explain:setupengine to make or repair the "
            "engine, or choose another interpreter in the settings of Explanation Layers.",
        )


def _follow(process: EngineProcess, run: JobRun) -> dict:
    """Return the run's outcome; an engine that didn't say how it ended is ended and cleaned up after."""
    try:
        return run.outcome()
    finally:
        if not run.answered:
            process.kill()
            process.stop(0.2)
            run.remove_staged()


_engines: dict[str, Engine] = {}
_engines_lock = threading.Lock()


def engine_for(python: str, log_folder: Path | None = None) -> Engine:
    """Return this process's one engine of the interpreter `python`."""
    with _engines_lock:
        if python not in _engines:
            _engines[python] = Engine(python, log_folder)
        return _engines[python]


def shutdown_all() -> None:
    """End all engines of this process; for when the plugin is unloaded."""
    with _engines_lock:
        for engine in _engines.values():
            engine.stop()
        _engines.clear()


atexit.register(shutdown_all)
