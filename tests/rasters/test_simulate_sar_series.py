"""The year of radar over parcels: true to its truth file, crops apart on planted dates and on no others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import rasterio
from rasterio.warp import transform_geom
from rasterio.windows import Window

from explanation_layers.rasters import simulate_crops as crops
from explanation_layers.rasters.errors import Cancelled
from explanation_layers.rasters.labels import read_label_features, read_label_raster
from explanation_layers.rasters.parcels import parcels_of
from explanation_layers.rasters.scene import open_scene
from explanation_layers.rasters.series import open_series
from explanation_layers.rasters.simulate import SCENE_KINDS
from explanation_layers.rasters.simulate_crops import CHANNELS, CROPS, DATES, DateWindow
from explanation_layers.rasters.simulate_parcels import ParcelMap, by_share
from explanation_layers.rasters.simulate_sar_series import FILES, SeriesScene

SIZE, SEED = 150, 5  # more than a tile, and not a multiple of it
NAMES = [crop.name for crop in CROPS]


def make(
    folder: Path, size: int = SIZE, seed: int = SEED, watch: Callable[[float], None] = lambda _: None
) -> dict[str, str]:
    return SCENE_KINDS["sar_series"](str(folder), size, seed, "job", watch)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make(tmp_path_factory.mktemp("demo") / "series")


@pytest.fixture(scope="module")
def truth(files: dict[str, str]) -> dict:
    return json.loads(Path(files["truth"]).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def power(files: dict[str, str]) -> np.ndarray:
    """Power (date, channel, y, x)."""
    with rasterio.open(files["raster"]) as dataset:
        values = dataset.read()
    return values.reshape(len(DATES), len(CHANNELS), SIZE, SIZE)


@pytest.fixture(scope="module")
def classes(files: dict[str, str]) -> np.ndarray:
    with rasterio.open(files["label_raster"]) as dataset:
        return dataset.read(1)


@pytest.fixture(scope="module")
def labels(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The parcels in the CRS of the series, as QGIS hands them over."""
    features = json.loads(Path(files["labels"]).read_text(encoding="utf-8"))
    for feature in features["features"]:
        feature["geometry"] = transform_geom("EPSG:4326", "EPSG:32630", feature["geometry"], precision=6)
    path = tmp_path_factory.mktemp("labels") / "parcels.geojson"
    path.write_text(json.dumps(features))
    return str(path)


def test_the_raster_reads_as_a_series_of_two_channels(files: dict[str, str], truth: dict) -> None:
    series = open_series([files["raster"]], values="power")
    assert list(series.dates) == truth["dates"] == list(DATES) and series.channels == CHANNELS
    assert len(DATES) == 57 and DATES[0] == "2017-01-03" and DATES[-1] == "2017-12-29"
    steps = np.diff([np.datetime64(day) for day in DATES]).astype(int)
    assert sorted(set(steps.tolist())) == [6, 12, 18]
    values = series.read(series.grid.whole)
    # Gaps are filled in time.
    assert np.isfinite(values).all() and values.min() > -40 and values.max() < 10
    assert [band.name for band in series.bands[:3]] == ["2017-01-03 VV", "2017-01-03 VH", "2017-01-09 VV"]


def test_parcels_are_the_class_raster(files: dict[str, str], labels: str, truth: dict) -> None:
    scene = open_scene(files["raster"])
    of_parcels = read_label_features(labels, scene.grid)
    of_raster = read_label_raster(files["label_raster"], scene.grid)
    assert list(of_raster.names) == NAMES and sorted(of_parcels.names) == sorted(NAMES)
    places = [np.lexsort((found.cols, found.rows)) for found in (of_parcels, of_raster)]
    for name in ("rows", "cols"):
        first, second = (getattr(f, name)[p] for f, p in zip((of_parcels, of_raster), places))
        assert np.array_equal(first, second)
    named = [np.array(f.names)[f.classes[p]] for f, p in zip((of_parcels, of_raster), places)]
    assert np.array_equal(*named)
    assert len(np.unique(parcels_of(of_parcels, SIZE))) == len(truth["parcels"]) == 144
    # Parcels do not touch, so that each is a patch of the class raster.
    assert len(np.unique(parcels_of(of_raster, SIZE))) == pytest.approx(144, abs=8)
    assert np.bincount(of_raster.classes).tolist() == [entry["pixels"] for entry in truth["classes"]]


