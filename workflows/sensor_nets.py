"""The networks that are compared: of each sensor alone and of all together, trained here or given."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ..engine.jobs import CompareSensorsJob, TrainClassifierJob
from ..models.card import PIXEL_CLASSIFICATION, CardBand
from ..models.files import Model, load_model, save_model
from ..models.networks import PatchNetwork
from ..models.samples import PatchSamples
from ..models.splits import Split
from ..rasters.errors import InputError, first_of
from ..rasters.scene import Scene
from ..rasters.sensors import Sensor
from .context import Context
from .samples import usable_bands
from .train_classifier import card_of, check_training, run_trial
from .train_patches import PatchLearner
from .training_labels import read_labels

ARCHITECTURES = ("spectral_cnn", "spatial_cnn", "hybrid_cnn")


@dataclass(frozen=True)
class Net:
    """Networks that read the bands of the same sensors, one for each seed.

    `sensors` are places among all sensors. Each model's card has the scene's bands, so that its used bands
    are indices of the scene.
    """

    sensors: tuple[int, ...]
    models: tuple[Model, ...]

    @property
    def bands(self) -> list[int]:
        """Indices of the scene's bands that the networks read."""
        return self.models[0].card.used_bands

    def places(self, sensor: Sensor) -> np.ndarray:
        """Return where among the networks' bands those of a sensor are."""
        return np.flatnonzero(np.isin(self.bands, sensor.bands))


