"""An engine without torch, whose jobs do on request what real ones do by accident.

A process of its own, started like the real launcher; the tests build the same `FakeJob`.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

ROOT = Path(__file__).resolve().parents[2]

if __name__ == "__main__":
    spec = importlib.util.spec_from_file_location("launcher", ROOT / "engine" / "launcher.py")
    launcher = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(launcher)
    launcher.register(ROOT)

from explanation_layers.engine.jobs import JOBS, Job  # noqa: E402  (registered just above)


@dataclass(frozen=True)
class FakeJob(Job):
    """Do what `action` names, with `path` as the wanted output."""

    KIND: ClassVar[str] = "fake"
    OUTPUTS: ClassVar[tuple[str, ...]] = ("path",)

    action: str
    path: str | None = None
    value: float = 0.0


@dataclass(frozen=True)
class UnknownJob(Job):
    """A kind that the engine has never heard of."""

    KIND: ClassVar[str] = "unheard_of"


JOBS[FakeJob.KIND] = FakeJob


def act(job: FakeJob, context) -> dict:
    """Carry out the job."""
    return globals()[f"do_{job.action}"](job, context)


def do_pid(job, context):
    return {"numbers": {"pid": os.getpid()}}


def do_echo(job, context):
    print("a library prints to stdout")
    os.write(1, b"and so does its C code\n")
    return {"numbers": {"value": job.value}}


def do_talk(job, context):
    for step in range(5):
        context.progress(step / 4, f"step {step}")
        time.sleep(0.11)
    context.log("a line")
    context.warn("beware")
    return {"warnings": context.warnings}


def do_input_error(job, context):
    from explanation_layers.rasters.errors import InputError

    raise InputError("There is no band 7 in x.tif: choose 1 to 5.")


def do_bug(job, context):
    return {}["missing"]


def do_out_of_memory(job, context):
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")


def do_unsendable(job, context):
    return {"numbers": {"value": object()}}


def do_staged_then_wait(job, context):
    _stage(job, context)
    context.progress(0.5, "staged")
    try:
        while True:
            context.check()
            time.sleep(0.01)
    finally:
        _staged(job, context).unlink()


def do_staged_then_deaf(job, context):
    _stage(job, context)
    context.progress(0.5, "staged")
    time.sleep(60)


def do_staged_then_frozen(job, context):
    _stage(job, context)
    context.progress(0.5, "staged")
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGSTOP)  # a stopped process hears nothing but SIGKILL
    time.sleep(60)  # the other threads stop a moment later than the one that got the signal


def do_exit(job, context):
    print("the last words", file=sys.stderr)
    sys.stderr.flush()
    os._exit(3)


def _staged(job, context) -> Path:
    path = Path(job.path)
    return path.with_name(f".part-{context.job_id}-{path.name}")


def _stage(job, context):
    _staged(job, context).write_text("half")


if __name__ == "__main__":
    from explanation_layers.workflows import server

    server.main(registry={"fake": "__main__:act"}, requirements=())
