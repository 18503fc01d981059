"""The demo scene of two sensors: grids that nest, and classes that differ where the truth says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from sklearn.linear_model import LogisticRegression

from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.rasters.labels import read_label_raster
from explanation_layers.rasters.scene import open_scene
from explanation_layers.rasters.simulate import SCENE_KINDS
from explanation_layers.rasters.simulate_dual_spectra import LATENTS, SENSORS, SWIR, VNIR, reflectance

SIZE = 151  # more than a tile, and no multiple of the SWIR's pixel


def make(
    folder: Path, size: int = SIZE, seed: int = 5, watch: Callable[[float], None] = lambda _: None
) -> dict:
    return SCENE_KINDS["dual_sensor"](str(folder), size, seed, "job", watch)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make(tmp_path_factory.mktemp("demo") / "scene")


@pytest.fixture(scope="module")
def truth(files: dict[str, str]) -> dict:
    return json.loads(Path(files["truth"]).read_text())


def read(path: str) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


def test_two_sensors_have_their_ranges_and_pixels(files: dict[str, str], truth: dict) -> None:
    vnir, swir, stack = (open_scene(files[name]) for name in ("vnir", "swir", "raster"))
    assert (len(vnir.bands), len(swir.bands)) == (72, 86)
    assert stack.wavelengths_nm == [*vnir.wavelengths_nm, *swir.wavelengths_nm]
    assert stack.wavelengths_nm == [w for sensor in truth["sensors"] for w in sensor["wavelengths_nm"]]
    assert vnir.grid.transform.a * 2 == swir.grid.transform.a == truth["sensors"][1]["pixel_m"] == 20
    assert vnir.grid.same_as(stack.grid)
    assert (vnir.grid.width, swir.grid.width) == (SIZE, 76)
    assert truth["sensor_bands"] == "VNIR:1-72; SWIR:73-158"


def test_the_stack_repeats_each_pixel_of_the_coarser_sensor(files: dict[str, str]) -> None:
    vnir, swir, stack = (read(files[name]) for name in ("vnir", "swir", "raster"))
    assert np.array_equal(stack[:72], vnir)
    assert np.array_equal(stack[72:], swir.repeat(2, 1).repeat(2, 2)[:, :SIZE, :SIZE])
    assert np.all((stack == -32768).all(0) == (stack == -32768).any(0))


def test_labels_are_those_of_the_truth(files: dict[str, str], truth: dict) -> None:
    labels = read_label_raster(files["label_raster"], open_scene(files["raster"]).grid)
    assert list(labels.names) == [entry["name"] for entry in truth["classes"]]
    assert np.bincount(labels.classes).tolist() == [entry["pixels"] for entry in truth["classes"]]
    features = json.loads(Path(files["labels"]).read_text())["features"]
    given = np.bincount([feature["properties"]["class_id"] for feature in features])[1:]
    assert given.tolist() == [entry["points"] for entry in truth["classes"]] == [300] * 8


def test_a_class_differs_in_the_bands_of_its_sensors_alone(files: dict[str, str], truth: dict) -> None:
    values, classes = np.log(np.clip(read(files["raster"]), 1, None)), read(files["label_raster"])[0]
    single = [entry for entry in truth["classes"] if len(entry["sensors"]) == 1]
    assert [entry["sensors"][0] for entry in single] == ["VNIR"] * 3 + ["SWIR"] * 3
    for entry in single:
        members = classes == entry["id"]
        others = np.isin(classes, [other["id"] for other in single]) & ~members
        depth = 1 - np.exp(values[:, members].mean(1) - values[:, others].mean(1))
        depth -= np.median(depth[truth["unplanted_bands"]])
        assert depth[entry["bands"]].min() > 0.06
        sensor = truth["sensors"][entry["sensors"] == ["SWIR"]]
        outside = set(entry["bands"]) - set(
            range(sensor["first_band"], sensor["first_band"] + sensor["bands"])
        )
        assert not outside and np.abs(depth[truth["unplanted_bands"]]).max() < 0.06


def test_no_sensor_alone_tells_the_pair_apart_and_both_do(files: dict[str, str], truth: dict) -> None:
    """Depths of the pair's two features, their product included, in a linear classifier."""
    values, classes = np.log(np.clip(read(files["raster"]), 1, None)), read(files["label_raster"])[0]
    ids = [entry["id"] for entry in truth["classes"] if entry["name"] in truth["pair"]["classes"]]
    pixels = np.isin(classes, ids)
    wavelengths = np.array([w for sensor in truth["sensors"] for w in sensor["wavelengths_nm"]])
    depth = []
    for feature in (VNIR.pair, SWIR.pair):
        near = np.abs(wavelengths - feature.centre_nm)
        inside, beside = near < 20, (near > 60) & (near < 90)
        depth.append(values[beside][:, pixels].mean(0) - values[inside][:, pixels].mean(0))
    vnir, swir = (each - each.mean() for each in depth)
    belongs = classes[pixels] == ids[0]

    def accuracy(*columns: np.ndarray) -> float:
        table = np.stack([column / column.std() for column in columns], 1)
        return LogisticRegression().fit(table, belongs).score(table, belongs)

    chance = max(belongs.mean(), 1 - belongs.mean())
    assert accuracy(vnir, vnir**2) < chance + 0.04 and accuracy(swir, swir**2) < chance + 0.04
    assert accuracy(vnir, swir, vnir * swir) > 0.99


def test_the_pair_has_each_feature_in_half_of_its_pixels() -> None:
    latents = np.random.default_rng(1).standard_normal((len(LATENTS), 40))
    present = np.arange(40) % 2 == 0
    for sensor in SENSORS:
        plain = reflectance(sensor, np.full(40, -1), latents[0], latents, present)
        found = reflectance(sensor, np.full(40, 6), latents[0], latents, present) / plain
        assert np.allclose(found[~present], 1) and found[present].min(1).max() < 0.82


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(
    files: dict[str, str], tmp_path: Path
) -> None:
    again, other = make(tmp_path / "again"), make(tmp_path / "other", seed=6)
    for name, path in files.items():
        assert Path(path).read_bytes() == Path(again[name]).read_bytes()
        assert Path(path).read_bytes() != Path(other[name]).read_bytes()


def test_the_smallest_scene_has_points_of_all_classes(tmp_path: Path) -> None:
    for seed in range(6):
        paths = make(tmp_path / "small", 64, seed)
        counts = [entry["points"] for entry in json.loads(Path(paths["truth"]).read_text())["classes"]]
        assert min(counts) >= 25
    with pytest.raises(InputError, match="63 pixels is too small for its 8 classes; choose a size from 64"):
        make(tmp_path / "smaller", 63)


def test_stopping_leaves_nothing(tmp_path: Path) -> None:
    def stop(fraction: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        make(tmp_path / "new", watch=stop)
    assert list(tmp_path.iterdir()) == []
