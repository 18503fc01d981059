"""The main job on EnMAP tiles of Potsdam: georeferenced, 224 bands of which six are empty, nodata -32768.

The tiles are seen as one virtual mosaic, in which 12 of 30 places have no tile.
"""

from __future__ import annotations

import csv
import json
import sqlite3
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import rasterio
import torch

from explanation_layers.engine.client import Engine
from explanation_layers.engine.jobs import (
    AbsorptionFeaturesJob,
    AttributionJob,
    ClassifyJob,
    TrainClassifierJob,
)
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.rasters.scene import open_scene

BANDS, EMPTY, NODATA, TILE = 224, range(129, 135), -32768, 32
COLUMNS, ROWS, WEST, NORTH, PIXEL = 160, 192, 364095, 5809965, 30
# Guessing the largest class, trees, scores 2070 of 5672 labelled pixels.
MAJORITY = 0.365
# Names of the points' classes for the numbers in the label rasters (1 roof, 2 pavement, ...).
NAME_OF_NUMBER = {1: "impervious", 2: "impervious", 3: "low vegetation", 4: "tree", 5: "soil", 6: "water"}
# A tile with labels of most classes and no gap.
EXPLAINED = "enmap_potsdam_tile_96_96.tif"


class Potsdam(NamedTuple):
    """The mosaics of images and labels, the points, one tile."""

    scene: str
    label_raster: str
    label_features: str
    tile: str


