"""The classes of features, looked up by windows of a scene, without holding the pixels that they cover."""

from __future__ import annotations

import numpy as np
from rasterio.windows import Window

from ..rasters.errors import InputError
from ..rasters.features import covered_by
from ..rasters.grid import Grid, as_text
from ..rasters.labels import read_named_features
from ..rasters.tiles import plan_tiles
from .context import Context

_BLOCK = 1024


class FeatureWindows:
    """Features with a class, in the scene's CRS, as if they were the class raster of a `ClassWindows`.

    A point names the pixel that it falls in, a polygon those whose centre is inside; a pixel that is named
    more than one class has none, as in `read_label_features`. `names` are the classes in `window`, `pixels`
    int64 (class,) how many each has there. Raises InputError where there are none.
    """

    def __init__(self, path: str, grid: Grid, window: Window, context: Context) -> None:
        self._path, self._grid, self._context = path, grid, context
        self._features, names_of_features, names = read_named_features(path)
        # Found once: a raster has many tiles, and a layer many features.
        self._transform = self._features.transform_of(grid)
        self._boxes = self._touched()
        places = {name: place for place, name in enumerate(names)}
        self._places = np.array([-1 if name is None else places[name] for name in names_of_features])
        counts, contested = self._counted(window, len(names))
        used = np.flatnonzero(counts)
        if not used.size:
            raise InputError(
                f"No feature of {path} names the class of a pixel where it was to be read: they cover "
                f"{as_text(self._features.bounds)}, the scene {as_text(grid.extent)}; choose others, or "
                "another extent or mask."
            )
        self.names, self.pixels = tuple(names[place] for place in used), counts[used]
        # Features of other classes name no pixel of the window, or only such as are named twice.
        self._used = np.full(len(names) + 1, -1)
        self._used[used] = np.arange(len(used))
        self._warn(names_of_features.count(None), contested)

    def of(self, window: Window) -> np.ndarray:
        """Return int64 (y, x) of a window of the grid: places in `names`, -1 where there is no class."""
        return self._used[self._read(window)[0]]

    def _touched(self) -> np.ndarray:
        """Return the pixels (n, 4) that each feature's bounds touch: left, top, right and bottom."""
        boxes = np.zeros((len(self._features.features), 4), dtype=np.int64)
        for box, feature in zip(boxes, self._features.features):
            self._context.check()
            if pixels := self._grid.touched(feature.bounds, self._transform):
                left, top = int(pixels.col_off), int(pixels.row_off)
                box[:] = left, top, left + int(pixels.width), top + int(pixels.height)
        return boxes

    def _counted(self, window: Window, count: int) -> tuple[np.ndarray, int]:
        """Return the pixels (class,) of each class in a window, and those that have more than one."""
        counts, contested = np.zeros(count, dtype=np.int64), 0
        for block in plan_tiles(window, _BLOCK):
            self._context.check()
            if not self._near(block).size:
                continue
            found, twice = self._read(block)
            counts += np.bincount(found[found >= 0], minlength=count)
            contested += int(np.count_nonzero(twice))
        return counts, contested

    def _read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Return the classes int64 (y, x) of a window, -1 for none, and bool (y, x): has more than one."""
        shape = int(window.height), int(window.width)
        found, twice = np.full(shape, -1, dtype=np.int64), np.zeros(shape, dtype=bool)
        near = self._near(window)
        for place in np.unique(self._places[near]):
            members = [self._features.features[index] for index in near[self._places[near] == place]]
            covered = covered_by(members, self._grid, window, self._transform)
            twice |= covered & (found >= 0)
            found[covered] = place
        found[twice] = -1
        return found, twice

    def _near(self, window: Window) -> np.ndarray:
        """Return which features have a class and may cover pixels of a window."""
        left, top, right, bottom = self._boxes.T
        beside = (right <= window.col_off) | (left >= window.col_off + window.width)
        above = (bottom <= window.row_off) | (top >= window.row_off + window.height)
        return np.flatnonzero((self._places >= 0) & ~beside & ~above)

    def _warn(self, without_class: int, contested: int) -> None:
        for count, text in (
            (self._features.skipped, "feature(s) of {} have no point or polygon and are left out."),
            (without_class, "feature(s) of {} have no class and are left out."),
            (contested, "pixel(s) are named more than one class in {} and are left out."),
        ):
            if count:
                self._context.warn(f"{count} {text.format(self._path)}")
