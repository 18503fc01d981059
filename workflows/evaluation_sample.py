"""The chips, or the patches around labelled pixels, that explainers are judged on."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import torch
from rasterio.windows import Window
from torch import Tensor

from ..engine.jobs import EvaluateExplainersJob
from ..models.files import Model
from ..models.scene_networks import SceneNetwork
from ..models.segmentation_networks import SegmentationNetwork
from ..rasters.chip_labels import chips_of_class_raster, chips_of_features
from ..rasters.chips import ChipSet, chips_of_folder
from ..rasters.errors import InputError, first_of
from ..rasters.labels import LabelledPixels, mask_of_features, read_label_features, read_label_raster
from ..rasters.scene import Scene, open_scene
from .chip_batches import has_say
from .context import Context
from .evaluation_crops import OnDemand, crops_of, mask_around
from .samples import read_samples


@dataclass(frozen=True)
class Sample:
    """What one model is judged on: n chips, patches or crops, the classes taking turns.

    `raw` float32 (n, band, s, s) as stored, over the bands that the model reads, pixels without data filled
    by the training mean. `classes` int64 (n,) are the model's, -1 where unknown. `keys` tell the random
    numbers of one from those of another. `masks` bool (n, s, s): where the evidence is.
    Crops (n, band, y, x), of which a network classifies all pixels, are read when they are asked for;
    `places` int64 (n, 2) are then row and column of the pixel in question.
    """

    raw: Tensor | OnDemand
    classes: np.ndarray
    names: tuple[str, ...]
    keys: tuple[int, ...]
    masks: Tensor | OnDemand | None
    places: Tensor | None = None

    def __len__(self) -> int:
        return len(self.raw)


class Samples:
    """Draws the samples of all models of a job, and looks for chips once per chip size."""

    def __init__(self, job: EvaluateExplainersJob, context: Context) -> None:
        self._job, self._context = job, context
        self._scene = open_scene(job.scene) if job.scene else None
        self._chips: dict[int, ChipSet] = {}

    def of(self, model: Model, path: str) -> Sample:
        """Return the sample for the model at `path`; InputError where chips, classes or masks do not fit."""
        if isinstance(model.network, SceneNetwork):
            return self._of_chips(model, path)
        return self._of_pixels(model, path)

    def _of_chips(self, model: Model, path: str) -> Sample:
        job = self._job
        chips = self._chips_of(model.patch_size)
        model.card.check_bands(chips.bands, job.patches or job.scene or "")
        classes = _classes_of_model(chips.names, chips.classes, model, path)
        chosen = in_turns(chips.classes, job.chips, job.seed)
        masks = None
        if job.masks:
            masks = _masks_of_files(job.masks, chips, chosen)
        elif job.mask_features and chips.scene:
            masks = np.stack([
                mask_of_features(job.mask_features, chips.scene.grid, _window(chips, index))
                for index in chosen
            ])  # fmt: skip
        values = chips.read(chosen.tolist(), model.card.used_bands)
        finite, enough = has_say(values)
        if not enough.any():
            raise InputError(f"All {len(chosen)} chips drawn are mostly nodata; choose other chips.")
        if not enough.all():
            self._context.warn(
                f"{int((~enough).sum())} of {len(chosen)} chips drawn are mostly nodata and are left out."
            )
        kept = chosen[enough]
        raw = torch.where(
            torch.from_numpy(finite[enough])[:, None], torch.from_numpy(values[enough]),
            model.spectra.mean[:, None, None],
        )  # fmt: skip
        return Sample(
            raw=raw,
            classes=classes[kept],
            names=tuple(chips.chips[index].name for index in kept),
            keys=tuple(kept.tolist()),
            masks=None if masks is None else torch.from_numpy(masks[enough]),
        )

    def _of_pixels(self, model: Model, path: str) -> Sample:
        job, scene = self._job, self._scene
        if scene is None:
            raise InputError(
                f"The model {path} classifies pixels; choose a scene (INPUT) with LABELS instead of chips."
            )
        model.card.check_bands(scene.bands, scene.path)
        labels = self._labels(scene)
        _classes_of_model(labels.names, labels.classes, model, path)
        chosen = in_turns(labels.classes, job.chips, job.seed)
        labels = replace(
            labels, rows=labels.rows[chosen], cols=labels.cols[chosen], classes=labels.classes[chosen]
        )
        cropped = isinstance(model.network, SegmentationNetwork)
        patches = read_samples(
            scene, labels, model.card.used_bands, 1 if cropped else model.patch_size, job.seed,
            self._context.check, self._context.warn, job.memory_mb,
        )  # fmt: skip
        sample = Sample(
            raw=patches.patches(torch.arange(len(patches))),
            classes=_classes_of_model(labels.names, patches.classes.numpy(), model, path),
            names=tuple(f"row {row}, column {col}" for row, col in zip(patches.rows, patches.cols)),
            keys=tuple((patches.rows * scene.grid.width + patches.cols).tolist()),
            masks=self._pixel_masks(scene, patches.rows, patches.cols, patches.side),
        )
        if not cropped:
            return sample
        crops = crops_of(scene, model, patches.rows, patches.cols, job.mask_features)
        return replace(sample, raw=crops.raw, masks=crops.masks, places=crops.places)

    def _pixel_masks(self, scene: Scene, rows: np.ndarray, cols: np.ndarray, side: int) -> Tensor | None:
        if not self._job.mask_features or side == 1:
            return None
        offsets, features = np.arange(side) - side // 2, self._job.mask_features
        return torch.stack([
            mask_around(scene, features, row + offsets, col + offsets) for row, col in zip(rows, cols)
        ])  # fmt: skip

    def _chips_of(self, side: int) -> ChipSet:
        """Return the chips of a size, found when first asked for."""
        if side not in self._chips:
            chips = self._find_chips(side)
            for warning in chips.warnings:
                self._context.warn(warning)
            self._chips[side] = chips
        return self._chips[side]

    def _find_chips(self, side: int) -> ChipSet:
        job = self._job
        if self._scene is None:
            return chips_of_folder(job.patches or "", side, job.skip_unreadable, self._context.check)
        if job.label_features:
            return chips_of_features(self._scene, job.label_features, side)
        return chips_of_class_raster(
            self._scene, job.label_raster or "", side, unlabelled_value=job.unlabelled_value
        )

    def _labels(self, scene: Scene) -> LabelledPixels:
        job = self._job
        if job.label_features:
            labels = read_label_features(job.label_features, scene.grid)
        else:
            labels = read_label_raster(job.label_raster or "", scene.grid, job.unlabelled_value)
        for warning in labels.warnings:
            self._context.warn(warning)
        return labels


def in_turns(classes: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return up to `count` indices of classes int64 (n,), drawn at random, one of each class in turn."""
    order = np.random.default_rng(seed).permutation(len(classes))
    turn = np.empty(len(classes), dtype=np.int64)
    for number in np.unique(classes):
        members = classes[order] == number
        turn[members] = np.arange(members.sum())
    return order[np.lexsort((classes[order], turn))][:count]