@pytest.fixture(scope="module")
def potsdam(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Potsdam:
    source, folder = shared / "data" / "enmap_potsdam", tmp_path_factory.mktemp("potsdam")
    potsdam = Potsdam(
        *(str(folder / name) for name in ("scene.vrt", "labels.vrt", "points.geojson")),
        str(source / "images" / EXPLAINED),
    )
    _write_mosaic(potsdam.scene, (source / "images").glob("*.tif"), BANDS, NODATA)
    _write_mosaic(potsdam.label_raster, (source / "labels").glob("*.tif"), 1, 0)
    _write_points(potsdam.label_features, source / "landcover_potsdam_point.gpkg")
    return potsdam


def _write_mosaic(path: str, tiles: Iterable[Path], bands: int, nodata: int) -> None:
    """Write a virtual raster of `tiles`, each at its place."""
    sources = [""] * bands
    for tile in sorted(tiles):
        with rasterio.open(tile) as dataset:
            column = round((dataset.transform.c - WEST) / PIXEL)
            row = round((NORTH - dataset.transform.f) / PIXEL)
            crs = dataset.crs.to_wkt()
        for band in range(bands):
            sources[band] += (
                f"<ComplexSource><SourceFilename>{tile}</SourceFilename><SourceBand>{band + 1}</SourceBand>"
                f'<SrcRect xOff="0" yOff="0" xSize="{TILE}" ySize="{TILE}"/>'
                f'<DstRect xOff="{column}" yOff="{row}" xSize="{TILE}" ySize="{TILE}"/>'
                f"<NODATA>{nodata}</NODATA></ComplexSource>"
            )
    text = "".join(
        f'<VRTRasterBand dataType="Float32" band="{band}"><NoDataValue>{nodata}</NoDataValue>{source}'
        "</VRTRasterBand>"
        for band, source in enumerate(sources, 1)
    )
    Path(path).write_text(
        f'<VRTDataset rasterXSize="{COLUMNS}" rasterYSize="{ROWS}"><SRS>{crs}</SRS>'
        f"<GeoTransform>{WEST}, {PIXEL}, 0, {NORTH}, 0, -{PIXEL}</GeoTransform>{text}</VRTDataset>"
    )


def _write_points(path: str, geopackage: Path) -> None:
    """Write the points as the GeoJSON that QGIS's side hands to the engine; both are in EPSG:32633."""
    with sqlite3.connect(f"file:{geopackage}?immutable=1", uri=True) as database:
        rows = database.execute("select geom, level_2 from landcover_potsdam_point").fetchall()
    features = []
    for blob, name in rows:
        start = 8 + (0, 32, 48, 48, 64)[(blob[3] >> 1) & 7]  # the envelope's length is in the flags
        geometry = {"type": "Point", "coordinates": struct.unpack("<2d", blob[start + 5 : start + 21])}
        features.append({"type": "Feature", "geometry": geometry, "properties": {"class": name}})
    Path(path).write_text(json.dumps({"type": "FeatureCollection", "features": features}))


@pytest.fixture(scope="module")
def by_points(engine: Engine, potsdam: Potsdam, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A pixel classifier from the points: the job's result."""
    model = str(tmp_path_factory.mktemp("by_points") / "model.safetensors")
    return engine.run(
        TrainClassifierJob(
            potsdam.scene, model, label_features=potsdam.label_features, label_name="level_2", epochs=60
        )
    )


@pytest.fixture(scope="module")
def by_raster(engine: Engine, potsdam: Potsdam, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A pixel classifier from the label rasters: the job's result."""
    model = str(tmp_path_factory.mktemp("by_raster") / "model.safetensors")
    return engine.run(
        TrainClassifierJob(
            potsdam.scene, model, label_raster=potsdam.label_raster, epochs=8, compare_splits=False
        )
    )


def profile_of(path: str) -> tuple:
    with rasterio.open(path) as dataset:
        return dataset.shape, dataset.transform, dataset.crs


def test_training_from_points_leaves_out_those_beside_the_tiles(by_points):
    print("points:", by_points["numbers"], by_points["record"]["training"]["trials"], by_points["warnings"])
    assert set(load_model(by_points["files"]["model"], PIXEL_CLASSIFICATION).card.class_names) == set(
        NAME_OF_NUMBER.values()
    )
    assert any("outside" in warning for warning in by_points["warnings"])
    assert any("no data" in warning for warning in by_points["warnings"])
    trial = by_points["record"]["training"]["trials"][0]
    assert trial["split"] == "blocks"
    assert trial["train_pixels"] + trial["test_pixels"] == 57


def test_a_map_from_57_points_agrees_with_the_label_rasters_far_above_chance(
    engine, potsdam, by_points, tmp_path
):
    classes = str(tmp_path / "classes.tif")
    engine.run(ClassifyJob(potsdam.scene, by_points["files"]["model"], classes=classes))
    names = load_model(by_points["files"]["model"], PIXEL_CLASSIFICATION).card.class_names
    with rasterio.open(classes) as mapped, rasterio.open(potsdam.label_raster) as labels:
        mapped, labels = mapped.read(1), labels.read(1)
    wanted = np.zeros_like(mapped)
    for number, name in NAME_OF_NUMBER.items():
        wanted[labels == number] = names.index(name) + 1
    known = wanted > 0
    share = float((mapped == wanted)[known].mean())
    print(f"map from points: {share:.3f} of {known.sum()} labelled pixels")
    assert known.sum() == 5672 and (mapped[known] > 0).all()
    assert share >= 0.5 > MAJORITY


def test_training_from_label_rasters_is_far_above_chance_on_other_blocks(by_raster):
    print("rasters:", by_raster["numbers"], by_raster["record"]["training"]["trials"], by_raster["warnings"])
    trial = by_raster["record"]["training"]["trials"][0]
    assert trial["split"] == "blocks" and trial["train_pixels"] + trial["test_pixels"] == 5672
    assert by_raster["numbers"]["OVERALL_ACCURACY"] >= 0.55 > MAJORITY
    assert by_raster["numbers"]["KAPPA"] >= 0.4  # chance is 0


def test_empty_bands_are_not_read(by_raster):
    card = load_model(by_raster["files"]["model"], PIXEL_CLASSIFICATION).card
    assert [i for i in range(BANDS) if i not in card.used_bands] == list(EMPTY)


def test_a_classified_mosaic_lines_up_and_its_gaps_stay_nodata(engine, potsdam, by_raster, tmp_path):
    names = {name: str(tmp_path / f"{name}.tif") for name in ("classes", "confidence", "probabilities")}
    engine.run(ClassifyJob(potsdam.scene, by_raster["files"]["model"], **names))
    scene = open_scene(potsdam.scene)
    used = [band for band in range(BANDS) if band not in EMPTY]
    gaps = np.isnan(scene.read(scene.grid.whole, bands=used)).any(0)
    assert gaps.sum() >= 12 * TILE * TILE
    for path in names.values():
        assert profile_of(path) == profile_of(potsdam.scene)
    with rasterio.open(names["classes"]) as dataset:
        assert dataset.nodata == 0
        np.testing.assert_array_equal(dataset.read(1) == 0, gaps)
    for name in ("confidence", "probabilities"):
        values = open_scene(names[name]).read(scene.grid.whole)
        np.testing.assert_array_equal(np.isnan(values), np.broadcast_to(gaps, values.shape))
        assert np.nanmin(values) >= 0 and np.nanmax(values) <= 1


@pytest.mark.parametrize("labels", ["by_points", "by_raster"])
def test_an_explained_tile_lines_up_and_adds_up_to_the_output(engine, potsdam, request, labels, tmp_path):
    model_path = request.getfixturevalue(labels)["files"]["model"]
    names = {name: str(tmp_path / f"{name}.tif") for name in ("attribution", "saliency")}
    # What is checked below starts from the mean.
    result = engine.run(AttributionJob(potsdam.tile, model_path, baseline="mean", **names))
    print(labels, result["numbers"], result["warnings"])
    tile, attribution = open_scene(potsdam.tile), open_scene(names["attribution"])
    for path in names.values():
        assert profile_of(path) == profile_of(potsdam.tile)
    assert attribution.wavelengths_nm == tile.wavelengths_nm
    assert [band.fwhm_nm for band in attribution.bands] == pytest.approx(
        [band.fwhm_nm for band in tile.bands]
    )
    spectra, values = tile.read(tile.grid.whole), attribution.read(tile.grid.whole)
    valid = np.isfinite(np.delete(spectra, EMPTY, 0)).all(0)
    assert np.isnan(values[EMPTY.start : EMPTY.stop]).all()
    values = np.delete(values, EMPTY, 0)
    np.testing.assert_array_equal(np.isfinite(values), np.broadcast_to(valid, values.shape))
    assert result["numbers"]["PIXELS"] == valid.sum() > 0
    assert result["numbers"]["MEAN_RESIDUAL"] < 0.01
    differences = output_differences(model_path, np.delete(spectra, EMPTY, 0)[:, valid])
    sums, saliency = values.sum(0)[valid], open_scene(names["saliency"]).read(tile.grid.whole)[:, valid]
    scale = np.abs(differences).mean()
    np.testing.assert_allclose(sums, differences, rtol=0.02, atol=0.002 * scale)
    np.testing.assert_allclose(saliency[1], sums, rtol=1e-4, atol=1e-4 * scale)
    np.testing.assert_allclose(saliency[1] + saliency[2], differences, rtol=1e-3, atol=1e-3 * scale)


@torch.no_grad()
def output_differences(model_path: str, spectra: np.ndarray) -> np.ndarray:
    """Logits of the predicted classes of spectra (band, n) less those of the training mean."""
    model = load_model(model_path, PIXEL_CLASSIFICATION)
    pixels = torch.from_numpy(spectra.T.copy())[:, :, None, None]
    logits = model.network(pixels).flatten(1)
    chosen = logits.argmax(1, keepdim=True)
    base = model.network(model.spectra.mean[None, :, None, None]).flatten(1).expand_as(logits)
    return (logits.gather(1, chosen) - base.gather(1, chosen))[:, 0].numpy()


@pytest.mark.slow
def test_a_unet_trained_on_the_makers_tiles_comes_near_theirs_on_the_test_tiles(
    engine, potsdam, shared, tmp_path
):
    """Trained on the makers' 14 tiles, and tested on their two; their network has 0.758 there.

    Epochs, batch size and class weights were chosen on the makers' two validation tiles. Three runs, of two
    seeds and of one or two threads, gave 0.745, 0.756 and 0.792 on the test tiles; guessing gives 0.477.
    """
    source, paths = shared / "data" / "enmap_potsdam", {}
    for part in ("train", "test"):
        paths[part] = str(tmp_path / f"{part}.vrt")
        with open(source / f"{part}_files.csv", encoding="utf-8") as file:
            masks = [source / row["mask"] for row in csv.DictReader(file)]
        _write_mosaic(paths[part], masks, 1, 0)
    job = TrainClassifierJob(
        potsdam.scene, str(tmp_path / "unet.safetensors"), label_raster=paths["train"],
        test_label_raster=paths["test"], architecture="unet", epochs=30, batch_size=8,
        class_weights=False,
    )  # fmt: skip
    result = engine.run(job)
    print("U-Net:", result["numbers"], result["record"]["seconds"])
    trial = result["record"]["training"]["trials"][0]
    assert trial["test_pixels"] == 660
    # Their network has 0.69 on the validation and 0.76 on the test tiles.
    assert result["numbers"]["OVERALL_ACCURACY"] >= 0.69
    classes = str(tmp_path / "classes.tif")
    engine.run(ClassifyJob(potsdam.scene, job.model, classes=classes))
    with rasterio.open(classes) as mapped, rasterio.open(paths["test"]) as labels:
        mapped, labels = mapped.read(1), labels.read(1)
    hits = (mapped == labels)[labels > 0].mean()
    assert hits == pytest.approx(result["numbers"]["OVERALL_ACCURACY"], abs=0.005)


@pytest.mark.slow
def test_trees_have_chlorophyll_and_leaf_water_by_name(engine, potsdam, by_raster, tmp_path):
    job = AbsorptionFeaturesJob(
        scene=potsdam.scene, model=by_raster["files"]["model"], class_raster=potsdam.label_raster,
        explainer="deeplift", plot=str(tmp_path / "plot.png"), dominant=str(tmp_path / "dominant.tif"),
    )  # fmt: skip
    result = engine.run(job)
    print(result["numbers"], result["warnings"], result["record"]["seconds"])
    names = [column["name"] for column in result["tables"]["FEATURES"]["columns"]]
    rows = [dict(zip(names, row, strict=True)) for row in result["tables"]["FEATURES"]["rows"]]
    trees = [row for row in rows if row["class"] == "class 4" and row["kind"] == "absorption"]
    for row in trees:
        print({name: row[name] for name in ("wavelength_nm", "feature", "depth", "share", "q", "verdict")})
    for feature, low, high, depth in (
        ("Chlorophyll red", 670, 685, 0.5), ("Leaf water 975", 955, 985, 0.05),
        ("Leaf water 1180", 1155, 1190, 0.05),
    ):  # fmt: skip
        own = [row for row in trees if feature in row["candidates"] and low < row["wavelength_nm"] < high]
        assert own and max(row["depth"] for row in own) > depth
    assert result["numbers"]["PIXELS"] == 5672
    assert result["numbers"]["ATMOSPHERE_SHARE"] < 0.05
