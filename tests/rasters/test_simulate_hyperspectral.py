"""The hyperspectral demo scene: whole, readable by our own readers, and true to its truth file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import rasterio
from rasterio.transform import rowcol
from rasterio.warp import transform

from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.rasters.labels import read_label_raster
from explanation_layers.rasters.scene import open_scene
from explanation_layers.rasters.simulate import SCENE_KINDS
from explanation_layers.rasters.simulate_hyperspectral import FILES, NODATA, TILE

SIZE = 150  # more than a tile, and not a multiple of it


def make(
    folder: Path, size: int = SIZE, seed: int = 5, watch: Callable[[float], None] = lambda _: None
) -> dict:
    return SCENE_KINDS["hyperspectral"](str(folder), size, seed, "job", watch)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make(tmp_path_factory.mktemp("demo") / "scene")


@pytest.fixture(scope="module")
def truth(files: dict[str, str]) -> dict:
    return json.loads(Path(files["truth"]).read_text())


def read(path: str) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


def test_scene_has_wavelengths_grid_and_nodata(files: dict[str, str], truth: dict) -> None:
    scene = open_scene(files["raster"])
    assert scene.wavelengths_nm == pytest.approx(truth["wavelengths_nm"])
    assert [band.fwhm_nm for band in scene.bands] == pytest.approx(truth["fwhm_nm"])
    assert (scene.grid.width, scene.grid.height, scene.dtype) == (SIZE, SIZE, "int16")
    assert scene.grid.georeferenced and scene.grid.transform.a == 30
    assert "32633" in scene.grid.crs
    assert set(scene.nodata) == {NODATA}


def test_nodata_is_the_same_corner_in_all_bands_and_has_no_class(files: dict[str, str]) -> None:
    values, classes = read(files["raster"]), read(files["label_raster"])[0]
    empty = values == NODATA
    assert empty[0].any() and np.all(empty == empty[0])
    assert np.array_equal(empty[0], classes == 0)
    assert values[~empty].min() > 0


def test_class_raster_names_its_classes(files: dict[str, str], truth: dict) -> None:
    labels = read_label_raster(files["label_raster"], open_scene(files["raster"]).grid)
    assert list(labels.names) == [entry["name"] for entry in truth["classes"]]
    assert np.bincount(labels.classes).tolist() == [entry["pixels"] for entry in truth["classes"]]


def test_points_fall_in_pixels_of_their_class(files: dict[str, str], truth: dict) -> None:
    features = json.loads(Path(files["labels"]).read_text())["features"]
    classes = read(files["label_raster"])[0]
    grid = open_scene(files["raster"]).grid
    longitudes, latitudes = zip(*(feature["geometry"]["coordinates"] for feature in features), strict=True)
    xs, ys = transform("EPSG:4326", grid.crs, longitudes, latitudes)
    rows, columns = rowcol(grid.transform, xs, ys)
    given = [feature["properties"]["class_id"] for feature in features]
    assert np.array_equal(classes[rows, columns], given)
    names = {entry["id"]: entry["name"] for entry in truth["classes"]}
    assert all(names[f["properties"]["class_id"]] == f["properties"]["class"] for f in features)
    assert np.bincount(given)[1:].tolist() == [entry["points"] for entry in truth["classes"]] == [300] * 6


def test_classes_differ_where_the_truth_says_and_not_in_brightness(
    files: dict[str, str], truth: dict
) -> None:
    values, classes = read(files["raster"]).astype(float), read(files["label_raster"])[0]
    unplanted = truth["unplanted_bands"]
    level = np.log(np.clip(values[unplanted], 1, None)).mean(axis=0)
    everywhere = level[classes > 0]
    for entry in truth["classes"]:
        members = classes == entry["id"]
        assert abs(level[members].mean() - everywhere.mean()) < 0.4 * everywhere.std()
        depth = 1 - np.exp(
            np.log(values[:, members]).mean(axis=1) - np.log(values[:, (classes > 0) & ~members]).mean(axis=1)
        )
        depth -= np.median(depth[unplanted])
        assert depth[entry["bands"]].min() > 0.06
        assert np.abs(depth[unplanted]).max() < 0.06
        assert not set(entry["bands"]) & set(entry["bands_of_other_classes"])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(
    files: dict[str, str], tmp_path: Path
) -> None:
    again, other = make(tmp_path / "again"), make(tmp_path / "other", seed=6)
    for name, path in files.items():
        assert Path(path).read_bytes() == Path(again[name]).read_bytes()
        assert Path(path).read_bytes() != Path(other[name]).read_bytes()


def test_the_smallest_scene_has_points_of_all_classes(tmp_path: Path) -> None:
    paths = make(tmp_path / "small", size=32)
    counts = [entry["points"] for entry in json.loads(Path(paths["truth"]).read_text())["classes"]]
    assert min(counts) >= 40


def test_stopping_leaves_nothing_and_an_earlier_run_untouched(tmp_path: Path) -> None:
    def stop(fraction: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        make(tmp_path / "new", watch=stop)
    assert list(tmp_path.iterdir()) == []

    earlier = make(tmp_path / "kept", size=32)
    (tmp_path / "kept" / "mine.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()}
    with pytest.raises(Cancelled):
        make(tmp_path / "kept", watch=stop)
    assert {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()} == before

    make(tmp_path / "kept", size=40)
    assert read(earlier["label_raster"]).shape == (1, 40, 40)
    assert {path.name for path in (tmp_path / "kept").iterdir()} >= {*FILES.values(), "mine.txt"}


def test_a_folder_that_cannot_be_made_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        make(tmp_path / "not" / "there")


def test_memory_is_that_of_a_tile(tmp_path: Path) -> None:
    process, seen = psutil.Process(), []
    make(tmp_path / "large", size=4 * TILE, watch=lambda _: seen.append(process.memory_info().rss))
    assert len(seen) == 16
    one_scene = 167 * (4 * TILE) ** 2 * 2
    assert max(seen) - seen[0] < 0.4 * one_scene
