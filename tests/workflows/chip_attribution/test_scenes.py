"""Maps of a scene are those of the explainer, chip by chip, merged with stated weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from explanation_layers.explainers.registry import CHIP_EXPLAINERS
from explanation_layers.workflows.merge import merge_weights
from explanation_layers.workflows.slide import starts

from .conftest import OUTPUTS, SIDE, mask, of_chip, polygon, read


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


def test_maps_of_a_real_radar_tile_lie_on_the_tile(shared, save_chip_model, run, tmp_path) -> None:
    tile = next((shared / "data" / "terramind_s1_s2_lulc" / "S1RTC").glob("*.tif"))
    model = save_chip_model(patch_size=64)
    made = run(tmp_path, scene=str(tile), model=model, explainer="guided_grad_cam", layer="layer2")
    assert made.value["numbers"]["CHIPS"] == 36 and made.value["record"]["job"]["layer"] == "layer2"
    with rasterio.open(made.job.attribution) as found, rasterio.open(tile) as scene:
        assert (found.transform, found.crs, found.shape) == (scene.transform, scene.crs, scene.shape)
        assert np.isfinite(found.read()).all()
