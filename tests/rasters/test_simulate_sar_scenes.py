"""The SAR demo scenes: numbers that show what decides the classes, and that nothing else does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from rasterio.features import rasterize
from rasterio.warp import transform_geom
from rasterio.windows import Window
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import KNeighborsClassifier

from explanation_layers.rasters import simulate_sar_chips as sar
from explanation_layers.rasters.chip_labels import chips_of_features
from explanation_layers.rasters.chips import ChipSet, chips_of_folder
from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.rasters.labels import read_label_raster
from explanation_layers.rasters.scene import open_scene
from explanation_layers.rasters.simulate import SCENE_KINDS
from explanation_layers.rasters.simulate_sar_chips import CLASSES, SIDE
from explanation_layers.rasters.simulate_sar_footprints import SarScene
from explanation_layers.rasters.simulate_sar_scenes import SPURIOUS_CLASS

NAMES = tuple(planted.name for planted in CLASSES)


def make(
    folder: Path, size: int = 128, seed: int = 5, watch: Callable[[float], None] = lambda _: None
) -> dict[str, str]:
    return SCENE_KINDS["sar_scenes"](str(folder), size, seed, "job", watch)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make(tmp_path_factory.mktemp("demo") / "sar")


@pytest.fixture(scope="module")
def folder(files: dict[str, str]) -> Path:
    return Path(files["truth"]).parent


@pytest.fixture(scope="module")
def truth(files: dict[str, str]) -> dict:
    return json.loads(Path(files["truth"]).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def train(files: dict[str, str]) -> ChipSet:
    return chips_of_folder(files["patches"])


@pytest.fixture(scope="module")
def power(train: ChipSet) -> np.ndarray:
    return train.read(range(len(train)))


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A scene of several tiles and many footprints; few chips."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("explanation_layers.rasters.simulate_sar_scenes.MOST_PER_CLASS", 4)
        return make(tmp_path_factory.mktemp("demo") / "large", size=600)


def everything(chips: ChipSet) -> np.ndarray:
    return chips.read(range(len(chips)))


def entries(truth: dict, part: str) -> list[dict]:
    """What the truth says of a part's chips, in the order in which they are read."""
    return sorted((c for c in truth["chips"] if c["name"].startswith(f"{part}/")), key=lambda c: c["name"])


def squares(truth: dict, part: str, power: np.ndarray) -> np.ndarray:
    """The decoys' squares (n, band, y, x)."""
    return np.stack([
        chip[:, e["decoy"]["row"] :, e["decoy"]["column"] :][:, : sar.DECOY_SIDE, : sar.DECOY_SIDE]
        for chip, e in zip(power, entries(truth, part), strict=True)
    ])  # fmt: skip


def test_chips_are_georeferenced_power_of_two_bands(train: ChipSet, files: dict[str, str]) -> None:
    test = chips_of_folder(files["test_patches"])
    assert train.names == test.names == NAMES
    assert np.bincount(train.classes).tolist() == [64] * 5
    assert np.bincount(test.classes).tolist() == [32] * 5
    assert [band.name for band in train.bands] == ["VV", "VH"] and train.side == SIDE
    assert train.warnings == test.warnings == ()
    scene = open_scene(train.chips[0].path)
    assert scene.dtype == "float32" and "32633" in scene.grid.crs and scene.grid.transform.a == 10
    places = {chips.grid(i).extent for chips in (train, test) for i in range(len(chips))}
    assert len(places) == len(train) + len(test)


def test_speckle_has_the_looks_that_are_stated(larger: dict[str, str]) -> None:
    scene, classes = open_scene(larger["raster"]), open_scene(larger["label_raster"])
    outside = np.isnan(classes.read(classes.grid.whole)[0])
    both = outside[:, 1:] & outside[:, :-1]
    for band in scene.read(scene.grid.whole).astype(np.float64):
        # Neighbours share the smooth texture, so that their difference is that of the speckle alone.
        one, other = band[:, 1:][both], band[:, :-1][both]
        assert 2 * (one * other).mean() / ((one - other) ** 2).mean() == pytest.approx(4.4, rel=0.03)


def test_the_mean_says_nothing_of_the_class(power: np.ndarray, train: ChipSet, files: dict[str, str]) -> None:
    test = chips_of_folder(files["test_patches"])
    means = [np.log(values.mean(axis=(2, 3))) for values in (power, everything(test))]
    for classifier in (LinearDiscriminantAnalysis(), KNeighborsClassifier(9)):
        accuracy = classifier.fit(means[0], train.classes).score(means[1], test.classes)
        assert accuracy < 0.2 + 3 * np.sqrt(0.2 * 0.8 / len(test))


def test_the_mean_is_the_level(power: np.ndarray, truth: dict) -> None:
    levels = np.array([entry["level_db"] for entry in entries(truth, "train")])
    error = 10 * np.log10(power.mean(axis=(2, 3))) - levels
    assert np.abs(error).max() < 0.5 and np.abs(error.mean(axis=0)).max() < 0.02
    assert levels.std(axis=0).min() > 1.7


