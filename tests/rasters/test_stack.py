"""Rasters of different resolution as one scene: every value by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.windows import Window

from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.stack import Stack, open_stack

X, Y = 5e5, 5.8e6


def write(
    path: Path, values: np.ndarray, pixel: float, x: float = X, y: float = Y, crs: str | None = "EPSG:32633",
    transform: Affine | None = None,
) -> str:  # fmt: skip
    place = transform or Affine(pixel, 0, x, 0, -pixel, y)
    profile = {"driver": "GTiff", "count": len(values), "dtype": "float32", "nodata": -1, "crs": crs}
    height, width = values.shape[1:]
    with rasterio.open(path, "w", height=height, width=width, transform=place, **profile) as file:
        file.write(values.astype("float32"))
    return str(path)


@pytest.fixture
def fine(tmp_path: Path) -> str:
    """Two bands, 4 x 6 pixels of 10 m."""
    return write(tmp_path / "fine.tif", np.arange(48.0).reshape(2, 4, 6), 10)


@pytest.fixture
def coarse(tmp_path: Path) -> str:
    """One band, 2 x 3 pixels of 20 m, nodata in the last."""
    return write(tmp_path / "coarse.tif", np.array([[[1.0, 2, 3], [4, 5, -1]]]), 20)


def test_a_single_raster_is_itself(fine: str) -> None:
    assert not isinstance(open_stack([fine]), Stack)


def test_a_coarse_pixel_is_repeated_on_the_finest_grid(fine: str, coarse: str) -> None:
    for resampling in ("nearest", "average"):
        stack = open_stack([coarse, fine], resampling)
        assert (stack.grid.width, stack.grid.height, stack.counts) == (6, 4, (1, 2))
        found = stack.read(stack.grid.whole)
        expected = np.array([[1.0, 2, 3], [4, 5, np.nan]]).repeat(2, 0).repeat(2, 1)
        np.testing.assert_array_equal(found[0], expected)
        np.testing.assert_array_equal(found[1:].ravel(), np.arange(48))


def test_fine_pixels_are_averaged_by_area_on_the_coarsest_grid(fine: str, coarse: str) -> None:
    stack = open_stack([fine, coarse], "average", "coarsest")
    found = stack.read(stack.grid.whole)
    assert found.shape == (3, 2, 3)
    np.testing.assert_allclose(found[0], np.arange(24.0).reshape(2, 2, 3, 2).mean((1, 3)))
    nearest = open_stack([fine, coarse], "nearest", "coarsest").read(Window(0, 0, 3, 2))
    # The middle of a coarse pixel is a corner of four fine ones: the one to the lower right holds it.
    np.testing.assert_array_equal(nearest[0], np.arange(24.0).reshape(4, 6)[1::2, 1::2])


def test_pixels_that_do_not_nest_share_by_area_and_nodata_is_left_out(tmp_path: Path) -> None:
    base = write(tmp_path / "base.tif", np.zeros((1, 1, 2)), 10)
    values = np.array([[[2.0, 8, -1]]])
    other = write(tmp_path / "other.tif", values, 10, x=X - 4)  # 4 m to the west
    found = open_stack([base, other], "average", "first").read(Window(0, 0, 2, 1))
    np.testing.assert_allclose(found[1, 0], [0.6 * 2 + 0.4 * 8, 8], rtol=1e-6)
    tall = write(tmp_path / "tall.tif", np.array([[[1.0, 1], [5, 5]]]), 10, y=Y + 7)
    found = open_stack([base, tall], "average", "first").read(Window(0, 0, 2, 1))
    np.testing.assert_allclose(found[1, 0], [0.3 * 1 + 0.7 * 5] * 2, rtol=1e-6)


def test_what_a_raster_does_not_cover_is_nodata_and_windows_join(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = write(tmp_path / "base.tif", rng.random((1, 30, 40)), 10)
    part = write(tmp_path / "part.tif", rng.random((2, 7, 9)), 25, x=X + 60, y=Y - 40)
    for resampling in ("nearest", "average"):
        stack = open_stack([base, part], resampling)
        whole = stack.read(stack.grid.whole)
        assert np.isnan(whole[1:, :4]).all() and np.isnan(whole[1:, :, :6]).all()
        assert np.isfinite(whole[1:, 5:20, 7:27]).all()
        for window in (Window(0, 0, 5, 3), Window(3, 2, 20, 11), Window(30, 25, 10, 5)):
            rows, cols = window.toslices()
            np.testing.assert_allclose(stack.read(window), whole[:, rows, cols], rtol=1e-6)
        # Halo beyond the edge is mirrored, as in every scene; bands in any order.
        halo = stack.read(Window(0, 0, 12, 12), halo=3, bands=[2, 0])
        np.testing.assert_allclose(
            halo, np.pad(whole[[2, 0], :15, :15], ((0, 0), (3, 0), (3, 0)), "reflect"), rtol=1e-6
        )


def test_rasters_that_cannot_be_laid_on_each_other_are_named(tmp_path: Path, fine: str) -> None:
    ones = np.ones((1, 2, 2))
    away = write(tmp_path / "away.tif", ones, 10, x=X + 1e5)
    with pytest.raises(InputError, match=r"away.tif covers .* have nothing in common"):
        open_stack([fine, away])
    zone = write(tmp_path / "zone.tif", ones, 20, crs="EPSG:32632")
    with pytest.raises(InputError, match=r"zone.tif has another coordinate system than .*fine.tif"):
        open_stack([fine, zone])
    turned = write(tmp_path / "turned.tif", ones, 20, transform=Affine(20, 3, X, 3, -20, Y))
    with pytest.raises(InputError, match=r"turned.tif is rotated or mirrored"):
        open_stack([fine, turned])
    bare = write(tmp_path / "bare.tif", ones, 20, crs=None, transform=Affine.identity())
    with pytest.raises(InputError, match=r"bare.tif no georeference"):
        open_stack([fine, bare])
    with pytest.raises(InputError, match="given twice"):
        open_stack([fine, fine])
    with pytest.raises(InputError, match="no resampling 'cubic'; choose one of nearest, average"):
        open_stack([fine, away], "cubic")
    with pytest.raises(InputError, match="no raster"):
        open_stack([])
