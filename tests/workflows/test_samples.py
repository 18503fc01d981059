"""Samples: patches are windows of the scene, mirrored at its edges, without nodata."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.rasters.labels import LabelledPixels
from explanation_layers.rasters.scene import Scene, open_scene
from explanation_layers.workflows import samples as module
from explanation_layers.workflows.samples import mirrored, read_samples, usable_bands

NODATA = -9999.0


@pytest.fixture
def make_scene(tmp_path: Path) -> Callable[[np.ndarray], Scene]:
    """Return a function that writes values (band, y, x) and opens them as a scene."""

    def make(values: np.ndarray, bad: int | None = None) -> Scene:
        path = str(tmp_path / "scene.tif")
        count, height, width = values.shape
        size = {"count": count, "height": height, "width": width}
        place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5.8e6)}
        with rasterio.open(path, "w", driver="GTiff", dtype="float32", nodata=NODATA, **size, **place) as out:
            out.write(values.astype(np.float32))
            if bad is not None:
                out.update_tags(bad + 1, bbl="0")
        return open_scene(path)

    return make


def labels_at(rows: list[int], cols: list[int], classes: list[int] | None = None) -> LabelledPixels:
    classes = classes or [i % 2 for i in range(len(rows))]
    return LabelledPixels(np.array(rows), np.array(cols), np.array(classes), ("a", "b"))


def read(scene: Scene, labels: LabelledPixels, patch_size: int, bands: list[int] | None = None):
    """Return the samples and the warnings."""
    warnings: list[str] = []
    bands = list(range(len(scene.bands))) if bands is None else bands
    return read_samples(scene, labels, bands, patch_size, 0, lambda: None, warnings.append), warnings


@pytest.mark.parametrize("patch_size", [1, 3, 11, 25])
@pytest.mark.parametrize("shape", [(20, 24), (7, 300), (300, 7), (1, 9)])
def test_patches_are_slices_of_the_mirrored_scene(make_scene, patch_size: int, shape) -> None:
    values = np.random.default_rng(0).random((3, *shape), np.float32)
    height, width = shape
    rows, cols = np.divmod(np.random.default_rng(1).permutation(height * width)[:40], width)
    # The corners too.
    rows, cols = (
        np.append(rows, [0, 0, height - 1, height - 1]),
        np.append(cols, [0, width - 1, 0, width - 1]),
    )
    samples, warnings = read(make_scene(values), labels_at(rows.tolist(), cols.tolist()), patch_size)
    half = patch_size // 2
    padded = np.pad(values, ((0, 0), (half, half), (half, half)), mode="reflect")
    patches = samples.patches(np_indices(samples)).numpy()
    for patch, row, col in zip(patches, rows, cols):
        assert np.array_equal(patch, padded[:, row : row + patch_size, col : col + patch_size])
    assert not warnings
    assert np.array_equal(samples.rows, rows) and np.array_equal(samples.cols, cols)


def np_indices(samples):
    return samples.classes.new_tensor(range(len(samples)))


def test_each_pixel_is_stored_once_and_only_wanted_bands_are(make_scene) -> None:
    values = np.random.default_rng(0).random((4, 30, 30), np.float32)
    labels = labels_at(*[axis.ravel().tolist() for axis in np.mgrid[10:16, 10:16]])
    samples, _ = read(make_scene(values), labels, 5, bands=[2, 0])
    assert tuple(samples.spectra.shape) == (10 * 10, 2)
    centres = samples.centres(np_indices(samples)).numpy()
    assert np.array_equal(centres, values[[2, 0], 10:16, 10:16].reshape(2, -1).T)


def test_labelled_pixels_without_data_are_left_out_and_said(make_scene) -> None:
    values = np.random.default_rng(0).random((3, 12, 12), np.float32)
    values[1, 2, 2], values[:, 3, 3], values[0, 4, 4] = NODATA, NODATA, np.nan
    samples, warnings = read(make_scene(values), labels_at([2, 3, 4, 5, 6], [2, 3, 4, 5, 6]), 1)
    assert samples.rows.tolist() == [5, 6] and samples.classes.tolist() == [1, 0]
    assert warnings == ["3 labelled pixel(s) have no data in a band and are left out."]


def test_a_neighbour_without_data_becomes_the_mean_spectrum(make_scene) -> None:
    values = np.random.default_rng(0).random((3, 12, 12), np.float32)
    values[1, 5, 6] = NODATA
    samples, warnings = read(make_scene(values), labels_at([5, 5], [5, 7]), 3)
    around = np.delete(values[:, 4:7, 4:9].reshape(3, -1), 1 * 5 + 2, axis=1)
    patches = samples.patches(np_indices(samples)).numpy()
    np.testing.assert_allclose(patches[0, :, 1, 2], around.mean(1), rtol=1e-6)
    np.testing.assert_array_equal(patches[0, :, 1, 2], patches[1, :, 1, 0])
    expected = values[:, 4:7, 4:7].copy()
    expected[:, 1, 2] = patches[0, :, 1, 2]
    assert np.array_equal(patches[0], expected) and not warnings


def test_no_pixel_with_data_in_all_bands_is_told(make_scene) -> None:
    values = np.ones((2, 12, 12), np.float32)
    values[0, :6], values[1, 6:] = NODATA, NODATA
    scene, labels = make_scene(values), labels_at([1, 8], [1, 8])
    assert usable_bands(scene, labels, lambda: None) == [0, 1]
    with pytest.raises(InputError, match=r"No labelled pixel of .*scene.tif has data in all of its 2 bands"):
        read(scene, labels, 3)


def test_bad_bands_and_bands_without_data_are_not_used(make_scene) -> None:
    values = np.ones((5, 12, 12), np.float32)
    values[3] = NODATA
    values[4, :, :6] = NODATA
    scene = make_scene(values, bad=1)
    assert usable_bands(scene, labels_at([1, 2], [8, 9]), lambda: None) == [0, 2, 4]
    assert usable_bands(scene, labels_at([1, 2], [1, 2]), lambda: None) == [0, 2]


def test_labels_on_nodata_alone_are_told(make_scene) -> None:
    values = np.ones((2, 12, 12), np.float32)
    values[:, :, :6] = NODATA
    with pytest.raises(InputError, match=r"Every labelled pixel of .*scene.tif is nodata"):
        usable_bands(make_scene(values), labels_at([1, 2], [1, 2]), lambda: None)


def test_a_class_of_many_pixels_is_thinned_and_said(make_scene, monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_PIXELS_PER_CLASS", 50)
    scene = make_scene(np.random.default_rng(0).random((2, 20, 20), np.float32))
    rows, cols = (axis.ravel().tolist() for axis in np.mgrid[0:20, 0:20])
    labels = labels_at(rows, cols, [0 if row < 18 else 1 for row in rows])
    samples, warnings = read(scene, labels, 1)
    assert np.bincount(samples.classes.numpy()).tolist() == [50, 40]
    assert warnings == ["Class 'a' has 360 labelled pixels; 50 at random are used."]
    again, _ = read(scene, labels, 1)
    assert np.array_equal(samples.rows, again.rows) and np.array_equal(samples.cols, again.cols)
    keys = samples.rows * 20 + samples.cols
    assert len(np.unique(keys)) == 90 and samples.rows[samples.classes.numpy() == 0].max() > 12


def test_patches_beyond_the_memory_are_told_before_they_are_read(make_scene) -> None:
    scene = make_scene(np.ones((2, 300, 300), np.float32))
    rows, cols = (axis.ravel().tolist() for axis in np.mgrid[0:200, 0:200])
    with pytest.raises(InputError, match=r"40000 labelled pixels take 4 MB, more than the 3 MB"):
        labels = labels_at(rows, cols, [row % 2 for row in rows])
        read_samples(scene, labels, [0, 1], 5, 0, lambda: None, print, memory_mb=3)


def test_reading_can_be_stopped(make_scene) -> None:
    def stop() -> None:
        raise Cancelled

    scene = make_scene(np.ones((2, 12, 12), np.float32))
    for work in (
        lambda: usable_bands(scene, labels_at([1], [1]), stop),
        lambda: read_samples(scene, labels_at([1], [1]), [0, 1], 3, 0, stop, print),
    ):
        with pytest.raises(Cancelled):
            work()


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_mirrored_indices_are_those_of_numpy_pad(size: int) -> None:
    expected = np.pad(np.arange(size), 25, mode="reflect")
    assert np.array_equal(mirrored(np.arange(-25, size + 25), size), expected)
