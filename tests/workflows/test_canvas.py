"""Tiles of a segmentation network's canvas give what the whole scene gives in one piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from rasterio.windows import Window

from explanation_layers.models.card import PIXEL_CLASSIFICATION, Card, CardBand, card_classes
from explanation_layers.models.segmentation_networks import SegmentationNetwork, build_segmentation_network
from explanation_layers.rasters.scene import Scene, open_scene
from explanation_layers.rasters.tiles import plan_tiles
from explanation_layers.workflows.canvas import canvas_side, canvas_window, read_canvas_tile
from explanation_layers.workflows.classify_dense import dense_logits

BANDS, FILL = 3, torch.tensor([0.5, -0.2, 0.1])
CARD = Card(
    PIXEL_CLASSIFICATION, "unet", {},
    tuple(CardBand(str(number), None, None, True) for number in range(BANDS)), card_classes(("a", "b")),
)  # fmt: skip


def write_scene(folder: Path, height: int, width: int) -> Scene:
    """Write a scene of noise with nodata in a band here and there."""
    values = np.random.default_rng(height).standard_normal((BANDS, height, width)).astype("float32")
    values[1, height // 3, : width // 2] = -99
    path = str(folder / f"{height}_{width}.tif")
    with rasterio.open(
        path, "w", driver="GTiff", count=BANDS, height=height, width=width, dtype="float32", nodata=-99,
        crs="EPSG:32633", transform=Affine(30, 0, 3e5, 0, -30, 5.8e6),
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return open_scene(path)


def network_of(depth: int, **options: object) -> SegmentationNetwork:
    torch.manual_seed(depth)
    options = {"normalisation": "none", "depth": depth, "filters": 3, **options}
    network = build_segmentation_network("unet", bands=BANDS, classes=2, **options)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.bias.data.normal_()
    return network.explainable()


@torch.no_grad()
def in_one_piece(scene: Scene, network: SegmentationNetwork) -> torch.Tensor:
    """Logits (class, y, x) of the scene, with its edges mirrored up to whole cells by numpy."""
    raw = scene.read(scene.grid.whole)
    missing = np.isnan(raw).any(0)
    raw[:, missing] = FILL[:, None]
    cell, (height, width) = network.alignment, raw.shape[1:]
    padded = np.pad(raw, ((0, 0), (0, -height % cell), (0, -width % cell)), mode="reflect")
    return network(torch.from_numpy(padded)[None])[0, :, :height, :width]


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(("height", "width"), [(61, 150), (128, 17), (5, 3), (1, 40)])
@pytest.mark.parametrize("side", [13, 32])
def test_tiles_give_what_one_piece_gives(tmp_path, depth, height, width, side):
    scene, network = write_scene(tmp_path, height, width), network_of(depth)
    whole = in_one_piece(scene, network)
    found = torch.full_like(whole, float("nan"))
    for tile in plan_tiles(scene.grid.whole, side):
        read = read_canvas_tile(scene, CARD, network, tile, FILL)
        rows = slice(tile.row_off, tile.row_off + tile.height)
        cols = slice(tile.col_off, tile.col_off + tile.width)
        found[:, rows, cols] = dense_logits(network, read)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-5)


def test_a_window_inside_is_that_of_the_whole(tmp_path):
    scene, network = write_scene(tmp_path, 150, 170), network_of(2)
    whole = in_one_piece(scene, network)
    for tile in plan_tiles(Window(37, 61, 90, 53), 40):
        read = read_canvas_tile(scene, CARD, network, tile, FILL)
        rows = slice(tile.row_off, tile.row_off + tile.height)
        cols = slice(tile.col_off, tile.col_off + tile.width)
        torch.testing.assert_close(dense_logits(network, read), whole[:, rows, cols], rtol=0, atol=1e-5)


def test_what_is_real_and_what_is_valid(tmp_path):
    scene, network = write_scene(tmp_path, 61, 30), network_of(3)
    read = read_canvas_tile(scene, CARD, network, scene.grid.whole, FILL)
    assert read.values.shape == (BANDS, 64, 32) and read.real.shape == (64, 32)
    has_data = np.isfinite(scene.read(scene.grid.whole)).all(0)
    np.testing.assert_array_equal(read.valid, has_data)
    np.testing.assert_array_equal(read.real[:61, :30], has_data)
    assert not read.real[61:].any() and not read.real[:, 30:].any()
    missing = torch.from_numpy(~has_data)
    assert (read.values[:, :61, :30][:, missing] == FILL[:, None]).all()
    assert read.inner == (slice(0, 61), slice(0, 30))


def test_surroundings_start_and_end_at_whole_cells():
    network = network_of(3)
    grid = open_grid(1000, 1000)
    window = canvas_window(grid, network, Window(501, 300, 20, 20))
    for first, count, start in ((window.col_off, window.width, 501), (window.row_off, window.height, 300)):
        assert first % 8 == 0 and count % 8 == 0
        assert first <= start - network.reach < first + 8
        assert first + count - 8 < start + 20 + network.reach <= first + count


def open_grid(width: int, height: int):
    from explanation_layers.rasters.grid import Grid

    return Grid(width, height, None, Affine.identity())


@pytest.mark.parametrize("memory_mb", [64, 256, 1024, 8192])
@pytest.mark.parametrize("reach", [10, 56, 224])
def test_a_tile_and_its_halo_keep_to_the_memory(memory_mb, reach):
    side = canvas_side(memory_mb, 1000, reach)
    assert side % 128 == 0 or side in (32, 64)
    assert side == 32 or (side + 2 * reach) ** 2 * 1000 <= memory_mb * 2**20


def test_brightness_is_one_more_prepared_band(tmp_path):
    scene = write_scene(tmp_path, 20, 20)
    network = network_of(1, normalisation="per_pixel", brightness=True, strength=0.5)
    read = read_canvas_tile(scene, CARD, network, Window(3, 4, 5, 6), FILL)
    assert len(read.values) == BANDS + 1 and read.valid.shape == (6, 5)
