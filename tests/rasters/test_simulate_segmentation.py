"""The street scenes: true to their truth file, with pairs that only the planted evidence tells apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import rasterio
from scipy.ndimage import distance_transform_cdt

from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.rasters.labels import read_label_raster
from explanation_layers.rasters.scene import open_scene
from explanation_layers.rasters.simulate import SCENE_KINDS
from explanation_layers.rasters.simulate_segmentation import FILES, TILE
from explanation_layers.rasters.simulate_street import (
    SIGNAL_CLEARANCE,
    SIGNAL_DISTANCE,
    Street,
)
from explanation_layers.rasters.simulate_street_spectra import (
    CLASSES,
    CLOSED,
    MARK,
    OPEN,
    OTHER,
    PAINT_BANDS,
    PAINTED,
    ROAD,
    SIGNAL,
    SKY,
    VEGETATION,
    reflectances,
)

SIZE = 300  # more than two tiles, and not a multiple of them
UNPAINTED = [band for band in range(25) if band not in PAINT_BANDS]


def make(
    folder: Path, size: int = SIZE, seed: int = 5, watch: Callable[[float], None] = lambda _: None
) -> dict[str, str]:
    return SCENE_KINDS["segmentation"](str(folder), size, seed, "job", watch)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make(tmp_path_factory.mktemp("demo") / "scene")


@pytest.fixture(scope="module")
def truth(files: dict[str, str]) -> dict:
    return json.loads(Path(files["truth"]).read_text())


@pytest.fixture(scope="module", params=["", "test_"])
def scene(request: pytest.FixtureRequest, files: dict[str, str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (band, y, x), labels and strata (y, x) of one of the scenes."""
    return tuple(read(files[request.param + name]) for name in ("raster", "label_raster", "strata"))


def read(path: str) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read().squeeze()


def distance_to_signal(labels: np.ndarray) -> np.ndarray:
    """Return the Chebyshev distance (y, x) to the nearest signal."""
    return distance_transform_cdt(labels != SIGNAL, "chessboard")


def test_scenes_have_wavelengths_and_lie_side_by_side(files: dict[str, str], truth: dict) -> None:
    first, second = open_scene(files["raster"]), open_scene(files["test_raster"])
    assert first.wavelengths_nm == pytest.approx(truth["wavelengths_nm"])
    assert (first.wavelengths_nm[0], first.wavelengths_nm[-1]) == (600, 975)
    assert (first.grid.width, first.grid.height, first.dtype) == (SIZE, SIZE, "float32")
    assert first.grid.georeferenced and "32633" in first.grid.crs
    assert second.grid.extent[0] == first.grid.extent[2] and second.grid.extent[1] == first.grid.extent[1]
    values = read(files["raster"])
    assert np.isfinite(values).all() and values.min() >= 0 and values.max() < 2


def test_class_raster_names_its_classes_and_the_truth_counts_them(files: dict[str, str], truth: dict) -> None:
    for name, count in (("label_raster", "pixels"), ("test_label_raster", "test_pixels")):
        scene = open_scene(files[name.replace("label_raster", "raster")])
        labels = read_label_raster(files[name], scene.grid)
        entries = truth["classes"]
        assert list(labels.names) == [c.name for c in CLASSES] == [entry["name"] for entry in entries]
        assert np.bincount(labels.classes).tolist() == [entry[count] for entry in entries]


