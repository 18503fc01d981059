"""Run records: what is in them, where they lie, and what repeats."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from explanation_layers.engine.jobs import ClassifyJob
from explanation_layers.rasters.outputs import Outputs
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.record import (
    lineage_tags,
    record_path,
    run_record,
    stage_records,
    with_records,
)


@pytest.fixture
def job(tmp_path: Path) -> ClassifyJob:
    return ClassifyJob(
        "s.tif", "m.safetensors", classes=str(tmp_path / "c.tif"), confidence=str(tmp_path / "k.tif")
    )


def test_a_record_tells_job_facts_seed_versions_times_and_warnings(job: ClassifyJob) -> None:
    context = Context("1", lambda message: None, seed=7)
    context.warn("Beware.")
    time.sleep(0.05)
    record = run_record(job, context, {"model_digest": "abc"})
    assert record["job"] == job.to_dict() and record["job"]["kind"] == "classify"
    assert (record["model_digest"], record["seed"], record["warnings"]) == ("abc", 7, ["Beware."])
    assert {"python", "torch", "captum", "numpy", "rasterio"} <= set(record["versions"])
    started, finished = (
        datetime.strptime(record[name], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        for name in ("started", "finished")
    )
    assert abs(started.timestamp() - context.started) < 1.1 and started <= finished
    assert 0.04 < record["seconds"] < 60
    context.warn("Later.")
    assert record["warnings"] == ["Beware."]


def test_a_record_lies_beside_each_output(job: ClassifyJob, tmp_path: Path) -> None:
    with Outputs("1", with_records(job.output_paths())) as outputs:
        stage_records(outputs, job.output_paths(), {"name": "Grünland"})
    for name in ("c.json", "k.json"):
        assert json.loads((tmp_path / name).read_text("utf-8")) == {"name": "Grünland"}
        assert "Grünland" in (tmp_path / name).read_text("utf-8")
    assert len(list(tmp_path.iterdir())) == 2


def test_outputs_of_one_stem_share_a_record(tmp_path: Path) -> None:
    job = ClassifyJob("s", "m", classes=str(tmp_path / "a.tif"), confidence=str(tmp_path / "a.tiff"))
    assert with_records(job.output_paths()) == [job.classes, job.confidence, str(tmp_path / "a.json")]
    assert record_path("/data.v2/map") == "/data.v2/map.json"


def test_lineage_is_the_same_wherever_and_whenever_a_job_writes(job: ClassifyJob) -> None:
    tags = lineage_tags(job, {"model_digest": "abc"})
    lineage = json.loads(tags["EXPLANATION_LAYERS"])
    assert lineage["model_digest"] == "abc" and lineage["job"]["scene"] == "s.tif"
    elsewhere = ClassifyJob("s.tif", "m.safetensors", classes="/elsewhere/c.tif")
    assert lineage_tags(elsewhere, {"model_digest": "abc"}) == tags
    assert lineage_tags(ClassifyJob("s.tif", "n.safetensors"), {"model_digest": "abc"}) != tags
