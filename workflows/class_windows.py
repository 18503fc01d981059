"""The classes of a raster, looked up by windows of a scene, without holding it."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

import numpy as np
from rasterio.errors import RasterioError
from rasterio.windows import Window

from ..rasters.class_rasters import category_names, class_raster_on
from ..rasters.errors import InputError
from ..rasters.grid import Grid
from ..rasters.labels import MOST_CLASSES, names_of_numbers, whole_numbers
from ..rasters.tiles import plan_tiles
from .context import Context

_BLOCK = 1024


class ClassWindows:
    """A raster of class numbers as if it were on a grid, as a context manager.

    Entering it finds the classes of `window`: `names` of the numbers that are there, and `pixels` int64
    (class,) of each; `unlabelled` and nodata are no class. Raises InputError where the raster holds no
    classes, none in the window, or can't be laid on the grid. One thread may read at a time.
    """

    names: tuple[str, ...]
    pixels: np.ndarray

    def __init__(self, path: str, grid: Grid, window: Window, unlabelled: int, context: Context) -> None:
        self._path, self._grid, self._window = path, grid, window
        self._unlabelled, self._context = unlabelled, context
        self._stack = ExitStack()

    def __enter__(self) -> ClassWindows:
        with ExitStack() as stack:
            opened = class_raster_on(self._path, self._grid)
            self._dataset, self._covered, resampled = stack.enter_context(opened)
            if resampled:
                self._context.warn(
                    f"The classes in {self._path} are on another grid; each pixel of the scene got the "
                    "nearest one."
                )
            self._numbers, self.pixels = self._counted()
            self.names = names_of_numbers(self._numbers.tolist(), category_names(self._path))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def of(self, window: Window) -> np.ndarray:
        """Return int64 (y, x) of a window of the grid: places in `names`, -1 where there is no class."""
        numbers, known = self._read(window)
        places = np.minimum(np.searchsorted(self._numbers, numbers), len(self._numbers) - 1)
        return np.where(known & (self._numbers[places] == numbers), places, -1)

    def _counted(self) -> tuple[np.ndarray, np.ndarray]:
        counts: dict[int, int] = {}
        for block in plan_tiles(self._window, _BLOCK):
            self._context.check()
            numbers, known = self._read(block)
            for number, count in zip(*np.unique(numbers[known], return_counts=True)):
                counts[int(number)] = counts.get(int(number), 0) + int(count)
            if len(counts) > MOST_CLASSES:
                raise InputError(
                    f"{self._path} holds more than {MOST_CLASSES} values; choose a raster of classes."
                )
        if not counts:
            raise InputError(
                f"No pixel of the scene has a class in {self._path}, where {self._unlabelled} and nodata "
                "mean none; choose other classes, extent or value."
            )
        order = sorted(counts)
        return np.array(order), np.array([counts[number] for number in order])

    def _read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers int64 (y, x) of a window, and where there are any."""
        try:
            stored = self._dataset.read(1, window=window, masked=True)
        except RasterioError as error:
            raise InputError(
                f"{self._path} can't be read in full; the file may be damaged ({error})."
            ) from error
        known = ~np.ma.getmaskarray(stored) & np.isfinite(stored.data)
        known &= stored.data != self._unlabelled
        numbers = np.zeros(stored.shape, dtype=np.int64)
        numbers[known] = whole_numbers(self._path, stored.data[known])
        return numbers, known
