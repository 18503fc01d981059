"""The labels of a training, and which of them train and which test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from ..engine.jobs import TrainClassifierJob
from ..models.splits import Split, block_split, random_split
from ..rasters.errors import InputError
from ..rasters.labels import LabelledPixels, class_order, read_label_features, read_label_raster
from ..rasters.scene import Scene
from .context import Context
from .series_labels import in_parcels

SPLITS = ("blocks", "parcels", "random")
# What a split is called whose test pixels have labels of their own.
TEST_LABELS = "test_labels"


class Labelled(Protocol):
    """Labelled pixels as samples of either kind have them."""

    @property
    def classes(self) -> Tensor:
        """Indices into `names`, int64 (n,)."""

    @property
    def rows(self) -> np.ndarray:
        """Rows on the scene, int64 (n,)."""

    @property
    def cols(self) -> np.ndarray:
        """Columns on the scene, int64 (n,)."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""


@dataclass(frozen=True)
class TrainingLabels:
    """All labelled pixels; `test_only`: row times width plus column of those that only test."""

    pixels: LabelledPixels
    width: int
    test_only: np.ndarray | None = None

    def splits(self, job: TrainClassifierJob, samples: Labelled, context: Context) -> list[Split]:
        """Return the split asked for, and the other kind to compare with, where it can be made.

        Raises InputError where a class has no pixel to train with, or too few for the split.
        """
        classes = samples.classes.numpy()
        if self.test_only is not None:
            return [self._by_labels(samples, classes, self.test_only)]

        def make(kind: str) -> Split:
            if kind == "random":
                return random_split(classes, samples.names, job.test_share, job.seed)
            if kind == "parcels":
                return self._by_parcels(job, samples, classes, context)
            return block_split(
                samples.rows, samples.cols, classes, samples.names, job.test_share, job.block_size, job.seed
            )

        splits = [make(job.split)]
        if job.compare_splits:
            other = "blocks" if job.split == "random" else "random"
            try:
                splits.append(make(other))
            except InputError as problem:
                context.warn(f"The {other} split can't be compared: {problem}")
        return splits

    def _by_parcels(
        self, job: TrainClassifierJob, samples: Labelled, classes: np.ndarray, context: Context
    ) -> Split:
        """Split as the jobs about series do, whichever of the labelled pixels have data."""
        labels = in_parcels(self.pixels, self.width, context)
        tests = self._are_of(labels.keys[labels.split(job.test_share, job.seed).test], samples)
        for number, name in enumerate(samples.names):
            if len(np.unique(tests[classes == number])) < 2:
                raise InputError(
                    f"Class '{name}' has no data in the parcels that test, or in those that train; label "
                    "more of its parcels, choose another TEST_SHARE, or split by blocks."
                )
        return Split("parcels", np.flatnonzero(~tests), np.flatnonzero(tests))

    def _are_of(self, keys: np.ndarray, samples: Labelled) -> np.ndarray:
        return np.isin(samples.rows * np.int64(self.width) + samples.cols, keys)

    def _by_labels(self, samples: Labelled, classes: np.ndarray, test_only: np.ndarray) -> Split:
        tests = self._are_of(test_only, samples)
        if not tests.any():
            raise InputError("No pixel of TEST_LABELS has data in all bands; choose other test labels.")
        trained = np.unique(classes[~tests])
        missing = [name for number, name in enumerate(samples.names) if number not in trained]
        if missing:
            raise InputError(
                f"Class '{missing[0]}' has no pixel with data in LABELS that is not in TEST_LABELS, so that "
                "it can't be trained; label some, or leave it out of both."
            )
        return Split(TEST_LABELS, np.flatnonzero(~tests), np.flatnonzero(tests))


def read_labels(job: TrainClassifierJob, scene: Scene, context: Context) -> TrainingLabels:
    """Read the labels of a job, and its test labels where it has some; what is left out is said.

    Raises InputError where there are none, of one class only, or test labels of another class.
    """
    labels = _read(job, scene, job.label_features, job.label_raster, context)
    if labels is None:
        raise InputError("There are no labels; choose points, polygons or a class raster.")
    if len(labels.names) < 2:
        raise InputError(f"The labels have one class only, '{labels.names[0]}'; two or more are needed.")
    tests = _read(job, scene, job.test_label_features, job.test_label_raster, context)
    if tests is None:
        return TrainingLabels(labels, scene.grid.width)
    return _joined(labels, tests, scene.grid.width, context)


def _read(
    job: TrainClassifierJob, scene: Scene, features: str | None, raster: str | None, context: Context
) -> LabelledPixels | None:
    if features:
        labels = read_label_features(features, scene.grid)
    elif raster:
        labels = read_label_raster(raster, scene.grid, job.unlabelled_value)
    else:
        return None
    for warning in labels.warnings:
        context.warn(warning)
    return labels


def _joined(labels: LabelledPixels, tests: LabelledPixels, width: int, context: Context) -> TrainingLabels:
    """Return both in the order of rows, then columns; a pixel that is in both only tests."""
    unknown = sorted(set(tests.names) - set(labels.names), key=class_order)
    if unknown:
        raise InputError(
            f"The test labels have a class '{unknown[0]}', which LABELS do not; those have "
            f"{', '.join(labels.names)}."
        )
    keys, test_keys = (each.rows * np.int64(width) + each.cols for each in (labels, tests))
    twice = np.isin(keys, test_keys)
    if twice.any():
        context.warn(f"{int(twice.sum())} pixel(s) are in LABELS and in TEST_LABELS; these only test.")
    known = np.array([labels.names.index(name) for name in tests.names])
    every = np.concatenate([keys[~twice], test_keys])
    classes = np.concatenate([labels.classes[~twice], known[tests.classes]])
    order = np.argsort(every)
    pixels = LabelledPixels(every[order] // width, every[order] % width, classes[order], labels.names)
    return TrainingLabels(pixels, width, test_keys)
