"""Labelled pixels of a scene, from features or from a raster of classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from rasterio.errors import RasterioError
from rasterio.windows import Window

from .class_rasters import category_names, class_raster_on
from .errors import InputError
from .features import Features, read_features
from .grid import Grid, as_text
from .tiles import plan_tiles

_BLOCK = 1024
# More classes than this are a sign of measured values.
MOST_CLASSES = 1000


@dataclass(frozen=True)
class LabelledPixels:
    """Labelled pixels: rows, columns and classes, each int64 (n,), classes as indices into `names`.

    They come in the order of rows, then columns. `warnings` says what was left out. `parcels` (n,): the
    number of the polygon that labels each pixel, -1 where none does; None where no labels are polygons.
    """

    rows: np.ndarray
    cols: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    parcels: np.ndarray | None = None


def read_label_features(path: str, grid: Grid) -> LabelledPixels:
    """Read labels from the GeoJSON file at `path`, in the scene's CRS, with property `class`.

    A point labels the pixel that it falls in, a polygon the pixels whose centre is inside. Classes that
    look like numbers are ordered as numbers. Memory grows with the labelled pixels.
    Raises InputError where no pixel is labelled.
    """
    features, names_of_features, names = read_named_features(path)
    keys, classes, parcels, outside, empty = _covered_pixels(features, names_of_features, names, grid)
    if not keys.size:
        raise InputError(
            f"No label in {path} covers a pixel of the scene: the labels cover {as_text(features.bounds)}, "
            f"the scene {as_text(grid.extent)}; check that both are of the same place."
        )
    keys, classes, parcels, contested = _without_contested(keys, classes, parcels)
    if not keys.size:
        raise InputError(f"Every labelled pixel in {path} has more than one class; correct the labels.")
    used, classes = np.unique(classes, return_inverse=True)
    warnings = (
        (features.skipped, "label feature(s) have no point or polygon and are left out."),
        (names_of_features.count(None), "label feature(s) have no class and are left out."),
        (outside, "label feature(s) lie outside the scene and are left out."),
        (empty, "label feature(s) are too small to hold the centre of a pixel and are left out."),
        (contested, "pixel(s) are labelled with more than one class and are left out."),
    )
    return LabelledPixels(
        rows=keys // grid.width,
        cols=keys % grid.width,
        classes=classes.astype(np.int64),
        names=tuple(names[i] for i in used),
        warnings=tuple(f"{count} {text}" for count, text in warnings if count),
        parcels=parcels if (parcels >= 0).any() else None,
    )


def read_named_features(path: str) -> tuple[Features, list[str | None], list[str]]:
    """Return the features of a GeoJSON file, the class of each, None where it has none, and all classes.

    Raises InputError where no feature has a class.
    """
    features = read_features(path)
    names_of_features = [class_name(feature.properties.get("class")) for feature in features.features]
    if not any("class" in feature.properties for feature in features.features):
        raise InputError(
            f"The labels in {path} have no field 'class'; choose the field that holds the class."
        )
    names = sorted({name for name in names_of_features if name is not None}, key=class_order)
    if not names:
        raise InputError(f"No label in {path} has a class; fill in the field, or choose another field.")
    return features, names_of_features, names


def read_label_raster(path: str, grid: Grid, unlabelled_value: int = 0) -> LabelledPixels:
    """Read labels from the raster of class numbers at `path`, by blocks.

    `unlabelled_value`, nodata and NaN mean no label. A raster on another grid or in another CRS is
    resampled to the scene's by nearest neighbour. Memory grows with the labelled pixels.
    Raises InputError where it is not a raster of classes, can't be placed on the scene, or labels nothing.
    """
    keys, numbers = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    known: set[int] = set()
    try:
        with class_raster_on(path, grid) as (dataset, window, resampled):
            for block in plan_tiles(window, _BLOCK):
                stored = dataset.read(1, window=block, masked=True)
                labelled = ~np.ma.getmaskarray(stored) & np.isfinite(stored.data)
                labelled &= stored.data != unlabelled_value
                rows, columns = np.nonzero(labelled)
                values = whole_numbers(path, stored.data[labelled])
                known.update(np.unique(values).tolist())
                if len(known) > MOST_CLASSES:
                    raise InputError(
                        f"{path} holds more than {MOST_CLASSES} values; choose a raster of classes."
                    )
                keys.append((rows + block.row_off) * np.int64(grid.width) + columns + block.col_off)
                numbers.append(values)
    except RasterioError as error:
        raise InputError(f"{path} can't be read in full; the file may be damaged ({error}).") from error
    if not known:
        raise InputError(
            f"No pixel of the scene has a label in {path}, where {unlabelled_value} and nodata mean none; "
            "choose other labels or another value."
        )
    key, number = np.concatenate(keys), np.concatenate(numbers)
    order = np.argsort(key)
    used, classes = np.unique(number[order], return_inverse=True)
    warning = f"The labels in {path} are on another grid; each pixel of the scene got the nearest one."
    return LabelledPixels(
        rows=key[order] // grid.width,
        cols=key[order] % grid.width,
        classes=classes.astype(np.int64),
        names=names_of_numbers(used.tolist(), category_names(path)),
        warnings=(warning,) if resampled else (),
    )


def mask_of_features(path: str, grid: Grid, window: Window) -> np.ndarray:
    """Return bool (y, x): the pixels of `window` that features of a GeoJSON file cover."""
    return read_features(path).mask(grid, window)


def window_of_features(path: str, grid: Grid) -> Window:
    """Return the pixels that the bounding box of the features touches; InputError where it has none."""
    try:
        return grid.window_of(read_features(path).bounds)
    except InputError as error:
        raise InputError(str(error).replace("The extent", "The mask's extent", 1)) from error


def _covered_pixels(
    features: Features, names_of_features: list[str | None], names: list[str], grid: Grid
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """Return keys, classes and parcels of pixels, and how many features are outside or too small."""
    transform = features.transform_of(grid)
    keys, classes, parcels = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    outside = empty = 0
    for number, (feature, name) in enumerate(zip(features.features, names_of_features)):
        if name is None:
            continue
        covered = feature.covered(grid, transform)
        if covered.size:
            keys.append(covered)
            classes.append(np.full(covered.size, names.index(name), dtype=np.int64))
            parcels.append(np.full(covered.size, number if feature.polygons else -1, dtype=np.int64))
        elif grid.touched(feature.bounds, transform) is None:
            outside += 1
        else:
            empty += 1
    return np.concatenate(keys), np.concatenate(classes), np.concatenate(parcels), outside, empty


def _without_contested(
    keys: np.ndarray, classes: np.ndarray, parcels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return each pixel once, in order, without those of more than one class, and how many these were."""
    order = np.lexsort((parcels, classes, keys))
    keys, classes, parcels = keys[order], classes[order], parcels[order]
    pixels, first = np.unique(keys, return_index=True)
    last = np.append(first[1:], keys.size) - 1
    clear = classes[first] == classes[last]
    chosen = first[clear]
    return pixels[clear], classes[chosen], parcels[chosen], int(np.count_nonzero(~clear))


def whole_numbers(path: str, values: np.ndarray) -> np.ndarray:
    """Return values as int64; InputError where one is no whole number, so that `path` holds no classes."""
    broken = values[(values != np.round(values)) | (np.abs(values) > 2**53)]
    if broken.size:
        raise InputError(
            f"{path} holds {broken[0]:.6g}, which is no class number; choose a raster of classes."
        )
    return values.astype(np.int64)


def names_of_numbers(numbers: list[int], categories: dict[int, str]) -> tuple[str, ...]:
    """Return a name per class number; classes that share a name are told apart by their number."""
    names = [categories.get(number, f"class {number}") for number in numbers]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for name, number in zip(names, numbers)]
    return tuple(names)


def class_name(value: object) -> str | None:
    """Return the name that a field's value stands for, None where it is empty; 1.0 and 1 are one class."""
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else f"{value:.10g}"
    return str(value).strip() or None if value is not None else None


def class_order(name: str) -> tuple[bool, float, str]:
    """Sort numbers by value, before other names."""
    try:
        number = float(name)
    except ValueError:
        number = math.nan
    return (False, number, name) if math.isfinite(number) else (True, 0.0, name)
