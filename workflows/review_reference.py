"""Reference pixels and what a model, or a map, says of them, block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rasterio.windows import Window

from ..models.card import CardClass
from ..rasters.errors import InputError, first_of
from ..rasters.grid import Grid
from ..rasters.labels import LabelledPixels, class_order
from .context import Context
from .review_predictions import Predictor
from .samples import pixels_by_block
from .truth import Labelled, places_among

# A reference pixel of whose surroundings less than this share is labelled counts as a point.
_ISOLATED = 0.5


@dataclass(frozen=True)
class Reference:
    """Reference pixels in the order of rows and columns: places, classes and parcels int64 (n,).

    Classes are indices into `classes`. `points` is True where labels are single points.
    """

    rows: np.ndarray
    cols: np.ndarray
    true: np.ndarray
    parcels: np.ndarray
    classes: tuple[CardClass, ...]
    points: bool

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> list[str]:
        """Names of the classes."""
        return [entry.name for entry in self.classes]


@dataclass(frozen=True)
class Judged:
    """What is said of the reference's pixels (n,): `predicted` int64, -1 without data or prediction.

    `confidence` of the predicted class and `margin` over the true one, float32, NaN without a model. `split`:
    how far the two likeliest classes are apart. `edge`: wrong, at a border of the reference or of the map.
    """

    predicted: np.ndarray
    confidence: np.ndarray
    margin: np.ndarray
    split: np.ndarray
    edge: np.ndarray

    def known(self) -> np.ndarray:
        """Return which pixels have a prediction, bool (n,)."""
        return self.predicted >= 0


def with_classes(
    labels: LabelledPixels, known: tuple[CardClass, ...], fixed: bool
) -> tuple[np.ndarray, tuple[CardClass, ...]]:
    """Return the labels' classes as indices into those of the predictions, and all classes.

    Where these are not `fixed`, classes that only the labels have come after them.
    Raises InputError where a model does not know a class, or a map has none in common.
    """
    names = [entry.name for entry in known]
    if fixed:
        return places_among(labels.names, names, "reference"), known
    unknown = [name for name in labels.names if name not in names]
    if len(unknown) == len(labels.names):
        raise InputError(
            f"The classes of the map ({first_of(names)}) and of the reference ({first_of(labels.names)}) "
            "have no name in common; name them alike."
        )
    added = tuple(CardClass(name, "#7f7f7f") for name in sorted(unknown, key=class_order))
    every = names + [entry.name for entry in added]
    return np.array([every.index(name) for name in labels.names], dtype=np.int64), known + added


def cut_to(reference: LabelledPixels, window: Window, grid: Grid) -> np.ndarray:
    """Return which labelled pixels lie in a window; InputError where none does."""
    rows, cols = reference.rows - int(window.row_off), reference.cols - int(window.col_off)
    inside = (rows >= 0) & (rows < window.height) & (cols >= 0) & (cols < window.width)
    if not inside.any():
        raise InputError("No pixel of the reference lies in the extent; choose a larger one.")
    return inside


def judge(reference: Reference, predictor: Predictor, context: Context) -> Judged:
    """Look at every reference pixel, block by block."""
    count = len(reference)
    judged = Judged(
        predicted=np.full(count, -1, dtype=np.int64),
        confidence=np.full(count, np.nan, dtype=np.float32),
        margin=np.full(count, np.nan, dtype=np.float32),
        split=np.full(count, np.nan, dtype=np.float32),
        edge=np.zeros(count, dtype=bool),
    )
    truth = _lookup(reference, predictor.scene.grid)
    done = 0
    for members, window in pixels_by_block(reference.rows, reference.cols, predictor.scene, predictor.side):
        context.check()
        rows, cols = reference.rows[members], reference.cols[members]
        found = predictor.predict(rows, cols, window)
        judged.predicted[members] = found.classes
        if found.probabilities is not None:
            shares = found.probabilities
            place = np.arange(len(members))
            ordered = np.sort(shares, 1)
            judged.confidence[members] = shares.max(1)
            judged.margin[members] = shares.max(1) - shares[place, reference.true[members]]
            judged.split[members] = ordered[:, -1] - ordered[:, -2]
        wrong = (found.classes >= 0) & (found.classes != reference.true[members])
        if wrong.any():
            chosen = members[wrong]
            judged.edge[chosen] = _at_edge(reference, chosen, found.classes[wrong], predictor, truth)
        done += len(members)
        context.progress(0.5 * done / count, f"Comparing, {done} of {count} reference pixels done")
    return judged


def _lookup(reference: Reference, grid: Grid) -> Labelled:
    labels = LabelledPixels(reference.rows, reference.cols, reference.true, tuple(reference.names))
    return Labelled(labels, np.arange(len(reference.classes)), tuple(reference.names), grid.width)


def _at_edge(
    reference: Reference, chosen: np.ndarray, predicted: np.ndarray, predictor: Predictor, truth: Labelled
) -> np.ndarray:
    """Return which wrong pixels (n,) lie within the predictor's reach of a border.

    Where half of the surroundings or more is labelled: of the reference, another class or none, the latter
    where the prediction goes on beyond it. Else a border of the predictions: the true class is near.
    """
    reach, grid = predictor.reach, predictor.scene.grid
    rows, cols = reference.rows[chosen], reference.cols[chosen]
    top, left = max(int(rows.min()) - reach, 0), max(int(cols.min()) - reach, 0)
    bottom = min(int(rows.max()) + reach + 1, grid.height)
    right = min(int(cols.max()) + reach + 1, grid.width)
    window = Window(left, top, right - left, bottom - top)
    labels, map_ = truth.of(window), predictor.class_map(window)
    offsets = np.arange(-reach, reach + 1)
    down = rows[:, None, None] + offsets[None, :, None] - top
    across = cols[:, None, None] + offsets[None, None, :] - left
    inside = (down >= 0) & (down < bottom - top) & (across >= 0) & (across < right - left)
    down, across = down.clip(0, bottom - top - 1), across.clip(0, right - left - 1)
    near_label, near_map = labels[down, across], map_[down, across]
    true, wrong = reference.true[chosen][:, None, None], predicted[:, None, None]
    labelled = inside & (near_label >= 0)
    border = (labelled & (near_label != true)).any((1, 2))
    goes_on = (inside & (near_label < 0) & (near_map == wrong)).any((1, 2))
    near_true = (inside & (near_map == true)).any((1, 2))
    # The pixel itself is labelled.
    share = (labelled.sum((1, 2)) - 1) / np.maximum(inside.sum((1, 2)) - 1, 1)
    return np.where(share >= _ISOLATED, border | goes_on, near_true)
