"""Compare networks of single sensors with one of all: accuracy, shares per sensor, and what changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rasterio.windows import Window

from ..engine.jobs import CompareSensorsJob
from ..models.samples import PatchSamples
from ..rasters.errors import InputError
from ..rasters.outputs import Outputs, check_space
from ..rasters.scene import Scene
from ..rasters.sensors import Sensor, sensors_of
from ..rasters.stack import Stack, open_stack
from .context import Context
from .devices import resolve_device
from .fitting import check_has_data
from .record import lineage_tags, run_record, stage_records, with_records
from .sensor_accuracy import Judged, NetAccuracy, accuracies, accuracy_table
from .sensor_attributions import SensorNetwork
from .sensor_nets import Net, Nets, given_nets, trained_nets
from .sensor_pixels import drawn, labelled_pixels, predicted_pixels, subset, warn_of_absent
from .sensor_profiles import Change, Sizes, changes_table, claims, sensor_changes
from .sensor_raster import SharesRaster
from .sensor_report import Findings, sensor_report
from .sensor_shares import ALL, SensorShare, sensor_shares, shares_table

# Shares of the progress where training and where explaining end; then the raster, and the tables.
_TRAINED, _EXPLAINED, _MAPPED = 0.6, 0.75, 0.9
MOST_SENSORS = 8  # with more, coalitions are too many


def compare(job: CompareSensorsJob, context: Context) -> dict:
    """Train or read the networks that `job` names, explain them, and tell what each sensor did."""
    if job.sample < 1:
        raise InputError(f"The number of pixels to explain can't be {job.sample}; choose 1 or more.")
    device = resolve_device(job.device)
    scene = open_stack(job.scenes, job.resampling, job.grid)
    sensors = sensors_of(job.sensor_bands, scene)
    if len(sensors) > MOST_SENSORS:
        raise InputError(f"{len(sensors)} sensors are too many; compare {MOST_SENSORS} at most.")
    window = scene.grid.window_of(job.extent)
    inputs = [path for path in (*job.scenes, *job.models, job.label_features, job.label_raster) if path]
    folders = [job.model_folder] if job.model_folder else []
    with Outputs(context.job_id, with_records(job.output_paths()), inputs, folders) as outputs:
        if job.shares_raster:
            check_space({job.shares_raster: 4 * len(sensors) * int(window.width) * int(window.height)})
        context.progress(0.0, "Looking for data")
        check_has_data(scene, window, sensors[0].bands[0])
        nets = _nets(job, context, scene, sensors, device, outputs)
        pixels, test = _pixels(job, context, scene, nets, window, device)
        found = _Explained(job, context, nets, pixels, device)
        shares = sensor_shares(nets, scene, found.classes, found.joint, found.shapley, job.seed)
        facts = {"sensors": _sensor_facts(scene, sensors), "networks": _net_facts(nets), **found.facts()}
        if job.shares_raster:
            members = [nets.sensors[place] for place in nets.joint.sensors]
            groups = {sensor.name: nets.joint.places(sensor) for sensor in members}
            model = nets.joint.models[0]
            raster = SharesRaster(context, scene, model, groups, device, job.memory_mb, job.seed)
            tags = lineage_tags(job, {"model_digest": model.card.digest})
            raster.write(job.shares_raster, outputs, window, tags, (_EXPLAINED, _MAPPED))
        context.progress(_MAPPED, "Comparing networks")
        changes = sensor_changes(nets, scene, found.classes, found.sizes, job.seed, context.check)
        judged = _judged(job, context, nets, test, device) if test is not None else []
        if not any(change.floor_pairs for change in changes):
            context.warn(
                "There is one network of each kind, so that nothing tells what changes from seed to seed; "
                "no change is claimed. Train two SEEDS or more, or give more MODELS."
            )
        record = run_record(job, context, {**facts, **_numbers(nets, pixels, shares, changes, judged)})
        if job.report:
            with open(outputs.stage(job.report), "w", encoding="utf-8") as page:
                page.write(
                    sensor_report(
                        Findings(nets, scene, found.sizes, found.classes, shares, changes, judged), record
                    )
                )
        stage_records(outputs, job.output_paths(), record)
    tables = {"SHARES": shares_table(shares), "CORRELATION": changes_table(changes)}
    if judged:
        tables["ACCURACY"] = accuracy_table(judged, [nets.name(net) for net in nets.nets])
    return {
        "files": job.wanted(),
        "tables": tables,
        "numbers": _numbers(nets, pixels, shares, changes, judged),
        "strings": {},
        "warnings": context.warnings,
        "record": record,
    }


def _nets(
    job: CompareSensorsJob, context: Context, scene: Scene, sensors: tuple[Sensor, ...], device: str,
    outputs: Outputs,
) -> Nets:  # fmt: skip
    if job.models:
        if job.model_folder:
            raise InputError(
                "MODEL_FOLDER takes networks that are trained, and MODELS are given; leave it empty."
            )
        return given_nets(job, scene, sensors)
    folder = outputs.stage_folder(job.model_folder) if job.model_folder else None
    return trained_nets(job, context, scene, sensors, device, _TRAINED, folder)


def _pixels(
    job: CompareSensorsJob, context: Context, scene: Scene, nets: Nets, window: Window, device: str
) -> tuple[PatchSamples, PatchSamples | None]:
    """Return the pixels to explain, and those of known class to judge on, None without labels."""
    test = nets.test
    if test is None and (job.label_features or job.label_raster):
        test = labelled_pixels(job, context, scene, nets)
        context.warn(
            "Accuracy is that on all LABELS; where the models were trained on some of them, it flatters "
            "these models."
        )
    if test is None:
        pixels = predicted_pixels(job, context, scene, nets, window, device)
    else:
        pixels = subset(test, drawn(test, job.sample, job.seed))
    warn_of_absent(pixels, context)
    values = 4 * len(pixels) * sum(len(net.bands) * len(net.models) for net in nets.nets)
    if values > job.memory_mb * 2**20:
        raise InputError(
            f"The attributions of {len(pixels)} pixels take {values / 2**20:.0f} MB, more than the "
            f"{job.memory_mb} MB that they may; lower SAMPLE, or raise the memory."
        )
    return pixels, test


class _Explained:
    """What every network attributes to its bands on the pixels, and what each sensor did in the joint ones.

    `sizes`: absolute attributions; `joint` (seed, pixel, sensor) their sums over the sensors of the joint
    networks; `shapley` (seed, pixel, sensor).
    """

    def __init__(
        self, job: CompareSensorsJob, context: Context, nets: Nets, pixels: PatchSamples, device: str
    ) -> None:
        self.classes = pixels.classes.numpy()
        total = len(pixels) * sum(len(net.models) for net in nets.nets)
        start, done = _TRAINED if nets.test is not None else 0.0, 0
        groups = [nets.joint.places(nets.sensors[place]) for place in nets.joint.sensors]
        sizes: dict[tuple[int, ...], list[np.ndarray]] = {}
        shapley, residuals, differences, off = [], [], [], 0.0

        def step(count: int) -> None:
            nonlocal done
            done += count
            share = start + (_EXPLAINED - start) * done / total
            context.progress(share, f"Explaining, {done} of {total} pixels of networks done")

        for net in nets.nets:
            for model in net.models:
                network = SensorNetwork(model, nets.joint.bands, device, job.memory_mb, job.seed)
                network.learn(context.check)
                result = network.attribute(pixels, context.check, step)
                sizes.setdefault(net.sensors, []).append(np.abs(result.values))
                residuals.append(np.abs(result.residual))
                differences.append(np.abs(result.difference))
                if net is nets.joint:
                    values, whole = network.shapley(pixels, groups, context.check)
                    shapley.append(values)
                    off = max(off, float(np.abs(values.sum(1) - whole).max()))
        self.sizes: Sizes = sizes
        self.shapley = np.stack(shapley)
        of_joint = np.stack(sizes[nets.joint.sensors])
        self.joint = np.stack([of_joint[..., group].sum(-1) for group in groups], -1)
        self._residual = float(np.mean(residuals) / max(float(np.mean(differences)), 1e-12))
        self._off = off

    def facts(self) -> dict:
        """Return what the run record says of the explanations."""
        return {
            "pixels": len(self.classes),
            "explained": "logit of each pixel's class, integrated gradients from the mean training spectrum",
            "mean_residual": self._residual,
            "shapley_values_off_by": self._off,
        }


def _judged(
    job: CompareSensorsJob, context: Context, nets: Nets, test: PatchSamples, device: str
) -> list[NetAccuracy]:
    """Judge every network, and the joint one with each sensor at its mean."""

    def predictions(net: Net, absent: Callable[[Net], list[np.ndarray]] = lambda net: []) -> np.ndarray:
        networks = (
            SensorNetwork(model, nets.joint.bands, device, job.memory_mb, job.seed) for model in net.models
        )
        return np.stack([network.predict(test, context.check, absent(net)) for network in networks])

    entries = [Judged(nets.name(net), predictions(net)) for net in nets.nets]
    for place in nets.joint.sensors:
        sensor = nets.sensors[place]
        without = predictions(nets.joint, lambda net, sensor=sensor: [net.places(sensor)])  # type: ignore[misc]
        entries.append(Judged(f"{nets.name(nets.joint)}, {sensor.name} at its mean", without, True))
    return accuracies(entries, test.classes.numpy(), test.names, job.seed, context.check)


def _numbers(
    nets: Nets, pixels: PatchSamples, shares: list[SensorShare], changes: list[Change],
    judged: list[NetAccuracy],
) -> dict[str, float | int | None]:  # fmt: skip
    """Return the number outputs; accuracies are those of the means over seeds, None without labels."""
    overall = {row.network: row.accuracy.value for row in judged if row.class_name == ALL}
    joint = overall.get(nets.name(nets.joint))
    single = [value for net in nets.nets[:-1] if (value := overall.get(nets.name(net))) is not None]
    first = next(row for row in shares if row.class_name == ALL)
    return {
        "OVERALL_ACCURACY": joint,
        "BEST_SINGLE_ACCURACY": max(single, default=None),
        "ACCURACY_GAIN": joint - max(single) if joint is not None and single else None,
        "FIRST_SENSOR_SHARE": first.share.value,
        "PIXELS": len(pixels),
        "CHANGES": len(claims(changes)),
    }


def _sensor_facts(scene: Scene, sensors: tuple[Sensor, ...]) -> list[dict]:
    """Return each sensor's bands, counted from 1, and the raster grid that it is seen on."""
    return [
        {
            "name": sensor.name,
            "bands": [band + 1 for band in sensor.bands],
            "resampling": scene.resampling if isinstance(scene, Stack) else None,
            "pixel": [abs(scene.grid.transform.a), abs(scene.grid.transform.e)],
        }
        for sensor in sensors
    ]


def _net_facts(nets: Nets) -> list[dict]:
    return [
        {"name": nets.name(net), "digests": [model.card.digest for model in net.models]} for net in nets.nets
    ]
