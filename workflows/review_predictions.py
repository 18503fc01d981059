"""What a model or a map of classes says of pixels, and in which space pixels have neighbours."""

from __future__ import annotations

from contextlib import ExitStack
from typing import NamedTuple, Protocol

import numpy as np
import rasterio
import torch
from rasterio.errors import RasterioError
from rasterio.windows import Window
from torch import Tensor

from ..models.card import CardClass, card_classes
from ..models.networks import PatchNetwork
from ..models.segmentation_networks import SegmentationNetwork
from ..rasters.class_rasters import category_names, class_raster_on
from ..rasters.errors import InputError
from ..rasters.labels import MOST_CLASSES, names_of_numbers, whole_numbers
from ..rasters.scene import Scene
from ..rasters.tiles import plan_tiles
from .canvas import canvas_side, read_canvas_tile
from .classify import class_logits
from .classify_dense import dense_bytes, dense_logits
from .context import Context
from .pixel_explaining import PixelExplainer
from .tiling import read_tile, tile_side

# Activations of all layers at once, in bytes a pixel, for the widest of our networks.
_BYTES_PER_PIXEL = 16_384
# Of a network that reads far around, and of a map whose neighbourhoods are its pixels' own.
_DENSE_REACH, _MAP_REACH = 2, 1
_BLOCK = 1024


class Found(NamedTuple):
    """Predictions of n pixels: classes int64 (n,), -1 where there is none; probabilities (n, class)."""

    classes: np.ndarray
    probabilities: np.ndarray | None


class Predictor(Protocol):
    """Says of which class pixels are. `reach`: how far around a pixel counts for it, in pixels."""

    scene: Scene
    bands: list[int]
    reach: int
    side: int
    classes: tuple[CardClass, ...]

    def predict(self, rows: np.ndarray, cols: np.ndarray, window: Window) -> Found:
        """Return what pixels (n,) are said to be; they lie in `window`."""
        ...

    def class_map(self, window: Window) -> np.ndarray:
        """Return the classes of a window, int64 (y, x), -1 where there is none."""
        ...

    def features(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray | None:
        """Return what the model tells pixels (n,) apart by, float32 (n, feature); None without a model."""
        ...


class OfModel:
    """A classifier of pixels; its features are what its last layer reads."""

    def __init__(self, looker: PixelExplainer, context: Context, memory_mb: int) -> None:
        self.looker, self._context = looker, context
        self.scene, self.network = looker.scene, looker.network
        self.bands, self.classes = looker.model.card.used_bands, looker.model.card.classes
        if isinstance(self.network, SegmentationNetwork):
            self.reach = _DENSE_REACH
            self.side = canvas_side(memory_mb, dense_bytes(self.network), self.network.reach)
        else:
            self.reach = max(1, self.network.patch_size // 2)
            self.side = tile_side(memory_mb, _BYTES_PER_PIXEL)

    def predict(self, rows: np.ndarray, cols: np.ndarray, window: Window) -> Found:
        """See `Predictor`: by windows, or pixel by pixel where these are few and far between."""
        top, left = int(window.row_off), int(window.col_off)
        area = int(window.width) * int(window.height)
        if not isinstance(self.network, PatchNetwork) or len(rows) * self.network.patch_size**2 >= area:
            logits, valid = self._logits(window)
            shares = logits.softmax(0)[:, rows - top, cols - left].T.numpy()
            valid = valid[rows - top, cols - left]
        else:
            values = self.scene.read(window, bands=self.bands)[:, rows - top, cols - left]
            valid = np.isfinite(values).all(0)
            shares = np.zeros((len(rows), len(self.classes)), dtype=np.float32)
            if valid.any():
                look = self.looker.look(rows[valid], cols[valid], self._context.check)
                shares[valid] = look.logits.softmax(1).numpy()
        return Found(np.where(valid, shares.argmax(1), -1), shares)

    def class_map(self, window: Window) -> np.ndarray:
        """See `Predictor`."""
        logits, valid = self._logits(window)
        return np.where(valid, logits.argmax(0).numpy(), -1)

    def features(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray | None:
        """See `Predictor`."""
        return self.looker.look(rows, cols, self._context.check).features.numpy()

    @torch.no_grad()
    def _logits(self, window: Window) -> tuple[Tensor, np.ndarray]:
        """Return the logits (class, y, x) of a window and which of its pixels have data."""
        card, fill = self.looker.model.card, self.looker.model.spectra.mean
        if isinstance(self.network, SegmentationNetwork):
            read = read_canvas_tile(self.scene, card, self.network, window, fill)
            return dense_logits(self.network, read).cpu(), read.valid
        values, valid = read_tile(self.scene, card, self.network, window, fill)
        device = self.network.scaling.offset.device
        return class_logits(self.network, values.to(device), self._context).cpu(), valid


class OfMap:
    """A raster of class numbers.

    Zero without a name, nodata and pixels that the map does not cover have no prediction.
    """

    def __init__(self, path: str, scene: Scene, bands: list[int], context: Context, stack: ExitStack) -> None:
        self.scene, self.bands, self.reach, self.side = scene, bands, _MAP_REACH, _BLOCK
        self._path = path
        self._dataset, self._window, resampled = stack.enter_context(class_raster_on(path, scene.grid))
        if resampled:
            context.warn(f"The classes in {path} are on another grid; each pixel got the nearest one.")
        categories = category_names(path)
        self._numbers = self._found_numbers(0 in categories, context)
        names = names_of_numbers(self._numbers, categories)
        self.classes = _coloured(path, self._numbers, names)

    def predict(self, rows: np.ndarray, cols: np.ndarray, window: Window) -> Found:
        """See `Predictor`."""
        found = self.class_map(window)[rows - int(window.row_off), cols - int(window.col_off)]
        return Found(found, None)

    def class_map(self, window: Window) -> np.ndarray:
        """See `Predictor`."""
        stored = self._read(window)
        known = np.array(self._numbers)
        place = np.searchsorted(known, stored.data).clip(0, len(known) - 1)
        there = (known[place] == stored.data) & ~np.ma.getmaskarray(stored)
        return np.where(there, place, -1)

    def features(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray | None:
        """See `Predictor`."""
        return None

    def _found_numbers(self, with_zero: bool, context: Context) -> list[int]:
        found: set[int] = set()
        for block in plan_tiles(self._window, _BLOCK):
            context.check()
            stored = self._read(block)
            found.update(np.unique(whole_numbers(self._path, stored.compressed())).tolist())
            if len(found) > MOST_CLASSES:
                raise InputError(f"{self._path} holds more than {MOST_CLASSES} values; choose classes.")
        found -= set() if with_zero else {0}
        if not found:
            raise InputError(f"{self._path} holds no class; choose a raster of classes.")
        return sorted(found)

    def _read(self, window: Window) -> np.ma.MaskedArray:
        try:
            return self._dataset.read(1, window=window, masked=True)
        except RasterioError as error:
            raise InputError(
                f"{self._path} can't be read in full; the file may be damaged ({error})."
            ) from error


def _coloured(path: str, numbers: list[int], names: tuple[str, ...]) -> tuple[CardClass, ...]:
    """Return the classes in the colours of the raster's table, else those of the palette."""
    own = card_classes(names)
    with rasterio.open(path) as dataset:
        try:
            table = dataset.colormap(1)
        except ValueError:
            return own
    return tuple(
        CardClass(entry.name, "#{:02x}{:02x}{:02x}".format(*table[number])) if number in table else entry
        for entry, number in zip(own, numbers)
    )
