"""Endmembers of a scene: found among its pixels, counted, and gathered into bundles of near-pure pixels.

Spectra are rows: pixels (n, band), endmembers (material, band), in float64 within.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .fcls import fcls

# Random directions differ from draw to draw, and so do the vertices that they find.
_DRAWS = 20
# Pixels darker than this share of the mean brightness have no direction in a projective view.
_DARK = 0.05
# What a scene's endmembers may leave unexplained of its variance.
_BEYOND = 3e-3
# In noise: how far pixels of a bundle may be from its centre, and inside pixels outside of the simplex.
_BUNDLE_RADIUS = 2.0
# Of the noise's variance: what is noise; and how many such pixels tell more than the core.
_ALIKE = 1.25
_FEWEST_ALIKE = 10
_OUTSIDE = 4.0
# And by how much of an abundance, which weak nonlinearity makes too.
_OUTSIDE_ABUNDANCE = 0.1


def vca(pixels: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Rows (count,) of the pixels that are vertices of the scene: vertex component analysis.

    After Nascimento & Bioucas-Dias 2005, DOI 10.1109/TGRS.2005.844293: time after time the pixel that lies
    farthest along a random direction at right angles to the endmembers found so far. Of 20 draws, the one
    whose simplex has the largest volume in the scene's leading dimensions. Rows come in the order in which
    they were found. Raises ValueError where there are fewer pixels than endmembers.
    """
    pixels = np.asarray(pixels, np.float64)
    if not 1 <= count <= len(pixels):
        raise ValueError(f"{count} endmembers of {len(pixels)} pixels")
    generator = np.random.default_rng(seed)
    flat, view = _leading(pixels, count - 1), _projective(pixels, count)
    lifted = np.column_stack([flat, np.full(len(flat), np.linalg.norm(flat, axis=1).max())])
    best, largest = np.arange(count), -np.inf
    for draw in range(_DRAWS):
        rows = _vertices(lifted if draw % 2 else view, count, generator)
        volume = _log_volume(flat[rows])
        if volume > largest:
            best, largest = rows, volume
    return best


def estimate_count(pixels: np.ndarray) -> int:
    """How many endmembers the scene gives evidence of: at least 1.

    No more than the noise leaves room for, by HySime (Bioucas-Dias & Nascimento 2008,
    DOI 10.1109/TGRS.2008.918089); and where as many explain all but 0.3 % of the variance, no more either:
    noise of a sensor that bands share, and materials that vary, look like dozens of endmembers. That share
    was set on real scenes of three and five materials.
    """
    pixels = np.asarray(pixels, np.float64)
    most, noise = _hysime(pixels)
    centred = pixels - pixels.mean(0)
    variances = np.linalg.eigvalsh(centred.T @ centred / len(pixels))[::-1]
    # Twice the mean noise: it isn't the same in all directions.
    variances = (variances - 2 * noise).clip(0)
    if variances.sum() == 0:
        return 1
    beyond = 1 - np.cumsum(variances) / variances.sum()
    return max(1, min(2 + int(np.argmax(beyond < _BEYOND)), most))


MIXED = 0.2


@dataclass(frozen=True)
class Purity:
    """How pure the bundle of one material is.

    `apart` is how far its mean lies from the best mixture of the other bundles' means, in deviations of
    noise and bundle along that way. One endmember too many had 0 to 8, materials that vary in brightness 7
    to 20, others over 30: below about 5, the others explain it. `beyond` is the share of the
    scene's pixels that lie outside of the simplex, nearest to this vertex, by more than noise and a tenth of
    an abundance. Above `MIXED` for all bundles together they aren't pure, or their spectra vary by as much:
    0.38 to 0.64 were seen in scenes without pixels purer than 0.8, up to 0.12 in bilinear ones with pure
    pixels. A simplex that is smaller but of the same shape can't be told from a pure one.
    """

    apart: float
    beyond: float


def bundles(pixels: np.ndarray, endmembers: np.ndarray, size: int = 100) -> list[np.ndarray]:
    """Rows of the pixels that noise and brightness tell from each endmember, and nothing else.

    A vertex is an extreme of the noise and of its material's brightness; the mean of its bundle is not.
    One array a material, nearest first, at most `size` long; a single pixel where noise is low and spectra
    vary in shape. See `_core` and `_alike`.
    """
    pixels, endmembers = np.asarray(pixels, np.float64), np.asarray(endmembers, np.float64)
    middle = pixels.mean(0)
    directions = _directions(pixels - middle, max(1, len(endmembers) - 1))
    flat, centres = (pixels - middle) @ directions, (endmembers - middle) @ directions
    variance = _hysime(pixels)[1]
    found = []
    for centre in centres:
        core = _core(flat, centre, _BUNDLE_RADIUS**2 * variance * flat.shape[1])
        alike = _alike(pixels, core, variance, size)
        found.append(alike if len(alike) >= _FEWEST_ALIKE else core[:size])
    return found


