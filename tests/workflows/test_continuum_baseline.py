"""The baseline `continuum` in the job: hulls of the raster's own values, prepared, and what has none."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch

from explanation_layers.engine.jobs import AttributionJob
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model, save_model
from explanation_layers.models.networks import PatchNetwork
from explanation_layers.rasters.continuum import ranges_of, upper_hull
from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.rasters.scene import open_scene
from explanation_layers.workflows import attribution
from explanation_layers.workflows.attribution import explain
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.pixel_baselines import pixel_baseline

# The explainers that start from a baseline and add up to the output's difference, and how nearly.
COMPLETE = {
    "integrated_gradients": 0.011, "deeplift": 1e-4, "secant_contributions": 1e-4, "band_shapley": 1e-4,
}  # fmt: skip
OTHERS = ("occlusion", "band_ablation")
SIDE = 6


@pytest.fixture
def run(demo: SimpleNamespace, context: Context, tmp_path: Path) -> Callable[..., SimpleNamespace]:
    """Return a function that explains the middle of the demo scene against the continuum."""
    grid = open_scene(demo.raster).grid
    left, top = grid.transform * (20, 20)
    right, bottom = grid.transform * (20 + SIDE, 20 + SIDE)

    def go(model: str, scene: str = demo.raster, **options: object) -> SimpleNamespace:
        names = ("attribution", "saliency", "continuum_part")
        paths = {name: str(tmp_path / f"{name}.tif") for name in names}
        given = {"baseline": "continuum", "samples": 2, "extent": [left, bottom, right, top], **options}
        if given["baseline"] not in ("auto", "continuum") or given.get("explainer") == "input_x_gradient":
            given["continuum_part"] = None
        job = AttributionJob(scene, model, **{**paths, **given})
        result, read = explain(job, context), {}
        for name, path in paths.items():
            if getattr(job, name):
                with rasterio.open(path) as dataset:
                    read[name] = dataset.read()
        return SimpleNamespace(result=result, **read)

    return go


def prepared(scene_path: str, model_path: str) -> tuple:
    """The network, and the middle of the scene with its hull, both prepared (band, y, x) with halo."""
    scene, model = open_scene(scene_path), load_model(model_path, PIXEL_CLASSIFICATION)
    halo = model.network.patch_size // 2
    span = slice(20 - halo, 20 + SIDE + halo)
    raw = scene.read(scene.grid.whole)[:, span, span]
    wavelengths = scene.wavelengths_nm
    hull = upper_hull(raw.transpose(1, 2, 0), wavelengths, ranges_of(wavelengths)).transpose(2, 0, 1)
    return model.network, *(model.network.prepare(torch.from_numpy(maps)[None]) for maps in (raw, hull))


@pytest.mark.parametrize("explainer", [*COMPLETE, *OTHERS])
@pytest.mark.parametrize("name", ["spectral_model", "hybrid_model"])
def test_it_starts_from_the_prepared_hull_of_every_pixel(
    request: pytest.FixtureRequest, demo: SimpleNamespace, run: Callable, name: str, explainer: str
) -> None:
    model = request.getfixturevalue(name)
    network, values, hull = prepared(demo.raster, model)
    made = run(model, explainer=explainer)
    with torch.no_grad():
        after, before = (network.logits(maps)[0] for maps in (values, hull))
    chosen = after.argmax(0, keepdim=True)
    difference = (after - before).gather(0, chosen)[0].numpy()
    total, residual = made.attribution.sum(0), made.saliency[2]
    np.testing.assert_allclose(total + residual, difference, atol=1e-3 * np.abs(difference).max())
    if explainer in COMPLETE:
        limit = COMPLETE[explainer]
        assert (np.abs(residual) <= limit * np.abs(difference) + 1e-4 * np.abs(difference).max()).all()
        assert made.result["numbers"]["MEAN_RESIDUAL"] < limit
    # Where a spectrum meets its hull, bands of single spectra have nothing to contribute.
    if network.patch_size == 1:
        untouched = (values == hull)[0].numpy()
        assert untouched.mean() > 0.05
        assert np.abs(made.attribution[untouched]).max() <= 1e-6


def records(made: SimpleNamespace) -> list[dict]:
    """The rows of a band table as dictionaries."""
    table = made.result["tables"]["BAND_TABLE"]
    names = [column["name"] for column in table["columns"]]
    return [dict(zip(names, row, strict=True)) for row in table["rows"]]


@pytest.mark.parametrize("explainer", COMPLETE)
@pytest.mark.parametrize("name", ["spectral_model", "hybrid_model"])
def test_the_part_of_the_continuum_is_what_is_left_to_the_mean_spectrum(
    request: pytest.FixtureRequest, demo: SimpleNamespace, run: Callable, name: str, explainer: str
) -> None:
    model = request.getfixturevalue(name)
    network, _, hull = prepared(demo.raster, model)
    made = run(model, explainer=explainer)
    with torch.no_grad():
        before = network.logits(hull)[0].numpy()
    chosen = predicted(demo.raster, model)
    at_hull = np.take_along_axis(before, chosen[None], 0)[0]
    level = at_hull - mean_outputs(network, model, chosen)
    residual = np.abs(level - made.continuum_part.sum(0))
    assert (residual <= COMPLETE[explainer] * np.abs(level) + 1e-3 * np.abs(level).max()).all()
    rows = records(made)
    names = load_model(model, PIXEL_CLASSIFICATION).card.class_names
    for row in rows[:: len(rows) // 40]:
        values = made.continuum_part[row["band"] - 1][chosen == names.index(row["class"])]
        assert row["continuum_mean"] == pytest.approx(values.mean(), rel=1e-4, abs=1e-7)
        assert row["continuum_mean_absolute"] == pytest.approx(np.abs(values).mean(), rel=1e-4)


def predicted(scene: str, model: str) -> np.ndarray:
    """The classes (y, x) that a model sees in the middle of the scene."""
    network, values, _ = prepared(scene, model)
    with torch.no_grad():
        return network.logits(values)[0].argmax(0).numpy()


def test_auto_is_the_continuum_where_spectra_have_one_and_the_record_says_why(
    run: Callable, spectral_model: str, hybrid_model: str
) -> None:
    for model in (spectral_model, hybrid_model):
        made = run(model, explainer="deeplift", baseline="auto")
        record = made.result["record"]
        assert (record["baseline"], record["job"]["baseline"]) == ("continuum", "auto")
        assert record["baseline_reason"] == "the wavelengths form 3 contiguous range(s)"
        np.testing.assert_array_equal(made.attribution, run(model, explainer="deeplift").attribution)
    assert AttributionJob("s.tif", "m").baseline == "auto"


def test_auto_is_the_mean_for_all_else(
    run: Callable, spectral_model: str, unnamed: tuple, street: str, unet: str, context: Context
) -> None:
    scene, model, wavelengths = unnamed
    nothing = {"continuum_part": None, "explainer": "deeplift"}
    without = run(model, scene, baseline="auto", **nothing)
    assert without.result["record"]["baseline"] == "mean"
    assert without.result["record"]["baseline_reason"] == "no band has a wavelength"
    np.testing.assert_array_equal(
        without.attribution, run(model, scene, baseline="mean", explainer="deeplift").attribution
    )
    given = run(model, scene, baseline="auto", wavelengths=wavelengths, **nothing).result
    assert given["record"]["baseline"] == "continuum"
    in_air = [500.0 + 10 * i if i < 10 else 1360 + 0.1 * i for i in range(len(wavelengths))]
    few = run(model, scene, baseline="auto", wavelengths=in_air, **nothing).result["record"]
    assert few["baseline"] == "mean" and few["baseline_reason"].startswith("10 bands in contiguous ranges")
    unread = run(spectral_model, baseline="auto", explainer="input_x_gradient").result
    assert unread["record"]["baseline_reason"] == "the explainer starts from no baseline"
    job = AttributionJob(street, unet, explainer="secant_contributions", wavelengths=[500.0, 510.0, 520.0])
    result = explain(job, context)
    assert result["record"]["baseline"] == "mean" and "whole images" in result["record"]["baseline_reason"]
    assert any(text.startswith("WAVELENGTHS is not used") for text in result["warnings"])


@pytest.mark.parametrize("options", [{"baseline": "mean"}, {"explainer": "saliency"}])
def test_without_a_continuum_there_is_no_part_of_it(
    demo: SimpleNamespace, spectral_model: str, context: Context, tmp_path: Path, options: dict
) -> None:
    job = AttributionJob(demo.raster, spectral_model, continuum_part=str(tmp_path / "c.tif"), **options)
    with pytest.raises(InputError, match="CONTINUUM_PART is what level and slope did"):
        explain(job, context)


def test_the_table_alone_is_that_of_the_rasters(hybrid_model: str, run: Callable) -> None:
    whole = run(hybrid_model, tolerance=0.003)
    alone = run(hybrid_model, attribution=None, saliency=None, continuum_part=None, table_only=True)
    rows = [{(row["class"], row["band"]): row for row in records(each)} for each in (whole, alone)]
    assert rows[0].keys() == rows[1].keys()
    for column in ("mean", "continuum_mean"):
        ours, theirs = (np.array([row[column] for row in each.values()]) for each in rows)
        assert np.abs(ours - theirs).max() <= 0.02 * np.abs(ours).max()


def mean_outputs(network: PatchNetwork, model: str, chosen: np.ndarray) -> np.ndarray:
    """The output at the mean training spectrum, of the class that was chosen for each pixel."""
    mean = load_model(model, PIXEL_CLASSIFICATION).spectra.mean[None, :, None, None]
    side = network.patch_size
    with torch.no_grad():
        logits = network.logits(network.prepare(mean).expand(-1, -1, side, side)).flatten().numpy()
    return logits[chosen]


@pytest.mark.parametrize("explainer", ["deeplift", "secant_contributions"])
@pytest.mark.parametrize("name", ["spectral_model", "hybrid_model"])
def test_the_share_of_absorptions_is_told_by_class(
    request: pytest.FixtureRequest, demo: SimpleNamespace, run: Callable, name: str, explainer: str
) -> None:
    model = request.getfixturevalue(name)
    network, values, hull = prepared(demo.raster, model)
    result = run(model, explainer=explainer).result
    with torch.no_grad():
        after, before = (network.logits(maps)[0].numpy() for maps in (values, hull))
    chosen = after.argmax(0)
    at_x, at_hull = (np.take_along_axis(logits, chosen[None], 0)[0] for logits in (after, before))
    first, second = np.abs(at_x - at_hull), np.abs(at_hull - mean_outputs(network, model, chosen))
    names = load_model(model, PIXEL_CLASSIFICATION).card.class_names
    shares = result["record"]["absorption_share"]
    assert set(shares) == {names[index] for index in np.unique(chosen)}
    for index in np.unique(chosen):
        own = chosen == index
        share = first[own].sum() / (first[own].sum() + second[own].sum())
        assert shares[names[index]] == pytest.approx(share, abs=1e-3)
    total = first.sum() / (first.sum() + second.sum())
    assert result["numbers"]["ABSORPTION_SHARE"] == pytest.approx(total, abs=1e-3)
    few = any(share < 0.3 for share in shares.values())
    assert any("brightness or slope" in text for text in result["warnings"]) == few


def test_other_baselines_and_explainers_without_one_have_no_share(spectral_model: str, run: Callable) -> None:
    for options in ({"baseline": "mean", "explainer": "deeplift"}, {"explainer": "input_x_gradient"}):
        result = run(spectral_model, **options).result
        assert result["numbers"]["ABSORPTION_SHARE"] is None
        assert result["record"]["absorption_share"] is None
        assert not any("brightness" in text for text in result["warnings"])


def test_a_network_that_goes_by_brightness_is_told(
    demo: SimpleNamespace, spectral_model: str, run: Callable, tmp_path: Path
) -> None:
    loaded = load_model(spectral_model, PIXEL_CLASSIFICATION)
    path = str(tmp_path / "bright.safetensors")
    network = by_brightness(loaded.network)
    save_model(path, network, loaded.spectra, loaded.card)
    made = run(path, explainer="deeplift")
    assert made.result["numbers"]["ABSORPTION_SHARE"] < 0.3
    assert any("goes by brightness or slope" in text for text in made.result["warnings"])


def by_brightness(network: PatchNetwork) -> PatchNetwork:
    """The network with weights that pass on the mean of all bands, to its first class alone."""
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.data.zero_()
            layer.bias.data.zero_()
            layer.weight.data[0, 0] = 1 / layer.weight[0, 0].numel()
    network.scaling.offset.zero_()
    network.scaling.scale.fill_(1000)
    return network


def test_tiles_do_not_matter(monkeypatch: pytest.MonkeyPatch, hybrid_model: str, run: Callable) -> None:
    whole = run(hybrid_model, explainer="deeplift")
    monkeypatch.setattr(attribution, "tile_side", lambda *_: 4)
    parts = run(hybrid_model, explainer="deeplift")
    np.testing.assert_allclose(parts.attribution, whole.attribution, atol=1e-5)
    np.testing.assert_allclose(parts.continuum_part, whole.continuum_part, atol=1e-5)


def test_the_hulls_of_a_large_tile_can_be_stopped(demo: SimpleNamespace, spectral_model: str) -> None:
    job = AttributionJob(demo.raster, spectral_model, baseline="continuum")
    baseline = pixel_baseline(job, open_scene(demo.raster), load_model(spectral_model, PIXEL_CLASSIFICATION))
    raw = torch.rand(167, 300, 200)
    checks = []

    def stop() -> None:
        checks.append(time.monotonic())
        if len(checks) == 4:
            raise Cancelled

    with pytest.raises(Cancelled):
        baseline.of(raw, stop)
    assert np.diff(checks).max() < 2
    few = baseline.of(raw[:, :60, :3], lambda: None)
    torch.testing.assert_close(baseline.of(raw[:, 40:60, :3], lambda: None), few[:, 40:60])


def test_the_record_tells_the_ranges(spectral_model: str, run: Callable) -> None:
    record = run(spectral_model, explainer="deeplift").result["record"]
    ranges = record["continuum_ranges_nm"]
    assert [(round(low, -1), round(high, -1)) for low, high in ranges] == [
        (420, 1340), (1440, 1780), (1960, 2440)
    ]  # fmt: skip


@pytest.fixture
def unnamed(demo: SimpleNamespace, spectral_model: str, tmp_path: Path) -> tuple[str, str, list[float]]:
    """The demo scene and its model without wavelengths, and what these are."""
    with rasterio.open(demo.raster) as dataset:
        values, profile = dataset.read(), dataset.profile
    scene = str(tmp_path / "unnamed.tif")
    with rasterio.open(scene, "w", **profile) as dataset:
        dataset.write(values)
    model = load_model(spectral_model, PIXEL_CLASSIFICATION)
    bands = tuple(
        replace(band, wavelength_nm=None, name=f"Band {i}") for i, band in enumerate(model.card.bands, 1)
    )
    path = str(tmp_path / "unnamed.safetensors")
    save_model(path, model.network, model.spectra, replace(model.card, bands=bands))
    return scene, path, open_scene(demo.raster).wavelengths_nm


def test_wavelengths_are_asked_for_by_name_and_taken_in_both_units(
    run: Callable, demo: SimpleNamespace, spectral_model: str, unnamed: tuple
) -> None:
    scene, model, wavelengths = unnamed
    with pytest.raises(InputError, match="tells none; give those of its bands as WAVELENGTHS"):
        run(model, scene)
    known = run(spectral_model, explainer="deeplift").attribution
    # A model that knows its wavelengths lends them to a scene that does not.
    np.testing.assert_array_equal(run(spectral_model, scene, explainer="deeplift").attribution, known)
    for unit in (1, 1e-3):
        given = [unit * value for value in wavelengths]
        found = run(model, scene, explainer="deeplift", wavelengths=given).attribution
        np.testing.assert_allclose(found, known, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wavelengths": [500.0, 600.0]}, "WAVELENGTHS has 2 values; the scene has 167 bands"),
        ({"wavelengths": [500.0] * 166 + [0.0]}, "not above 0"),
        ({"wavelengths": [1400.0] * 167}, "No three bands"),
    ],
)
def test_wavelengths_that_do_not_fit_are_refused(
    run: Callable, spectral_model: str, options, message
) -> None:
    with pytest.raises(InputError, match=message):
        run(spectral_model, **options)


def test_a_segmentation_network_has_it_too(
    run: Callable, street: str, unet: str, context: Context, tmp_path: Path
) -> None:
    bands = len(open_scene(street).bands)
    path = str(tmp_path / "street.tif")
    job = AttributionJob(
        street, unet, explainer="secant_contributions", baseline="continuum", attribution=path,
        wavelengths=[500.0 + 50 * band for band in range(bands)],
    )  # fmt: skip
    result = explain(job, context)
    assert result["numbers"]["MEAN_RESIDUAL"] < 1e-4
    assert result["tables"]["BAND_TABLE"]["columns"][-1]["name"] == "continuum_mean_absolute"
    with rasterio.open(path) as dataset:
        values = dataset.read()
    # The first and the last band lie on every hull.
    assert np.nanmax(np.abs(values[[0, -1]])) <= 1e-6 < np.nanmax(np.abs(values[1:-1]))
