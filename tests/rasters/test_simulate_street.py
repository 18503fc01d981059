"""The layout of the street: rims, strata and shadows, and barriers that nothing near tells apart."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from scipy.ndimage import maximum_filter, minimum_filter

from explanation_layers.rasters.simulate_street import (
    BOUNDARY,
    EDGE,
    SHADE,
    SIGNAL_DISTANCE,
    SUN,
    Street,
)
from explanation_layers.rasters.simulate_street_spectra import (
    CLASSES,
    CLOSED,
    NOISE,
    OPEN,
    OTHER,
    PAINT_BANDS,
    PAINTED,
    ROAD,
    SHADOW,
    SKY,
    VEGETATION,
    reflectances,
)

UNPAINTED = [band for band in range(25) if band not in PAINT_BANDS]


def test_labels_leave_out_thin_rims_of_vegetation_only() -> None:
    street = Street(128, np.random.default_rng(3))
    labels = street.labels(_whole(128))
    rim = labels == 0
    assert 0.005 < rim.mean() < 0.05
    assert (street.classes[rim] == VEGETATION).all()
    assert np.array_equal(labels[~rim], street.classes[~rim])
    others = np.isin(street.classes, (ROAD, SKY, OTHER, PAINTED))
    assert maximum_filter(others, 3)[rim].all()


def test_strata_are_edges_within_two_pixels_and_else_sun_or_shadow() -> None:
    street = Street(160, np.random.default_rng(4))
    strata, shade = street.strata(_whole(160)), street.light > 0
    side = 2 * BOUNDARY + 1
    edge = np.zeros(strata.shape, bool)
    for mask in (shade, *(street.classes == c for c in range(1, len(CLASSES) + 1))):
        edge |= maximum_filter(mask, side) != minimum_filter(mask, side)
    assert np.array_equal(strata == EDGE, edge)
    assert np.array_equal(strata == SHADE, shade & ~edge)
    assert np.array_equal(strata == SUN, ~shade & ~edge)
    assert min((strata == s).mean() for s in (SUN, SHADE, EDGE)) > 0.03


@pytest.mark.parametrize("seed", range(5))
def test_shadows_fall_on_a_fair_share_of_the_ground_and_never_on_the_sky(seed: int) -> None:
    street = Street(128, np.random.default_rng(seed))
    shade = street.light > 0
    assert not shade[street.classes == SKY].any()
    assert 0.15 < shade[street.classes != SKY].mean() < 0.55
    assert street.factors[0] == 1
    assert np.all((street.factors[1:] >= SHADOW[0]) & (street.factors[1:] <= SHADOW[1]))


def test_paint_changes_its_three_bands_and_nothing_else_normalised_or_not() -> None:
    expected = reflectances()
    other, painted = expected[OTHER - 1], expected[PAINTED - 1]
    assert np.array_equal(other[UNPAINTED], painted[UNPAINTED])
    assert np.abs(other - painted)[list(PAINT_BANDS)].min() > 5 * NOISE
    assert other.sum() == pytest.approx(painted.sum(), rel=1e-6)


def test_nothing_within_five_pixels_tells_open_from_closed() -> None:
    """Ridge regression on all classes and lights within 5 pixels guesses; with the sixth ring it knows."""
    streets = [Street(640, np.random.default_rng(seed)) for seed in (1, 2)]
    for reach, low, high in ((SIGNAL_DISTANCE - 1, 0.42, 0.58), (SIGNAL_DISTANCE, 0.99, 1)):
        (x, closed), (x_test, closed_test) = (_surroundings(street, reach) for street in streets)
        weights = np.linalg.solve(x.T @ x + 0.01 * np.eye(x.shape[1]), x.T @ (2.0 * closed - 1))
        assert low <= np.mean((x_test @ weights > 0) == closed_test) <= high


def _surroundings(street: Street, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features (n, feature) of the middle pixels of barriers, and which are closed (n,).

    Features are the share of each class, and of light, on each ring; own class and the other kind are one.
    """
    classes = np.where(street.classes == CLOSED, OPEN, street.classes)
    starts = np.argwhere(np.isin(street.classes, (OPEN, CLOSED)))[3::7]
    offsets = np.arange(-reach, reach + 1)
    ring = np.maximum(abs(offsets[:, None]), abs(offsets[None, :]))
    features, closed = [], []
    for row, column in starts:
        part = slice(row - reach, row + reach + 1), slice(column - reach, column + reach + 1)
        if classes[part].shape == ring.shape and min(row, column) >= reach:
            counts = np.zeros((reach + 1, len(CLASSES) + 2))
            np.add.at(counts, (ring, classes[part]), 1)
            np.add.at(counts[:, -1], ring, street.light[part] > 0)
            features.append(np.append(counts / counts.sum(axis=1, keepdims=True), 0.1))
            closed.append(street.classes[row, column] == CLOSED)
    return np.array(features), np.array(closed)


def _whole(size: int) -> rasterio.windows.Window:
    return rasterio.windows.Window(0, 0, size, size)