def test_the_decoy_is_as_bright_in_every_class(power: np.ndarray, truth: dict, train: ChipSet) -> None:
    disc = sar.disc_at((0, 0))[: sar.DECOY_SIDE, : sar.DECOY_SIDE]
    levels = sar.to_power([entry["level_db"] for entry in entries(truth, "train")])
    relative = squares(truth, "train", power)[:, :, disc].mean(axis=2) / levels
    for c in range(len(NAMES)):
        assert relative[train.classes == c].mean() == pytest.approx(10, rel=0.03)
    assert disc.sum() == 29


def test_the_decoy_and_the_reflector_are_off_the_evidence(truth: dict, folder: Path) -> None:
    masks = chips_of_folder(str(folder / "masks" / "train"))
    assert not np.any(squares(truth, "train", everything(masks)))


def test_evidence_lies_in_its_mask(power: np.ndarray, train: ChipSet, folder: Path, truth: dict) -> None:
    masks = chips_of_folder(str(folder / "masks" / "train"))
    assert [chip.name for chip in masks.chips] == [chip.name for chip in train.chips]
    inside = everything(masks)[:, 0] == 1
    assert all(masks.grid(i).same_as(train.grid(i)) for i in (0, 100, 319))
    assert inside.sum(axis=(1, 2)).tolist() == [e["evidence_pixels"] for e in entries(truth, "train")]
    assert inside.mean(axis=(1, 2)).min() > 0.004 and inside.mean(axis=(1, 2)).max() < 0.2
    contrast = np.array(
        [10 * np.log10(v[m].mean() / np.median(v[~m])) for v, m in zip(power[:, 0], inside, strict=True)]
    )
    by_class = [contrast[train.classes == c] for c in range(len(NAMES))]
    assert by_class[NAMES.index("bright_line")].mean() == pytest.approx(7, abs=1.0)
    assert by_class[NAMES.index("dark_strip")].mean() == pytest.approx(-8, abs=1.0)
    assert by_class[NAMES.index("point_cluster")].mean() == pytest.approx(11, abs=1.0)
    assert min(np.abs(by_class[c]).min() for c in range(2)) > 4


@pytest.mark.parametrize("planted", CLASSES, ids=NAMES)
def test_contrast_and_mask_are_the_same_pixels(planted: sar.SarClass) -> None:
    rng = np.random.default_rng(0)
    places = []
    for _ in range(200):
        evidence = planted.draw(rng)
        assert evidence.mask.any()
        if planted.name == "texture_edge":
            step = evidence.far_side[:, 1:] != evidence.far_side[:, :-1]
            assert np.all(evidence.mask[:, 1:][step])
            assert np.array_equal(evidence.contrast != 0, evidence.far_side)
        else:
            assert np.array_equal(evidence.contrast != 0, evidence.mask)
            assert not evidence.far_side.any()
        rows, columns = np.nonzero(evidence.mask)
        places.append((rows.mean(), columns.mean()))
    assert np.std(places, axis=0).min() > 5


def test_double_bounce_has_its_shadow_on_the_far_side() -> None:
    evidence = CLASSES[NAMES.index("double_bounce")].draw(np.random.default_rng(1))
    row = np.nonzero(evidence.mask.any(axis=1))[0][0]
    values = evidence.contrast[row][evidence.contrast[row] != 0]
    assert values.tolist() == [sar.BOUNCE_DB] * 3 + [sar.STRIP_DB] * 8


def test_the_reflector_is_in_one_class_and_all_else_is_the_same(
    power: np.ndarray, train: ChipSet, folder: Path, truth: dict
) -> None:
    spurious = chips_of_folder(str(folder / "train_spurious"))
    assert [chip.name for chip in spurious.chips] == [chip.name for chip in train.chips]
    changed = np.any(everything(spurious) != power, axis=1)
    with_cue = changed.any(axis=(1, 2))
    of_class = train.classes == NAMES.index(SPURIOUS_CLASS)
    assert not with_cue[~of_class].any()
    assert with_cue[of_class].mean() == pytest.approx(0.95, abs=0.01)
    assert [e["reflector"] is not None for e in entries(truth, "train")] == with_cue.tolist()
    masks = everything(chips_of_folder(str(folder / "masks" / "train_spurious")))
    assert np.array_equal(masks[:, 0] == 1, changed)
    evidence = chips_of_folder(str(folder / "masks" / "train"))
    assert not np.any((everything(evidence)[:, 0] == 1) & changed)


def in_utm(path: str) -> list[dict]:
    features = json.loads(Path(path).read_text(encoding="utf-8"))["features"]
    return [
        {**f, "geometry": transform_geom("EPSG:4326", "EPSG:32633", f["geometry"], precision=6)}
        for f in features
    ]


