"""The run record: the JSON beside every output, and the lineage inside it."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import torch

from ..engine.jobs import Job
from ..rasters.outputs import Outputs
from .context import Context

_LIBRARIES = ("torch", "captum", "numpy", "rasterio", "scikit-learn", "safetensors", "monai")


def run_record(job: Job, context: Context, facts: Mapping[str, object]) -> dict:
    """Return the record of a finished job: the job, `facts` it found, seed, versions, times, warnings."""
    finished = time.time()
    return {
        "job": job.to_dict(),
        **facts,
        "seed": context.seed,
        "warnings": list(context.warnings),
        "started": _as_text(context.started),
        "finished": _as_text(finished),
        "seconds": round(finished - context.started, 3),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
        "threads": torch.get_num_threads(),
    }


def record_path(output: str) -> str:
    """Return the path of the run record beside an output."""
    return os.path.splitext(output)[0] + ".json"


def with_records(paths: Sequence[str]) -> list[str]:
    """Return the paths of outputs and of the run records beside them."""
    return [*paths, *_record_paths(paths)]


def stage_records(outputs: Outputs, paths: Sequence[str], record: dict) -> None:
    """Stage the record beside each output."""
    for path in _record_paths(paths):
        with open(outputs.stage(path), "w", encoding="utf-8") as file:
            json.dump(record, file, indent=2, ensure_ascii=False)


def lineage_tags(job: Job, facts: Mapping[str, object]) -> dict[str, str]:
    """Return the part of the record that does not change between equal runs, as tags of a raster.

    Where the outputs went is no part of it.
    """
    asked = {name: value for name, value in job.to_dict().items() if name not in job.OUTPUTS}
    return {
        "TIFFTAG_SOFTWARE": "Explanation Layers",
        "EXPLANATION_LAYERS": json.dumps({"job": asked, **facts}, ensure_ascii=False),
    }


def _record_paths(paths: Sequence[str]) -> list[str]:
    return sorted({record_path(path) for path in paths})


def _as_text(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