def _classes_of_model(names: tuple[str, ...], classes: np.ndarray, model: Model, path: str) -> np.ndarray:
    """Return classes, indices into `names`, as the model counts them; InputError for one unknown to it."""
    known = model.card.class_names
    if unknown := [name for name in names if name not in known]:
        raise InputError(
            f"The model {path} does not know the class '{unknown[0]}' of the labels; its classes are "
            f"{', '.join(known)}: name the classes alike, or choose the model for these."
        )
    numbers = np.array([known.index(name) for name in names] + [-1], dtype=np.int64)
    return numbers[classes]


def _window(chips: ChipSet, index: int) -> Window:
    chip = chips.chips[index]
    return Window(chip.col, chip.row, chips.side, chips.side)


def _masks_of_files(folder: str, chips: ChipSet, chosen: np.ndarray) -> np.ndarray:
    """Return bool (n, s, s) of the rasters in `folder` that are named as the chips, whatever their ending.

    A mask has its chip's size as a file, or that of the chip; it is true where its first band is not 0.
    """
    if not os.path.isdir(folder):
        raise InputError(f"There is no folder {folder}; choose the folder of the masks.")
    found = [_file_like(folder, chips.chips[index].name) for index in chosen]
    missing = [chips.chips[index].name for index, path in zip(chosen, found) if path is None]
    if missing:
        raise InputError(
            f"The folder {folder} holds no mask for {first_of(missing)}; "
            "masks have the names of the chips, in the same sub-folders."
        )
    masks = np.zeros((len(chosen), chips.side, chips.side), dtype=bool)
    for mask, index, path in zip(masks, chosen, found):
        scene = open_scene(path or "")
        size = (scene.grid.width, scene.grid.height)
        whole = open_scene(chips.chips[index].path).grid
        if size == (chips.side, chips.side):
            window = scene.grid.whole
        elif size == (whole.width, whole.height):
            window = _window(chips, index)
        else:
            raise InputError(
                f"The mask {path} has {size[0]} x {size[1]} pixels and its chip {whole.width} x "
                f"{whole.height}; both need the same size."
            )
        mask[:] = np.nan_to_num(scene.read(window, bands=[0])[0]) != 0
    return masks


def _file_like(folder: str, name: str) -> str | None:
    """Return the file of `folder` with the relative name `name`, or with that name and another ending."""
    exact = os.path.join(folder, *name.split("/"))
    if os.path.isfile(exact):
        return exact
    place, stem = os.path.dirname(exact), os.path.splitext(os.path.basename(exact))[0]
    named = _by_stem(place).get(stem, [])
    return named[0] if named else None


def _by_stem(folder: str) -> dict[str, list[str]]:
    listed: dict[str, list[str]] = defaultdict(list)
    if os.path.isdir(folder):
        for name in sorted(os.listdir(folder)):
            stem, ending = os.path.splitext(name)
            if ending.lower() not in (".xml", ".json", ".qml", ".txt"):
                listed[stem].append(os.path.join(folder, name))
    return listed
