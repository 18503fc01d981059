"""Chips of a folder: which files, which pixels of them, and sentences for what can't be used."""

from __future__ import annotations

import shutil
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

from explanation_layers.rasters.chips import chips_of_folder
from explanation_layers.rasters.errors import Cancelled, InputError

UTM33 = "EPSG:32633"
PLACE = Affine(10, 0, 500000, 0, -10, 4000000)


def values_of(height: int, width: int, bands: int = 1, first: float = 0) -> np.ndarray:
    """Values that tell where they are: 1000 x band + 100 x row + column + first."""
    band, row, column = np.ogrid[:bands, :height, :width]
    return (1000 * band + 100 * row + column + first).astype(np.float32)


@pytest.fixture
def write(tmp_path):
    """Return a function that writes values (band, y, x) to a file under `tmp_path / "chips"`."""

    def write(name, values, place=None, names=None, **profile):
        path = tmp_path / "chips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if place is not None:
            profile |= {"transform": place, "crs": UTM33}
        count, height, width = values.shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(
                path, "w", count=count, height=height, width=width, dtype=values.dtype, **profile
            ) as dataset:
                dataset.write(values)
                for number, text in enumerate(names or (), start=1):
                    dataset.set_band_description(number, text)
        return path

    return write


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "chips")


def cut_short(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def test_sub_folders_are_classes_in_the_order_of_labels(write, folder):
    for name in ("10/a.tif", "2/b.tif", "2/a.tif", "urban/a.tif"):
        write(name, values_of(8, 8))
    chips = chips_of_folder(folder)
    assert chips.names == ("2", "10", "urban")
    assert [chip.name for chip in chips.chips] == ["2/a.tif", "2/b.tif", "10/a.tif", "urban/a.tif"]
    assert chips.classes.tolist() == [0, 0, 1, 2] and chips.classes.dtype == np.int64
    assert (chips.side, len(chips), len(chips.bands), chips.warnings) == (8, 4, 1, ())


def test_one_class_is_enough_to_be_read(write, folder):
    write("tank/a.tif", values_of(8, 8))
    assert chips_of_folder(folder).names == ("tank",)


def test_a_folder_of_rasters_is_unlabelled(write, folder):
    write("a.tif", values_of(8, 8))
    chips = chips_of_folder(folder)
    assert (chips.names, chips.classes.tolist(), chips.chips[0].name) == ((), [-1], "a.tif")


def test_what_lies_beside_rasters_is_no_chip(write, folder, tmp_path):
    write("tank/a.tif", values_of(8, 8))
    for name in ("tank/a.tif.aux.xml", "tank/a.qml", "tank/notes.TXT", "tank/.hidden.tif", "truth.json"):
        (tmp_path / "chips" / name).write_text("no raster")
    (tmp_path / "chips" / ".cache").mkdir()
    chips = chips_of_folder(folder)
    assert (len(chips), chips.names, chips.warnings) == (1, ("tank",), ())


def test_rasters_out_of_place_are_named_in_a_warning(write, folder):
    for name in ("tank/a.tif", "tank/deep/b.tif", "c.tif"):
        write(name, values_of(8, 8))
    chips = chips_of_folder(folder)
    assert len(chips) == 1
    assert len(chips.warnings) == 1 and "2 file(s)" in chips.warnings[0]
    assert "c.tif, tank/deep/b.tif" in chips.warnings[0]


@pytest.mark.parametrize(
    ("size", "side", "corner"),
    [
        ((8, 8), 8, (0, 0)),
        ((8, 8), 4, (2, 2)),
        ((9, 9), 4, (2, 2)),
        ((8, 8), 5, (1, 1)),
        ((9, 9), 5, (2, 2)),
        ((6, 11), 6, (0, 2)),
        ((11, 6), 3, (4, 1)),
    ],
)
def test_the_middle_is_cut_out(write, folder, size, side, corner):
    write("a.tif", values_of(*size, bands=2))
    chips = chips_of_folder(folder, side)
    chip = chips.chips[0]
    assert (chip.row, chip.col) == corner
    row, col = corner
    expected = values_of(*size, bands=2)[:, row : row + side, col : col + side]
    assert np.array_equal(chips.read([0])[0], expected)
    assert np.array_equal(chips.read([0], bands=[1])[0], expected[1:])


def test_a_cropped_chip_keeps_its_place_on_the_ground(write, folder):
    write("a/placed.tif", values_of(9, 11), place=PLACE)
    write("b/unplaced.tif", values_of(9, 11))
    chips = chips_of_folder(folder, 4)
    grid = chips.grid(0)
    assert (grid.width, grid.height) == (4, 4)
    assert grid.transform == PLACE * Affine.translation(3, 2)
    assert "32633" in grid.crs
    assert not chips.grid(1).georeferenced and (chips.grid(1).width, chips.grid(1).height) == (4, 4)


def test_chips_are_read_in_the_order_asked_for_and_subsets_keep_their_classes(write, folder):
    for number in range(5):
        write(f"{'ab'[number % 2]}/{number}.tif", values_of(4, 4, first=number))
    chips = chips_of_folder(folder)
    order = [4, 0, 2, 0]
    values = chips.read(order)
    assert (values.shape, values.dtype) == ((4, 1, 4, 4), np.float32)
    assert values[:, 0, 0, 0].tolist() == [3, 0, 4, 0]
    subset = chips.subset(order)
    assert subset.names == ("a", "b") and subset.classes.tolist() == [1, 0, 0, 0]
    assert np.array_equal(subset.read(range(4)), values)


def test_nodata_is_nan(write, folder):
    values = values_of(4, 4)
    values[0, 1, 2] = -9999
    write("a.tif", values, nodata=-9999)
    read = chips_of_folder(folder).read([0])[0, 0]
    assert np.argwhere(np.isnan(read)).tolist() == [[1, 2]]


def test_sizes_that_differ_need_a_size(write, folder):
    write("a/1.tif", values_of(8, 8))
    write("b/2.tif", values_of(10, 12))
    write("b/3.tif", values_of(9, 7))
    with pytest.raises(InputError, match="3.tif has 7 x 9 .*2.tif 12 x 10; set PATCH_SIZE to 7 or less"):
        chips_of_folder(folder)
    assert chips_of_folder(folder, 7).read(range(3)).shape == (3, 1, 7, 7)
    with pytest.raises(InputError, match="than a chip of 8 x 8; .* or use smaller chips, of 7 x 7 or less"):
        chips_of_folder(folder, 8)


def test_oblong_chips_of_one_size_need_a_size_too(write, folder):
    write("a.tif", values_of(8, 9))
    with pytest.raises(InputError, match="set PATCH_SIZE to 8"):
        chips_of_folder(folder)


def test_bands_must_agree_in_number_and_are_warned_of_in_name(write, folder):
    write("a/1.tif", values_of(8, 8, bands=2), names=("VV", "VH"))
    write("a/2.tif", values_of(8, 8, bands=2), names=("VH", "VV"))
    chips = chips_of_folder(folder)
    assert [band.name for band in chips.bands] == ["VV", "VH"]
    assert chips.warnings[0].endswith("name their bands otherwise than a/1.tif: a/2.tif.")
    write("a/3.tif", values_of(8, 8, bands=3))
    with pytest.raises(InputError, match="3.tif has 3 band.*1.tif 2"):
        chips_of_folder(folder)


@pytest.fixture
def damaged(write, folder):
    """A folder with a sound chip, a text named .tif, and a TIFF and a JPEG that end too soon."""
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 255, size=(1, 64, 64), dtype=np.uint8)
    write("a/1.tif", noise)
    write("a/text.tif", noise).write_text("no raster at all")
    cut_short(write("a/cut.tif", noise), 0.6)
    cut_short(write("a/cut.jpeg", noise, driver="JPEG"), 0.95)
    (Path(folder) / "a" / "empty.png").write_bytes(b"")
    return folder


