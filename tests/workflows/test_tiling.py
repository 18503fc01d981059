"""Tiles: their size follows the memory, their results come in order, what they hold has its halo."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.windows import Window

from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.rasters.scene import open_scene
from explanation_layers.workflows.tiling import BLOCK, map_tiles, read_tile, tile_count, tile_side, within


@pytest.mark.parametrize(
    ("memory_mb", "bytes_per_pixel", "side"),
    [(1024, 16_384, 128), (512, 16_384, 64), (10**6, 1, 128), (1, 16_384, 32), (0, 10**9, 32)],
)
def test_side_keeps_three_tiles_in_the_budget(memory_mb: int, bytes_per_pixel: int, side: int) -> None:
    assert tile_side(memory_mb, bytes_per_pixel) == side
    assert BLOCK % side == 0


@pytest.mark.parametrize("size", [(1, 1), (32, 32), (33, 64), (100, 7)])
def test_results_come_in_order_and_cover_the_window_once(size: tuple[int, int]) -> None:
    window = Window(10, 20, *size)
    covered = np.zeros((size[1], size[0]), int)
    with ThreadPoolExecutor(4) as executor:
        tiles = list(map_tiles(executor, lambda tile: (tile.row_off, tile.col_off), window, 32))
    for tile, result in tiles:
        assert result == (tile.row_off, tile.col_off)
        inner = within(tile, window)
        covered[
            inner.row_off : inner.row_off + inner.height, inner.col_off : inner.col_off + inner.width
        ] += 1
    assert (covered == 1).all() and len(tiles) == tile_count(window, 32)
    assert [place for _, place in tiles] == sorted(place for _, place in tiles)


def test_no_more_than_two_tiles_are_ahead() -> None:
    started: list[int] = []
    with ThreadPoolExecutor(1) as executor:
        for number, _ in enumerate(
            map_tiles(executor, lambda t: started.append(1), Window(0, 0, 320, 32), 32)
        ):
            assert len(started) <= number + 2


def test_an_error_in_a_tile_reaches_the_caller_and_no_further_tile_starts() -> None:
    done: list[Window] = []

    def work(tile: Window) -> None:
        done.append(tile)
        if tile.col_off == 64:
            raise ValueError("broken tile")

    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="broken tile"):
        for _ in map_tiles(executor, work, Window(0, 0, 3200, 32), 32):
            pass
    assert len(done) <= 4


def test_a_consumer_that_fails_leaves_no_tile_waiting() -> None:
    release = threading.Event()
    done: list[Window] = []

    def work(tile: Window) -> None:
        done.append(tile)
        if len(done) > 1:
            release.wait(10)

    with ThreadPoolExecutor(1) as executor, pytest.raises(RuntimeError):
        tiles = map_tiles(executor, work, Window(0, 0, 3200, 32), 32)
        next(tiles)
        release.set()
        tiles.throw(RuntimeError)
    assert len(done) <= 2


def test_a_tile_has_its_halo_and_no_nodata(demo, hybrid_model: str) -> None:
    scene, model = open_scene(demo.raster), load_model(hybrid_model, PIXEL_CLASSIFICATION)
    # The scene's lower right corner was missed by the sensor.
    tile = Window(scene.grid.width - 20, scene.grid.height - 16, 20, 16)
    values, valid = read_tile(scene, model.card, model.network, tile, model.spectra.mean)
    assert tuple(values.shape) == (len(model.card.used_bands), 16 + 8, 20 + 8) and valid.shape == (16, 20)
    with rasterio.open(demo.raster) as dataset:
        stored = dataset.read().astype(np.float32)
        missing = stored == dataset.nodata
    inside = (slice(-16, None), slice(-20, None))
    assert np.array_equal(valid, ~missing.any(0)[inside]) and 0 < (~valid).sum() < valid.size
    filled = np.where(missing.any(0), model.spectra.mean.numpy()[:, None, None], stored)
    padded = np.pad(filled, ((0, 0), (4, 4), (4, 4)), mode="reflect")[:, -24:, -28:]
    expected = model.network.prepare(torch.from_numpy(padded.astype(np.float32))[None])[0]
    torch.testing.assert_close(values, expected, atol=1e-7, rtol=1e-6)


def test_a_tile_in_the_middle_sees_its_true_neighbours(demo, hybrid_model: str, tmp_path: Path) -> None:
    scene, model = open_scene(demo.raster), load_model(hybrid_model, PIXEL_CLASSIFICATION)
    whole, _ = read_tile(scene, model.card, model.network, scene.grid.whole, model.spectra.mean)
    part, _ = read_tile(scene, model.card, model.network, Window(8, 12, 10, 6), model.spectra.mean)
    assert torch.equal(part, whole[:, 12 : 12 + 14, 8 : 8 + 18])
