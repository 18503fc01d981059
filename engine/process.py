"""One engine process: started apart from QGIS's libraries, read by a thread, ended for certain."""

from __future__ import annotations

import collections
import logging
import logging.handlers
import os
import queue
import subprocess  # nosec B404
import tempfile
import threading
from pathlib import Path
from typing import IO, cast

from .environment import engine_environment
from .messages import decode, encode

LAUNCHER = Path(__file__).resolve().with_name("launcher.py")
LOG_BYTES, LOG_FILES = 1_000_000, 3


class EngineProcess:
    """A running engine; `OSError` where the interpreter can't be started.

    `messages` holds what the engine said, and None once it has gone.
    """

    def __init__(self, python: str, launcher: Path, idle_seconds: float, log_folder: Path | None) -> None:
        self.messages: queue.Queue[dict | None] = queue.Queue()
        self.last_words: collections.deque[str] = collections.deque(maxlen=20)
        self._log = _logger(log_folder)
        # A list of arguments and no shell, hence nosec.
        # -I keeps PYTHON* variables, the user's site folder and the launcher's own folder out.
        self._process = subprocess.Popen(  # nosec B603
            [python, "-I", "-u", "-X", "utf8", str(launcher), "--idle-seconds", str(idle_seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tempfile.gettempdir(),
            env=engine_environment(python),
            # No console window on Windows; elsewhere Ctrl+C in QGIS's terminal is not for the engine.
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            start_new_session=os.name != "nt",
        )
        self._stdin = cast(IO[bytes], self._process.stdin)
        self._readers = [
            threading.Thread(target=target, name="explanation-layers-engine", daemon=True)
            for target in (self._read_messages, self._read_errors)
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """What the process ended with; None while it runs."""
        return self._process.poll()

    @property
    def last_line(self) -> str:
        """The last line that the process wrote to stderr, without a full stop."""
        return self.last_words[-1].rstrip(".") if self.last_words else "it said nothing"

    def send(self, message: dict) -> None:
        """Write `message`; an engine that has gone is noticed by who reads `messages`."""
        try:
            self._stdin.write(encode(message))
            self._stdin.flush()
        except (OSError, ValueError):  # the pipe is broken, or closed by `stop`
            self._log.debug("The engine no longer reads.")

    def wait(self, seconds: float) -> bool:
        """Wait for the process to end and say whether it did; reads what it said last."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        for reader in self._readers:
            reader.join(0.2)
        return True

    def terminate(self) -> None:
        """Ask the system to end the process."""
        self._process.terminate()

    def kill(self) -> None:
        """Make the system end the process."""
        self._process.kill()

    def stop(self, patience: float) -> None:
        """End the process: by closing its stdin, and by force after `patience` seconds."""
        try:
            self._stdin.close()
        except OSError:
            self._log.debug("The engine had gone.")
        if not self.wait(patience):
            self._process.kill()
            self.wait(1.0)

    def _read_messages(self) -> None:
        with cast(IO[bytes], self._process.stdout) as lines:
            for line in lines:
                try:
                    self.messages.put(decode(line))
                except ValueError:
                    self._log.warning("Not a message: %r", line[:200])
        self.messages.put(None)

    def _read_errors(self) -> None:
        with cast(IO[bytes], self._process.stderr) as lines:
            for line in lines:
                if text := line.decode(errors="replace").rstrip():
                    self.last_words.append(text)
                    self._log.info("%s", text)


def _logger(folder: Path | None) -> logging.Logger:
    """Return the logger that keeps the engine's stderr in `folder`, as at most 3 files of 1 MB."""
    logger = logging.getLogger(f"explanation_layers.engine.{folder}")
    if not logger.handlers:
        logger.propagate = False
        logger.setLevel(logging.INFO)
        logger.addHandler(_file_handler(folder) if folder else logging.NullHandler())
    return logger


def _file_handler(folder: Path) -> logging.Handler:
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        folder / "engine.log",
        maxBytes=LOG_BYTES,
        backupCount=LOG_FILES - 1,
        encoding="utf-8",
        delay=True,
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    return handler
