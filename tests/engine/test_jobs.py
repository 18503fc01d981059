"""Jobs survive the trip over the bridge."""

from __future__ import annotations

import json

import pytest

from explanation_layers.engine.jobs import JOBS, AttributionJob, job_from_dict


def test_a_job_is_the_same_after_the_trip():
    job = AttributionJob(
        scene="/s.tif", model="/m.safetensors", extent=[0.0, 1.0, 2.0, 3.0], saliency="/o.tif"
    )
    assert job_from_dict(json.loads(json.dumps(job.to_dict()))) == job


def test_only_wanted_outputs_are_listed():
    job = AttributionJob(scene="/s.tif", model="/m.safetensors", saliency="/o.tif")
    assert job.output_paths() == ["/o.tif"]


@pytest.mark.parametrize("kind", JOBS)
def test_every_output_is_a_field(kind):
    assert set(JOBS[kind].OUTPUTS) <= set(JOBS[kind].__dataclass_fields__)


def test_unknown_kinds_and_fields_are_named():
    with pytest.raises(ValueError, match="'nonsense'"):
        job_from_dict({"kind": "nonsense"})
    with pytest.raises(ValueError, match="colour"):
        job_from_dict({"kind": "probe", "colour": "red"})
