from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from explanation_layers.rasters import gaps
from explanation_layers.rasters.gaps import fill_gaps

NAN = np.nan
DAYS = np.array([0, 10, 40, 50, 51])


def filled(*series):
    values = np.array(series, np.float32).T[:, :, np.newaxis]
    fill_gaps(values, DAYS)
    return values[:, :, 0].T.tolist()


def test_gaps_are_filled_by_true_days():
    assert filled([2, NAN, 10, NAN, 32]) == [[2, 4, 10, 30, 32]]
    assert filled([0, NAN, NAN, NAN, 51]) == [[0, 10, 40, 50, 51]]


def test_beyond_the_ends_the_nearest_value_holds():
    assert filled([NAN, NAN, 3, 5, NAN]) == [[3, 3, 3, 5, 5]]


def test_fewer_than_two_observed_dates_leave_nothing():
    whole, empty = [1, 2, 3, 4, 5], [NAN] * 5
    np.testing.assert_array_equal(filled(whole, [NAN, 7, NAN, NAN, NAN], empty), [whole, empty, empty])


def _one_by_one(series, days):
    """numpy.interp on the observed dates of each pixel: holds the end values beyond them too."""
    expected = np.full_like(series, NAN)
    for pixel in range(series.shape[1]):
        seen = ~np.isnan(series[:, pixel])
        if seen.sum() >= 2:
            expected[:, pixel] = np.interp(days, days[seen], series[seen, pixel])
    return expected


@given(
    arrays(np.float32, (7, 12), elements=st.one_of(st.floats(-50, 5, width=32), st.just(NAN))),
    st.lists(st.integers(1, 400), min_size=7, max_size=7),
)
def test_filling_is_numpys_interpolation_of_each_pixel(series, steps):
    days = np.cumsum(steps)
    values = series.reshape(7, 3, 4).copy()
    fill_gaps(values, days)
    np.testing.assert_allclose(values.reshape(7, 12), _one_by_one(series, days), rtol=1e-5, atol=1e-5)


def test_many_pixels_are_filled_in_parts(monkeypatch):
    generator = np.random.default_rng(0)
    values = generator.normal(size=(5, 9, 11)).astype(np.float32)
    values[generator.random(values.shape) < 0.4] = NAN
    at_once = values.copy()
    fill_gaps(at_once, DAYS)
    monkeypatch.setattr(gaps, "_PIXELS", 7)
    fill_gaps(values, DAYS)
    np.testing.assert_array_equal(values, at_once)