@pytest.mark.parametrize("name", ["text.tif", "cut.tif", "cut.jpeg", "empty.png"])
def test_a_damaged_file_is_named(damaged, name, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    for file in ("1.tif", name):
        shutil.copy(Path(damaged) / "a" / file, alone / file)
    with pytest.raises(InputError, match=f"{name} can't be .*SKIP_UNREADABLE"):
        chips_of_folder(str(alone), 8)


def test_damaged_files_are_left_out_when_asked(damaged):
    chips = chips_of_folder(damaged, skip_unreadable=True)
    assert [chip.name for chip in chips.chips] == ["a/1.tif"]
    assert len(chips.warnings) == 1 and "4 file(s)" in chips.warnings[0]
    assert "a/cut.jpeg, a/cut.tif, a/empty.png, a/text.tif" in chips.warnings[0]


def test_a_class_of_which_nothing_is_left_is_refused(write, folder):
    write("a/1.tif", values_of(8, 8))
    write("b/1.tif", values_of(8, 8)).write_text("no raster")
    with pytest.raises(InputError, match="No file of the class folder .*b can be read"):
        chips_of_folder(folder, skip_unreadable=True)


def test_folders_without_chips_are_refused(write, folder, tmp_path):
    with pytest.raises(InputError, match="no folder .*chips"):
        chips_of_folder(folder)
    write("outer/a/1.tif", values_of(8, 8))
    with pytest.raises(InputError, match="outer holds no raster.* or choose it"):
        chips_of_folder(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no raster"):
        chips_of_folder(str(tmp_path / "empty"))
    (tmp_path / "chips" / "outer" / "b").mkdir()
    with pytest.raises(InputError, match="class folder .*b holds no raster"):
        chips_of_folder(str(tmp_path / "chips" / "outer"))


def test_a_file_that_is_gone_later_is_named(write, folder):
    path = write("a.tif", values_of(8, 8))
    chips = chips_of_folder(folder)
    path.unlink()
    with pytest.raises(InputError, match="no file .*a.tif"):
        chips.read([0])


def test_the_search_can_be_stopped(write, folder):
    write("a.tif", values_of(8, 8))

    def stop() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        chips_of_folder(folder, check=stop)


def test_mstar_chips_of_all_sizes_are_read_in_time(shared):
    folder = str(shared / "data" / "mstar_soc_subset")
    started = time.process_time()
    train, test = (chips_of_folder(f"{folder}/{part}", 64) for part in ("TRAIN", "TEST"))
    assert time.process_time() - started < 4
    assert np.bincount(train.classes).tolist() == [40] * 10
    assert np.bincount(test.classes).tolist() == [20] * 10
    assert train.names == test.names and train.names[0] == "2S1" and train.names[-1] == "ZSU_23_4"
    assert train.warnings == test.warnings == ()
    place = next(i for i, chip in enumerate(test.chips) if chip.name.startswith("ZIL131"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(test.chips[place].path) as dataset:
            whole = dataset.read(1)
    assert whole.shape == (193, 192)
    assert np.array_equal(test.read([place])[0, 0], whole[64:128, 64:128])
    with pytest.raises(InputError, match="set PATCH_SIZE to 128 or less"):
        chips_of_folder(f"{folder}/TEST")