def test_crops_are_as_frequent_as_stated(truth: dict) -> None:
    parcels = [entry["parcels"] for entry in truth["classes"]]
    assert sum(parcels) == 144 and parcels == sorted(parcels, reverse=True)
    for entry, crop in zip(truth["classes"], CROPS, strict=True):
        assert entry["parcels"] / 144 == pytest.approx(crop.share, abs=0.03)
        of_crop = [parcel for parcel in truth["parcels"] if parcel["class"] == crop.name]
        assert len(of_crop) == entry["parcels"]


def test_windows_of_crops_are_apart_and_have_no_missed_step(truth: dict) -> None:
    windows = [window for entry in truth["classes"] for window in entry["windows"]]
    dates = [place for window in windows for place in window["dates"]]
    assert len(dates) == len(set(dates)) == 4 * 6
    assert sorted(dates + truth["unplanted_dates"]) == list(range(57))
    for window in windows:
        assert np.diff([np.datetime64(day) for day in window["days"]]).astype(int).tolist() == [6, 6, 6]
        assert [DATES[place] for place in window["dates"]] == window["days"]
        assert window["bands"] == [2 * place + channel for place in window["dates"] for channel in (0, 1)]


def test_a_crop_departs_on_its_dates_by_its_window_and_on_no_others(
    power: np.ndarray, classes: np.ndarray, truth: dict
) -> None:
    """Parcels' strengths, levels and delays are known, so that nothing but speckle is left."""
    for number, entry in enumerate(truth["classes"], start=1):
        own, others = power[:, :, classes == number], power[:, :, (classes > 0) & (classes != number)]
        elsewhere = np.setdiff1d(np.arange(57), [d for e in truth["classes"] for d in e["dates"]])
        means = [10 * np.log10(np.nanmean(values, axis=2)) for values in (own, others)]
        difference = means[0] - means[1]
        # Speckle of 12 looks has 1.3 dB, and there are over 1000 pixels; delays of parcels do the rest.
        assert np.abs(difference[elsewhere]).max() < 0.3
        for window in entry["windows"]:
            expected = np.array([window["change_db"][channel] for channel in CHANNELS])
            assert np.abs(difference[window["dates"]] - expected).max() < 1.0


def test_planted_dates_separate_the_crops_and_no_other_date_does(
    power: np.ndarray, classes: np.ndarray, truth: dict
) -> None:
    decibels = 10 * np.log10(power[:, 0])
    spread = np.nanstd(decibels[:, classes == 1], axis=1).mean()
    for number, entry in enumerate(truth["classes"], start=1):
        own, others = decibels[:, classes == number], decibels[:, (classes > 0) & (classes != number)]
        effect = np.abs(np.nanmean(own, axis=1) - np.nanmean(others, axis=1)) / spread
        assert effect[entry["dates"]].min() > 2 > 0.25 > effect[truth["unplanted_dates"]].max()


def test_speckle_has_the_looks_that_are_stated(files: dict[str, str], truth: dict) -> None:
    scene = SeriesScene(SIZE, SEED)
    window = Window(0, 0, 128, 128)
    values, parcels = scene.tile(window)
    values = values.reshape(len(DATES), len(CHANNELS), -1)
    numbers, places = np.unique(parcels, return_inverse=True)
    means = 10 ** ((scene.growth.decibels(CROPS, numbers, crops.SEASON_DB) + scene.weather_db) / 10)
    ratio = values / np.moveaxis(means, 0, -1)[..., places.ravel()]
    assert np.nanmean(ratio) == pytest.approx(1, abs=0.001)
    assert 1 / np.nanvar(ratio) == pytest.approx(truth["looks"], rel=0.01) and truth["looks"] == 12
    first, second = ratio[~np.isnan(ratio).any(axis=(1, 2))][0]
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.03
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03


