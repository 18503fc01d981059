"""Whether a model fits a scene, checked before any work."""

from __future__ import annotations

import numpy as np
from rasterio.windows import Window

from ..models.files import Model, load_model
from ..rasters.errors import InputError
from ..rasters.scene import Scene, open_scene

# Windows up to this many pixels are looked through for data before the work starts.
_SMALL = 1024 * 1024


def open_pair(scene_path: str, model_path: str, *tasks: str) -> tuple[Scene, Model]:
    """Open a scene and the model of one of `tasks` to read it with; InputError where they do not fit."""
    scene = open_scene(scene_path)
    model = load_model(model_path, *tasks)
    model.card.check_bands(scene.bands, scene_path)
    return scene, model


def check_has_data(scene: Scene, window: Window, band: int) -> None:
    """Raise InputError where a window holds no data; a large one shows that at its end, before any output."""
    if window.width * window.height > _SMALL or np.isfinite(scene.read(window, bands=[band])).any():
        return
    raise no_data(scene)


def no_data(scene: Scene) -> InputError:
    """Return the error of a scene or extent without data."""
    return InputError(
        f"{scene.path} holds no pixel with data in all bands where it was to be read; "
        "choose another raster, extent or mask."
    )
