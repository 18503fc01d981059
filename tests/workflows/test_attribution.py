"""The job attribution: what its rasters, its table and its numbers hold, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch

from explanation_layers.engine.jobs import AttributionJob, ClassifyJob, DemoDataJob, TrainClassifierJob
from explanation_layers.explainers.registry import PIXEL_EXPLAINERS
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model, save_model
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.scene import open_scene
from explanation_layers.rasters.writers import RasterWriter
from explanation_layers.workflows.attribution import explain
from explanation_layers.workflows.classify import classify
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.demo_data import simulate
from explanation_layers.workflows.train_classifier import train

SIZE = 48
UNREAD = 20  # a band without data, which no model reads
HOLE = (6, 9)  # row and column of a pixel without data in one band
LIMIT = 1e-5
# What is computed by hand here starts from the mean; tests of the continuum have a file of their own.
FAST = {"samples": 6, "baseline": "mean"}


def quiet() -> Context:
    return Context("id", lambda message: None)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A scene of every fourth band with a band and a pixel without data, and two models that know it."""
    folder = tmp_path_factory.mktemp("attribution")
    files = simulate(DemoDataJob("hyperspectral", str(folder / "demo"), SIZE, seed=2), quiet())["files"]
    scene = open_scene(files["raster"])
    with rasterio.open(files["raster"]) as dataset:
        values = dataset.read()[::4]
    values[UNREAD] = -32768
    values[(3, *HOLE)] = -32768
    path = str(folder / "scene.tif")
    with RasterWriter(path, scene.grid, len(values), "int16", -32768, scene.bands[::4]) as writer:
        writer.write(scene.grid.whole, values)

    def trained(architecture: str, **options: object) -> str:
        model = str(folder / f"{architecture}.safetensors")
        job = TrainClassifierJob(
            path, model, label_raster=files["label_raster"], architecture=architecture, split="random",
            compare_splits=False, **options,
        )  # fmt: skip
        torch.set_num_threads(1)
        train(job, quiet())
        return model

    models = {
        "spectral_cnn": trained("spectral_cnn", epochs=6),
        "hybrid_cnn": trained("hybrid_cnn", epochs=2, patch_size=9, components=8),
    }
    return SimpleNamespace(
        folder=folder, scene=path, values=values, models=models, bands=len(values), grid=scene.grid
    )


@pytest.fixture
def run(site: SimpleNamespace, tmp_path: Path) -> Callable[..., SimpleNamespace]:
    """Return a function that explains and reads back what was written."""

    def go(name: str = "run", architecture: str = "spectral_cnn", **options: object) -> SimpleNamespace:
        paths = {key: str(tmp_path / f"{name}-{key}.tif") for key in ("attribution", "saliency")}
        job = AttributionJob(site.scene, site.models[architecture], **{**FAST, **paths, **options})
        context = quiet()
        result = explain(job, context)
        read, profile = {}, {}
        for key in paths:
            if getattr(job, key):
                with rasterio.open(getattr(job, key)) as dataset:
                    read[key], profile[key] = dataset.read(), dataset.profile
        return SimpleNamespace(job=job, result=result, profile=profile, context=context, **read)

    return go


def extent_of(site: SimpleNamespace, col: int, row: int, width: int, height: int) -> list[float]:
    """The extent of a window of pixels."""
    left, top = site.grid.transform * (col, row)
    right, bottom = site.grid.transform * (col + width, row + height)
    return [left, bottom, right, top]


def mask_of(path: Path, extent: list[float]) -> str:
    """A mask of one rectangle."""
    left, bottom, right, top = extent
    ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return str(path)


def same(ours: np.ndarray, theirs: np.ndarray, limit: float = LIMIT) -> bool:
    """Equal where nodata, elsewhere to `limit` of the largest value."""
    empty = np.isnan(theirs)
    if ours.shape != theirs.shape or not np.array_equal(np.isnan(ours), empty) or empty.all():
        return False
    return np.abs(ours - theirs)[~empty].max() <= limit * np.abs(theirs[~empty]).max()


