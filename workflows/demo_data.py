"""Demo data: simulate a scene with known evidence into a folder."""

from __future__ import annotations

from ..engine.jobs import DemoDataJob
from ..rasters.errors import InputError
from ..rasters.simulate import SCENE_KINDS
from .context import Context

SMALLEST, LARGEST = 32, 4096


def simulate(job: DemoDataJob, context: Context) -> dict:
    """Simulate the scene that `job` asks for; InputError where its values can't be used."""
    if job.scene_kind not in SCENE_KINDS:
        raise InputError(f"There is no scene '{job.scene_kind}'; choose one of {', '.join(SCENE_KINDS)}.")
    if not SMALLEST <= job.size <= LARGEST:
        raise InputError(
            f"A scene can't be {job.size} pixels wide; choose a size from {SMALLEST} to {LARGEST}."
        )
    if job.seed < 0:
        raise InputError(f"The seed can't be {job.seed}; choose 0 or a positive whole number.")

    def on_progress(fraction: float) -> None:
        context.check()
        context.progress(fraction, "Simulating the scene")

    context.check()
    paths = SCENE_KINDS[job.scene_kind](job.folder, job.size, job.seed, context.job_id, on_progress)
    return {
        "files": {"folder": job.folder, **paths},
        "tables": {},
        "numbers": {},
        "strings": {name.upper(): path for name, path in paths.items()},
        "warnings": context.warnings,
        "record": {"job": job.to_dict(), "seed": job.seed, "started": context.started},
    }
