"""The main job on Indian Pines: no georeference, 200 bands whose wavelengths are not in order, 16 classes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import rasterio
import torch
from rasterio.errors import NotGeoreferencedWarning

from explanation_layers.engine.client import Engine
from explanation_layers.engine.jobs import (
    AbsorptionFeaturesJob,
    AttributionJob,
    ClassifyJob,
    TrainClassifierJob,
)
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import Model, load_model
from explanation_layers.rasters.scene import open_scene

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{NotGeoreferencedWarning.__module__}.NotGeoreferencedWarning"
)

SIDE, BANDS, CLASSES, LABELLED = 145, 200, 16, 10_249
MAJORITY = 2455 / LABELLED  # what always guessing the largest class scores: 0.24


class Pines(NamedTuple):
    """An ENVI file, a class raster, and both as arrays: cube (band, y, x), truth (y, x)."""

    scene: str
    labels: str
    cube: np.ndarray
    truth: np.ndarray
    wavelengths: list[float]


@pytest.fixture(scope="module")
def pines(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Pines:
    source, folder = shared / "data" / "indian_pines", tmp_path_factory.mktemp("pines")
    cube = np.load(source / "Indian_pines_corrected.npy").transpose(2, 0, 1)
    truth = np.load(source / "Indian_pines_gt.npy")
    wavelengths = [float(text) for text in (source / "wavelengths_nm.txt").read_text().split()]
    assert np.any(np.diff(wavelengths) < 0)
    cube.astype("<u2").tofile(folder / "pines.dat")
    (folder / "pines.hdr").write_text(
        f"ENVI\nsamples = {SIDE}\nlines = {SIDE}\nbands = {BANDS}\ndata type = 12\ninterleave = bsq\n"
        "byte order = 0\nwavelength units = Nanometers\n"
        f"wavelength = {{{', '.join(map(str, wavelengths))}}}\n"
    )
    labels = str(folder / "labels.tif")
    profile = {"driver": "GTiff", "count": 1, "width": SIDE, "height": SIDE, "dtype": "uint8"}
    with rasterio.open(labels, "w", **profile) as file:
        file.write(truth, 1)
    return Pines(str(folder / "pines.dat"), labels, cube.astype(np.float32), truth, wavelengths)


def agreement(pines: Pines, classes: str) -> float:
    """Share of the labelled pixels whose class on the map is their label; all of them must be mapped."""
    with rasterio.open(classes) as dataset:
        assert not dataset.crs and dataset.transform.is_identity
        mapped = dataset.read(1)
    assert mapped.shape == pines.truth.shape and (mapped > 0).all()
    labelled = pines.truth > 0
    assert labelled.sum() == LABELLED
    return float((mapped == pines.truth)[labelled].mean())


def check_attribution(pines: Pines, model_path: str, names: dict[str, str], offset: tuple[int, int]) -> None:
    """Bands are in the scene's order, all is finite, and sums are the network's own output differences."""
    attribution, saliency = (open_scene(names[name]) for name in ("attribution", "saliency"))
    assert attribution.wavelengths_nm == pytest.approx(pines.wavelengths)
    values, maps = (scene.read(scene.grid.whole) for scene in (attribution, saliency))
    assert np.isfinite(values).all() and np.isfinite(maps).all()
    np.testing.assert_allclose(maps[0], np.abs(values).sum(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(maps[1], values.sum(0), rtol=1e-4, atol=1e-4)
    model = load_model(model_path, PIXEL_CLASSIFICATION)
    rows, cols = (np.linspace(0, size - 1, 7).astype(int) for size in values.shape[1:])
    wanted = [
        output_difference(pines, model, row + offset[0], col + offset[1]) for row, col in zip(rows, cols)
    ]
    tolerance = 0.01 * np.abs(wanted) + 1e-3
    assert (np.abs(values.sum(0)[rows, cols] - wanted) <= tolerance).all()
    np.testing.assert_allclose((maps[1] + maps[2])[rows, cols], wanted, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def output_difference(pines: Pines, model: Model, row: int, col: int) -> float:
    """Logit of a pixel's predicted class less the same at the training mean, by the plain network."""
    halo = model.network.patch_size // 2
    padded = np.pad(pines.cube, ((0, 0), (halo, halo), (halo, halo)), mode="reflect")
    patch = padded[:, row : row + 2 * halo + 1, col : col + 2 * halo + 1]
    logits = model.network(torch.from_numpy(np.ascontiguousarray(patch))[None]).flatten()
    base = model.network(model.spectra.mean[None, :, None, None].expand(1, -1, *patch.shape[1:])).flatten()
    chosen = int(logits.argmax())
    return float(logits[chosen] - base[chosen])