def test_tiles_of_labels_and_strata_join_without_a_seam(
    files: dict[str, str], scene: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    street = Street(SIZE, np.random.default_rng([5, 0]))
    assert np.array_equal(read(files["label_raster"]), street.labels(_whole(SIZE)))
    assert np.array_equal(read(files["strata"]), street.strata(_whole(SIZE)))


def test_a_shadow_darkens_all_bands_by_its_factor(files: dict[str, str]) -> None:
    values, street = read(files["raster"]), Street(SIZE, np.random.default_rng([5, 0]))
    road = street.classes == ROAD
    lit = np.median(values[:, road & (street.light == 0)], axis=1)
    for number, factor in enumerate(street.factors[1:], start=1):
        members = road & (street.light == number)
        if members.sum() > 100:
            ratio = np.median(values[:, members], axis=1) / lit
            assert np.ptp(ratio) < 0.02
            # The brightness varies from place to place.
            assert ratio.mean() == pytest.approx(factor, rel=0.25)


def test_road_marks_are_one_or_two_pixels_wide_and_bright(
    scene: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    labels = scene[1]
    ends = np.diff(np.pad(labels == MARK, ((0, 0), (1, 1))).astype(int), axis=1)
    widths = np.nonzero(ends == -1)[1] - np.nonzero(ends == 1)[1]
    assert set(np.unique(widths)) == {1, 2}
    expected = reflectances()
    assert expected[MARK - 1].mean() / expected[ROAD - 1].mean() == pytest.approx(2.5, rel=0.02)
    shapes = expected / expected.sum(1, keepdims=True)
    assert np.abs(shapes[MARK - 1] / shapes[ROAD - 1] - 1).max() < 0.05


def test_other_and_painted_other_are_alike_in_all_other_bands_and_in_shape(
    scene: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    values, labels, _ = scene
    normalised = values / values.sum(axis=0)
    spread = normalised[:, labels == OTHER].std(axis=1)
    differ = normalised[:, labels == PAINTED].mean(axis=1) - normalised[:, labels == OTHER].mean(axis=1)
    assert np.abs(differ / spread)[UNPAINTED].max() < 0.05
    assert np.abs(differ / spread)[list(PAINT_BANDS)].min() > 1.5
    # A pixel of either is as likely to have its like beside it.
    beside = [(labels[:, 1:] == c)[labels[:, :-1] == c].mean() for c in (OTHER, PAINTED)]
    assert beside[0] == pytest.approx(beside[1], abs=0.03)


def test_a_barrier_is_closed_where_a_signal_is_six_pixels_off_and_nowhere_else(
    scene: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    labels = scene[1]
    distance = distance_to_signal(labels)
    assert (distance[labels == CLOSED] == SIGNAL_DISTANCE).all()
    assert distance[labels == OPEN].min() >= SIGNAL_CLEARANCE
    assert (labels == CLOSED).sum() == pytest.approx((labels == OPEN).sum(), abs=7)
    # A closed barrier's own signal is the only one on its ring or next to it.
    signal = np.pad(labels == SIGNAL, SIGNAL_CLEARANCE)
    for row, column in np.argwhere(labels == CLOSED):
        reach = SIGNAL_CLEARANCE - 1
        around = slice(row + 1, row + 2 * reach + 2), slice(column + 1, column + 2 * reach + 2)
        assert signal[around].sum() == 7
    barriers = np.isin(labels, (OPEN, CLOSED))
    ends = np.diff(np.pad(barriers, ((0, 0), (1, 1))).astype(int), axis=1)
    assert set(np.nonzero(ends == -1)[1] - np.nonzero(ends == 1)[1]) == {7}
    assert np.array_equal(reflectances()[OPEN - 1], reflectances()[CLOSED - 1])


def test_a_small_scene_has_barriers_of_both_kinds_in_numbers(tmp_path: Path) -> None:
    entries = json.loads(Path(make(tmp_path / "small", size=128)["truth"]).read_text())["classes"]
    for entry in entries:
        if entry["id"] in (OPEN, CLOSED):
            assert min(entry["pixels"], entry["test_pixels"]) >= 18 * 7


def test_spectra_around_open_and_closed_barriers_are_alike_to_ring_five(
    scene: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    values, labels, _ = scene
    middles = np.argwhere(np.isin(labels, (OPEN, CLOSED)))[3::7]
    middles = middles[(middles >= 6).all(axis=1) & (middles < SIZE - 6).all(axis=1)]
    closed = labels[tuple(middles.T)] == CLOSED
    around = np.stack([values[:, r - 6 : r + 7, c - 6 : c + 7] for r, c in middles])
    standard_error = around.std(axis=0) * np.sqrt(1 / closed.sum() + 1 / (~closed).sum())
    z = (around[closed].mean(axis=0) - around[~closed].mean(axis=0)) / standard_error
    # 121 positions that share spectra, so a few are beyond two standard errors, and none far beyond.
    assert np.abs(z[:, 1:-1, 1:-1]).max() < 4.5
    assert (np.abs(z[:, 1:-1, 1:-1]) > 2).mean() < 0.15


def test_truth_tells_the_bands_and_distances_that_decide(truth: dict) -> None:
    entries = {entry["id"]: entry for entry in truth["classes"]}
    assert entries[PAINTED]["bands"] == entries[OTHER]["bands"] == [6, 7, 8]
    assert entries[OPEN]["distance"] == entries[CLOSED]["distance"] == 6
    assert {entries[c]["distance"] for c in (ROAD, MARK, VEGETATION, SKY, OTHER, PAINTED, SIGNAL)} == {0}
    assert [pair["classes"] for pair in truth["pairs"]] == [[OTHER, PAINTED], [OPEN, CLOSED]]
    assert np.allclose(truth["spectra"], reflectances(), atol=1e-6)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    first, again, other = (make(tmp_path / n, 150, s) for n, s in (("a", 5), ("b", 5), ("c", 6)))
    for name, path in first.items():
        assert Path(path).read_bytes() == Path(again[name]).read_bytes()
        assert Path(path).read_bytes() != Path(other[name]).read_bytes()
    assert not np.array_equal(read(first["label_raster"]), read(first["test_label_raster"]))


def test_stopping_leaves_nothing_and_progress_ends_at_one(tmp_path: Path) -> None:
    def stop(fraction: float) -> None:
        if fraction > 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        make(tmp_path / "new", 64, watch=stop)
    assert list(tmp_path.iterdir()) == []
    seen: list[float] = []
    make(tmp_path / "new", 64, watch=seen.append)
    assert seen == [0.5, 1.0]
    assert {path.name for path in (tmp_path / "new").iterdir()} >= set(FILES.values())


def test_a_scene_too_small_for_barriers_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="street of 63 pixels is too small"):
        make(tmp_path / "small", 63)
    assert list(tmp_path.iterdir()) == []


def test_memory_is_that_of_a_tile(tmp_path: Path) -> None:
    process, seen, size = psutil.Process(), [], 6 * TILE
    make(tmp_path / "large", size, watch=lambda _: seen.append(process.memory_info().rss))
    one_scene = 25 * size**2 * 4
    assert max(seen) - seen[0] < 0.4 * one_scene


def _whole(size: int) -> rasterio.windows.Window:
    return rasterio.windows.Window(0, 0, size, size)
