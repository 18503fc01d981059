"""What is no series is refused with a sentence that names the rasters."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine

from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.series import open_series

from .conftest import COMPACT, DATES, described


def refused(match, *arguments, **options):
    with pytest.raises(InputError, match=match):
        open_series(*arguments, **options)


def test_what_is_no_series_is_refused_with_a_sentence(rasters, tmp_path):
    refused("no raster; choose two or more", [])
    refused("20170103.tif holds one date only", rasters("20170103.tif"))
    refused("20170103.tif holds one date only", rasters("20170103.tif", bands=4))
    refused(
        r"s_20170103\.tif and .*s_20170103 copy\.tif are both of 2017-01-03",
        rasters("s_20170103.tif", "s_20170103 copy.tif", "s_20170115.tif"),
    )
    twice = [f"VV_{d}.tif" for d in COMPACT] + ["VH_20170103.tif", "VH_20170103_b.tif", "VH_20170115.tif"]
    refused(r"VH_20170103\.tif and .*VH_20170103_b\.tif are both", rasters(*twice))
    refused(
        "channel VH of .* has one date only", rasters(*[f"VV_{d}.tif" for d in COMPACT], "VH_20170103.tif")
    )
    cube = rasters("cube.tif", bands=3, finish=described(DATES[0], DATES[1], DATES[1]))
    refused(r"cube.tif \(band 2\) and .*cube.tif \(band 3\) are both of 2017-01-15", cube)
    plain = rasters("a.tif", "b.tif")
    refused("No dates were found for .*a.tif, .*b.tif: .* DATES, .* DATE_PATTERN", plain)
    refused("nor the pattern %Y%m%d in", plain, date_pattern="%Y%m%d")
    refused("3 date.s. were given in DATES, but the 2 files from .*a.tif on have 1 band", plain, dates=DATES)
    refused("'soon' is not a date", plain, dates=("soon", "later"))
    refused("those of the files or of the bands", rasters("a.tif", "b.tif", bands=2), dates=DATES[:2])
    dated = rasters(*[f"VV_{d}.tif" for d in COMPACT])
    refused("has no channel VH; its channels are VV", dated, channels=("VH",))
    refused("values 'decibel' are not one of", dated, values="decibel")
    refused("same_date.tif", rasters("same_date.tif", "b.tif"), dates=("2017-01-01", "2017-01-01"))
    (tmp_path / "empty").mkdir()
    refused("empty holds no raster", [str(tmp_path / "empty")])


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (
            {"place": Affine(30, 0, 364095, 0, -30, 5809935)},
            r"the upper left corner at \(364095, 5809965\) against",
        ),
        ({"place": Affine(20, 0, 364095, 0, -20, 5809965)}, "pixels of 30 x 30 against 20 x 20"),
        ({"crs": "EPSG:32632"}, "the coordinate system EPSG:32633 against EPSG:32632"),
        ({"place": None}, "the coordinate system EPSG:32633 against none"),
    ],
)
def test_rasters_of_different_grids_are_refused_by_name(make_raster, change, how):
    paths = [make_raster(f"{d}.tif", np.zeros((1, 4, 6), np.float32)) for d in COMPACT[:2]]
    paths.append(make_raster(f"{COMPACT[2]}.tif", np.zeros((1, 4, 6), np.float32), **change))
    refused(f"{COMPACT[0]}.tif and .*{COMPACT[2]}.tif differ: {how}", paths)


def test_rasters_of_different_size_are_refused_by_name(make_raster):
    paths = [make_raster(f"{d}.tif", np.zeros((1, 4, 6 + i), np.float32)) for i, d in enumerate(COMPACT)]
    refused("20170103.tif and .*20170115.tif differ: 6 x 4 pixels against 7 x 4", paths)
