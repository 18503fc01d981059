"""Explain pixels at a click: what is there, what the model says of it, and which bands or dates said so."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from rasterio.windows import Window
from torch import Tensor

from ..engine.jobs import ExplainPixelsJob
from ..models.card import PIXEL_CLASSIFICATION, SERIES_AUTOENCODER, Card
from ..models.files import Model
from ..rasters.errors import InputError
from ..rasters.features import read_features
from ..rasters.scene import Scene, describe_band
from ..rasters.series import Series
from .context import Context
from .devices import one_thread, resolve_device
from .fitting import open_pair
from .pixel_chips import chip_of
from .pixel_explaining import PixelExplainer, sampled_evenly
from .series_reading import open_series_pair, unit_of
from .targets import Target
from .warm import LastOne

# A polygon's mean is that of so many of its pixels, evenly spread: more would take longer than a click may.
MOST_PIXELS = 64

_last = LastOne()


def explain_pixels(job: ExplainPixelsJob, context: Context) -> dict:
    """Explain the points and the polygons that `job` names."""
    if bool(job.scene) == bool(job.series):
        raise InputError("A pixel is one of a raster or of a series; give one of the two.")
    if not job.points and not job.polygon_features:
        raise InputError("There is no pixel to explain; click one, or draw a polygon.")
    looker = _opened(job, context)
    looker.check(job.explainer)
    target = Target(job, looker.model.card)
    groups = _groups(job, looker.scene)
    items = []
    with one_thread():
        for number, (rows, cols) in enumerate(groups):
            context.progress(number / len(groups), f"Explaining {number + 1} of {len(groups)}")
            items.append(_explained(job, context, looker, target, rows, cols))
    missing = [item for item in items if not item["pixels"]]
    if missing:
        places = ", ".join(f"({item['x']:.10g}, {item['y']:.10g})" for item in missing[:3])
        context.warn(f"{len(missing)} of {len(items)} have no data in a band that the model reads: {places}.")
    return {
        "files": {}, "tables": {}, "numbers": {}, "strings": {}, "warnings": context.warnings,
        # A click leaves nothing behind that a record could lie beside.
        "record": {"job": job.to_dict(), "model_digest": looker.model.card.digest},
        "pixels": items,
        "axis": axis_of(looker.scene, looker.model.card),
        "means": class_means(looker.model),
    }  # fmt: skip


def _opened(job: ExplainPixelsJob, context: Context) -> PixelExplainer:
    """Return the model on its scene, as they were kept since the last click where nothing has changed."""
    device = resolve_device(job.device)

    def make() -> PixelExplainer:
        pair: tuple[Scene, Model]
        if job.series:
            pair = open_series_pair(job.series, job.model, context)
        else:
            pair = open_pair(job.scene or "", job.model, PIXEL_CLASSIFICATION)
        return PixelExplainer(*pair, device, job.memory_mb)

    rasters = list(job.series.paths) if job.series else [job.scene or ""]
    return _last.get([job.model, *rasters], (job.series, device, job.memory_mb), make)


def _groups(job: ExplainPixelsJob, scene: Scene) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return rows and columns of the pixels at each point and in each polygon; InputError where one has none.

    Of a large polygon evenly spread ones.
    """
    groups = []
    for x, y in job.points:
        col, row = (math.floor(axis) for axis in ~scene.grid.display_transform(y) * (x, y))
        if not (0 <= row < scene.grid.height and 0 <= col < scene.grid.width):
            raise InputError(f"The point ({x:.10g}, {y:.10g}) lies outside {scene.path}; click inside of it.")
        groups.append((np.array([row]), np.array([col])))
    if job.polygon_features:
        features = read_features(job.polygon_features)
        transform = features.transform_of(scene.grid)
        for number, feature in enumerate(features.features, 1):
            keys = np.unique(feature.covered(scene.grid, transform))
            if not keys.size:
                raise InputError(
                    f"Polygon {number} holds no pixel's centre; draw a larger one on the raster."
                )
            groups.append(np.divmod(keys[sampled_evenly(keys.size, MOST_PIXELS)], scene.grid.width))
    return groups


