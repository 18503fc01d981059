"""What tests of series share: rasters whose values tell file and band, and a series's values."""

from __future__ import annotations

import numpy as np
import pytest

DATES = ("2017-01-03", "2017-01-15", "2017-02-20")
COMPACT = [date.replace("-", "") for date in DATES]


@pytest.fixture
def rasters(make_raster):
    """A function that writes rasters, band b of the r-th holding 10 r + b, and returns their paths."""

    def make(*names, bands=1, finish=None, **options):
        paths = []
        for number, name in enumerate(names):
            count = bands[number] if isinstance(bands, tuple) else bands
            values = np.empty((count, 4, 6), np.float32)
            values[:] = 10 * number + np.arange(count)[:, None, None]
            paths.append(
                make_raster(name, values, finish=finish and (lambda f, n=number: finish(f, n)), **options)
            )
        return paths

    return make


def values_of(series):
    """The value of each band, which is one everywhere, as rows of dates."""
    read = series.read(series.grid.whole)
    assert all(np.unique(band).size == 1 for band in read)
    return read[:, 0, 0].reshape(len(series.dates), -1).tolist()


def described(*texts):
    def finish(file, _=0):
        for number, text in enumerate(texts, start=1):
            file.set_band_description(number, text)

    return finish
