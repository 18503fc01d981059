"""What a reference says of a scene's pixels, in the classes of a model, looked up tile by tile."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

import numpy as np
from rasterio.windows import Window

from ..engine.jobs import AttributionJob
from ..models.card import Card
from ..rasters.grid import Grid
from .class_windows import ClassWindows
from .context import Context
from .feature_windows import FeatureWindows
from .truth import places_among


class TruthWindows:
    """The reference of a job on a grid, as a context manager; memory does not grow with its pixels.

    Entering it looks through `window`; `pixels` are then those of each class there, by name. Raises
    InputError where the model does not know a class, or where the reference says nothing of any pixel. One
    thread may read at a time.
    """

    pixels: dict[str, int]

    def __init__(self, job: AttributionJob, context: Context, card: Card, grid: Grid, window: Window) -> None:
        self._job, self._context, self._card = job, context, card
        self._grid, self._window = grid, window
        self._stack = ExitStack()

    def __enter__(self) -> TruthWindows:
        with ExitStack() as stack:
            self._given = self._opened(stack)
            names = self._given.names
            # The last is for pixels of no class.
            self._numbers = np.append(places_among(names, self._card.class_names, "reference"), -1)
            self.pixels = dict(zip(names, self._given.pixels.tolist()))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def of(self, window: Window) -> np.ndarray:
        """Return int64 (y, x) of a window of the grid: the model's class of each pixel, -1 for none."""
        return self._numbers[self._given.of(window)]

    def _opened(self, stack: ExitStack) -> ClassWindows | FeatureWindows:
        job, grid, window = self._job, self._grid, self._window
        if job.reference_features:
            return FeatureWindows(job.reference_features, grid, window, self._context)
        return stack.enter_context(
            ClassWindows(job.reference_raster or "", grid, window, job.unlabelled_value, self._context)
        )
