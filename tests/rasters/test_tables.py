from __future__ import annotations

import numpy as np
import pytest

from explanation_layers.rasters.tables import BandStatistics, PixelSample

GENERATOR = np.random.default_rng(4)
CLASSES = GENERATOR.integers(0, 3, 3000)
VALUES = GENERATOR.normal(loc=CLASSES[:, None] - 1, size=(3000, 5)).astype(np.float32)
VALUES[GENERATOR.random((3000, 5)) < 0.05] = np.nan
VALUES[:, 4] = np.nan
VALUES[7] = np.nan


def _rows(order, pieces=7, class_count=4, **options):
    statistics = BandStatistics(class_count, 5, **options)
    for piece in np.array_split(order, pieces):
        statistics.add(CLASSES[piece], VALUES[piece], piece)
    return statistics.rows()


def test_the_table_is_that_of_the_whole_data():
    rows = _rows(np.arange(3000))
    assert [(row.class_index, row.band) for row in rows] == [(i, band) for i in range(3) for band in range(5)]
    for row in rows:
        every = VALUES[row.class_index == CLASSES].astype(np.float64)
        if row.band == 4:
            assert row[2:] == (None, None, None, None, None, 0, 0, 0)
            continue
        known = every[:, row.band][np.isfinite(every[:, row.band])]
        assert row.mean == pytest.approx(known.mean(), rel=1e-12)
        assert row.mean_absolute == pytest.approx(np.abs(known).mean(), rel=1e-12)
        total = sum(np.nanmean(np.abs(every[:, band])) for band in range(4))
        assert row.share == pytest.approx(np.abs(known).mean() / total, rel=1e-12)
        assert (row.p10, row.p90) == pytest.approx(tuple(np.percentile(known, [10, 90])), rel=1e-12)
        assert row.pixels == row.absolutes == row.sampled == known.size


def test_the_order_of_tiles_does_not_matter():
    first = _rows(np.arange(3000), sample=100)
    for seed in range(3):
        other = _rows(np.random.default_rng(seed).permutation(3000), pieces=3 + 20 * seed, sample=100)
        for a, b in zip(first, other):
            assert (a.p10, a.p90, a.pixels, a.sampled) == (b.p10, b.p90, b.pixels, b.sampled)
            assert a.mean == b.mean is None or a.mean == pytest.approx(b.mean, rel=1e-12)


def test_a_sample_is_bounded_drawn_by_seed_and_close_to_the_whole():
    pixels, seeds = 200_000, (0, 1)
    values = np.random.default_rng(5).normal(size=(pixels, 1)).astype(np.float32)
    found = []
    for seed in seeds:
        statistics = BandStatistics(1, 1, sample=4096, seed=seed)
        for piece in np.array_split(np.arange(pixels), 9):
            statistics.add(np.zeros(piece.size, int), values[piece], piece)
            assert len(statistics._hashes[0]) == len(statistics._values[0]) == 4096
        (row,) = statistics.rows()
        assert (row.pixels, row.sampled) == (pixels, 4096)
        # The share of sampled values under the true percentile has a standard deviation of 0.0047.
        low, high = np.mean(values < row.p10), np.mean(values < row.p90)
        assert abs(low - 0.1) < 0.02 and abs(high - 0.9) < 0.02
        found.append((row.p10, row.p90))
    assert found[0] != found[1]


def test_no_pixels_no_rows_and_zeros_share_nothing():
    assert BandStatistics(2, 3).rows() == []
    statistics = BandStatistics(1, 2)
    statistics.add(np.zeros(4, int), np.zeros((4, 2), np.float32), np.arange(4))
    assert [(row.mean, row.share, row.p10) for row in statistics.rows()] == [(0, 0, 0)] * 2


def test_means_are_of_the_totals_where_only_a_sample_is_added():
    statistics = BandStatistics(2, 3)
    values = np.array([[1.0, -2.0, 3.0], [3.0, 2.0, 3.0]], dtype=np.float32)
    statistics.add(np.array([1, 1]), values, np.array([5, 6]))
    statistics.add_totals(np.array([[0, 0, 0], [40.0, 10.0, -20.0]]), np.array([0, 10]))
    rows = statistics.rows()
    assert [(row.class_index, row.mean) for row in rows] == [(1, 4.0), (1, 1.0), (1, -2.0)]
    assert [row.mean_absolute for row in rows] == [2.0, 2.0, 3.0]
    assert {(row.pixels, row.absolutes, row.sampled) for row in rows} == {(10, 2, 2)}


def test_a_sample_holds_the_same_pixels_in_whatever_order_they_come():
    keys, classes = np.arange(500), np.arange(500) % 3
    found = []
    for order in (keys, keys[::-1], np.random.default_rng(0).permutation(keys)):
        sample = PixelSample(3, 20, seed=4)
        for part in np.array_split(order, 7):
            sample.add(classes[part], part)
        found.append(sorted(sample.keys()))
    assert found[0] == found[1] == found[2]
    assert np.bincount(np.array(found[0]) % 3).tolist() == [20, 20, 20]