def records(table: dict) -> list[dict]:
    """The rows of a table as dictionaries."""
    names = [column["name"] for column in table["columns"]]
    return [dict(zip(names, row, strict=True)) for row in table["rows"]]


def logits_at(site: SimpleNamespace, architecture: str) -> np.ndarray:
    """Logits (class, y, x) of the whole scene, patch by patch."""
    model = load_model(site.models[architecture], PIXEL_CLASSIFICATION)
    scene, side = open_scene(site.scene), model.network.patch_size
    values = torch.from_numpy(scene.read(scene.grid.whole, side // 2, model.card.used_bands))
    empty = ~values.isfinite().all(0)
    values = torch.where(empty, model.spectra.mean[:, None, None], values)
    rows = []
    for row in range(scene.grid.height):
        strip = values[:, row : row + side]
        patches = strip.unfold(2, side, 1).movedim(2, 0)
        with torch.no_grad():
            rows.append(model.network(patches).flatten(1))
    return torch.stack(rows, 1).permute(2, 1, 0).numpy()


# What the rasters hold


@pytest.mark.parametrize("name", PIXEL_EXPLAINERS)
def test_every_explainer_writes_whole_maps_of_a_spectral_network(site, run, name: str) -> None:
    made = run(explainer=name, extent=extent_of(site, 0, 0, 16, 12))
    check_maps(site, made, name)


@pytest.mark.parametrize("name", PIXEL_EXPLAINERS)
def test_every_explainer_writes_whole_maps_of_a_patch_network(site, run, name: str) -> None:
    made = run(explainer=name, architecture="hybrid_cnn", extent=extent_of(site, 4, 4, 8, 5))
    check_maps(site, made, name)


def check_maps(site: SimpleNamespace, made: SimpleNamespace, name: str) -> None:
    read = np.delete(made.attribution, UNREAD, axis=0)
    assert np.isnan(made.attribution[UNREAD]).all()
    col, row = (round(v) for v in ~site.grid.transform * (made.job.extent[0], made.job.extent[3]))
    empty = np.zeros(read.shape[1:], bool)
    empty[HOLE[0] - row, HOLE[1] - col] = True
    assert np.array_equal(np.isnan(read), np.broadcast_to(empty, read.shape))
    assert made.result["numbers"]["PIXELS"] == (~empty).sum()
    total, signed, residual, *reference_and_padding = made.saliency
    assert len(reference_and_padding) == 2 * PIXEL_EXPLAINERS[name].exact
    assert all(np.array_equal(np.isnan(each), empty) for each in reference_and_padding)
    assert same(total, np.abs(read).sum(0)) and same(signed, read.sum(0))
    if not PIXEL_EXPLAINERS[name].contributions:
        assert np.isnan(residual).all()
        assert made.result["numbers"]["MEAN_RESIDUAL"] is None
        assert any("not contributions" in text for text in made.result["warnings"])
    else:
        assert np.array_equal(np.isnan(residual), empty)
        assert made.result["numbers"]["MEAN_RESIDUAL"] >= 0
    assert made.result["record"]["job"]["explainer"] == name


@pytest.mark.parametrize("architecture", ["spectral_cnn", "hybrid_cnn"])
@pytest.mark.parametrize("name", ["integrated_gradients", "input_x_gradient", "band_ablation"])
def test_the_residual_is_what_the_attributions_leave_of_the_output_difference(
    site, run, architecture: str, name: str
) -> None:
    made = run(explainer=name, architecture=architecture, extent=extent_of(site, 20, 16, 7, 5), steps=3)
    logits = logits_at(site, architecture)[:, 16:21, 20:27]
    model = load_model(site.models[architecture], PIXEL_CLASSIFICATION)
    side = model.network.patch_size
    mean = model.spectra.mean[None, :, None, None].expand(-1, -1, side, side)
    baseline = model.network(mean).flatten().numpy()
    predicted = logits.argmax(0)
    before = 0 if name == "input_x_gradient" else baseline[predicted]
    difference = np.take_along_axis(logits, predicted[None], 0)[0] - before
    expected = difference - np.nansum(made.attribution, axis=0)
    assert np.abs(made.saliency[2] - expected).max() <= 1e-4 * np.abs(difference).max()
    mean_residual = np.abs(expected).sum() / np.abs(difference).sum()
    assert made.result["numbers"]["MEAN_RESIDUAL"] == pytest.approx(mean_residual, rel=1e-3, abs=1e-5)


def test_the_refined_residual_is_under_a_hundredth(site, run) -> None:
    made = run(extent=extent_of(site, 16, 16, 12, 12))
    assert made.result["numbers"]["MEAN_RESIDUAL"] < 0.01
    assert made.result["numbers"]["UNSETTLED"] == 0
    assert made.result["warnings"] == []


def test_the_attribution_raster_says_what_its_bands_are(site, run) -> None:
    made = run(explainer="input_x_gradient", extent=extent_of(site, 5, 7, 9, 6))
    scene, written = open_scene(site.scene), open_scene(made.job.attribution)
    assert written.wavelengths_nm == pytest.approx(scene.wavelengths_nm)
    with rasterio.open(made.job.attribution) as dataset:
        assert all(dataset.descriptions)
        assert json.loads(dataset.tags()["EXPLANATION_LAYERS"])["job"]["explainer"] == "input_x_gradient"
        assert dataset.dtypes == ("float32",) * site.bands and np.isnan(dataset.nodata)
    with rasterio.open(made.job.saliency) as dataset:
        assert dataset.descriptions == ("total absolute", "signed sum", "residual")
    for path in (made.job.attribution, made.job.saliency):
        assert Path(path).with_suffix(".qml").exists() and Path(path).with_suffix(".json").exists()


@pytest.mark.parametrize("architecture", ["spectral_cnn", "hybrid_cnn"])
def test_an_extent_gives_its_pixels_of_the_whole(site, run, architecture: str) -> None:
    large = run("large", architecture, explainer="deeplift", extent=extent_of(site, 8, 8, 14, 10))
    small = run("small", architecture, explainer="deeplift", extent=extent_of(site, 12, 10, 6, 5))
    assert same(small.attribution, large.attribution[:, 2:7, 4:10])
    assert same(small.saliency, large.saliency[:, 2:7, 4:10])
    transform = small.profile["attribution"]["transform"]
    assert transform.almost_equals(site.grid.transform * site.grid.transform.translation(12, 10))
    assert small.profile["attribution"]["crs"] == rasterio.open(site.scene).crs


def test_an_extent_within_pixels_is_taken_outward(site, run) -> None:
    left, bottom, right, top = extent_of(site, 10, 10, 5, 4)
    made = run(explainer="saliency", extent=[left + 1, bottom + 1, right - 1, top - 1])
    assert made.attribution.shape[1:] == (4, 5)


def test_outside_the_mask_is_nodata_and_inside_as_without_it(site, run, tmp_path: Path) -> None:
    inside = mask_of(tmp_path / "mask.geojson", extent_of(site, 12, 10, 6, 5))
    extent = extent_of(site, 8, 8, 14, 5)
    plain = run("plain", explainer="deeplift", extent=extent)
    masked = run("masked", explainer="deeplift", extent=extent, mask_features=inside)
    # The raster covers what mask and extent have in common.
    assert masked.attribution.shape[1:] == (3, 6)
    assert same(masked.attribution, plain.attribution[:, 2:5, 4:10])
    assert masked.result["numbers"]["PIXELS"] == 18


@pytest.mark.parametrize("name", PIXEL_EXPLAINERS)
def test_a_mask_with_a_hole_leaves_the_hole_out(site, run, tmp_path: Path, name: str) -> None:
    path = Path(mask_of(tmp_path / "mask.geojson", extent_of(site, 12, 10, 6, 5)))
    document = json.loads(path.read_text())
    left, bottom, right, top = extent_of(site, 14, 11, 2, 2)
    ring = [[left, bottom], [left, top], [right, top], [right, bottom], [left, bottom]]
    document["features"][0]["geometry"]["coordinates"].append(ring)
    path.write_text(json.dumps(document))
    made = run(explainer=name, mask_features=str(path))
    empty = np.zeros((5, 6), bool)
    empty[1:3, 2:4] = True
    assert np.array_equal(np.isnan(made.attribution[0]), empty)


@pytest.mark.parametrize("name", ["integrated_gradients", "deeplift", "saliency", "occlusion"])
def test_a_tile_without_data_is_left_out(site, run, tmp_path: Path, name: str) -> None:
    path = tmp_path / "mask.geojson"
    features = []
    for corner in ((0, 0), (40, 0), (0, 36)):
        mask_of(path, extent_of(site, *corner, 4, 2))
        features += json.loads(path.read_text())["features"]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    # Four tiles of 32 pixels, of which the last holds nothing of the mask.
    made = run(explainer=name, mask_features=str(path), memory_mb=1)
    assert made.result["numbers"]["PIXELS"] == 24


def test_nodata_stays_nodata(site, run) -> None:
    made = run(explainer="saliency")
    empty = (np.delete(site.values, UNREAD, axis=0) == -32768).any(0)
    assert empty.sum() > 10
    assert np.array_equal(np.isnan(made.attribution[0]), empty)
    assert np.array_equal(np.isnan(made.saliency[0]), empty)


@pytest.mark.parametrize("name", PIXEL_EXPLAINERS)
@pytest.mark.parametrize("architecture", ["spectral_cnn", "hybrid_cnn"])
def test_tiles_leave_no_seams(site, run, architecture: str, name: str) -> None:
    # Tiles of 32 pixels: the seam runs down these windows, or across.
    extent = extent_of(site, 2, 3, *((3, 37) if architecture == "hybrid_cnn" else (37, 5)))
    options = {"explainer": name, "architecture": architecture, "extent": extent, "samples": 3}
    one = run("one", **options)
    tiles = run("tiles", **options, memory_mb=1)
    assert same(tiles.attribution, one.attribution)
    assert same(tiles.saliency[:2], one.saliency[:2])
    assert len(tiles.result["tables"]["BAND_TABLE"]["rows"]) == len(
        one.result["tables"]["BAND_TABLE"]["rows"]
    )
    for ours, theirs in zip(*(records(made.result["tables"]["BAND_TABLE"]) for made in (tiles, one))):
        assert ours["pixels"] == theirs["pixels"]
        assert ours["mean"] == pytest.approx(theirs["mean"], rel=1e-4, abs=1e-4 * theirs["mean_absolute"])


def test_equal_runs_give_equal_bytes(site, run) -> None:
    options = {"explainer": "gradient_shap", "extent": extent_of(site, 8, 8, 10, 10)}
    first = run(**options)
    files = [Path(path) for path in first.job.output_paths()]
    files += [path.with_suffix(".qml") for path in files]
    before = [path.read_bytes() for path in files]
    again = run(**options)
    assert [path.read_bytes() for path in files] == before
    assert again.result["tables"] == first.result["tables"]


# The band table


@pytest.mark.parametrize("name", ["integrated_gradients", "saliency"])
def test_the_band_table_sums_up_the_raster_by_predicted_class(site, run, tmp_path: Path, name: str) -> None:
    extent = extent_of(site, 8, 4, 30, 24)
    made = run(explainer=name, extent=extent)
    classes = str(tmp_path / "classes.tif")
    classify(ClassifyJob(site.scene, made.job.model, extent=extent, classes=classes), quiet())
    with rasterio.open(classes) as dataset:
        predicted = dataset.read(1)
    names = load_model(made.job.model, PIXEL_CLASSIFICATION).card.class_names
    rows = records(made.result["tables"]["BAND_TABLE"])
    present = [number for number in range(1, len(names) + 1) if (predicted == number).any()]
    assert len(present) > 2 and len(rows) == len(present) * (site.bands - 1)
    absolute_of = {
        number: np.abs(made.attribution[:, predicted == number]).mean(axis=1) for number in present
    }
    wavelengths = open_scene(site.scene).wavelengths_nm
    for row in rows:
        number = names.index(row["class"]) + 1
        values = made.attribution[row["band"] - 1, predicted == number].astype(float)
        absolute = absolute_of[number]
        assert row["pixels"] == row["percentile_pixels"] == len(values)
        assert row["wavelength_nm"] == wavelengths[row["band"] - 1]
        assert row["mean"] == pytest.approx(values.mean(), rel=1e-5, abs=1e-9)
        assert row["mean_absolute"] == pytest.approx(np.abs(values).mean(), rel=1e-5)
        assert row["share"] == pytest.approx(absolute[row["band"] - 1] / np.nansum(absolute), rel=1e-4)
        low, high = np.quantile(values, [0.1, 0.9])
        assert row["percentile_10"] == pytest.approx(low, rel=1e-4, abs=1e-7)
        assert row["percentile_90"] == pytest.approx(high, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("architecture", ["spectral_cnn", "hybrid_cnn"])
@pytest.mark.parametrize("name", PIXEL_EXPLAINERS)
def test_the_table_alone_is_the_table_of_the_maps(site, run, tmp_path, architecture: str, name: str) -> None:
    sides = (20, 12) if architecture == "spectral_cnn" else (10, 4)
    options = {"explainer": name, "architecture": architecture, "extent": extent_of(site, 14, 14, *sides)}
    full = run(**options)
    before = set(tmp_path.iterdir())
    alone = run(**options, attribution=None, saliency=None, table_only=True)
    assert set(tmp_path.iterdir()) == before
    assert alone.result["files"] == {}
    assert alone.result["numbers"]["PIXELS"] == full.result["numbers"]["PIXELS"]
    ours, theirs = (records(made.result["tables"]["BAND_TABLE"]) for made in (alone, full))
    assert len(ours) == len(theirs)
    scale = max(abs(row["mean"]) for row in theirs)
    sizes = max(row["mean_absolute"] for row in theirs)
    for mine, its in zip(ours, theirs, strict=True):
        assert (mine["class"], mine["band"], mine["pixels"]) == (its["class"], its["band"], its["pixels"])
        # Sums of many pixels are of the first level, as settled as most pixels are with it.
        limit = 0.03 if (name, architecture) == ("integrated_gradients", "hybrid_cnn") else 1e-5
        assert mine["mean"] == pytest.approx(its["mean"], abs=limit * scale)
        # A table alone may take these from a sample of the pixels.
        assert mine["mean_absolute"] == pytest.approx(its["mean_absolute"], rel=0.15, abs=0.01 * sizes)
        for percentile in ("percentile_10", "percentile_90"):
            assert mine[percentile] == pytest.approx(its[percentile], rel=0.15, abs=0.15 * sizes)


# Targets and baselines


def test_targets_by_name_and_by_number(site, run) -> None:
    names = load_model(site.models["spectral_cnn"], PIXEL_CLASSIFICATION).card.class_names
    options = {"explainer": "input_x_gradient", "extent": extent_of(site, 14, 14, 8, 6)}

    def maps(**target: object) -> np.ndarray:
        return run(**options, **target).attribution

    one, two = (maps(target="class", class_name=names[k]) for k in (1, 3))
    assert same(maps(target="class", class_name="2"), one)
    contrast = maps(target="contrast", class_name=names[1], contrast_class="4")
    assert same(contrast, one - two, 1e-4)
    every = np.stack([maps(target="class", class_name=name) for name in names])
    order = logits_at(site, "spectral_cnn")[:, 14:20, 14:22].argsort(0)

    def chosen(rank: int) -> np.ndarray:
        return np.take_along_axis(every, order[-rank][None, None], 0)[0]

    assert same(maps(target="predicted"), chosen(1), 1e-4)
    assert same(maps(target="contrast"), chosen(1) - chosen(2), 1e-4)
    assert same(maps(target="contrast", contrast_class=None, class_name=None), chosen(1) - chosen(2), 1e-4)


@pytest.mark.parametrize("architecture", ["spectral_cnn", "hybrid_cnn"])
def test_baselines_are_what_the_contributions_start_from(site, run, architecture: str) -> None:
    model = load_model(site.models[architecture], PIXEL_CLASSIFICATION)
    side = model.network.patch_size
    given = np.linspace(1000, 3000, site.bands).tolist()
    used = model.card.used_bands
    spectra = {
        "zero": torch.zeros(len(used)),
        "mean": model.spectra.mean,
        "class_mean": model.spectra.class_means[2],
        "spectrum": torch.tensor(given)[used],
    }
    logits = logits_at(site, architecture)[1, 14:17, 14:18]
    for name, spectrum in spectra.items():
        made = run(
            architecture=architecture, explainer="deeplift", extent=extent_of(site, 14, 14, 4, 3),
            target="class", class_name="2", baseline=name, baseline_class="3", baseline_spectrum=given,
        )  # fmt: skip
        start = model.network(spectrum[None, :, None, None].expand(-1, -1, side, side)).flatten()[1]
        expected = logits - float(start)
        assert np.abs(made.saliency[1] - expected).max() <= 1e-3 * np.abs(expected).max()
        assert made.result["record"]["baseline_values"] == pytest.approx(spectrum.tolist(), rel=1e-5)


def test_a_spectrum_of_the_read_bands_is_the_same_as_one_of_all(site, run) -> None:
    given = np.linspace(1000, 3000, site.bands)
    options = {"explainer": "deeplift", "extent": extent_of(site, 14, 14, 4, 3), "baseline": "spectrum"}
    every = run(**options, baseline_spectrum=given.tolist())
    read = run(**options, baseline_spectrum=np.delete(given, UNREAD).tolist())
    assert np.array_equal(every.attribution, read.attribution, equal_nan=True)


# What is refused, and what is warned of


def test_pixels_that_did_not_settle_are_counted_and_warned_of(site, run) -> None:
    made = run(extent=extent_of(site, 14, 14, 8, 6), max_steps=2, tolerance=1e-6)
    count = made.result["numbers"]["UNSETTLED"]
    assert 0 < count <= 48
    assert any(text.startswith(f"{count} of 48 pixels had not settled") for text in made.result["warnings"])
    assert made.result["record"]["unsettled"] == count
    assert made.result["record"]["warnings"] == made.result["warnings"]


def test_residuals_above_the_tolerance_are_counted_and_warned_of(site, run) -> None:
    made = run(explainer="input_x_gradient", extent=extent_of(site, 14, 14, 8, 6))
    assert any("residual is above 0.01" in text for text in made.result["warnings"])


BAD = [
    ({"explainer": "magic"}, "no explainer 'magic'; choose one of saliency"),
    ({"target": "best"}, "no target 'best'"),
    ({"target": "class"}, "needs a class; choose one of"),
    ({"target": "class", "class_name": "lava"}, "no class 'lava'"),
    ({"target": "class", "class_name": "7"}, "no class '7'"),
    ({"target": "contrast", "class_name": "1", "contrast_class": "1"}, "contrasted with itself"),
    ({"target": "contrast", "contrast_class": "lava"}, "no class 'lava'"),
    ({"baseline": "black"}, "no baseline 'black'"),
    ({"baseline": "class_mean"}, "needs a class"),
    ({"baseline": "class_mean", "baseline_class": "lava"}, "no class 'lava'"),
    ({"baseline": "spectrum"}, "needs a spectrum"),
    ({"baseline": "spectrum", "baseline_spectrum": [1.0, 2.0]}, "has 2 values; the scene has 42 bands"),
    ({"baseline": "spectrum", "baseline_spectrum": [float("nan")] * 42}, "not a number"),
    ({"extent": [0.0, 0.0, 10.0, 10.0]}, "extent"),
    ({"steps": -1}, "number of steps can't be -1"),
    ({"max_steps": 0}, "most steps can't be 0"),
    ({"samples": 0}, "number of samples can't be 0"),
    ({"occlusion_window": -1}, "occlusion window can't be -1"),
    ({"tolerance": 0.0}, "tolerance can't be 0"),
    ({"tolerance": float("nan")}, "tolerance can't be nan"),
    ({"scene": "/nowhere/scene.tif"}, "/nowhere/scene.tif"),
    ({"model": "/nowhere/model.safetensors"}, "no model file"),
    ({"saliency": "/nowhere/at/all/s.tif"}, "no folder"),
    ({"device": "abacus"}, "abacus"),
]


@pytest.fixture
def refused(site: SimpleNamespace, tmp_path: Path) -> Callable[[dict, str], None]:
    """Return a function that checks that a job is refused, and that nothing is left or changed."""

    def check(change: dict, sentence: str) -> None:
        paths = {key: str(tmp_path / f"{key}.tif") for key in ("attribution", "saliency")}
        (tmp_path / "attribution.tif").write_bytes(b"an earlier result")
        before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        job = replace(AttributionJob(site.scene, site.models["spectral_cnn"], **paths), **change)
        with pytest.raises(InputError, match=sentence):
            explain(job, quiet())
        assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
        assert (tmp_path / "attribution.tif").read_bytes() == b"an earlier result"

    return check


@pytest.mark.parametrize(("change", "sentence"), BAD, ids=lambda value: str(value)[:40])
def test_bad_values_are_refused_in_a_sentence(refused: Callable, change: dict, sentence: str) -> None:
    refused(change, sentence)


def test_a_mask_beside_the_extent_is_refused(site, refused: Callable, tmp_path: Path) -> None:
    mask = mask_of(tmp_path / "mask.geojson", extent_of(site, 2, 2, 3, 3))
    refused({"mask_features": mask, "extent": extent_of(site, 20, 20, 5, 5)}, "do not overlap")
    far = mask_of(tmp_path / "far.geojson", [0.0, 0.0, 10.0, 10.0])
    refused({"mask_features": far}, "lies outside the raster")


def test_a_window_without_data_is_refused(site, refused: Callable) -> None:
    refused({"extent": extent_of(site, SIZE - 2, SIZE - 2, 2, 2)}, "no pixel with data")


def test_models_that_do_not_fit_are_refused(site, refused: Callable, tmp_path: Path) -> None:
    model = load_model(site.models["spectral_cnn"], PIXEL_CLASSIFICATION)
    card = replace(model.card, task="change_detection")
    save_model(str(tmp_path / "other.safetensors"), model.network, model.spectra, card)
    refused({"model": str(tmp_path / "other.safetensors")}, "made for change detection")
    fewer = str(tmp_path / "fewer.tif")
    scene = open_scene(site.scene)
    with RasterWriter(fewer, scene.grid, 5, "int16", -32768, scene.bands[:5]) as writer:
        writer.write(scene.grid.whole, site.values[:5])
    refused({"scene": fewer}, "has 5 bands, the model was trained on 42")
    turned = str(tmp_path / "turned.tif")
    with RasterWriter(turned, scene.grid, site.bands, "int16", -32768, scene.bands[::-1]) as writer:
        writer.write(scene.grid.whole, site.values[::-1])
    refused({"scene": turned}, "order of the training raster")


def test_an_input_is_no_output(site, refused: Callable) -> None:
    before = Path(site.scene).read_bytes()
    refused({"saliency": site.scene}, "is an input of this job")
    assert Path(site.scene).read_bytes() == before


def test_a_failure_in_the_middle_leaves_nothing(site, refused: Callable, monkeypatch) -> None:
    def fail(*arguments: object) -> None:
        raise InputError("stopped in the middle")

    monkeypatch.setattr("explanation_layers.workflows.attribution.stage_records", fail)
    refused({"explainer": "saliency"}, "stopped in the middle")
