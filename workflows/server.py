"""The engine process: reads jobs from stdin, does them one at a time, writes messages to stdout.

The main thread only reads, so that a cancel is heard at once; a worker thread does the jobs. What
a job needs is imported when it is first asked for: the engine is ready long before torch could be.
"""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import importlib.util
import os
import platform
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, NoReturn

from ..engine.jobs import Job, job_from_dict
from ..engine.messages import decode, encode
from ..rasters.errors import Cancelled, InputError
from .context import Context

# Job kind -> "module:function"; the function maps (job, context) to the value of the result.
REGISTRY = {
    "probe": ".probe:probe",
    "demo_data": ".demo_data:simulate",
    "train_classifier": ".train_classifier:train",
    "train_scene_classifier": ".train_scene_classifier:train",
    "classify": ".classify:classify",
    "attribution": ".attribution:explain",
    "evaluate_explainers": ".evaluate_explainers:evaluate",
    "segmentation_contributions": ".segmentation_contributions:contribute",
    "train_autoencoder": ".train_autoencoder:train",
    "cluster_series": ".cluster_series:cluster",
    "grad_slam": ".grad_slam:explain",
    "absorption_features": ".absorption_features:find_features",
    "unmix": ".unmix:unmix",
    "compare_sensors": ".compare_sensors:compare",
    "misclassifications": ".misclassifications:find_errors",
    "explain_pixels": ".explain_pixels:explain_pixels",
}
REQUIREMENTS = ("torch", "captum", "numpy", "rasterio", "sklearn", "safetensors", "jinja2", "monai")
# Jobs that leave no network behind, and would have the next one wait for a collection of 0.3 s.
_SHORT = ("probe", "explain_pixels")
LAST_MOMENT = 1.0  # seconds that a running job gets to clean up when QGIS has gone


class Server:
    """One engine: a queue of jobs, their contexts, and the stream that messages go to."""

    def __init__(self, stream: BinaryIO, registry: Mapping[str, str], idle_seconds: float) -> None:
        self._stream = stream
        self._registry = registry
        self._idle_seconds = idle_seconds
        self._jobs: queue.Queue[tuple[Job, Context]] = queue.Queue()
        self._contexts: dict[str, Context] = {}
        self._write_lock = threading.Lock()
        self._worker = threading.Thread(target=self._work, name="jobs", daemon=True)

    def serve(self, commands: BinaryIO, missing: Sequence[str]) -> NoReturn:
        """Say that the engine is ready and do what `commands` ask, until they end."""
        self.send(
            {
                "type": "ready",
                "pid": os.getpid(),
                "python": platform.python_version(),
                "missing": list(missing),
            }
        )
        self._worker.start()
        for line in commands:
            if not self._obey(line):
                break
        self._leave()

    def send(self, message: dict) -> None:
        """Write one message; where nobody reads any more the process ends."""
        line = encode(message)
        try:
            with self._write_lock:
                self._stream.write(line)
                self._stream.flush()
        except OSError:
            os._exit(1)

    def _obey(self, line: bytes) -> bool:
        """Carry out one line; False if it asks to end."""
        job_id = None
        try:
            message = decode(line)
            job_id = message.get("id")
            if message["type"] == "quit":
                return False
            if message["type"] == "cancel":
                if context := self._contexts.get(str(job_id)):
                    context.cancel()
            elif message["type"] == "run":
                self._accept(str(message["id"]), message["job"])
            else:
                raise ValueError(f"unknown type '{message['type']}'")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self._fail(job_id, "internal", f"The engine was sent something it can't read: {error}", "")
        return True

    def _accept(self, job_id: str, values: dict) -> None:
        job = job_from_dict(values)
        context = Context(job_id, self.send, getattr(job, "seed", 0))
        self._contexts[job_id] = context
        self._jobs.put((job, context))

    def _work(self) -> None:
        while True:
            try:
                job, context = self._jobs.get(timeout=self._idle_seconds)
            except queue.Empty:
                os._exit(0)
            self._do(job, context)
            del self._contexts[context.job_id]
            # Networks refer to themselves: all their weights would wait for a rare full collection.
            if job.KIND not in _SHORT:
                gc.collect()

    def _do(self, job: Job, context: Context) -> None:
        try:
            context.check()
            value = self._handler(job.KIND)(job, context)
            self.send({"type": "result", "id": context.job_id, "value": value})
        except BaseException as error:
            self._fail(context.job_id, *_describe(error, context.cancelled))

    def _handler(self, kind: str) -> Callable[[Job, Context], dict]:
        module, _, function = self._registry[kind].partition(":")
        return getattr(importlib.import_module(module, __package__), function)

    def _fail(self, job_id: str | None, kind: str, text: str, detail: str) -> None:
        self.send({"type": "error", "id": job_id, "kind": kind, "text": text, "detail": detail})

    def _leave(self) -> NoReturn:
        """Give a running job a moment to remove what it staged, then end without waiting."""
        for context in list(self._contexts.values()):
            context.cancel()
        deadline = time.monotonic() + LAST_MOMENT
        while self._contexts and time.monotonic() < deadline:
            time.sleep(0.01)
        os._exit(0)


def _describe(error: BaseException, cancelled: bool) -> tuple[str, str, str]:
    """Return the kind, the sentence and the detail that tell the user of `error`."""
    detail = "".join(traceback.format_exception(error))
    if cancelled or isinstance(error, Cancelled):
        return "cancelled", "Cancelled.", ""
    if isinstance(error, InputError):
        return "input", str(error), ""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" while writing {error.filename}" if error.filename else ""
        return "input", f"The disk is full{where}: free some space or choose another folder.", detail
    if _is_out_of_memory(error):
        return "memory", "Memory ran out: lower the memory budget or choose a smaller extent.", detail
    if isinstance(error, ImportError):
        text = f"{sys.executable} can't load what the engine needs ({error}): run explain:setupengine."
        return "internal", text, detail
    last_line = traceback.format_exception_only(error)[-1].strip()
    return "internal", f"The engine met an error that it didn't expect: {last_line}", detail


def _is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out: torch has a class for devices only, for the CPU just a text."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator" in str(error)
    )


def _keep_streams() -> tuple[BinaryIO, BinaryIO]:
    """Take stdin and stdout for messages alone: what libraries print goes to stderr."""
    commands = os.fdopen(os.dup(0), "rb")
    messages = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return commands, messages


def main(
    arguments: Sequence[str] | None = None,
    registry: Mapping[str, str] = REGISTRY,
    requirements: Sequence[str] = REQUIREMENTS,
) -> NoReturn:
    """Run the engine until it is told to end, nobody listens, or it has been idle for long."""
    parser = argparse.ArgumentParser(prog="explanation-layers-engine", description=__doc__)
    parser.add_argument("--idle-seconds", type=float, default=600.0, help="end after so long without a job")
    options = parser.parse_args(arguments)
    missing = [name for name in requirements if importlib.util.find_spec(name) is None]
    commands, messages = _keep_streams()
    Server(messages, registry, options.idle_seconds).serve(commands, missing)
