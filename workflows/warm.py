"""The model and the raster that were used last, kept open between jobs so that a click need not wait."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Hashable
from typing import TypeVar

T = TypeVar("T")


class LastOne:
    """Keeps the last thing that was made, for as long as the files that it was made from are as they were."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._kept: object = None

    def get(self, files: list[str], settings: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` made for these files and settings, made anew where a file has changed."""
        key = (tuple(map(_state, files)), settings)
        if key != self._key:
            # What was kept is let go before, not after: two models or rasters need not be open at once.
            self._key = self._kept = None
            # Networks refer to themselves, and the engine collects no garbage after jobs as short as these.
            gc.collect()
            self._kept = make()
            self._key = key
        return self._kept  # type: ignore[return-value]


def _state(path: str) -> tuple[str, int, int]:
    """Return a file's path, time of change and size; those of a missing file are 0."""
    try:
        status = os.stat(path)
    except OSError:
        return path, 0, 0
    return path, status.st_mtime_ns, status.st_size
