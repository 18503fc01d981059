"""What the last channels of a segmentation network gave each pixel, and whether explainers add up on it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import cast

from ..engine.jobs import SegmentationContributionsJob as Job
from ..explainers.audit import audit
from ..explainers.base import Options
from ..explainers.seg_cams import LAYERS
from ..models.card import PIXEL_CLASSIFICATION
from ..models.files import Model, load_model
from ..models.segmentation_networks import SegmentationNetwork
from ..rasters.errors import InputError
from ..rasters.outputs import Outputs, check_space
from ..rasters.scene import Scene
from .chip_batches import memory_of_batch, stoppable
from .context import Context
from .devices import resolve_device
from .fitting import check_has_data, no_data, open_pair
from .record import lineage_tags, run_record, stage_records, with_records
from .segmentation_audit import Auditor
from .segmentation_look import Look
from .segmentation_tables import (
    audit_table,
    channel_table,
    correlation_table,
    worst_pixels,
)
from .segmentation_writers import ContributionWriters
from .targets import Target, baseline_spectrum, model_units
from .truth import read_truth


def contribute(job: Job, context: Context) -> dict:
    """Divide the outputs of `job`'s scene among channels, and audit methods on a sample of its pixels."""
    scene, model = open_pair(job.scene, job.model, PIXEL_CLASSIFICATION)
    _check(job, model)
    device = resolve_device(job.device)
    network = cast(SegmentationNetwork, model.network.to(device))
    target, baseline = Target(job, model.card), baseline_spectrum(job, model).to(device)
    window = scene.grid.window_of(job.extent)
    truth = read_truth(
        job.label_features, job.label_raster, job.unlabelled_value, model.card, scene.grid, context
    )
    other = _other(job, scene, device)
    options = Options(
        steps=job.steps, samples=job.samples, seed=job.seed, memory=memory_of_batch(job.memory_mb)
    )
    auditor = Auditor(job, network, target, baseline, options, context.check)
    names = model.card.class_names
    inputs = [
        path for path in (job.scene, job.model, job.other_model, job.label_features, job.label_raster) if path
    ]
    with Outputs(context.job_id, with_records(job.output_paths()), inputs) as outputs:
        grid = scene.grid.sub(window)
        bands = {
            "contributions": network.head.in_channels + 1, "evidence": 3, "cams": 2 * len(names),
        }  # fmt: skip
        pixels = grid.width * grid.height
        check_space({path: 4 * bands[name] * pixels for name in bands if (path := getattr(job, name))})
        context.progress(0.0, "Looking for data")
        check_has_data(scene, window, model.card.used_bands[0])
        facts: dict[str, object] = {
            "model_digest": model.card.digest, "baseline_values": model_units(baseline.cpu()),
        }  # fmt: skip
        with ExitStack() as stack:
            writers = ContributionWriters(job, outputs, grid, model.card, network, lineage_tags(job, facts),
                                          stack)  # fmt: skip
            stack.enter_context(stoppable(network, context))
            look = Look(job, context, scene, model, target, truth, other, window)
            look.at_channels(writers)
            if not look.pixels:
                raise no_data(scene)
            if job.cams:
                look.at_cams(writers)
            look.at_sample(auditor)
        writers.write_styles()
        graded = {name: audit(found) for name, found in auditor.findings.items()}
        facts |= {
            "pixels": look.pixels,
            "max_residual": look.largest,
            "spurious_share": look.evidence.spurious_share,
            "grades": {name: found.grade for name, found in graded.items()},
            "audited_pixels": {name: found.targets for name, found in graded.items()},
        }  # fmt: skip
        record = run_record(job, context, facts)
        stage_records(outputs, job.output_paths(), record)
    tables = {
        "AUDIT": audit_table(auditor),
        "CHANNELS": channel_table(network, names, look.channels),
        "EVIDENCE_TABLE": look.evidence.table(names),
        "WORST_PIXELS": worst_pixels(auditor, scene.grid),
    }
    if look.correlation:
        tables["CORRELATION"] = correlation_table(look.correlation.match())
    return {
        "files": job.wanted(),
        "tables": tables,
        "numbers": {
            "MAX_RESIDUAL": look.largest, "PIXELS": look.pixels,
            "SPURIOUS_SHARE": look.evidence.spurious_share,
        },
        "strings": {},
        "warnings": context.warnings,
        "record": record,
    }  # fmt: skip


def _check(job: Job, model: Model) -> None:
    if not isinstance(model.network, SegmentationNetwork):
        raise InputError(
            f"The model {job.model} is a {model.card.architecture}; choose a U-Net here, and explain this "
            "one by 'attribution', with secant_contributions for instance."
        )
    if job.cam_layer not in LAYERS:
        raise InputError(f"There is no layer '{job.cam_layer}'; choose one of {', '.join(LAYERS)}.")
    if not job.methods:
        raise InputError("No method is to be audited; choose one or more.")
    for name, value, least in (
        ("number of audited pixels", job.audit_pixels, 1), ("number of audited errors", job.audit_errors, 0),
        ("number of steps", job.steps, 1), ("number of samples", job.samples, 1), ("seed", job.seed, 0),
    ):  # fmt: skip
        if value < least:
            raise InputError(f"The {name} can't be {value}; choose {least} or more.")


def _other(job: Job, scene: Scene, device: str) -> Model | None:
    if not job.other_model:
        return None
    model = load_model(job.other_model, PIXEL_CLASSIFICATION)
    model.card.check_bands(scene.bands, scene.path)
    if not isinstance(model.network, SegmentationNetwork):
        raise InputError(
            f"The other model {job.other_model} is a {model.card.architecture}; choose a U-Net, whose "
            "channels can be compared."
        )
    model.network.to(device)
    return model
