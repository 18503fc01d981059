"""Where labels put chips on a scene: points, polygons, and the cells of a raster of classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from affine import Affine
from rasterio.errors import RasterioError
from rasterio.features import rasterize
from rasterio.windows import Window

from .chips import Chip, ChipSet
from .class_rasters import category_names, class_raster_on
from .errors import InputError
from .features import read_features
from .grid import Grid, as_text
from .labels import MOST_CLASSES, class_name, class_order, names_of_numbers, whole_numbers
from .scene import Scene
from .tiles import plan_tiles

_BLOCK = 1024
# Coordinates come as rounded text: a polygon this much short of a whole number of chips has that many.
_SNAP = 1e-3

_Corner = tuple[int, int]  # row and column of a chip's upper left pixel


def chips_of_features(scene: Scene, path: str, side: int) -> ChipSet:
    """Place chips at the points and polygons of the GeoJSON file at `path`, in the scene's CRS.

    A point is in the middle of its chip. A polygon's chips lie side by side in the middle of its
    bounding box, as many as fit and at least one, and those stay whose centre is inside the polygon (a
    single one always does). A chip that would stand out of the raster is moved inside. The property
    `class` gives classes; where no feature has one, the chips are unlabelled. Chips come in the order of
    rows, then columns. Raises InputError where there is no chip.
    """
    _check_side(scene, side)
    features = read_features(path)
    classes = [class_name(feature.properties.get("class")) for feature in features.features]
    labelled = any(name is not None for name in classes)
    transform = features.transform_of(scene.grid)
    found: dict[_Corner, set[str | None]] = defaultdict(set)
    counts = Counter(skipped=features.skipped)
    for feature, name in zip(features.features, classes):
        if labelled and name is None:
            counts["unlabelled"] += 1
            continue
        corners = _at_points(feature.points, scene.grid, transform, side, counts)
        for polygon in feature.polygons:
            corners += _in_polygon(polygon, scene.grid, transform, side, counts)
        for corner in corners:
            found[corner].add(name)
    placed = {corner: names.pop() for corner, names in found.items() if len(names) == 1}
    counts["contested"] = len(found) - len(placed)
    if not placed:
        raise InputError(_no_chip(path, features.bounds, scene.grid, counts))
    texts = {
        "skipped": "feature(s) have no point or polygon and are left out.",
        "unlabelled": "label feature(s) have no class and are left out.",
        "outside": "point(s) or polygon(s) lie outside the scene and are left out.",
        "moved": f"point(s) lie less than half a chip of {side} pixels from the edge; their chips are moved "
        "inside.",
        "narrow": "polygon(s) hold the centre of no chip and are left out.",
        "contested": "chip(s) are labelled with more than one class and are left out.",
    }
    warnings = tuple(f"{counts[key]} {text}" for key, text in texts.items() if counts[key])
    return _chip_set(scene, side, placed, warnings)


def chips_of_class_raster(
    scene: Scene, path: str, side: int, share: float = 0.7, unlabelled_value: int = 0
) -> ChipSet:
    """Cut the scene into cells of `side` pixels from its corner on and keep those of one class.

    A cell is a chip where one class of the raster at `path` has at least `share` of all its pixels;
    `unlabelled_value` and nodata are no class. A raster on another grid is resampled to the nearest.
    Memory grows with the chips. Raises InputError where there is none.
    """
    _check_side(scene, side)
    found: dict[_Corner, int] = {}
    known: set[int] = set()
    try:
        with class_raster_on(path, scene.grid) as (dataset, overlap, resampled):
            for tile in plan_tiles(_whole_cells(overlap, scene.grid, side), side * max(1, _BLOCK // side)):
                stored = dataset.read(1, window=tile, masked=True)
                labelled = ~np.ma.getmaskarray(stored) & np.isfinite(stored.data)
                labelled &= stored.data != unlabelled_value
                values = whole_numbers(path, stored.data[labelled])
                numbers, indices = np.unique(values, return_inverse=True)
                known.update(numbers.tolist())
                if len(known) > MOST_CLASSES:
                    raise InputError(
                        f"{path} holds more than {MOST_CLASSES} values; choose a raster of classes."
                    )
                if numbers.size:
                    found |= _cells_of_one_class(labelled, numbers, indices, tile, side, share)
    except RasterioError as error:
        raise InputError(f"{path} can't be read in full; the file may be damaged ({error}).") from error
    if not found:
        raise InputError(
            f"No cell of {side} x {side} pixels has one class of {path} on {share:.0%} of its pixels; "
            "use smaller chips or other labels."
        )
    used = sorted(set(found.values()))
    names = dict(zip(used, names_of_numbers(used, category_names(path))))
    warning = f"The labels in {path} are on another grid; each pixel of the scene got the nearest one."
    placed: dict[_Corner, str | None] = {corner: names[number] for corner, number in found.items()}
    return _chip_set(scene, side, placed, (warning,) if resampled else (), tuple(names.values()))


def _check_side(scene: Scene, side: int) -> None:
    if side < 1:
        raise InputError("Chips cut from a scene need a size; set PATCH_SIZE.")
    if side > min(scene.grid.width, scene.grid.height):
        raise InputError(
            f"{scene.path} has {scene.grid.width} x {scene.grid.height} pixels, which is smaller than a chip "
            f"of {side} x {side}; use smaller chips or a larger raster."
        )


def _chip_set(
    scene: Scene,
    side: int,
    placed: dict[_Corner, str | None],
    warnings: tuple[str, ...],
    names: tuple[str, ...] = (),
) -> ChipSet:
    """Return the chips in order; without `names` the classes are sorted as those of labels are."""
    names = names or tuple(sorted({name for name in placed.values() if name is not None}, key=class_order))
    numbers: dict[str | None, int] = {None: -1, **{name: index for index, name in enumerate(names)}}
    chips = tuple(
        Chip(scene.path, row, col, numbers[placed[row, col]], f"row {row}, column {col}")
        for row, col in sorted(placed)
    )
    return ChipSet(chips, names, side, scene.bands, warnings, scene)


def _no_chip(path: str, bounds: Sequence[float], grid: Grid, counts: Counter) -> str:
    if counts["contested"]:
        return f"Every chip that the labels in {path} place has more than one class; correct the labels."
    if counts["narrow"]:
        return f"No polygon in {path} holds the centre of a chip; use smaller chips or larger polygons."
    return (
        f"No feature in {path} lies on the scene: the features cover {as_text(bounds)}, the scene "
        f"{as_text(grid.extent)}; check that both are of the same place."
    )


def _at_points(
    points: np.ndarray, grid: Grid, transform: Affine, side: int, counts: Counter
) -> list[_Corner]:
    """Return the chip around each point of (n, 2) that lies on the grid."""
    corners = []
    for x, y in points:
        col, row = (int(np.floor(axis)) for axis in ~transform * (x, y))
        if not (0 <= row < grid.height and 0 <= col < grid.width):
            counts["outside"] += 1
            continue
        wanted = row - side // 2, col - side // 2
        corner = min(max(wanted[0], 0), grid.height - side), min(max(wanted[1], 0), grid.width - side)
        counts["moved"] += corner != wanted
        corners.append(corner)
    return corners


def _in_polygon(polygon: dict, grid: Grid, transform: Affine, side: int, counts: Counter) -> list[_Corner]:
    """Return the chips side by side over a GeoJSON polygon."""
    outline = np.array([vertex[:2] for vertex in polygon["coordinates"][0]], dtype=np.float64)
    columns, rows = ~transform * (outline[:, 0], outline[:, 1])
    if columns.max() <= 0 or columns.min() >= grid.width or rows.max() <= 0 or rows.min() >= grid.height:
        counts["outside"] += 1
        return []
    top, down = _side_by_side(rows, grid.height, side)
    left, across = _side_by_side(columns, grid.width, side)
    kept = np.ones((down, across), dtype=bool)
    if kept.size > 1:
        # Burning into pixels as large as a chip keeps those whose centre is inside.
        cells = transform * Affine.translation(left, top) * Affine.scale(side)
        kept = rasterize([polygon], out_shape=kept.shape, transform=cells, dtype="uint8").astype(bool)
        counts["narrow"] += not kept.any()
    return [(top + side * int(row), left + side * int(col)) for row, col in zip(*np.nonzero(kept))]


def _side_by_side(positions: np.ndarray, size: int, side: int) -> tuple[int, int]:
    """Return the first pixel and the count of chips in the middle of the positions' range on 0..size."""
    low, high = max(float(positions.min()), 0), min(float(positions.max()), size)
    count = max(1, int((high - low + _SNAP) // side))
    first = round((low + high) / 2 - count * side / 2)
    return min(max(first, 0), size - count * side), count


def _whole_cells(overlap: Window, grid: Grid, side: int) -> Window:
    """Return the window of the cells that `overlap` touches and that lie on the grid in full."""
    top, left = int(overlap.row_off) // side * side, int(overlap.col_off) // side * side
    bottom = min(-(-int(overlap.row_off + overlap.height) // side), grid.height // side) * side
    right = min(-(-int(overlap.col_off + overlap.width) // side), grid.width // side) * side
    return Window(left, top, max(right - left, 0), max(bottom - top, 0))


def _cells_of_one_class(
    labelled: np.ndarray, numbers: np.ndarray, indices: np.ndarray, tile: Window, side: int, share: float
) -> dict[_Corner, int]:
    """Return the class number of each cell of a tile that has one on `share` of its pixels.

    `indices` into `numbers` are the classes of the pixels that are `labelled` (y, x).
    """
    rows, cols = np.nonzero(labelled)
    across = labelled.shape[1] // side
    cells = rows // side * across + cols // side
    count = labelled.size // side**2
    pixels = np.bincount(cells * numbers.size + indices, minlength=count * numbers.size)
    pixels = pixels.reshape(count, numbers.size)
    largest = pixels.argmax(axis=1)
    kept = np.flatnonzero(pixels.max(axis=1) >= share * side**2)
    return {
        (
            int(tile.row_off) + side * int(cell // across),
            int(tile.col_off) + side * int(cell % across),
        ): int(numbers[largest[cell]])
        for cell in kept
    }
