"""Asks the engine to explain pixels without making the window wait: the newest request wins."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

from qgis.core import QgsProcessingException
from qgis.PyQt.QtCore import QObject, pyqtSignal

from ...algorithms import _settings
from ...algorithms._run import required_python
from ...algorithms._text import tr
from ...engine.client import EngineError, engine_for
from ...engine.jobs import Job

# A request that another one has replaced is let finish for so long: the engine may be loading torch or the
# model, and one that is stopped then would have to begin again at every click.
PATIENCE_SECONDS = 10.0
_CLOSE_SECONDS = 2.0


class PixelRequests(QObject):
    """Runs one request at a time on a thread of its own; of those that wait only the newest is kept.

    Every request has a key that comes back with its answer. `answered` carries the engine's result; `failed`
    a sentence. An engine that died is started again by the next request.
    """

    answered = pyqtSignal(object, object)
    failed = pyqtSignal(object, str)

    def __init__(self) -> None:
        super().__init__()
        self._turn = threading.Condition()
        self._waiting: tuple[Hashable, Callable[[], Job]] | None = None
        self._running = self._closed = False
        self._started = 0.0
        # One thread for all: starting one at each click could hold up the window on a busy machine.
        self._thread = threading.Thread(target=self._work, name="explanation-layers-pixels", daemon=True)
        self._thread.start()

    def ask(self, key: Hashable, make_job: Callable[[], Job]) -> None:
        """Run the job that `make_job` returns; that is called on the other thread too."""
        with self._turn:
            self._waiting = key, make_job
            self._turn.notify()

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return self._running or self._waiting is not None

    def close(self) -> None:
        """Stop, and wait until nothing more can arrive."""
        with self._turn:
            self._closed, self._waiting = True, None
            self._turn.notify()
        self._thread.join(_CLOSE_SECONDS)

    def _work(self) -> None:
        while True:
            with self._turn:
                self._running = False
                while self._waiting is None and not self._closed:
                    self._turn.wait()
                if self._closed or self._waiting is None:
                    return
                (key, make_job), self._waiting = self._waiting, None
                self._running, self._started = True, time.monotonic()
            self._run(key, make_job)

    def _run(self, key: Hashable, make_job: Callable[[], Job]) -> None:
        try:
            engine = engine_for(required_python(), _settings.profile_folder())
            self._emit(self.answered, key, engine.run(make_job(), is_cancelled=self._is_cancelled))
        except EngineError as error:
            if error.kind != "cancelled":
                self._emit(self.failed, key, str(error))
        except QgsProcessingException as error:
            self._emit(self.failed, key, str(error))
        except Exception as error:
            text = tr("The pixel could not be explained: {reason}.").format(reason=error)
            self._emit(self.failed, key, text)

    def _is_cancelled(self) -> bool:
        superseded = self._waiting is not None and time.monotonic() - self._started > PATIENCE_SECONDS
        return self._closed or superseded

    def _emit(self, signal, *arguments: object) -> None:
        if not self._closed:
            signal.emit(*arguments)
