"""What errors are compared with, and what is found of each: read in parts that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ..rasters.errors import InputError
from ..rasters.labels import LabelledPixels
from ..rasters.scene import Scene
from ..rasters.series import Series
from ..rasters.tables import PixelSample
from .context import Context
from .pixel_explaining import PixelExplainer
from .review_neighbours import ClassSpace, Samples
from .review_predictions import Predictor
from .review_reference import Judged, Reference
from .review_regions import Regions, spread
from .review_suspicion import Facts, Known, fences, suspect
from .review_tables import Finding, evidence_text
from .samples import pixels_by_block

# Pixels of a region that are looked at: its middle one and up to four others.
_LOOKED_AT = 5
_AT_ONCE = 512
# Blocks that single pixels are read by.
_BLOCK = 128


class PairSpectra:
    """Mean spectra of the errors of each pair of classes."""

    def __init__(self) -> None:
        self._sums: dict[tuple[int, int], tuple[np.ndarray, int]] = {}

    def add(self, true: int, predicted: int, spectra: np.ndarray) -> None:
        """Add spectra (n, band) of errors."""
        total, count = self._sums.get((true, predicted), (np.zeros(spectra.shape[1]), 0))
        self._sums[true, predicted] = total + spectra.sum(0, dtype=np.float64), count + len(spectra)

    def mean(self, true: int, predicted: int) -> np.ndarray:
        """Return the mean spectrum (band,) of a pair's errors."""
        total, count = self._sums[true, predicted]
        return total / count


