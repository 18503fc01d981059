"""Explaining scene classifiers: maps are those of the explainer, chip by chip, merged with stated weights."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

from explanation_layers.engine.client import EngineError
from explanation_layers.engine.jobs import AttributionJob
from explanation_layers.explainers.base import Options
from explanation_layers.explainers.registry import CHIP_EXPLAINERS, make_explainer
from explanation_layers.models.card import SCENE_CLASSIFICATION
from explanation_layers.models.files import Model, load_model
from explanation_layers.rasters.errors import InputError
from explanation_layers.workflows.attribution import explain
from explanation_layers.workflows.chip_baselines import chip_baseline
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.merge import merge_weights
from explanation_layers.workflows.slide import starts

SIDE = 16
OUTPUTS = ("attribution", "saliency")


def read(path: str) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


@pytest.fixture
def run(chip_model: str, context: Context) -> Callable[..., SimpleNamespace]:
    """Return a function that explains into a folder and reads back the merged rasters."""

    def go(folder: Path, **fields: object) -> SimpleNamespace:
        paths = {name: str(folder / f"{name}.tif") for name in OUTPUTS}
        job = AttributionJob(**{"scene": None, "model": chip_model, "steps": 8, **paths, **fields})
        value = explain(job, context)
        made = {name: read(getattr(job, name)) for name in OUTPUTS if name in value["files"]}
        columns = [column["name"] for column in value["tables"]["CHIP_TABLE"]["columns"]]
        chips = [dict(zip(columns, row)) for row in value["tables"]["CHIP_TABLE"]["rows"]]
        return SimpleNamespace(job=job, value=value, chips=chips, warnings=value["warnings"], **made)

    return go


@lru_cache
def loaded(path: str) -> Model:
    return load_model(path, SCENE_CLASSIFICATION)


def of_chip(model_path: str, chip: np.ndarray, name: str, baseline: str = "mean") -> SimpleNamespace:
    """Return what the explainer itself says of a chip (band, y, x): values, outputs, prediction."""
    model = loaded(model_path)
    holes = ~np.isfinite(chip).all(0)
    filled = np.where(holes, model.spectra.mean.numpy()[:, None, None], chip).astype(np.float32)
    with torch.no_grad():
        x = model.network.prepare(torch.from_numpy(filled)[None])
        start = chip_baseline(baseline, None, model)(x)
        logits = model.network.logits(x).flatten(1)
        weights = torch.nn.functional.one_hot(logits.argmax(1), 3).float()
        found = make_explainer(name, model.network, Options(steps=8)).attribute(x, start, weights)
        reference = float((model.network.logits(start).flatten(1) * weights).sum())
    return SimpleNamespace(
        values=found.values[0].numpy(), output=float((logits * weights).sum()), reference=reference,
        predicted=int(logits.argmax()), confidence=float(logits.softmax(1).max()), holes=holes,
    )  # fmt: skip


def double_loop(model: str, values: np.ndarray, name: str, stride: int, weights: np.ndarray) -> np.ndarray:
    """Return attribution and residual (band + 1, y, x) of a scene, chip by chip."""
    height, width = values.shape[1:]
    valid = np.isfinite(values).all(0)
    bands = 1 if name == "grad_cam" else len(values)
    total, weight = np.zeros((bands + 1, height, width)), np.zeros((height, width))
    for row in starts(height, SIDE, stride):
        for col in starts(width, SIDE, stride):
            place = (slice(row, row + SIDE), slice(col, col + SIDE))
            if valid[place].mean() < 0.5:
                continue
            found = of_chip(model, values[:, *place], name)
            residual = (found.output - found.reference - found.values.sum()) / SIDE**2
            total[:-1, *place] += found.values * weights
            total[-1, *place] += residual * weights
            weight[place] += weights
    weight[~valid] = 0
    return np.where(weight > 0, total / np.where(weight > 0, weight, 1), np.nan)


@pytest.mark.parametrize(
    ("name", "merge", "stride"), [("integrated_gradients", "centre", 0), ("grad_cam", "uniform", 11)]
)
def test_the_slide_is_a_plain_double_loop(radar, chip_model, run, tmp_path, name, merge, stride) -> None:
    made = run(tmp_path, scene=radar, explainer=name, merge=merge, chip_stride=stride)
    expected = double_loop(chip_model, read(radar), name, stride or 8, merge_weights(merge, SIDE))
    scale = np.nanmax(np.abs(expected[:-1]))
    np.testing.assert_allclose(made.attribution, expected[:-1], atol=2e-5 * scale)
    total, signed, residual = made.saliency
    np.testing.assert_allclose(total, np.abs(expected[:-1]).sum(0), atol=1e-4 * scale)
    np.testing.assert_allclose(signed, expected[:-1].sum(0), atol=1e-4 * scale)
    if name == "grad_cam":
        assert np.isnan(residual).all() and made.value["numbers"]["MEAN_RESIDUAL"] is None
    else:
        np.testing.assert_allclose(residual, expected[-1], atol=1e-4 * scale)
    with rasterio.open(made.job.attribution) as dataset, rasterio.open(radar) as scene:
        assert (dataset.transform, dataset.crs, dataset.shape) == (scene.transform, scene.crs, scene.shape)
        named = ("Grad-CAM layer4",) if name == "grad_cam" else ("B1 VV", "B2 VH")
        assert dataset.descriptions == named
    assert len(made.chips) == made.value["numbers"]["CHIPS"]


@pytest.mark.parametrize("name", CHIP_EXPLAINERS)
def test_every_explainer_of_one_chip(radar, chip_model, copy_raster, run, tmp_path, name) -> None:
    values = read(radar)[:, 20 : 20 + SIDE, 30 : 30 + SIDE]
    path = copy_raster(radar, tmp_path / "one.tif", values, width=SIDE, height=SIDE)
    made = run(tmp_path, scene=path, explainer=name)
    expected = of_chip(chip_model, values, name)
    scale = np.abs(expected.values).max() or 1
    np.testing.assert_allclose(made.attribution, expected.values, atol=1e-5 * scale)
    (chip,) = made.chips
    assert (chip["row"], chip["col"], chip["class"]) == (0, 0, None)
    assert (chip["x"], chip["y"]) == (5e5 + 80, 5.8e6 - 80)
    assert chip["predicted_class"] == ("field", "forest", "town")[expected.predicted]
    assert chip["confidence"] == pytest.approx(expected.confidence, abs=1e-5)
    assert chip["target_output"] == pytest.approx(expected.output, abs=1e-4)
    assert chip["total_absolute"] == pytest.approx(np.abs(expected.values).sum(), rel=1e-4)
    explainer = CHIP_EXPLAINERS[name]
    assert (chip["baseline_output"] is None) == (not explainer.uses_baseline and not explainer.contributions)
    if explainer.contributions:
        added = float(made.saliency[1:].sum(dtype=np.float64))
        assert added == pytest.approx(chip["target_output"] - chip["baseline_output"], abs=1e-4)
    else:
        assert np.isnan(made.saliency[2]).all() and chip["residual"] is None


def test_extents_are_pieces_of_the_whole(radar, run, tmp_path) -> None:
    whole = run(tmp_path, scene=radar, explainer="saliency")
    with rasterio.open(radar) as dataset:
        x_min, y_max = dataset.transform * (21, 9)
        x_max, y_min = dataset.transform * (70, 30)
    part = run(tmp_path, scene=radar, explainer="saliency", extent=[x_min, y_min, x_max, y_max])
    np.testing.assert_allclose(part.attribution, whole.attribution[:, 9:30, 21:], rtol=1e-4, atol=1e-6)
    assert len(part.chips) < len(whole.chips)


def test_the_same_job_gives_the_same_bytes(radar, run, tmp_path) -> None:
    def data() -> list[bytes]:
        made = run(tmp_path, scene=radar, explainer="occlusion", baseline="speckle", seed=4, chip_stride=16)
        return [Path(getattr(made.job, name)).read_bytes() for name in OUTPUTS]

    assert data() == data()


def polygon(left: float, top: float, right: float, bottom: float, name: str | None) -> dict:
    (x0, y0), (x1, y1) = ((5e5 + 10 * col, 5.8e6 - 10 * row) for col, row in ((left, top), (right, bottom)))
    ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    properties = {} if name is None else {"class": name}
    return {"type": "Feature", "properties": properties,
            "geometry": {"type": "Polygon", "coordinates": [ring]}}  # fmt: skip


def mask(folder: Path, *polygons: dict) -> str:
    path = folder / "mask.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(polygons)}))
    return str(path)


def test_polygons_place_the_chips(radar, chip_model, run, tmp_path) -> None:
    path = mask(tmp_path, polygon(30, 20, 46, 36, "town"), polygon(50, 30, 66, 46, "field"))
    made = run(tmp_path, scene=radar, explainer="input_x_gradient", mask_features=path, chip_stride=4)
    assert [(c["row"], c["col"], c["class"]) for c in made.chips] == [(20, 30, "town"), (30, 50, "field")]
    assert made.attribution.shape == (2, 26, 36)
    expected = of_chip(chip_model, read(radar)[:, 20:36, 30:46], "input_x_gradient").values
    np.testing.assert_allclose(made.attribution[:, :16, :16], expected, atol=1e-5)
    assert np.isnan(made.attribution[:, :10, 16:]).all() and np.isnan(made.attribution[:, 16:, :20]).all()
    with rasterio.open(made.job.attribution) as dataset:
        assert dataset.transform == Affine(10, 0, 5e5 + 300, 0, -10, 5.8e6 - 200)
    assert "CHIP_STRIDE is not used: the chips are those of MASK." in made.warnings
    some = run(tmp_path, scene=radar, explainer="saliency", mask_features=path,
               extent=[5e5 + 600, 5.8e6 - 400, 5e5 + 700, 5.8e6])  # fmt: skip
    assert [c["class"] for c in some.chips] == ["field"] and some.attribution.shape == (2, 20, 6)


@pytest.fixture
def folder_of_chips(radar, tmp_path) -> Callable[..., str]:
    """Return a function that cuts chips of 20 x 18 pixels out of the scene into class folders."""

    def make(places: dict[str, tuple[int, int]], pixel: float = 10, georeference: bool = True, **more) -> str:
        folder = tmp_path / "patches"
        values = read(radar)
        for name, (row, col) in places.items():
            path = folder / f"{name}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            place = {"crs": "EPSG:32633",
                     "transform": Affine(pixel, 0, 5e5 + 10 * col, 0, -pixel, 5.8e6 - 10 * row)}  # fmt: skip
            profile = {"driver": "GTiff", "count": 2, "width": 20, "height": 18, "dtype": "float32"}
            with rasterio.open(path, "w", **profile, **(place if georeference else {})) as file:
                file.write(values[:, row : row + 18, col : col + 20])
                file.descriptions = ("VV", "VH")
        return str(folder)

    return make


PLACES = {"field/a": (20, 30), "field/b": (24, 36), "town/a": (33, 5)}


def test_a_folder_of_placed_chips_gives_chips_and_one_map(
    folder_of_chips, chip_model, radar, run, tmp_path
) -> None:
    patches, out = folder_of_chips(PLACES), tmp_path / "out"
    made = run(tmp_path, patches=patches, explainer="input_x_gradient", chip_folder=str(out), merge="uniform")
    values = read(radar)
    total, weight = np.zeros((2, 53, 70)), np.zeros((53, 70))
    for chip, (name, (row, col)) in zip(made.chips, PLACES.items()):
        # The middle 16 x 16 of 20 x 18.
        row, col = row + 1, col + 2
        place = (slice(row, row + SIDE), slice(col, col + SIDE))
        expected = of_chip(chip_model, values[:, *place], "input_x_gradient").values
        with rasterio.open(out / f"{name}.tif") as dataset:
            np.testing.assert_allclose(dataset.read(), expected, atol=1e-5)
            assert dataset.transform == Affine(10, 0, 5e5 + 10 * col, 0, -10, 5.8e6 - 10 * row)
            assert dataset.descriptions == ("B1 VV", "B2 VH") and dataset.crs.to_epsg() == 32633
        assert (out / f"{name}.qml").exists()
        total[:, *place] += expected
        weight[place] += 1
        assert (chip["chip"], chip["row"], chip["col"]) == (f"{name}.tif", 1, 2)
        assert chip["class"] == name.split("/")[0]
        assert (chip["x"], chip["y"]) == (5e5 + 10 * (col + 8), 5.8e6 - 10 * (row + 8))
    with np.errstate(invalid="ignore"):
        merged = (total / weight)[:, 21:50, 7:54]
    np.testing.assert_allclose(made.attribution, merged, atol=1e-5)
    with rasterio.open(made.job.saliency) as dataset:
        assert dataset.transform == Affine(10, 0, 5e5 + 70, 0, -10, 5.8e6 - 210)
    assert sorted(made.value["files"]) == ["attribution", "chip_folder", "saliency"]
    assert (tmp_path / "out.json").exists()
    assert not list(tmp_path.rglob(".part*"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"georeference": False}, "because not all chips are georeferenced."),
        ({"places": {"a": (20, 30), "b": (24.5, 36)}}, "because the pixels of the chips do not lie on one"),
        ({"places": {"a": (20, 30), "b": (24, 9_000_000)}}, "because the rectangle around the chips has"),
    ],
)
def test_chips_without_a_common_map_are_said_to_have_none(
    radar, run, tmp_path, folder_of_chips, options, reason
) -> None:
    places = options.get("places", PLACES)
    patches = folder_of_chips(dict.fromkeys(places, (20, 30)), georeference=options.get("georeference", True))
    for name, (row, col) in places.items():
        if options.get("georeference", True):
            with rasterio.open(Path(patches) / f"{name}.tif", "r+") as dataset:
                dataset.transform = Affine(10, 0, 5e5 + 10 * col, 0, -10, 5.8e6 - 10 * row)
    made = run(tmp_path, patches=patches, explainer="grad_cam", chip_folder=str(tmp_path / "out"))
    assert list(made.value["files"]) == ["chip_folder"] and reason in made.warnings[0]
    assert not (tmp_path / "attribution.tif").exists()
    assert len(made.chips) == len(places)
    for name in places:
        found = read(str(tmp_path / "out" / f"{name}.tif"))
        assert found.shape == (1, SIDE, SIDE) and (found >= 0).all()


def test_a_model_of_one_polarisation_leaves_the_other_nodata(radar, save_chip_model, run, tmp_path) -> None:
    model = save_chip_model(used=(1,))
    made = run(tmp_path, scene=radar, model=model, explainer="saliency")
    assert np.isnan(made.attribution[0]).all() and np.isfinite(made.attribution[1]).any()
    assert {row[1] for row in made.value["tables"]["BAND_TABLE"]["rows"]} == {2}


def test_the_band_table_sums_over_chips(radar, run, tmp_path) -> None:
    made = run(tmp_path, scene=radar, explainer="integrated_gradients", chip_stride=16)
    table = made.value["tables"]["BAND_TABLE"]
    rows = [dict(zip([column["name"] for column in table["columns"]], row)) for row in table["rows"]]
    classes = {chip["predicted_class"] for chip in made.chips}
    assert {row["class"] for row in rows} == classes and len(rows) == 2 * len(classes)
    for name in classes:
        mine = [row for row in rows if row["class"] == name]
        chips = [chip for chip in made.chips if chip["predicted_class"] == name]
        assert {row["chips"] for row in mine} == {len(chips)}
        assert sum(row["share"] for row in mine) == pytest.approx(1)
        added = [c["target_output"] - c["baseline_output"] - c["residual"] for c in chips]
        assert sum(row["mean"] for row in mine) == pytest.approx(np.mean(added), abs=1e-4)


def test_targets_of_one_class_and_of_two(radar, copy_raster, run, tmp_path) -> None:
    values = read(radar)[:, 20 : 20 + SIDE, 30 : 30 + SIDE]
    path = copy_raster(radar, tmp_path / "one.tif", values, width=SIDE, height=SIDE)
    found = {}
    for key, fields in {
        "field": {"target": "class", "class_name": "field"},
        "town": {"target": "class", "class_name": "3"},
        "both": {"target": "contrast", "class_name": "field", "contrast_class": "town"},
    }.items():
        found[key] = run(tmp_path, scene=path, explainer="input_x_gradient", **fields)
    difference = found["field"].attribution - found["town"].attribution
    np.testing.assert_allclose(found["both"].attribution, difference, atol=1e-5)


def test_baselines_of_chips(radar, chip_model) -> None:
    model = load_model(chip_model, SCENE_CLASSIFICATION)
    x = torch.from_numpy(read(radar)[None, :, 20:36, 20:36])
    x = torch.cat([model.network.prepare(x), torch.zeros(1, 2, SIDE, SIDE)])
    made = {name: chip_baseline(name, "town", model, [-10.0, -20.0], 1)(x)
            for name in ("zero", "mean", "class_mean", "spectrum", "chip_mean", "speckle")}  # fmt: skip
    assert all(values.shape == x.shape for values in made.values())
    assert (made["zero"] == 0).all()
    for name, level in (("mean", [-9, -16]), ("class_mean", [-7, -14]), ("spectrum", [-10, -20])):
        expected = (torch.tensor(level) + 25) / 30
        torch.testing.assert_close(made[name][0, :, 3, 7], expected)
    power = 10 ** ((30 * x - 25) / 10)
    mean = (10 * power.mean((2, 3)).log10() + 25) / 30
    torch.testing.assert_close(made["chip_mean"][:, :, 0, 0], mean)
    speckle = 10 ** ((30 * made["speckle"][0] - 25) / 10) / power[0].mean((1, 2))[:, None, None]
    assert float(speckle.mean()) == pytest.approx(1, abs=0.1)
    assert float(1 / speckle.var()) == pytest.approx(4.4, rel=0.3)
    assert torch.equal(made["speckle"], chip_baseline("speckle", None, model, seed=1)(x))
    assert not torch.equal(made["speckle"], chip_baseline("speckle", None, model, seed=2)(x))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"patches": None, "scene": None}, r"the rasters SERIES or the chips in PATCHES; give one"),
        ({"scene": "scene.tif"}, r"the rasters SERIES or the chips in PATCHES; give one"),
        ({"explainer": "lime"}, r"There is no explainer 'lime'; choose one of saliency"),
        ({"explainer": "deeplift"}, r"The explainer 'deeplift' can't explain a scene classifier; choose one"),
        ({"target": "best"}, r"There is no target 'best'"),
        ({"target": "class"}, r"The target 'class' needs a class; choose one of field, forest, town"),
        ({"target": "class", "class_name": "sea"}, r"The model has no class 'sea'"),
        ({"baseline": "black"}, r"There is no baseline 'black'; choose one of zero, mean.*, speckle"),
        ({"baseline": "class_mean"}, r"The baseline 'class_mean' needs a class"),
        ({"baseline": "spectrum"}, r"The baseline 'spectrum' needs a spectrum"),
        ({"merge": "max"}, r"There is no merge 'max'"),
        ({"layer": "layer5"}, r"There is no layer 'layer5'; choose one of layer1, layer2, layer3, layer4"),
        ({"occlusion_stride": -1}, r"The occlusion stride can't be -1"),
        ({"device": "tpu"}, r"There is no device 'tpu'"),
        ({"patches": "/nowhere"}, r"There is no folder /nowhere"),
    ],
)
def test_what_can_not_be_is_one_sentence(
    folder_of_chips, chip_model, context, tmp_path, change, sentence
) -> None:
    out = str(tmp_path / "out")
    job = AttributionJob(None, chip_model, patches=folder_of_chips(PLACES), chip_folder=out)
    with pytest.raises(InputError, match=sentence) as caught:
        explain(replace(job, **change), context)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert not os.path.exists(out)


def test_chips_that_do_not_fit(folder_of_chips, radar, chip_model, save_chip_model, context, tmp_path):
    def refused(sentence: str, **fields: object) -> None:
        job = AttributionJob(**{"scene": None, "model": chip_model, "explainer": "saliency", **fields})
        with pytest.raises(InputError, match=sentence) as caught:
            explain(job, context)
        assert "PATCH_SIZE" not in str(caught.value)

    patches = folder_of_chips(PLACES)
    refused(r"field/a.tif is VV, the model's is HH", patches=patches, model=save_chip_model(("HH", "VH")))
    refused("has 2 bands, the model was trained on 1", patches=patches, model=save_chip_model(("VV",), (0,)))
    large = save_chip_model(patch_size=32)
    refused(r"has 20 x 18 pixels, which is smaller than a chip of 32 x 32; leave the file out", model=large,
            patches=patches)  # fmt: skip
    refused(r"speckle' needs values that are power, amplitude or decibels", patches=patches,
            model=save_chip_model(values="as_is"), baseline="speckle")  # fmt: skip
    refused("lies in PATCHES", patches=patches, chip_folder=os.path.join(patches, "out"))
    refused("lies in PATCHES", patches=patches, chip_folder=patches)
    refused("is an input of this job", patches=patches, saliency=os.path.join(patches, "town", "a.tif"))
    refused("CHIP_FOLDER takes a raster per chip of PATCHES", scene=radar, chip_folder=str(tmp_path / "out"))
    far = mask(tmp_path, polygon(30, 20, 46, 36, "town"))
    refused("mask has no chip inside the extent", scene=radar, mask_features=far,
            extent=[5e5, 5.8e6 - 100, 5e5 + 100, 5.8e6])  # fmt: skip
    broken = Path(patches) / "town" / "b.tif"
    broken.write_bytes(b"II*\0 cut short")
    refused(r"b.tif can't be opened as a raster.* SKIP_UNREADABLE", patches=patches)
    value = explain(AttributionJob(None, chip_model, patches=patches, skip_unreadable=True,
                                   explainer="saliency"), context)  # fmt: skip
    assert "can't be read and are left out: town/b.tif" in value["warnings"][0]
    assert value["numbers"]["CHIPS"] == 3


def test_chips_without_data(folder_of_chips, chip_model, context) -> None:
    patches = folder_of_chips(PLACES)
    path = os.path.join(patches, "town", "a.tif")
    for name in PLACES:
        path = os.path.join(patches, f"{name}.tif")
        with rasterio.open(path, "r+") as dataset:
            dataset.write(np.full((2, 18, 20), np.nan, np.float32))
        job = AttributionJob(None, chip_model, patches=patches, explainer="saliency")
        if name == "town/a":
            with pytest.raises(InputError, match=r"No chip in .*patches has data on half of its pixels"):
                explain(job, context)
        else:
            value = explain(job, context)
            assert any("chips have no data on more than half" in text for text in value["warnings"])
            context.warnings.clear()


def test_constant_chips_have_finite_maps(folder_of_chips, chip_model, run, tmp_path) -> None:
    patches = folder_of_chips({"a": (20, 30)})
    with rasterio.open(os.path.join(patches, "a.tif"), "r+") as dataset:
        dataset.write(np.full((2, 18, 20), -9, np.float32))
    for name in CHIP_EXPLAINERS:
        made = run(tmp_path, patches=patches, explainer=name, baseline="chip_mean")
        assert np.isfinite(made.attribution).all(), name


def test_pixel_classifiers_refuse_what_is_for_chips(demo, spectral_model, folder_of_chips, context, tmp_path):
    def refused(sentence: str, **fields: object) -> None:
        job = AttributionJob(**{"scene": demo.raster, "model": spectral_model, **fields})
        with pytest.raises(InputError, match=sentence):
            explain(job, context)

    refused("classifies pixels, not chips; give a raster", scene=None, patches=folder_of_chips(PLACES))
    refused("The baseline 'speckle' is for scene classifiers; choose one of zero", baseline="speckle")
    refused("'grad_cam' can't explain a pixel or patch classifier", explainer="grad_cam")
    refused("CHIP_FOLDER takes a raster per chip, and the model classifies", chip_folder=str(tmp_path / "o"))


def test_a_cancel_leaves_nothing_and_the_next_job_works(engine, folder_of_chips, chip_model, tmp_path):
    patches, out = folder_of_chips({f"town/{n}": (n, 3 * n) for n in range(16)}), tmp_path / "out"
    (out / "town").mkdir(parents=True)
    (out / "town" / "1.tif").write_bytes(b"an earlier map")
    job = AttributionJob(None, chip_model, patches=patches, chip_folder=str(out), steps=400)
    began: list[float] = []

    def at_work(fraction: float, text: str, seconds_left: float | None) -> None:
        if text.startswith("Explaining") and not began:
            began.append(time.monotonic())

    with pytest.raises(EngineError) as caught:
        engine.run(job, on_progress=at_work, is_cancelled=lambda: bool(began))
    assert caught.value.kind == "cancelled" and time.monotonic() - began[0] < 2
    left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if "patches" not in path.parts]
    assert sorted(left) == ["out", "out/town", "out/town/1.tif"]
    assert (out / "town" / "1.tif").read_bytes() == b"an earlier map"
    assert engine.run(replace(job, explainer="saliency"))["numbers"]["CHIPS"] == 16
    assert len(list(out.rglob("*.tif"))) == 16 and (tmp_path / "out.json").exists()


def test_maps_of_a_real_radar_tile_lie_on_the_tile(shared, save_chip_model, run, tmp_path) -> None:
    tile = next((shared / "data" / "terramind_s1_s2_lulc" / "S1RTC").glob("*.tif"))
    model = save_chip_model(patch_size=64)
    made = run(tmp_path, scene=str(tile), model=model, explainer="guided_grad_cam", layer="layer2")
    assert made.value["numbers"]["CHIPS"] == 36 and made.value["record"]["job"]["layer"] == "layer2"
    with rasterio.open(made.job.attribution) as found, rasterio.open(tile) as scene:
        assert (found.transform, found.crs, found.shape) == (scene.transform, scene.crs, scene.shape)
        assert np.isfinite(found.read()).all()