@pytest.fixture(scope="module")
def spectral(engine: Engine, pines: Pines, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A pixel classifier after a few epochs on a fifth of the labelled pixels: the job's result."""
    model = str(tmp_path_factory.mktemp("spectral") / "model.safetensors")
    job = TrainClassifierJob(
        pines.scene, model, label_raster=pines.labels, split="random", test_share=0.8, epochs=12,
        compare_splits=False,
    )  # fmt: skip
    return engine.run(job)


def test_a_spectral_network_learns_in_a_few_epochs(spectral):
    accuracy = spectral["numbers"]["OVERALL_ACCURACY"]
    print(f"spectral_cnn, 12 epochs, random split: {accuracy:.3f}")
    assert accuracy >= 0.65 > 2 * MAJORITY


def test_a_window_is_classified_and_explained_in_the_order_of_its_bands(engine, pines, spectral, tmp_path):
    model = spectral["files"]["model"]
    # Without georeference an extent counts pixels, y upwards from the top edge.
    extent, offset, size = [20, -52, 40, -36], (36, 20), (16, 20)
    names = {name: str(tmp_path / f"{name}.tif") for name in ("attribution", "saliency")}
    result = engine.run(AttributionJob(pines.scene, model, extent=extent, baseline="mean", **names))
    assert result["numbers"]["PIXELS"] == size[0] * size[1]
    assert result["numbers"]["MEAN_RESIDUAL"] < 0.01
    assert open_scene(names["attribution"]).grid.height == size[0]
    check_attribution(pines, model, names, offset)
    classes = str(tmp_path / "classes.tif")
    engine.run(ClassifyJob(pines.scene, model, classes=classes))
    assert agreement(pines, classes) >= 0.65


def test_each_band_holds_the_gradient_of_its_own_band(engine, pines, spectral, tmp_path):
    model_path, path = spectral["files"]["model"], str(tmp_path / "gradient.tif")
    engine.run(
        AttributionJob(pines.scene, model_path, explainer="saliency", extent=[0, -8, 8, 0], attribution=path)
    )
    network = load_model(model_path, PIXEL_CLASSIFICATION).network
    spectra = torch.from_numpy(pines.cube[:, :8, :8].reshape(BANDS, -1).T.copy())[:, :, None, None]
    prepared = network.prepare(spectra).detach().requires_grad_(True)
    network.logits(prepared).flatten(1).max(1).values.sum().backward()
    wanted = prepared.grad[:, :, 0, 0].abs().T.reshape(BANDS, 8, 8).numpy()
    scene = open_scene(path)
    np.testing.assert_allclose(scene.read(scene.grid.whole), wanted, rtol=1e-3, atol=1e-4 * wanted.max())


@pytest.mark.slow
def test_hybrid_network_from_a_tenth_of_the_pixels_reaches_95_percent_on_the_rest(engine, pines, tmp_path):
    model, report = str(tmp_path / "model.safetensors"), tmp_path / "report.html"
    job = TrainClassifierJob(
        pines.scene, model, label_raster=pines.labels, architecture="hybrid_cnn", patch_size=11,
        split="random", test_share=0.9, compare_splits=True, report=str(report),
    )  # fmt: skip
    accuracy = engine.run(job)["numbers"]["OVERALL_ACCURACY"]
    assert accuracy >= 0.95
    trials = load_model(model, PIXEL_CLASSIFICATION).card.training["trials"]
    assert [trial["split"] for trial in trials] == ["random", "blocks"]
    random, blocks = (trial["overall_accuracy"] for trial in trials)
    print(f"hybrid_cnn: random split {random:.4f}, block split {blocks:.4f}, {trials}")
    assert random == accuracy and blocks < random  # pixels of one field leak into a random split
    text = report.read_text(encoding="utf-8")
    for figure in (random, blocks):
        assert f"{100 * figure:.2f} %" in text
    classes = str(tmp_path / "classes.tif")
    engine.run(ClassifyJob(pines.scene, model, classes=classes))
    assert agreement(pines, classes) >= 0.95
    names = {name: str(tmp_path / f"{name}.tif") for name in ("attribution", "saliency")}
    result = engine.run(AttributionJob(pines.scene, model, baseline="mean", **names))
    print(json.dumps(result["numbers"]), result["warnings"], result["record"]["seconds"])
    assert result["numbers"]["PIXELS"] == SIDE * SIDE
    assert result["numbers"]["MEAN_RESIDUAL"] < 0.01
    assert len(result["tables"]["BAND_TABLE"]["rows"]) == CLASSES * BANDS
    check_attribution(pines, model, names, (0, 0))


@pytest.mark.slow
def test_a_spatial_network_is_explained_at_every_pixel_of_the_scene_exactly(engine, pines, tmp_path):
    """All of the scene as one image: 200 bands, a pass forward for each."""
    model = str(tmp_path / "model.safetensors")
    job = TrainClassifierJob(
        pines.scene, model, label_raster=pines.labels, architecture="spatial_cnn", patch_size=9,
        split="random", test_share=0.9, compare_splits=False,
    )  # fmt: skip
    accuracy = engine.run(job)["numbers"]["OVERALL_ACCURACY"]
    assert accuracy >= 0.7
    for explainer in ("secant_contributions", "tangent_contributions"):
        names = {name: str(tmp_path / f"{name}.tif") for name in ("attribution", "saliency")}
        result = engine.run(AttributionJob(pines.scene, model, explainer=explainer, baseline="mean", **names))
        saliency = open_scene(names["saliency"]).read(open_scene(names["saliency"]).grid.whole)
        total, signed, residual, reference, padding = saliency
        output = np.abs(signed + residual + reference + padding)
        relative = np.abs(residual) / np.maximum(output, np.median(output))
        print(
            f"spatial_cnn {accuracy:.4f}, {explainer}: {result['record']['seconds']} s, largest relative "
            f"residual {relative.max():.1e}, reference share "
            f"{(np.abs(reference) / (total + np.abs(reference))).mean():.3f}"
        )
        assert result["numbers"]["PIXELS"] == SIDE * SIDE and relative.max() < 1e-4
        # Patches reach beyond the scene within 4 pixels of its edge.
        assert np.abs(padding[4:-4, 4:-4]).max() == 0 and np.abs(padding[:4]).min() > 0


@pytest.mark.slow
def test_vegetation_has_chlorophyll_and_attributions_in_the_atmosphere_are_told(
    engine, pines, spectral, tmp_path
):
    """Radiance, the noisiest bands in water vapour left out: 1350 to 1420 nm is still there in part."""
    job = AbsorptionFeaturesJob(
        scene=pines.scene, model=spectral["files"]["model"], class_raster=pines.labels, explainer="deeplift",
        plot=str(tmp_path / "plot.png"),
    )  # fmt: skip
    found = {baseline: engine.run(replace(job, baseline=baseline)) for baseline in ("continuum", "mean")}
    for baseline, result in found.items():
        print(baseline, result["numbers"], result["warnings"], result["record"]["seconds"])
    rows = _rows(found["continuum"]["tables"]["FEATURES"])
    red = [row for row in rows if "Chlorophyll red" in row["candidates"] and row["kind"] == "absorption"]
    # Fifteen of the sixteen classes are plants, or stand among them.
    assert len({row["class"] for row in red}) >= 10
    assert all(655 < row["wavelength_nm"] < 700 for row in red)
    assert found["continuum"]["numbers"]["ATMOSPHERE_SHARE"] == 0
    assert 0 < found["mean"]["numbers"]["ATMOSPHERE_SHARE"] < 0.2
    assert 0.1 < found["continuum"]["numbers"]["ABSORPTION_SHARE"] < 0.9


def _rows(table: dict) -> list[dict]:
    names = [column["name"] for column in table["columns"]]
    return [dict(zip(names, row, strict=True)) for row in table["rows"]]