@dataclass(frozen=True)
class Nets:
    """All networks: those of one sensor, or of some, and last the `joint` ones that read all of these.

    `test`, where they were trained here, are labelled pixels that no network has seen.
    """

    sensors: tuple[Sensor, ...]
    nets: tuple[Net, ...]
    test: PatchSamples | None = None
    split: Split | None = None

    @property
    def joint(self) -> Net:
        """The networks that read every sensor that any of the networks reads."""
        return self.nets[-1]

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of the logits of every network."""
        return self.joint.models[0].card.class_names

    def name(self, net: Net) -> str:
        """Return the sensors of a network as a person reads them."""
        return " + ".join(self.sensors[place].name for place in net.sensors)


def trained_nets(
    job: CompareSensorsJob, context: Context, scene: Scene, sensors: tuple[Sensor, ...], device: str,
    share: float, folder: str | None,
) -> Nets:  # fmt: skip
    """Train networks of each sensor and of all, `seeds` of each, with one split: `share` of the job.

    A labelled pixel counts where every sensor has data. `folder` takes the model files.
    """
    training = _training(job, scene)
    check_training(training)
    if job.seeds < 1:
        raise InputError(f"The number of seeds can't be {job.seeds}; choose 1 or more.")
    labels = read_labels(training, scene, context)
    usable = set(usable_bands(scene, labels.pixels, context.check))
    if empty := [sensor.name for sensor in sensors if not usable & set(sensor.bands)]:
        raise InputError(f"No labelled pixel has data in the bands of {first_of(empty)}; check the rasters.")
    bands = sorted(usable & {band for sensor in sensors for band in sensor.bands})
    learner = PatchLearner(training, context, scene, labels.pixels, bands)
    _check_classes(learner.samples)
    split = labels.splits(training, learner.samples, context)[0]
    read_by = [(place,) for place in range(len(sensors))] + [tuple(range(len(sensors)))]
    nets: list[Net] = []
    total = len(read_by) * job.seeds
    for members in read_by:
        own = {band for place in members for band in sensors[place].bands}
        places = [place for place, band in enumerate(bands) if band in own]
        part = learner.of_bands(places)
        name = " + ".join(sensors[place].name for place in members)
        models = []
        for number in range(job.seeds):
            done = len(nets) * job.seeds + number
            progress = (share * done / total, share * (done + 1) / total)
            seeded = replace(training, seed=job.seed + number)
            what = f"{name}, {number + 1} of {job.seeds}"
            network, trial = run_trial(seeded, part, split, device, context, progress, what)
            card = card_of(seeded, scene, [bands[place] for place in places], part, [trial], network)
            spectra = part.spectra(split)
            if folder:
                stem = re.sub(r"[^\w-]+", "_", name)
                path = os.path.join(folder, f"{stem}_{number + 1}.safetensors")
                card = save_model(path, network, spectra, card)
            network.requires_grad_(False)
            models.append(Model(network, spectra, card))
        nets.append(Net(members, tuple(models)))
    chosen = split.test
    samples = learner.samples
    test = replace(
        samples, index=samples.index[chosen], classes=samples.classes[chosen], rows=samples.rows[chosen],
        cols=samples.cols[chosen],
    )  # fmt: skip
    return Nets(sensors, tuple(nets), test, split)


def given_nets(job: CompareSensorsJob, scene: Scene, sensors: tuple[Sensor, ...]) -> Nets:
    """Read the models of the job, those of the same sensors as seeds of one network.

    Raises InputError where there are fewer than two, one fits no sensor, their classes differ, all read the
    same sensors, or none reads all of the others'.
    """
    if len(job.models) < 2:
        raise InputError(
            "Fewer than two models are given; give two or more, of single sensors and of all, or LABELS to "
            "train them."
        )
    found: dict[tuple[int, ...], list[Model]] = {}
    names: list[str] = []
    for path in job.models:
        model = load_model(path, PIXEL_CLASSIFICATION)
        if not isinstance(model.network, PatchNetwork):
            raise InputError(f"The model file {path} is a U-Net; give classifiers of spectra or patches.")
        members, fitted = _fitted(path, model, scene, sensors)
        names = names or fitted.card.class_names
        if fitted.card.class_names != names:
            raise InputError(
                f"The model file {path} has the classes {', '.join(fitted.card.class_names)}, and "
                f"{job.models[0]} {', '.join(names)}; give models of the same classes."
            )
        others = found.setdefault(members, [])
        if others and others[0].card.used_bands != fitted.card.used_bands:
            raise InputError(
                f"The model file {path} reads other bands than the first of the same sensors; leave one out."
            )
        others.append(fitted)
    if len(found) < 2:
        raise InputError("All models read the same sensors; give models of one sensor and of several.")
    nets = [Net(members, tuple(models)) for members, models in found.items()]
    nets.sort(key=lambda net: (len(net.sensors), net.sensors))
    every = set().union(*found)
    if set(nets[-1].sensors) != every:
        alone = first_of([sensors[place].name for place in sorted(every - set(nets[-1].sensors))])
        raise InputError(
            f"No model reads all sensors that the others read (the largest lacks {alone}); give one that "
            "does."
        )
    return Nets(sensors, tuple(nets))


def _training(job: CompareSensorsJob, scene: Scene) -> TrainClassifierJob:
    if not (job.label_features or job.label_raster):
        raise InputError(
            "Neither MODELS nor LABELS are given; give models to compare, or labels to train them."
        )
    if job.architecture not in ARCHITECTURES:
        raise InputError(
            f"There is no architecture '{job.architecture}'; choose one of {', '.join(ARCHITECTURES)}."
        )
    return TrainClassifierJob(
        scene=scene.path, model="", label_features=job.label_features, label_raster=job.label_raster,
        label_name=job.label_name, unlabelled_value=job.unlabelled_value, architecture=job.architecture,
        patch_size=job.patch_size, normalisation=job.normalisation, epochs=job.epochs,
        test_share=job.test_share, block_size=job.block_size, compare_splits=False, seed=job.seed,
        device=job.device, memory_mb=job.memory_mb,
    )  # fmt: skip


def _check_classes(samples: PatchSamples) -> None:
    present = set(samples.classes.unique().tolist())
    if absent := [name for number, name in enumerate(samples.names) if number not in present]:
        raise InputError(
            f"No pixel of {first_of(absent)} has data in all sensors; label others, or leave the class out."
        )


def _fitted(
    path: str, model: Model, scene: Scene, sensors: Sequence[Sensor]
) -> tuple[tuple[int, ...], Model]:
    """Return the sensors that a model reads, and the model with the scene's bands on its card."""
    bands = _bands_of(path, model, scene, sensors)
    used = {bands[place] for place in model.card.used_bands}
    members = tuple(i for i, sensor in enumerate(sensors) if used & set(sensor.named))
    if strange := used - {band for sensor in sensors for band in sensor.named}:
        raise InputError(
            f"The model file {path} reads band {min(strange) + 1} of {scene.path}, which is no sensor's; "
            "name it in SENSOR_BANDS."
        )
    own = tuple(
        CardBand(band.name, band.wavelength_nm, band.fwhm_nm, i in used) for i, band in enumerate(scene.bands)
    )
    return members, replace(model, card=replace(model.card, bands=own))


def _bands_of(path: str, model: Model, scene: Scene, sensors: Sequence[Sensor]) -> tuple[int, ...]:
    """Return the bands of the scene that those on a model's card are: all, or those of some sensors."""
    every = tuple(range(len(scene.bands)))
    some = [
        tuple(sorted(band for sensor in chosen for band in sensor.named))
        for count in range(1, len(sensors) + 1)
        for chosen in combinations(sensors, count)
    ]
    fitting = [bands for bands in dict.fromkeys([every, *some]) if _fits(model, bands, scene)]
    if not fitting:
        counts = ", ".join(f"{sensor.name} {len(sensor.named)}" for sensor in sensors)
        raise InputError(
            f"The model file {path} reads {len(model.card.bands)} bands, which are neither those of "
            f"{scene.path} ({len(scene.bands)}) nor those of its sensors ({counts}), nor at their "
            "wavelengths; choose models of these sensors, or correct SENSOR_BANDS."
        )
    if len(fitting) > 1 and fitting[0] != every:
        raise InputError(
            f"The model file {path} fits the bands of several sensors; give the rasters wavelengths, or "
            "models that were trained on all bands."
        )
    return fitting[0]


def _fits(model: Model, bands: Sequence[int], scene: Scene) -> bool:
    try:
        model.card.check_bands([scene.bands[band] for band in bands], scene.path)
    except InputError:
        return False
    return True