def _core(flat: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """Rows within a squared `radius` of `centre`, and then of their mean, nearest first; one at least."""
    for _ in range(2):
        squares = ((flat - centre) ** 2).sum(1)
        order = squares.argsort(kind="stable")
        rows = order[: max(1, int((squares <= radius).sum()))]
        centre = flat[rows].mean(0)
    return rows


def _alike(pixels: np.ndarray, core: np.ndarray, variance: float, size: int) -> np.ndarray:
    """Rows of the pixels, of the `size` nearest in angle to the core's mean, that are it but for brightness.

    Twice: then those nearest to their mean. What differs must be noise: of the pixel and of the mean.
    """
    rows = core
    for _ in range(2):
        mean = pixels[rows].mean(0)
        length = max(np.linalg.norm(mean), 1e-12)
        along = pixels @ mean / length
        squares = ((pixels**2).sum(1) - along**2).clip(0)
        angles = squares / np.maximum(along, 1e-12) ** 2
        order = angles.argsort(kind="stable")[:size]
        most = _ALIKE * variance * pixels.shape[1] * (1 + 1 / len(rows))
        chosen = order[squares[order] <= most]
        rows = chosen if len(chosen) else rows[:1]
    return rows


def angle_bundles(pixels: np.ndarray, endmembers: np.ndarray, size: int = 100) -> list[np.ndarray]:
    """Rows of the `size` pixels nearest to each endmember in spectral angle, as ID-Net's authors do."""
    cosines = _unit(np.asarray(pixels, np.float64)) @ _unit(np.asarray(endmembers, np.float64)).T
    return [order[:size] for order in (-cosines.T).argsort(axis=1, kind="stable")]


def bundle_purity(pixels: np.ndarray, rows: list[np.ndarray]) -> list[Purity]:
    """Tell how pure each bundle is, `rows` as `bundles` gives them."""
    pixels = np.asarray(pixels, np.float64)
    means = np.stack([pixels[own].mean(0) for own in rows])
    noise = max(np.sqrt(_hysime(pixels)[1]), 1e-12)
    # Abundances that may be negative: how far a pixel lies outside of each face, in one direction.
    middle = means.mean(0)
    weights = np.linalg.pinv((means - middle).T)
    free = (pixels - middle) @ weights.T + 1 / len(means)
    errors = noise * np.linalg.norm(weights, axis=1)
    outside = free < -np.maximum(_OUTSIDE * errors, _OUTSIDE_ABUNDANCE)
    found = []
    for material, own in enumerate(rows):
        others = np.delete(means, material, 0)
        gap = means[material] - fcls(means[material], others)[0] @ others
        distance = float(np.linalg.norm(gap))
        along = (pixels[own] - means[material]) @ gap / max(distance, 1e-12)
        apart = distance / np.hypot(noise, along.std())
        # Outside of one face at least, and nearest to this vertex.
        beyond = outside.any(1) & (free.argmax(1) == material)
        found.append(Purity(float(apart), float(beyond.mean())))
    return found


def _hysime(pixels: np.ndarray) -> tuple[int, float]:
    """Dimensions in which the signal is stronger than the noise, which other bands don't predict.

    And that noise's mean variance.
    """
    count, bands = pixels.shape
    products = pixels.T @ pixels / count
    products += 1e-10 * np.trace(products) / bands * np.eye(bands)
    inverse = np.linalg.inv(products)
    noise = pixels @ (inverse / np.diag(inverse))
    signal = pixels - noise
    noises = (noise**2).mean(0)
    _, vectors = np.linalg.eigh(signal.T @ signal / count)
    power = np.einsum("bk,bk->k", vectors, products @ vectors)
    return int((power > 2 * (vectors**2 * noises[:, None]).sum(0)).sum()), float(noises.mean())


def _unit(spectra: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(spectra, axis=1, keepdims=True)
    return spectra / np.where(length > 0, length, 1)


def noise_of(pixels: np.ndarray) -> float:
    """Standard deviation of the noise of pixels (n, band), the rms over the bands, as HySime tells it."""
    return float(np.sqrt(_hysime(np.asarray(pixels, np.float64))[1]))


def _projective(pixels: np.ndarray, count: int) -> np.ndarray:
    """Pixels in the leading `count` directions, scaled onto the plane of the mean: brightness is gone."""
    _, vectors = np.linalg.eigh(pixels.T @ pixels / len(pixels))
    view = pixels @ vectors[:, ::-1][:, :count]
    mean = view.mean(0)
    along = view @ mean / (mean @ mean)
    bright = along > _DARK
    return np.where(bright[:, None], view / np.where(bright, along, 1)[:, None], mean)


def _leading(pixels: np.ndarray, count: int) -> np.ndarray:
    """Pixels less their mean in their leading `count` directions."""
    centred = pixels - pixels.mean(0)
    return centred @ _directions(centred, count)


def _directions(centred: np.ndarray, count: int) -> np.ndarray:
    _, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    return vectors[:, ::-1][:, :count]


def _vertices(view: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    rows = np.zeros(count, np.int64)
    found = np.zeros((view.shape[1], 0))
    for place in range(count):
        direction = generator.standard_normal((1, view.shape[1]))[0]
        direction -= found @ (found.T @ direction)
        rows[place] = np.abs(view @ direction).argmax()
        new = view[rows[place]] - found @ (found.T @ view[rows[place]])
        length = np.linalg.norm(new)
        found = np.column_stack([found, new / length]) if length > 1e-12 else found
    return rows


def _log_volume(corners: np.ndarray) -> float:
    """Logarithm of the volume of the simplex of (count, count - 1) corners, but for a constant."""
    if len(corners) == 1:
        return 0.0
    return float(np.linalg.slogdet(corners[1:] - corners[0])[1])
