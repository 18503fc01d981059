"""One job in one engine process: sent, followed to its end, stopped on request, cleaned up after."""

from __future__ import annotations

import glob
import os
import queue
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress

from .jobs import Job
from .process import EngineProcess

TERMINATE_AFTER, KILL_AFTER = 1.2, 1.6  # seconds after the cancel; a busy machine needs the rest of 2 s
POLL_SECONDS = 0.05

OnProgress = Callable[[float, str, "float | None"], None]
OnLog = Callable[[str, str], None]
IsCancelled = Callable[[], bool]


class EngineError(Exception):
    """A sentence for the user; `kind` is one of `messages.ERROR_KINDS`, `detail` is for the log."""

    def __init__(self, kind: str, text: str, detail: str = "") -> None:
        super().__init__(text)
        self.kind = kind
        self.detail = detail


class GoneIdle(Exception):
    """The engine ended by itself just as a job was sent."""


class JobRun:
    """One job in one process, from sending it to its last message."""

    def __init__(
        self,
        process: EngineProcess,
        job: Job,
        on_progress: OnProgress,
        on_log: OnLog,
        is_cancelled: IsCancelled,
    ) -> None:
        self.answered = False  # whether the engine has said how the job ended
        self._process = process
        self._job = job
        self._id = uuid.uuid4().hex
        self._on_progress = on_progress
        self._on_log = on_log
        self._is_cancelled = is_cancelled
        self._heard = False
        self._cancelled_at: float | None = None

    def outcome(self) -> dict:
        """Send the job and follow it to its end."""
        self._process.send({"type": "run", "id": self._id, "job": self._job.to_dict()})
        while True:
            self._see_to_cancel()
            try:
                message = self._process.messages.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if message is None:
                raise self._death() if self._cancelled_at is None else cancelled()
            if message.get("id") in (self._id, None):
                self._heard = True
                if message["type"] == "result":
                    self.answered = True
                    return message["value"]
                self._pass_on(message)

    def _see_to_cancel(self) -> None:
        """Ask the engine to stop, and make it stop if it doesn't."""
        if self._cancelled_at is None:
            if self._is_cancelled():
                self._cancelled_at = time.monotonic()
                self._process.send({"type": "cancel", "id": self._id})
            return
        waited = time.monotonic() - self._cancelled_at
        if waited > KILL_AFTER:
            self._process.kill()
        elif waited > TERMINATE_AFTER:
            self._process.terminate()

    def _pass_on(self, message: dict) -> None:
        if message["type"] == "progress":
            self._on_progress(message["fraction"], message["text"], message["seconds_left"])
        elif message["type"] == "log":
            self._on_log(message["level"], message["text"])
        elif message["type"] == "error":
            self.answered = True
            raise EngineError(message["kind"], message["text"], message["detail"])

    def _death(self) -> Exception:
        """Say why the engine ended in the middle of the job, as far as its exit code tells."""
        self._process.wait(1.0)
        code = self._process.exit_code
        if code == 0 and not self._heard:
            return GoneIdle()
        advice = "No output was kept; the next run starts a fresh engine."
        if code in (-9, 137):
            return EngineError(
                "memory",
                "The engine was killed, perhaps because memory ran out: lower the memory budget or choose a "
                f"smaller extent. {advice}",
            )
        detail = "\n".join(self._process.last_words)
        text = f"The engine ended unexpectedly (exit code {code}): {self._process.last_line}. {advice}"
        return EngineError("engine", text, detail)

    def remove_staged(self) -> None:
        """Remove what the job had staged and can no longer remove itself."""
        for output in self._job.output_paths():
            for folder in (output, os.path.dirname(output)):
                for staged in glob.glob(os.path.join(glob.escape(folder), f".part-{self._id}-*")):
                    if os.path.isdir(staged):
                        shutil.rmtree(staged, ignore_errors=True)
                    else:
                        with suppress(OSError):
                            os.unlink(staged)


def cancelled() -> EngineError:
    """Return the error of a job that the user stopped."""
    return EngineError("cancelled", "Cancelled.")
