"""Absorptions of real spectra: chlorophyll and leaf water where plants grow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from explanation_layers.rasters.absorption import Absorption, absorptions
from explanation_layers.rasters.absorption_table import load_table, match
from explanation_layers.rasters.continuum import ranges_of
from explanation_layers.rasters.scene import open_scene

TREE, WATER = 4, 6
# Hay, grass, soybean, woods: classes of Indian Pines.
GREEN = (5, 6, 8, 14, 11)


def named(found: list[Absorption], name: str) -> list[Absorption]:
    """The absorptions that have a feature among their candidates, the deepest first."""
    table = load_table()
    chosen = [each for each in found if name in {c.name for c in match(each.centre_nm, table).candidates}]
    return sorted(chosen, key=lambda each: -each.depth)


@pytest.fixture(scope="module")
def potsdam(shared: Path) -> tuple[dict[int, np.ndarray], list[float | None], list[np.ndarray]]:
    """EnMAP: mean spectra by class number, wavelengths and ranges."""
    folder = shared / "data" / "enmap_potsdam"
    values, classes = [], []
    for path in sorted((folder / "images").glob("*.tif")):
        label = next((folder / "labels").glob("*" + path.name.rpartition("tile_")[2]), None)
        if label is None:
            continue
        scene = open_scene(str(path))
        values.append(scene.read(scene.grid.whole).reshape(len(scene.bands), -1))
        with rasterio.open(label) as dataset:
            classes.append(dataset.read(1).ravel())
    spectra, known = np.concatenate(values, 1), np.concatenate(classes)
    good = [band.good for band in scene.bands]
    ranges = ranges_of(scene.wavelengths_nm, good)
    usable = np.isfinite(spectra[np.concatenate(ranges)]).all(0)
    means = {number: spectra[:, usable & (known == number)].mean(1) for number in range(1, 7)}
    return means, scene.wavelengths_nm, ranges


def test_enmap_is_cut_where_its_second_spectrometer_begins(potsdam: tuple) -> None:
    _, at, ranges = potsdam
    ends = [(at[part[0]], at[part[-1]]) for part in ranges]
    assert ends == [(418.24, 993.083), (902.257, 1319.25), (1461.46, 1759.83), (1958.49, 2445.53)]


def test_trees_seen_by_enmap_have_chlorophyll_and_leaf_water(potsdam: tuple) -> None:
    means, at, ranges = potsdam
    found = {number: absorptions(mean, at, ranges) for number, mean in means.items()}
    chlorophyll = {number: named(each, "Chlorophyll red")[0] for number, each in found.items()}
    assert all(660 < each.centre_nm < 690 for each in chlorophyll.values())
    assert chlorophyll[TREE].depth > 0.75
    assert chlorophyll[TREE].depth == max(each.depth for each in chlorophyll.values())
    for name, low, high in (("Leaf water 975", 955, 985), ("Leaf water 1180", 1150, 1200)):
        water = named(found[TREE], name)[0]
        assert low < water.centre_nm < high and water.depth > 0.05


def test_indian_pines_has_chlorophyll_across_the_join_of_two_detectors(shared: Path) -> None:
    folder = shared / "data" / "indian_pines"
    at = np.array([float(text) for text in (folder / "wavelengths_nm.txt").read_text().split()])
    cube, truth = (np.load(folder / f"Indian_pines_{name}.npy") for name in ("corrected", "gt"))
    ranges = ranges_of(at)
    # The detectors share two bands at 687 to 697 nm, in the middle of it.
    (first,) = (part for part in ranges if at[part[0]] < 500)
    assert at[first[-1]] > 1300
    for number in GREEN:
        found = absorptions(cube[truth == number].mean(0), at, ranges)
        red = named(found, "Chlorophyll red")[0]
        assert 660 < red.centre_nm < 700 and red.depth > 0.2
        # Radiance, not reflectance: water vapour at 940 and 1130 nm hides the leaves' own water beside it.
        for centre, name in ((940, "Leaf water 975"), (1130, "Leaf water 1180")):
            water = named(found, name)[0]
            assert water.centre_nm == pytest.approx(centre, abs=6)
            assert match(water.centre_nm, load_table()).atmospheric