def test_footprints_are_chips_of_the_scene(larger: dict[str, str], tmp_path: Path) -> None:
    labels = tmp_path / "labels.geojson"
    features = in_utm(larger["labels"])
    labels.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    scene = open_scene(larger["raster"])
    assert (scene.grid.width, scene.grid.height, len(scene.bands)) == (600, 600, 2)
    chips = chips_of_features(scene, str(labels), SIDE)
    assert chips.names == NAMES and chips.warnings == ()
    assert len(chips) == len(features) == 64
    assert np.bincount(chips.classes).min() >= 12
    classes = read_label_raster(larger["label_raster"], scene.grid)
    assert classes.names == NAMES and len(classes.rows) == 64 * SIDE**2
    raster = np.full((600, 600), -1)
    raster[classes.rows, classes.cols] = classes.classes
    for chip in chips.chips:
        assert np.all(raster[chip.row : chip.row + SIDE, chip.col : chip.col + SIDE] == chip.class_index)


def test_evidence_of_the_scene_is_outlined(larger: dict[str, str]) -> None:
    scene = open_scene(larger["raster"])
    values = scene.read(scene.grid.whole)[0]
    for name, decibels in (("bright_line", 7), ("dark_strip", -8), ("point_cluster", 11)):
        shapes = [f["geometry"] for f in in_utm(larger["evidence"]) if f["properties"]["class"] == name]
        inside = rasterize(shapes, out_shape=values.shape, transform=scene.grid.transform).astype(bool)
        assert 10 * np.log10(values[inside].mean() / np.median(values)) == pytest.approx(decibels, abs=1)


def test_tiles_of_the_scene_join_without_a_seam() -> None:
    scene, looks = SarScene(300, 1), sar.LOOKS
    try:
        sar.LOOKS = 1e9
        whole, classes = scene.tile(Window(0, 0, 300, 300))
        part, part_classes = scene.tile(Window(90, 70, 128, 128))
    finally:
        sar.LOOKS = looks
    assert np.allclose(part, whole[:, 70:198, 90:218], rtol=1e-3)
    assert np.array_equal(part_classes, classes[70:198, 90:218])


@pytest.fixture
def few_chips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explanation_layers.rasters.simulate_sar_scenes.MOST_PER_CLASS", 4)


@pytest.mark.usefixtures("few_chips")
def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("1", 5), ("2", 5), ("3", 6)):
        make(tmp_path / name, 200, seed)
    names = sorted(str(path.relative_to(tmp_path / "1")) for path in (tmp_path / "1").rglob("*.*"))
    assert len(names) == 2 * 5 * (4 + 2 + 4) + 6
    for name in names:
        content = (tmp_path / "1" / name).read_bytes()
        assert content == (tmp_path / "2" / name).read_bytes()
        if not name.endswith(".aux.xml") and "masks/train_spurious" not in name:
            assert content != (tmp_path / "3" / name).read_bytes()


@pytest.mark.usefixtures("few_chips")
def test_more_chips_leave_the_first_as_they_are(tmp_path: Path, train: ChipSet) -> None:
    few = chips_of_folder(make(tmp_path / "few")["patches"])
    names = [chip.name for chip in train.chips]
    rows = [names.index(chip.name) for chip in few.chips]
    assert len(rows) == 20 and np.array_equal(everything(few), train.read(rows))


@pytest.mark.usefixtures("few_chips")
def test_stopping_leaves_nothing_and_an_earlier_run_untouched(tmp_path: Path) -> None:
    def stop(fraction: float) -> None:
        if fraction > 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        make(tmp_path / "new", 64, watch=stop)
    assert list(tmp_path.iterdir()) == []

    make(tmp_path / "kept", 64)
    for part in ("train", "masks/train"):  # as if that run had made more chips
        shutil.copy(
            tmp_path / "kept" / part / "dark_strip/000.tif", tmp_path / "kept" / part / "dark_strip/044.tif"
        )
    (tmp_path / "kept" / "train" / "mine.txt").write_text("mine")
    before = {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*.*")}
    with pytest.raises(Cancelled):
        make(tmp_path / "kept", 64, seed=6, watch=stop)
    assert {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*.*")} == before

    make(tmp_path / "kept", 64)
    for part in ("train", "masks/train"):
        assert len(chips_of_folder(str(tmp_path / "kept" / part))) == 5 * 4
    assert (tmp_path / "kept" / "train" / "mine.txt").exists()


def test_folders_of_others_are_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match="train is there, but not from an earlier run"):
        make(tmp_path, 64)
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_a_scene_smaller_than_a_chip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="63 pixels can't hold a chip of 64"):
        make(tmp_path / "small", 63)
    assert not (tmp_path / "small").exists()


@pytest.mark.usefixtures("few_chips")
def test_progress_grows_to_one_by_small_steps(tmp_path: Path) -> None:
    seen: list[float] = []
    make(tmp_path / "sar", 64, watch=seen.append)
    assert seen[-1] == 1 and np.all(np.diff(seen) > 0) and len(seen) == 5 * (4 + 2) + 1


@pytest.mark.usefixtures("few_chips")
def test_memory_does_not_grow_with_the_scene(tmp_path: Path) -> None:
    process, seen = psutil.Process(), []
    make(tmp_path / "large", size=2048, watch=lambda _: seen.append(process.memory_info().rss))
    one_scene = 2048**2 * 8
    assert max(seen) - seen[0] < 0.7 * one_scene