def test_dates_miss_the_blocks_that_the_truth_names_and_nothing_else(power: np.ndarray, truth: dict) -> None:
    missing = np.zeros((57, SIZE, SIZE), dtype=bool)
    for gap in truth["gaps"]:
        rows, columns = (slice(gap[at], gap[at] + gap[length])
                         for at, length in (("row", "height"), ("column", "width")))  # fmt: skip
        missing[gap["date"], rows, columns] = True
    assert len(truth["gaps"]) == 4 and missing.any(axis=(1, 2)).sum() == 4
    assert not missing.all(axis=(1, 2)).any()
    assert np.array_equal(np.isnan(power), np.repeat(missing[:, None], 2, axis=1))


def test_the_season_is_common_and_comes_and_goes() -> None:
    shape = crops.season(np.array([0.0, 6.0]))
    assert shape.min() > 0 and shape.max() < 1 and shape.max() > 0.95
    days = np.array([np.datetime64(day) for day in DATES]) - np.datetime64("2016-12-31")
    half = np.interp(0.5, shape[0, :30], days.astype(float)[:30])
    assert half == pytest.approx(crops.START_DAY, abs=0.5)
    # Six days later it is where it was a step before.
    regular = np.flatnonzero(np.diff(days.astype(int)) == 6)
    assert np.allclose(shape[1, regular + 1], shape[0, regular])


def test_a_window_in_one_channel_is_told_so() -> None:
    window = DateWindow("2017-05-21", 3, (0.0, -4.0))
    assert window.channels == ("VH",)
    crop = crops.Crop("x", (0, 0, 0), 1, (window,))
    departure = crops.windows_db(crop)
    assert np.array_equal(np.argwhere(departure), [[place, 1] for place in crop.dates])


def test_tiles_of_parcels_join_without_a_seam(classes: np.ndarray) -> None:
    scene = SeriesScene(SIZE, SEED)
    assert np.array_equal(scene.classes(scene.parcels.read(Window(0, 0, SIZE, SIZE))), classes)
    whole = ParcelMap(700, np.random.default_rng(1))
    part = whole.read(Window(333, 90, 128, 128))
    assert np.array_equal(part, whole.read(Window(0, 0, 700, 700))[90:218, 333:461])


def test_parcels_are_convex_and_inside() -> None:
    parcels = ParcelMap(100, np.random.default_rng(2))
    for number in range(len(parcels)):
        ring = np.array(parcels.outline(number))
        assert ring.min() >= 0 and ring.max() <= 100
        sides = np.diff(ring, axis=0)
        following = np.roll(sides, -1, axis=0)
        turns = sides[:, 0] * following[:, 1] - sides[:, 1] * following[:, 0]
        assert (turns > 0).all() or (turns < 0).all()


def test_every_class_has_its_least() -> None:
    drawn = by_share([0.9, 0.1, 0.001], 25, 2, np.random.default_rng(0))
    assert np.bincount(drawn).tolist() == [21, 2, 2]


def test_the_smallest_scene_has_every_crop(tmp_path: Path) -> None:
    truth = json.loads(Path(make(tmp_path / "small", size=32)["truth"]).read_text())
    assert min(entry["pixels"] for entry in truth["classes"]) > 10


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    first, again, other = (make(tmp_path / n, 64, s) for n, s in (("a", 5), ("b", 5), ("c", 6)))
    assert {path.name for path in (tmp_path / "a").iterdir()} >= set(FILES.values())
    for name, path in first.items():
        assert Path(path).read_bytes() == Path(again[name]).read_bytes()
        assert Path(path).read_bytes() != Path(other[name]).read_bytes()


def test_stopping_leaves_nothing_and_progress_ends_at_one(tmp_path: Path) -> None:
    def stop(fraction: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        make(tmp_path / "new", 64, watch=stop)
    assert list(tmp_path.iterdir()) == []
    seen: list[float] = []
    make(tmp_path / "new", watch=seen.append)
    assert seen == [0.25, 0.5, 0.75, 1.0]


def test_memory_does_not_grow_with_the_scene(tmp_path: Path) -> None:
    process, seen = psutil.Process(), []
    make(tmp_path / "large", size=900, watch=lambda _: seen.append(process.memory_info().rss))
    one_scene = 900**2 * 4 * 2 * len(DATES)
    assert max(seen) - seen[0] < 0.3 * one_scene
