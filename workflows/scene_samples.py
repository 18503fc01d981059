"""The chips that train and test a scene classifier: found, chosen by band, read into memory, split."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from ..engine.jobs import TrainSceneClassifierJob
from ..models.card import polarisation
from ..models.chip_splits import chip_block_split, overlap_share
from ..models.scene_networks import SMALLEST_CHIP
from ..models.splits import Split, random_split
from ..rasters.chip_labels import chips_of_class_raster, chips_of_features
from ..rasters.chips import ChipSet, chips_of_folder
from ..rasters.errors import InputError, first_of
from ..rasters.scene import Band, open_scene
from .context import Context

_READ = 256  # chips at a time, between which the user may cancel
# Fewer training or test chips of a class than this make a warning.
_FEW = 10


@dataclass(frozen=True)
class BandChoice:
    """The bands (from 0) that one model reads, and the name for it, "" where it reads all."""

    name: str
    bands: tuple[int, ...]


@dataclass(frozen=True)
class SceneSamples:
    """Chips in memory: `values` float32 (n, band, s, s) as stored, NaN without data, `classes` int64 (n,).

    `bands` are those of the raster that were read, in the order of `values`. `overlap` is the share of test
    chips that share a pixel with a training chip, None where each is a file of its own.
    """

    values: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    bands: tuple[int, ...]
    split: Split
    overlap: float | None


def find_chips(job: TrainSceneClassifierJob, context: Context) -> list[ChipSet]:
    """Return the chips of the job, and after them those that only test, where these are given.

    Raises InputError where they can't train a classifier.
    """
    found = [_find_training_chips(job, context)]
    chips = found[0]
    if len(chips.names) < 2:
        where = job.patches or job.label_features or job.label_raster
        only = f"one class only, '{chips.names[0]}'" if chips.names else "no classes"
        needed = " in a sub-folder each" if job.patches else ""
        raise InputError(f"The chips of {where} have {only}; two or more are needed{needed}.")
    if chips.side < SMALLEST_CHIP:
        raise InputError(
            f"The chips have {chips.side} x {chips.side} pixels; the networks need {SMALLEST_CHIP} or more."
        )
    if job.test_patches:
        found.append(chips_of_folder(job.test_patches, chips.side, job.skip_unreadable, context.check))
        _check_test_chips(job, chips, found[1])
    for text in (text for part in found for text in part.warnings):
        context.warn(text)
    if job.patches and (warning := _sizes_by_class(chips)):
        context.warn(warning)
    return found


def choose_bands(bands: tuple[Band, ...], wanted: str) -> list[BandChoice]:
    """Return what each model reads: all good bands, each alone ("each"), or one by its number or name.

    Raises InputError, naming the bands, where there is no such band.
    """
    good = tuple(index for index, band in enumerate(bands) if band.good)
    if not wanted:
        return [BandChoice("", good)]
    labels = [re.sub(r"[^\w.-]+", "_", band.name).strip("_.") or "band" for band in bands]
    counts = Counter(label.lower() for label in labels)
    labels = [
        label if counts[label.lower()] == 1 else f"{label}_{number}" for number, label in enumerate(labels, 1)
    ]
    if wanted == "each":
        return [BandChoice(labels[index], (index,)) for index in good]
    found = [
        index for index, band in enumerate(bands)
        if wanted.lower() in (band.name.lower(), (polarisation(band.name) or "").lower())
    ]  # fmt: skip
    if len(found) != 1 and wanted.isdecimal() and 1 <= int(wanted) <= len(bands):
        found = [int(wanted) - 1]
    if len(found) != 1:
        listed = ", ".join(f"{number} {band.name}" for number, band in enumerate(bands, 1))
        problem = "more than one band" if found else "no band"
        raise InputError(f"The chips have {problem} '{wanted}'; choose by number, or by name: {listed}.")
    return [BandChoice(labels[found[0]], (found[0],))]


def read_samples(
    job: TrainSceneClassifierJob, found: list[ChipSet], choices: list[BandChoice], context: Context
) -> SceneSamples:
    """Read the chips that `find_chips` gave, leave out those mostly without data, and split them.

    Raises InputError where they take more memory than the job may, or a class has too few.
    """
    bands = tuple(sorted({band for choice in choices for band in choice.bands}))
    _check_memory(job, found, len(bands), max(len(choice.bands) for choice in choices))
    count, side = sum(map(len, found)), found[0].side
    values = np.empty((count, len(bands), side, side), dtype=np.float32)
    place = 0
    for part in found:
        for start in range(0, len(part), _READ):
            context.check()
            members = range(start, min(start + _READ, len(part)))
            values[place : place + len(members)] = part.read(members, bands)
            place += len(members)
            context.progress(0.05 * place / count, f"Reading chips, {place} of {count}")
    kept = _with_data(values, found, context)
    if len(kept) < count:
        values = values[kept]
    _warn_of_constant_chips(values, context)
    classes = np.concatenate([part.classes for part in found])[kept]
    split, overlap = _split(job, found, kept, classes, context)
    return SceneSamples(values, classes, found[0].names, bands, split, overlap)


def _find_training_chips(job: TrainSceneClassifierJob, context: Context) -> ChipSet:
    if bool(job.patches) == bool(job.scene):
        raise InputError(
            "Chips come either from the folder PATCHES or from the scene INPUT with LABELS; choose one."
        )
    if job.patches:
        if job.label_features or job.label_raster:
            raise InputError("LABELS belong to a scene; the folder PATCHES tells the classes itself.")
        return chips_of_folder(job.patches, job.patch_size, job.skip_unreadable, context.check)
    scene = open_scene(job.scene or "")
    if job.label_features:
        return chips_of_features(scene, job.label_features, job.patch_size)
    if job.label_raster:
        return chips_of_class_raster(
            scene, job.label_raster, job.patch_size, unlabelled_value=job.unlabelled_value
        )
    raise InputError("There are no labels; choose points, polygons or a class raster.")


def _check_test_chips(job: TrainSceneClassifierJob, chips: ChipSet, test: ChipSet) -> None:
    if test.names != chips.names:
        raise InputError(
            f"The test chips in {job.test_patches} have the classes {', '.join(test.names) or 'none'}, those "
            f"to train with {', '.join(chips.names)}; both need the same."
        )
    if len(test.bands) != len(chips.bands):
        raise InputError(
            f"The test chips in {job.test_patches} have {len(test.bands)} band(s), those to train with "
            f"{len(chips.bands)}; both need the same."
        )


def _check_memory(job: TrainSceneClassifierJob, found: list[ChipSet], read: int, used: int) -> None:
    """Chips lie in memory as they are stored, all that are read, and prepared, those of one model."""
    count, side = sum(map(len, found)), found[0].side
    need_mb = 4 * count * side**2 * (read + used) / 2**20
    if need_mb > job.memory_mb:
        raise InputError(
            f"{count} chips of {side} x {side} pixels take {need_mb:.0f} MB, more than the {job.memory_mb} "
            "MB that they may; raise the memory, use fewer chips, or choose a smaller PATCH_SIZE or one band."
        )


def _with_data(values: np.ndarray, found: list[ChipSet], context: Context) -> np.ndarray:
    """Return which chips have data in all bands on half of their pixels or more; name the others."""
    share = np.array([np.isfinite(chip).all(0).mean() for chip in values])
    names = [chip.name for part in found for chip in part.chips]
    left_out = [name for name, with_data in zip(names, share >= 0.5) if not with_data]
    if left_out:
        context.warn(f"{len(left_out)} chip(s) are mostly nodata and are left out: {first_of(left_out)}.")
    return np.flatnonzero(share >= 0.5)


def _warn_of_constant_chips(values: np.ndarray, context: Context) -> None:
    constant = sum(bool((np.nanmin(chip, (1, 2)) == np.nanmax(chip, (1, 2))).any()) for chip in values)
    if constant:
        context.warn(f"{constant} chip(s) hold the same value everywhere in a band; check their files.")


def _split(
    job: TrainSceneClassifierJob,
    found: list[ChipSet],
    kept: np.ndarray,
    classes: np.ndarray,
    context: Context,
) -> tuple[Split, float | None]:
    """Return which of the kept chips train and test, and the share of test chips that overlap."""
    chips = found[0]
    if len(found) > 1:
        trains = kept < len(chips)
        split, overlap = Split("given", np.flatnonzero(trains), np.flatnonzero(~trains)), None
    else:
        _check_counts(classes, chips.names, 2, "chips with data")
        split, overlap = _own_split(job, chips, kept, classes, context)
    for kind, members in (("training", split.train), ("test", split.test)):
        _check_counts(classes[members], chips.names, 1, f"{kind} chips with data")
        counts = np.bincount(classes[members], minlength=len(chips.names))
        few = [f"{name} {count}" for name, count in zip(chips.names, counts) if count < _FEW]
        if few:
            context.warn(
                f"Some classes have fewer than {_FEW} {kind} chips ({first_of(few)}); their figures say "
                "little."
            )
    return split, overlap


def _own_split(
    job: TrainSceneClassifierJob, chips: ChipSet, kept: np.ndarray, classes: np.ndarray, context: Context
) -> tuple[Split, float | None]:
    """Split chips of a folder at random, those of one raster by blocks where that is possible."""
    if chips.scene is None:
        return random_split(classes, chips.names, job.test_share, job.seed), None
    places = np.array([(chips.chips[index].row, chips.chips[index].col) for index in kept])
    rows, cols = places[:, 0], places[:, 1]
    try:
        split = chip_block_split(rows, cols, chips.side, classes, chips.names, job.test_share, job.seed)
    except InputError:
        context.warn(
            "The chips of a class lie too close together for blocks, so test chips are drawn at random; "
            "chips near each other are alike, and the accuracy flatters the model."
        )
        split = random_split(classes, chips.names, job.test_share, job.seed)
    overlap = overlap_share(rows, cols, chips.side, split)
    if overlap:
        context.warn(
            f"{100 * overlap:.0f} % of the test chips overlap a training chip, which flatters the accuracy."
        )
    return split, overlap


def _check_counts(classes: np.ndarray, names: tuple[str, ...], least: int, kind: str) -> None:
    for name, count in zip(names, np.bincount(classes, minlength=len(names))):
        if count < least:
            raise InputError(f"Class '{name}' has {count} {kind}; it needs {least} or more.")


def _sizes_by_class(chips: ChipSet) -> str | None:
    """Say so where the rasters' sizes differ from class to class: size alone would tell the class."""
    sizes: dict[int, Counter[tuple[int, int]]] = {}
    for chip in chips.chips:
        whole = chips.side + 2 * chip.col, chips.side + 2 * chip.row
        sizes.setdefault(chip.class_index, Counter())[whole] += 1
    usual = {chips.names[index]: counter.most_common(1)[0][0] for index, counter in sorted(sizes.items())}
    if len(set(usual.values())) == 1:
        return None
    listed = [f"{name} about {width} x {height}" for name, (width, height) in usual.items()]
    return (
        f"The rasters' size goes with their class ({first_of(listed)}) and would give it away; only the "
        f"middle {chips.side} x {chips.side} pixels are used."
    )
