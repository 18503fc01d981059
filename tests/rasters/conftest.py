"""What tests of rasters share: small rasters written with plain rasterio."""

from __future__ import annotations

import warnings

import pytest
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

UTM33 = "EPSG:32633"
PLACE = Affine(30, 0, 364095, 0, -30, 5809965)


def pytest_configure(config):
    # affine 2 and rasterio know no other operator than the one that affine 3 means to retire.
    config.addinivalue_line("filterwarnings", "ignore:Use `@` matmul:PendingDeprecationWarning")


@pytest.fixture
def make_raster(tmp_path):
    """Return a function that writes values (band, y, x) to a raster and returns its path.

    It is placed in UTM zone 33 N by pixels of 30 m unless told otherwise; `place=None` for no georeference.
    """

    def make(name, values, place=PLACE, crs=UTM33, finish=None, **profile):
        path = str(tmp_path / name)
        if place is not None:
            profile |= {"transform": place, "crs": crs}
        count, height, width = values.shape
        profile = {"driver": "GTiff", "dtype": values.dtype, **profile}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, "w", count=count, height=height, width=width, **profile) as dataset:
                dataset.write(values)
                if finish:
                    finish(dataset)
        return path

    return make
