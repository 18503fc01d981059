"""Chips: the square images that scene classifiers read, from a folder of files or cut from a scene."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from affine import Affine
from rasterio.windows import Window

from .errors import InputError, first_of
from .grid import Grid
from .labels import class_order
from .scene import Band, Scene, open_scene
from .tiles import plan_tiles

# What lies beside rasters without being one: side files of GDAL and QGIS, georeferences, notes.
_NO_RASTERS = tuple(
    ".json .geojson .xml .qml .txt .csv .md .html .hdr .prj .wld .tfw .jgw .pgw .ovr .msk .db .ini".split()
)
_TILE = 2048


@dataclass(frozen=True)
class Chip:
    """One chip: its raster, its upper left pixel there, its class (-1 where unknown) and a name."""

    path: str
    row: int
    col: int
    class_index: int
    name: str


@dataclass(frozen=True)
class ChipSet:
    """Chips of one side and the same bands; classes are indices into `names`, sorted as labels are.

    `warnings` says what was left out. `scene` is the raster that all chips are cut from, None where each
    is in a file of its own.
    """

    chips: tuple[Chip, ...]
    names: tuple[str, ...]
    side: int
    bands: tuple[Band, ...]
    warnings: tuple[str, ...] = ()
    scene: Scene | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.chips)

    @property
    def classes(self) -> np.ndarray:
        """The class of each chip, int64 (n,), -1 where unknown."""
        return np.array([chip.class_index for chip in self.chips], dtype=np.int64)

    def read(self, indices: Sequence[int], bands: Sequence[int] | None = None) -> np.ndarray:
        """Return float32 (n, band, y, x) of the chips at `indices`, NaN where a raster has no data.

        `bands` counts from 0, None for all. A file is opened once a call and closed before the next.
        Raises InputError where a file is damaged or gone.
        """
        count = len(self.bands) if bands is None else len(bands)
        values = np.empty((len(indices), count, self.side, self.side), dtype=np.float32)
        places: dict[str, list[int]] = defaultdict(list)
        for place, index in enumerate(indices):
            places[self.chips[index].path].append(place)
        for path, members in places.items():
            scene = self.scene or open_scene(path)
            for place in members:
                values[place] = scene.read(self._window(indices[place]), bands=bands)
        return values

    def grid(self, index: int) -> Grid:
        """Return the grid of one chip, without georeference where its raster has none."""
        chip = self.chips[index]
        whole = (self.scene or open_scene(chip.path)).grid
        if not whole.georeferenced:
            return Grid(self.side, self.side, whole.crs, Affine.identity())
        return whole.sub(self._window(index))

    def subset(self, indices: Sequence[int]) -> ChipSet:
        """Return the chips at `indices`, in that order, with all class names."""
        return replace(self, chips=tuple(self.chips[index] for index in indices))

    def _window(self, index: int) -> Window:
        return Window(self.chips[index].col, self.chips[index].row, self.side, self.side)


def chips_of_folder(
    folder: str, side: int = 0, skip_unreadable: bool = False, check: Callable[[], None] = lambda: None
) -> ChipSet:
    """Find the chips in a folder with a sub-folder of rasters per class, or with unlabelled rasters.

    A chip is the middle `side` x `side` pixels of its raster; 0 means the size that all rasters share.
    Every file is read through, so that a damaged one is found before any work; with `skip_unreadable` it
    is left out and named in a warning. Side files (`.json`, `.xml`, `.qml`, `.txt` ...) and hidden files
    are no chips. `check` is called before each file; what it raises stops the search.
    Raises InputError, naming the file or folder, where there is nothing to read, or a raster is damaged,
    smaller than `side` or unlike the others in size (for 0) or in its count of bands.
    """
    listed, names, ignored = _list_rasters(folder)
    scenes: dict[str, Scene] = {}
    unreadable: list[str] = []
    for path in listed:
        check()
        try:
            scenes[path] = _read_through(path)
        except InputError as error:
            if not skip_unreadable:
                raise InputError(f"{error} SKIP_UNREADABLE leaves such files out.") from error
            unreadable.append(path)
    _check_classes(folder, listed, scenes, names)
    side = _common_side(folder, list(scenes.values()), side)
    chips = tuple(
        Chip(
            path=path,
            row=(scene.grid.height - side) // 2,
            col=(scene.grid.width - side) // 2,
            class_index=listed[path],
            name=os.path.relpath(path, folder).replace(os.sep, "/"),
        )
        for path, scene in scenes.items()
    )
    warnings = [
        (ignored, "are not in a class folder and are left out"),
        (unreadable, "can't be read and are left out"),
        (_differently_named(list(scenes.values())), f"name their bands otherwise than {chips[0].name}"),
    ]
    return ChipSet(
        chips=chips,
        names=names,
        side=side,
        bands=scenes[chips[0].path].bands,
        warnings=tuple(_files_text(folder, paths, text) for paths, text in warnings if paths),
    )


def _list_rasters(folder: str) -> tuple[dict[str, int], tuple[str, ...], list[str]]:
    """Return the class of each raster by path, the class names, and rasters that have no place."""
    if not os.path.isdir(folder):
        raise InputError(f"There is no folder {folder}; choose the folder of the chips.")
    files, folders = _entries(folder)
    folders.sort(key=lambda path: class_order(os.path.basename(path)))
    if not folders:
        if not files:
            raise InputError(f"The folder {folder} holds no raster; choose the folder of the chips.")
        return dict.fromkeys(files, -1), (), []
    listed: dict[str, int] = {}
    ignored = files
    for index, class_folder in enumerate(folders):
        members, inner = _entries(class_folder)
        if not members:
            hint = ", or choose it if its own folders are the classes" if inner else ""
            raise InputError(
                f"The class folder {class_folder} holds no raster; put some there or remove it{hint}."
            )
        listed |= dict.fromkeys(members, index)
        ignored += [path for below in inner for path in _entries(below)[0]]
    return listed, tuple(os.path.basename(path) for path in folders), ignored


def _entries(folder: str) -> tuple[list[str], list[str]]:
    """Return what may be rasters, and the folders, in a folder; both sorted, none hidden."""
    try:
        with os.scandir(folder) as entries:
            shown = sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"The folder {folder} can't be read ({error.strerror}).") from error
    files = [e.path for e in shown if e.is_file() and not e.name.lower().endswith(_NO_RASTERS)]
    return files, [entry.path for entry in shown if entry.is_dir()]


def _read_through(path: str) -> Scene:
    """Return the scene at `path` after decoding all of it; its file is closed again."""
    scene = open_scene(path)
    for tile in plan_tiles(scene.grid.whole, _TILE):
        scene.read(tile)
    return open_scene(path)


def _check_classes(
    folder: str, listed: dict[str, int], scenes: dict[str, Scene], names: tuple[str, ...]
) -> None:
    if not scenes:
        raise InputError(f"None of the {len(listed)} files in {folder} can be read as a raster.")
    readable = {listed[path] for path in scenes}
    for index, name in enumerate(names):
        if index not in readable:
            raise InputError(f"No file of the class folder {os.path.join(folder, name)} can be read.")


def _common_side(folder: str, scenes: list[Scene], side: int) -> int:
    """Return the side of all chips; InputError where the rasters don't allow one, or differ in bands."""
    first = scenes[0]
    for scene in scenes:
        if len(scene.bands) != len(first.bands):
            raise InputError(
                f"{scene.path} has {len(scene.bands)} band(s) and {first.path} {len(first.bands)}; "
                "chips need the same bands."
            )
    smallest = min(scenes, key=lambda scene: min(scene.grid.width, scene.grid.height))
    largest = max(scenes, key=lambda scene: max(scene.grid.width, scene.grid.height))
    common = min(smallest.grid.width, smallest.grid.height)
    if side > common:
        raise InputError(
            f"{smallest.path} has {_size(smallest)} pixels, which is smaller than a chip of {side} x {side}; "
            f"leave the file out, or use smaller chips, of {common} x {common} or less."
        )
    if not side and common != max(largest.grid.width, largest.grid.height):
        raise InputError(
            f"The rasters in {folder} are not all of one square size: {smallest.path} has {_size(smallest)} "
            f"pixels, {largest.path} {_size(largest)}; set PATCH_SIZE to {common} or less to use the middle "
            "of each."
        )
    return side or common


def _differently_named(scenes: list[Scene]) -> list[str]:
    names = Counter(tuple(band.name for band in scene.bands) for scene in scenes)
    if len(names) == 1:
        return []
    first = tuple(band.name for band in scenes[0].bands)
    return [scene.path for scene in scenes if tuple(band.name for band in scene.bands) != first]


def _files_text(folder: str, paths: list[str], text: str) -> str:
    named = first_of([os.path.relpath(path, folder) for path in paths])
    return f"{len(paths)} file(s) in {folder} {text}: {named}."


def _size(scene: Scene) -> str:
    return f"{scene.grid.width} x {scene.grid.height}"