def _explained(
    job: ExplainPixelsJob, context: Context, looker: PixelExplainer, target: Target,
    rows: np.ndarray, cols: np.ndarray,
) -> dict:  # fmt: skip
    """Return what is known of one pixel, or of the mean of several."""
    scene, card = looker.scene, looker.model.card
    values = _values(scene, rows, cols)
    known = np.isfinite(values[:, card.used_bands]).all(1)
    place = int(np.argmin(np.hypot(rows - rows.mean(), cols - cols.mean())))
    row, col = int(rows[place]), int(cols[place])
    x, y = _centre(scene, float(rows.mean()), float(cols.mean()))
    item = {
        "x": x, "y": y, "row": row, "col": col, "pixels": int(known.sum()),
        "classes": [], "colours": [], "probabilities": [], "predicted": None, "target": "",
        "attribution": [None] * len(scene.bands), "brightness": None, "residual": None,
        "values": _plain(_mean_known(values)),
        "chip": chip_of(scene, row, col, job.chip_size) if job.chip_size > 0 else None,
    }  # fmt: skip
    if not known.any():
        return item
    rows, cols = rows[known], cols[known]
    logits = looker.look(rows, cols, context.check).logits
    shares = logits.softmax(1).mean(0)
    if card.task != SERIES_AUTOENCODER:
        item |= {
            "classes": card.class_names, "colours": [entry.colour for entry in card.classes],
            "probabilities": shares.tolist(), "predicted": card.class_names[int(shares.argmax())],
        }  # fmt: skip
    # All pixels of a polygon are explained by one target: that of their mean.
    weights = target.weights(shares.log()[:, None, None])[:, 0, 0]
    against = int(weights.argmin()) if (weights < 0).any() else None
    baseline = looker.baseline(job.baseline, against)
    count = len(rows)
    found = looker.explain(
        job.explainer, rows, cols, weights.expand(count, -1), baseline.expand(count, -1), context.check
    )
    return item | _attribution(found.values.mean(0), float(found.residual.mean()), scene, card) | {
        "target": target_text(weights, card)
    }  # fmt: skip


def _attribution(values: Tensor, residual: float, scene: Scene, card: Card) -> dict:
    """Return a mean attribution (prepared band,) over all bands of the scene, and the brightness's own."""
    used = card.used_bands
    every: list[float | None] = [None] * len(scene.bands)
    for band, value in zip(used, values.tolist()):
        every[band] = value
    return {
        "attribution": every,
        "brightness": float(values[len(used)]) if len(values) > len(used) else None,
        "residual": residual if math.isfinite(residual) else None,
    }


def target_text(weights: Tensor, card: Card) -> str:
    """Return what is explained by weights (class,) of the logits."""
    names = card.class_names
    text = names[int(weights.argmax())]
    return f"{text} against {names[int(weights.argmin())]}" if (weights < 0).any() else text


def axis_of(scene: Scene, card: Card) -> dict:
    """Return what the bands are, for a chart's axis."""
    names = [describe_band(i, band) for i, band in enumerate(scene.bands)]
    axis: dict = {"kind": "band", "values": list(range(1, len(names) + 1)), "names": names, "channels": [],
                  "unit": ""}  # fmt: skip
    if isinstance(scene, Series):
        unit = unit_of(str(card.training.get("values", "as_is")))
        dates = [band.date for band in scene.bands]
        return axis | {"kind": "date", "values": dates, "channels": list(scene.channels), "unit": unit}
    wavelengths = [
        own if own is not None else trained.wavelength_nm
        for own, trained in zip(scene.wavelengths_nm, card.bands)
    ]
    if all(wavelengths[band] is not None for band in card.used_bands):
        return axis | {"kind": "wavelength", "values": wavelengths, "unit": "nm"}
    return axis


def class_means(model: Model) -> dict[str, list[float | None]]:
    """Return the mean training spectrum of each class over all bands, null in bands that are not read."""
    if model.card.task == SERIES_AUTOENCODER:
        return {}
    means = {}
    for name, spectrum in zip(model.card.class_names, model.spectra.class_means):
        every: list[float | None] = [None] * len(model.card.bands)
        for band, value in zip(model.card.used_bands, spectrum.tolist()):
            every[band] = value
        means[name] = every
    return means


def _values(scene: Scene, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Return all bands of pixels, float32 (n, band)."""
    if len(rows) == 1 or np.ptp(rows) * np.ptp(cols) <= MOST_PIXELS**2:
        top, left = int(rows.min()), int(cols.min())
        box = scene.read(Window(left, top, int(np.ptp(cols)) + 1, int(np.ptp(rows)) + 1))
        return box[:, rows - top, cols - left].T
    return np.stack([scene.read(Window(col, row, 1, 1))[:, 0, 0] for row, col in zip(rows, cols)])


def _centre(scene: Scene, row: float, col: float) -> tuple[float, float]:
    """Return where a pixel's centre lies in the coordinates that QGIS shows."""
    x, y = scene.grid.display_transform(0) * (col + 0.5, row + 0.5)
    return float(x), float(y)


def _mean_known(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(0, dtype=np.float64) / known.sum(0)


def _plain(values: Sequence[float] | np.ndarray) -> list[float | None]:
    """Return numbers for JSON, which knows no NaN."""
    return [float(value) if math.isfinite(value) else None for value in values]
