"""What a running job may say and must ask: progress, log, warnings, and whether to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..rasters.errors import Cancelled

PROGRESS_INTERVAL = 0.1  # seconds between two progress messages


class Context:
    """A job's line to whoever asked for it; safe to use from several threads at once.

    `send` takes a message (see `engine.messages`). `started` is in seconds since the epoch.
    """

    def __init__(self, job_id: str, send: Callable[[dict], None], seed: int = 0) -> None:
        self.job_id = job_id
        self.seed = seed
        self.started = time.time()
        self.warnings: list[str] = []
        self._send = send
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._clock_start = time.monotonic()
        self._last_sent = float("-inf")
        self._waiting: tuple[float, str] | None = None

    def progress(self, fraction: float, text: str = "") -> None:
        """Report that `fraction` (0 to 1) of the job is done and what is being done now.

        At most ten reports a second are sent; the newest one held back goes out with a later
        `check` or `progress`.
        """
        with self._lock:
            self._waiting = (min(max(float(fraction), 0.0), 1.0), text)
        self._send_waiting()

    def log(self, text: str) -> None:
        """Send a line for the log."""
        self._send({"type": "log", "id": self.job_id, "level": "info", "text": text})

    def warn(self, text: str) -> None:
        """Send a warning, and keep it for the result and the run record."""
        with self._lock:
            self.warnings.append(text)
        self._send({"type": "log", "id": self.job_id, "level": "warning", "text": text})

    def check(self) -> None:
        """Raise Cancelled if the user asked to stop; call it at least a few times a second."""
        if self._cancelled.is_set():
            raise Cancelled("Cancelled.")
        if self._waiting is not None:
            self._send_waiting()

    def cancel(self) -> None:
        """Ask the job to stop at its next `check`."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether the user asked to stop."""
        return self._cancelled.is_set()

    def _send_waiting(self) -> None:
        with self._lock:
            now = time.monotonic()
            if self._waiting is None or now - self._last_sent < PROGRESS_INTERVAL:
                return
            (fraction, text), self._waiting, self._last_sent = self._waiting, None, now
            seconds_left = _seconds_left(fraction, now - self._clock_start)
        message = {"type": "progress", "id": self.job_id, "fraction": fraction, "text": text}
        self._send({**message, "seconds_left": seconds_left})


def _seconds_left(fraction: float, elapsed: float) -> float | None:
    """Extrapolate linearly; None while too little is done to tell."""
    if fraction < 0.02 or elapsed < 1.0:
        return None
    return elapsed * (1.0 - fraction) / fraction