def read_spectra(scene: Scene, bands: list[int], rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Return the spectra float32 (n, band) of single pixels, read block by block."""
    spectra = np.empty((len(rows), len(bands)), dtype=np.float32)
    for members, window in pixels_by_block(rows, cols, scene, _BLOCK):
        down, across = rows[members] - int(window.row_off), cols[members] - int(window.col_off)
        spectra[members] = scene.read(window, bands=bands)[:, down, across].T
    return spectra


def known_of(
    reference: Reference, judged: Judged, training: LabelledPixels | None, predictor: Predictor,
    sample: int, context: Context,
) -> Known:  # fmt: skip
    """Return what errors are compared with, of pixels where prediction and label agree.

    Those of the `training`, whose classes are the reference's, else of the reference itself.
    Raises InputError where there are none.
    """
    context.progress(0.5, "Looking at correct pixels")
    grid, count = predictor.scene.grid, len(reference.classes)
    if training is None:
        right = judged.known() & (judged.predicted == reference.true)
        rows, cols, classes = reference.rows[right], reference.cols[right], reference.true[right]
    else:
        rows, cols, classes = training.rows, training.cols, training.classes
    drawn = PixelSample(count, sample, context.seed)
    drawn.add(classes, rows * np.int64(grid.width) + cols)
    keys, classes = drawn.keys(), drawn.classes()
    rows, cols = np.divmod(keys, grid.width)
    spectra = read_spectra(predictor.scene, predictor.bands, rows, cols)
    kept = np.isfinite(spectra).all(1)
    if training is not None:
        kept &= _predicted(predictor, rows, cols) == classes
    if not kept.any():
        raise InputError(
            "No labelled pixel is classified as it is labelled; check that the classes of model and "
            "reference mean the same, and that both are of this place."
        )
    rows, cols, keys = rows[kept], cols[kept], keys[kept]
    spectra, classes = spectra[kept], classes[kept]
    space = ClassSpace(spectra, classes, count)
    brightness = spectra.mean(1)
    of_light = not isinstance(predictor.scene, Series)
    return Known(
        samples=Samples(_features(predictor, space, rows, cols, spectra), classes, keys, count),
        space=space,
        fences=fences(brightness) if of_light else (-np.inf, np.inf),
        names=reference.names,
    )


def find(
    reference: Reference, judged: Judged, regions: Regions, chosen: np.ndarray, predictor: Predictor,
    known: Known, context: Context,
) -> tuple[dict[int, Finding], PairSpectra]:  # fmt: skip
    """Return what is found of the `chosen` regions, and the mean spectra of their pairs."""
    findings: dict[int, Finding] = {}
    pairs = PairSpectra()
    for part in _parts(regions, chosen, reference):
        context.check()
        pixels = [spread(regions, region, _LOOKED_AT) for region in part]
        owners = np.repeat(np.arange(len(part)), [len(each) for each in pixels])
        facts, spectra = _facts(reference, judged, regions, np.concatenate(pixels), part[owners], predictor,
                                known)  # fmt: skip
        for number, region in enumerate(part):
            own = owners == number
            findings[int(region)] = Finding(
                suspect(_of(facts, own), known), float(np.median(facts.near.distance[own])),
                int(facts.near.classes[own][0]),
            )  # fmt: skip
            pairs.add(int(regions.true[region]), int(regions.predicted[region]), spectra[own])
        share = len(findings) / len(chosen)
        context.progress(0.55 + 0.25 * share, f"Judging, {len(findings)} of {len(chosen)} errors done")
    return findings, pairs


def explain_errors(
    reference: Reference, regions: Regions, chosen: Sequence[int], looker: PixelExplainer, explainer: str,
    baseline: str, names: Sequence[str], context: Context,
) -> dict[int, str]:  # fmt: skip
    """Return why the model says predicted and not true at the middle pixel of each chosen region."""
    texts: dict[int, str] = {}
    count = len(reference.classes)
    bases = [looker.baseline(baseline, number) for number in range(count)]
    at_once = 1 if looker.dense else 64
    for start in range(0, len(chosen), at_once):
        part = np.array(chosen[start : start + at_once])
        true, predicted = regions.true[part], regions.predicted[part]
        weights = torch.zeros(len(part), count)
        weights[torch.arange(len(part)), torch.from_numpy(predicted)] = 1
        weights[torch.arange(len(part)), torch.from_numpy(true)] = -1
        middle = regions.centre[part]
        found = looker.explain(
            explainer, reference.rows[middle], reference.cols[middle], weights,
            torch.stack([bases[number] for number in true]), context.check,
        )  # fmt: skip
        for region, values in zip(part, found.values.numpy()):
            texts[int(region)] = evidence_text(values, names)
        context.progress(
            0.8 + 0.15 * len(texts) / len(chosen), f"Explaining, {len(texts)} of {len(chosen)} errors done"
        )
    return texts


def explain_by_means(
    reference: Reference, regions: Regions, chosen: Sequence[int], scene: Scene, bands: list[int],
    known: Known, names: Sequence[str],
) -> dict[int, str]:  # fmt: skip
    """Return which bands bring the middle pixel nearer to the predicted class's mean than to the true one's.

    A band's part is half of the difference of both squared distances, in deviations within classes: the
    logarithm of the odds that normal distributions of equal width would give.
    """
    middle = regions.centre[np.array(chosen, dtype=np.int64)]
    spectra = read_spectra(scene, bands, reference.rows[middle], reference.cols[middle])
    space, texts = known.space, {}
    for region, spectrum in zip(chosen, spectra):
        away = [
            ((spectrum - space.raw_means[classes[region]]) / space.deviation) ** 2
            for classes in (regions.true, regions.predicted)
        ]
        texts[region] = evidence_text((away[0] - away[1]) / 2, names)
    return texts


def _features(
    predictor: Predictor, space: ClassSpace, rows: np.ndarray, cols: np.ndarray, spectra: np.ndarray
) -> np.ndarray:
    """Return what pixels are told apart by: the model's features, else their places among the classes."""
    found = predictor.features(rows, cols)
    return space.placed(spectra) if found is None else found


def _predicted(predictor: Predictor, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    found = np.empty(len(rows), dtype=np.int64)
    for members, window in pixels_by_block(rows, cols, predictor.scene, predictor.side):
        found[members] = predictor.predict(rows[members], cols[members], window).classes
    return found


def _parts(regions: Regions, chosen: np.ndarray, reference: Reference) -> Iterator[np.ndarray]:
    """Yield the regions in parts, in the order of their places, so that those in a part lie together."""
    middle = regions.centre[chosen]
    order = np.lexsort((reference.cols[middle], reference.rows[middle] // _BLOCK))
    for start in range(0, len(chosen), _AT_ONCE // _LOOKED_AT):
        yield chosen[order[start : start + _AT_ONCE // _LOOKED_AT]]


def _facts(
    reference: Reference, judged: Judged, regions: Regions, pixels: np.ndarray, owners: np.ndarray,
    predictor: Predictor, known: Known,
) -> tuple[Facts, np.ndarray]:  # fmt: skip
    """Return what is known of pixels of the regions `owners` (n,), and their spectra.

    Of a region's pixels the mean is placed among the classes: it has less noise.
    """
    rows, cols = reference.rows[pixels], reference.cols[pixels]
    spectra = read_spectra(predictor.scene, predictor.bands, rows, cols)
    features = _features(predictor, known.space, rows, cols, spectra)
    keys = rows * np.int64(predictor.scene.grid.width) + cols
    among = np.stack([reference.true[pixels], judged.predicted[pixels]], 1)
    _, own = np.unique(owners, return_inverse=True)
    means = np.zeros((own.max() + 1, spectra.shape[1]))
    np.add.at(means, own, spectra)
    means = (means / np.bincount(own)[:, None])[own]
    facts = Facts(
        true=among[:, 0], predicted=among[:, 1], confidence=judged.confidence[pixels],
        split=judged.split[pixels], edge=judged.edge[pixels], parcel_share=regions.parcel_share[owners],
        inner=regions.inner[owners], near=known.samples.near(features, keys),
        squared=known.space.squared(means), mixture=known.space.mixture(means, among),
        brightness=spectra.mean(1),
    )  # fmt: skip
    return facts, spectra


def _of(facts: Facts, own: np.ndarray) -> Facts:
    """Return the facts of some of the pixels."""
    near = type(facts.near)(*(part[own] for part in vars(facts.near).values()))
    mixture = type(facts.mixture)(*(part[own] for part in vars(facts.mixture).values()))
    plain = {name: value[own] for name, value in facts._asdict().items() if name not in ("near", "mixture")}
    return Facts(**plain, near=near, mixture=mixture)
