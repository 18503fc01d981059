"""Absorption features of classes: those that were planted, by hand, in tiles, on other grids."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from affine import Affine

from explanation_layers.engine.absorption_jobs import AbsorptionFeaturesJob
from explanation_layers.rasters.scene import open_scene
from explanation_layers.rasters.wavelengths import Band
from explanation_layers.workflows import absorption_features
from explanation_layers.workflows.absorption_features import find_features

from .conftest import AT, BANDS, DIPS, LINEAGE, SIDE, quiet, records, write


def test_what_is_found_is_what_was_put_there(made: SimpleNamespace, job: AbsorptionFeaturesJob) -> None:
    result = find_features(job, quiet())
    rows = records(result, "FEATURES")
    absorbed = {name: [row for row in rows if row["class"] == name and row["kind"] == "absorption"]
                for name in ("first", "second")}  # fmt: skip
    for name, dips in zip(absorbed, DIPS.values(), strict=True):
        assert len(absorbed[name]) == len(dips)
        for row, (centre, depth, width) in zip(absorbed[name], dips, strict=True):
            assert row["wavelength_nm"] == pytest.approx(centre, abs=5)
            assert row["depth"] == pytest.approx(depth, rel=0.05)
            assert row["fwhm_nm"] == pytest.approx(2 * width * np.sqrt(np.log(2)), rel=0.1)
    assert [row["feature"] for row in absorbed["second"]] == ["Leaf water 975", "Leaf water 1180"]
    (chlorophyll,) = absorbed["first"]
    assert (chlorophyll["feature"], chlorophyll["verdict"]) == ("Chlorophyll red", "used and present")
    assert "Chlorophyll in water" in chlorophyll["candidates"] and chlorophyll["flag"] == ""
    assert all(row["verdict"] == "present, not used" for row in absorbed["second"])
    (spurious,) = [row for row in rows if row["class"] == "second" and row["kind"] == "attribution peak"]
    assert spurious["verdict"] == "used, not present (spurious)" and spurious["depth"] is None
    assert "Hematite 540" in spurious["candidates"] and spurious["q"] <= 0.05
    assert (result["numbers"]["USED_FEATURES"], result["numbers"]["SPURIOUS_FEATURES"]) == (1, 1)
    assert result["numbers"]["PIXELS"] == SIDE * SIDE - 1
    assert any("follows what its spectrum does not show" in text for text in result["warnings"])


def test_shares_and_local_depth_by_hand(made: SimpleNamespace, job: AbsorptionFeaturesJob) -> None:
    result = find_features(job, quiet())
    own = made.numbers == 1
    mean, size = made.spectra[:, own].mean(1), np.abs(made.values[:, own]).mean(1)
    row = next(row for row in records(result, "FEATURES") if row["feature"] == "Chlorophyll red")
    # Half of the depth is reached 16.7 nm from 670 nm.
    bands = np.abs(AT - 670) < 16.6
    assert row["bands"] == bands.sum() == 3
    assert row["share"] == pytest.approx(size[bands].sum() / size.sum(), rel=1e-5)
    assert row["enrichment"] == pytest.approx(row["share"] / (3 / len(AT)), rel=1e-5)
    left, right = (AT >= 522) & (AT <= 552), (AT >= 737) & (AT <= 767)
    low, high = mean[left].mean(), mean[right].mean()
    along = (670 - AT[left].mean()) / (AT[right].mean() - AT[left].mean())
    depth = 1 - mean[AT == 670][0] / (low + (high - low) * along)
    assert row["local_depth"] == pytest.approx(depth, rel=1e-4)
    first, second = records(result, "OVERLAP")
    assert first["share"] == pytest.approx(row["share"]) and first["p"] < 0.05
    assert (first["used"], first["spurious"], second["used"], second["spurious"]) == (1, 0, 0, 1)
    assert first["strongest"] == "Chlorophyll red (670 nm)" and first["absorption_share"] is None
    assert (first["pixels"], second["pixels"]) == (own.sum(), (made.numbers == 2).sum())
    assert second["p"] > 0.2


@pytest.mark.parametrize("side", [5, 16])
def test_tiles_do_not_matter(
    monkeypatch: pytest.MonkeyPatch, made: SimpleNamespace, job: AbsorptionFeaturesJob, side: int
) -> None:
    whole = find_features(job, quiet())
    monkeypatch.setattr(absorption_features, "tile_side", lambda *_: side)
    parts = find_features(job, quiet())
    for name in ("FEATURES", "OVERLAP"):
        for ours, theirs in zip(records(parts, name), records(whole, name), strict=True):
            for column, value in theirs.items():
                expected = pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
                assert ours[column] == expected, column


def test_the_order_of_bands_does_not_matter(
    made: SimpleNamespace, job: AbsorptionFeaturesJob, tmp_path: Path
) -> None:
    whole = records(find_features(job, quiet()), "FEATURES")
    order = np.random.default_rng(1).permutation(len(AT))
    bands = tuple(BANDS[i] for i in order)
    scene = write(tmp_path / "s.tif", made.spectra[order].astype(np.float32), bands)
    values = write(tmp_path / "a.tif", made.values[order].astype(np.float32), bands, tags=LINEAGE)
    mixed = records(find_features(replace(job, scene=scene, attribution=values), quiet()), "FEATURES")
    assert [row["feature"] for row in mixed] == [row["feature"] for row in whole]
    for ours, theirs in zip(mixed, whole, strict=True):
        assert ours["wavelength_nm"] == pytest.approx(theirs["wavelength_nm"], abs=1e-3)
        assert ours["share"] == pytest.approx(theirs["share"], rel=1e-4)
        assert ours["verdict"] == theirs["verdict"]


def test_a_part_of_the_scene_and_a_table_of_ones_own(
    made: SimpleNamespace, job: AbsorptionFeaturesJob, tmp_path: Path
) -> None:
    part = np.s_[:, 4:14, 3:20]
    values = write(tmp_path / "part.tif", made.values[part].astype(np.float32), origin=(3, 4), tags=LINEAGE)
    table = tmp_path / "own.csv"
    table.write_text(
        "name,kind,centre_nm,window_nm,left_continuum_nm,right_continuum_nm,source\n"
        "Mine,mineral,667-673,660-680,,,me\n"
    )
    changed = replace(job, attribution=values, features_table=str(table))
    result = find_features(changed, quiet())
    assert result["numbers"]["PIXELS"] == 10 * 17
    row = records(result, "FEATURES")[0]
    assert (row["feature"], row["source"], row["local_depth"]) == ("Mine", "me", None)
    inside = made.numbers[4:14, 3:20] == 1
    size = np.abs(made.values[part][:, inside]).mean(1)
    assert row["share"] == pytest.approx(size[np.abs(AT - 670) < 16.6].sum() / size.sum(), rel=1e-5)


def test_outputs_are_a_plot_and_the_dominant_feature(
    made: SimpleNamespace, job: AbsorptionFeaturesJob, tmp_path: Path
) -> None:
    plot, dominant = str(tmp_path / "plot.png"), str(tmp_path / "dominant.tif")
    result = find_features(replace(job, plot=plot, dominant=dominant), quiet())
    with rasterio.open(dominant) as dataset:
        numbers = dataset.read(1)
        assert dataset.colormap(1)[1][:3] != (0, 0, 0) and dataset.nodata == 0
        assert dataset.transform == open_scene(made.scene).grid.transform
    names = ["Chlorophyll red", "Leaf water 975", "Leaf water 1180"]
    assert list(result["record"]["dominant_pixels"]) == names
    masks = [np.abs(AT - centre) < half for centre, half in ((670, 16.6), (970, 20.8), (1180, 24.9))]
    held = np.array([np.abs(made.values[mask]).sum(0) for mask in masks])
    assert (numbers == held.argmax(0) + 1).mean() > 0.99
    assert (numbers[made.numbers == 1] == 1).all()
    assert "Leaf water 1180" in Path(dominant).with_suffix(".qml").read_text()
    assert Path(plot).read_bytes()[:4] == b"\x89PNG"
    record = json.loads(Path(plot).with_suffix(".json").read_text())
    assert record["pixels_per_class"] == {"first": 287, "second": 288} and record["seed"] == 0


def test_a_class_raster_on_another_grid_is_laid_on_the_scene(
    made: SimpleNamespace, job: AbsorptionFeaturesJob, tmp_path: Path
) -> None:
    fine = write(
        tmp_path / "fine.tif", np.kron(made.numbers, np.ones((2, 2), np.uint8))[None], None, dtype="uint8",
        nodata=0,
    )  # fmt: skip
    with rasterio.open(fine, "r+") as dataset:
        dataset.transform = open_scene(made.scene).grid.transform * Affine.scale(0.5)
    result = find_features(replace(job, class_raster=fine), quiet())
    assert any("another grid" in text for text in result["warnings"])
    assert [row["pixels"] for row in records(result, "OVERLAP")] == [287, 288]


def test_classes_without_pixels_are_named(made: SimpleNamespace, job: AbsorptionFeaturesJob) -> None:
    with rasterio.open(made.attribution, "r+") as dataset:
        values = dataset.read()
        values[:, made.numbers == 2] = np.nan
        dataset.write(values)
    result = find_features(job, quiet())
    assert any(text.startswith("No pixel has the class second") for text in result["warnings"])
    assert {row["class"] for row in records(result, "OVERLAP")} == {"first"}


def test_attributions_in_the_atmosphere_are_warned_of(tmp_path: Path) -> None:
    at = np.arange(1200.0, 1700.0, 10.0)
    bands = tuple(Band(str(i), wavelength) for i, wavelength in enumerate(at))
    rng = np.random.default_rng(0)
    spectra = (0.4 + 0.001 * rng.random((len(at), 12, 12))).astype(np.float32)
    values = np.where((at >= 1350) & (at <= 1420), 1.0, 0.05)[:, None, None] * np.ones((1, 12, 12))
    classes = write(tmp_path / "c.tif", np.ones((1, 12, 12), np.uint8), None, dtype="uint8", nodata=0)
    result = find_features(
        AbsorptionFeaturesJob(
            scene=write(tmp_path / "s.tif", spectra, bands), class_raster=classes,
            attribution=write(tmp_path / "a.tif", values.astype(np.float32), bands), shifts=50,
        ),
        quiet(),
    )  # fmt: skip
    share = 8 / (8 + 42 * 0.05)
    assert result["numbers"]["ATMOSPHERE_SHARE"] == pytest.approx(share, rel=1e-6)
    assert any(text.startswith(f"{share:.0%} of the attributions of class 1") for text in result["warnings"])
    assert any("doesn't tell what its attributions start from" in text for text in result["warnings"])
