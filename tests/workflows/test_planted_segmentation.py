"""Segmentation networks on streets whose evidence is known: planted bands and rings, light and shadow.

The tables that are printed are those of docs/segmentation.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from sklearn.metrics import roc_auc_score

from explanation_layers.engine.client import Engine
from explanation_layers.engine.jobs import (
    AttributionJob,
    ClassifyJob,
    DemoDataJob,
    SegmentationContributionsJob,
    TrainClassifierJob,
)
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model, save_model
from explanation_layers.models.segmentation_networks import build_segmentation_network

pytestmark = pytest.mark.slow

SIZE, SEED, BANDS, PLANTED, RING = 192, 1, 25, (6, 7, 8), 6
SETTINGS = {
    "none": {"normalisation": "standard"},
    "per_pixel": {"normalisation": "per_pixel"},
    "per_pixel + brightness": {"normalisation": "per_pixel", "brightness": True},
}
STRATA = ("sun", "shadow", "boundary")
CLASSES = ("Road", "Road marks", "Vegetation", "Sky", "Other", "Painted other", "Barrier open",
           "Barrier closed", "Signal")  # fmt: skip


@pytest.fixture(scope="module")
def street(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The street to learn from and another one to test on; a network for each of `SETTINGS`."""
    folder = tmp_path_factory.mktemp("street")
    engine.run(DemoDataJob("segmentation", str(folder / "data"), SIZE, SEED))
    models = {}
    for number, (name, options) in enumerate(SETTINGS.items()):
        models[name] = str(folder / f"{number}.safetensors")
        engine.run(TrainClassifierJob(
            str(folder / "data" / "segmentation.tif"), models[name], epochs=60, batch_size=8, test_share=0.1,
            label_raster=str(folder / "data" / "segmentation_labels.tif"), architecture="unet",
            compare_splits=False, **options,
        ))  # fmt: skip
    test = str(folder / "data" / "segmentation_test")
    return SimpleNamespace(
        folder=folder, models=models, raster=f"{test}.tif", label_raster=f"{test}_labels.tif",
        labels=read(f"{test}_labels.tif")[0], strata=read(f"{test}_strata.tif")[0],
    )  # fmt: skip


def read(path: str) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


def pixels_of(street: SimpleNamespace, name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = np.nonzero(street.labels == CLASSES.index(name) + 1)
    chosen = np.random.default_rng(0).permutation(len(rows))[:count]
    return rows[chosen], cols[chosen]


def write_mask(street: SimpleNamespace, rows: np.ndarray, cols: np.ndarray) -> str:
    with rasterio.open(street.raster) as dataset:
        place = dataset.transform
    corners = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9), (0.1, 0.1))
    features = [
        {
            "type": "Feature", "properties": {},
            "geometry": {
                "type": "Polygon", "coordinates": [[list(place @ (col + x, row + y)) for x, y in corners]],
            },
        }
        for row, col in zip(rows, cols)
    ]  # fmt: skip
    path = street.folder / "mask.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return str(path)


def explained(engine: Engine, street: SimpleNamespace, model: str, classes: tuple[str, str], **options):
    path = str(street.folder / "attribution.tif")
    value = engine.run(AttributionJob(
        street.raster, model, target="contrast", class_name=classes[0], contrast_class=classes[1],
        attribution=path, **{"explainer": "secant_contributions", **options},
    ))  # fmt: skip
    assert value["numbers"]["MEAN_RESIDUAL"] < 1e-4
    return read(path)


def mean_auc(parts: np.ndarray, planted: np.ndarray) -> float:
    """Mean over pixels (part, n) of how well the parts' sizes tell the planted ones."""
    return float(np.mean([roc_auc_score(planted, np.abs(pixel)) for pixel in parts.T]))


def untrained(path: str, to: Path) -> str:
    """Write a model as another one with the weights of the start."""
    model = load_model(path, PIXEL_CLASSIFICATION)
    network = build_segmentation_network("unet", **model.card.options)
    network.scaling.load_state_dict(model.network.scaling.state_dict())
    save_model(str(to), network, model.spectra, model.card)
    return str(to)


def test_planted_bands_stand_out(engine, street):
    """Painted other is Other but for B7 to B9."""
    planted = np.isin(np.arange(BANDS), PLANTED)
    rows, cols = pixels_of(street, "Painted other", 300)
    pair, found = ("Painted other", "Other"), {}
    for explainer in ("secant_contributions", "tangent_contributions", "band_shapley"):
        maps = explained(engine, street, street.models["none"], pair, explainer=explainer, samples=8)
        found[explainer] = mean_auc(maps[:, rows, cols], planted)
    random = untrained(street.models["none"], street.folder / "untrained.safetensors")
    found["random weights"] = mean_auc(explained(engine, street, random, pair)[:, rows, cols], planted)
    print("\n| explainer | AUC of bands B7 to B9 |\n|---|---|")
    for name, value in found.items():
        print(f"| {name} | {value:.3f} |")
    assert found["secant_contributions"] >= 0.95 and found["tangent_contributions"] >= 0.95
    assert 0.2 <= found["random weights"] <= 0.8


def test_the_planted_ring_stands_out(engine, street):
    """A barrier is closed where a signal stands at a distance of 6 pixels."""
    mask = write_mask(street, *pixels_of(street, "Barrier closed", 60))
    options = {"parts": "rings", "ring_limits": tuple(range(13)), "mask_features": mask}
    planted, found = np.arange(14) == RING, {}
    pair = ("Barrier closed", "Barrier open")
    for explainer in ("secant_contributions", "tangent_contributions"):
        maps = explained(engine, street, street.models["none"], pair, explainer=explainer, **options)
        found[explainer] = mean_auc(maps[:, np.isfinite(maps[0])], planted)
    random = untrained(street.models["none"], street.folder / "untrained.safetensors")
    maps = explained(engine, street, random, pair, **options)
    found["random weights"] = mean_auc(maps[:, np.isfinite(maps[0])], planted)
    print("\n| explainer | AUC of ring 6 |\n|---|---|")
    for name, value in found.items():
        print(f"| {name} | {value:.3f} |")
    assert found["secant_contributions"] >= 0.95
    assert found["random weights"] <= 0.8


def test_normalisation_per_pixel_in_sun_and_shadow(engine, street):
    """Without brightness, thin bright marks of the road's own spectrum are lost; with it they are found."""
    ious: dict[str, np.ndarray] = {}
    print("\n| normalisation | stratum | " + " | ".join(CLASSES) + " |")
    print("|---|---|" + "---|" * len(CLASSES))
    for name, model in street.models.items():
        path = str(street.folder / "classes.tif")
        engine.run(ClassifyJob(street.raster, model, classes=path))
        predicted = read(path)[0]
        table = np.full((len(STRATA) + 1, len(CLASSES)), np.nan)
        for stratum in range(len(STRATA) + 1):
            inside = (street.labels > 0) & ((street.strata == stratum) if stratum else True)
            for number in range(1, len(CLASSES) + 1):
                both = inside & (predicted == number) & (street.labels == number)
                either = inside & ((predicted == number) | (street.labels == number))
                if (inside & (street.labels == number)).sum() >= 20:
                    table[stratum, number - 1] = both.sum() / either.sum()
            words = ["" if np.isnan(value) else f"{value:.2f}" for value in table[stratum]]
            print(f"| {name} | {('all', *STRATA)[stratum]} | " + " | ".join(words) + " |")
        ious[name] = table
    marks = {name: table[0, CLASSES.index("Road marks")] for name, table in ious.items()}
    assert marks["per_pixel"] < marks["none"] - 0.05
    assert marks["per_pixel + brightness"] > marks["per_pixel"] + 0.1
    shadow = {name: np.nanmean(table[2]) for name, table in ious.items()}
    assert shadow["per_pixel + brightness"] > 0.9


def test_the_share_of_brightness(engine, street):
    """Of the contributions to the lead of marks over the road, the brightness has most; elsewhere it has not."""
    model, shares = street.models["per_pixel + brightness"], {}
    print("\n| contrast | share of the brightness |\n|---|---|")
    for pair in (("Road marks", "Road"), ("Vegetation", "Road"), ("Painted other", "Other")):
        rows, cols = pixels_of(street, pair[0], 300)
        sizes = np.abs(explained(engine, street, model, pair)[:, rows, cols]).mean(1)
        shares[pair] = float(sizes[BANDS] / sizes.sum())
        print(f"| {pair[0]} against {pair[1]} | {shares[pair]:.2f} |")
    assert shares[("Road marks", "Road")] > 3 * shares[("Vegetation", "Road")]


def test_the_audit_of_trained_networks(engine, street):
    print("\n| normalisation | method | grade | largest relative residual | reference or bias share |")
    print("|---|---|---|---|---|")
    for name, model in street.models.items():
        value = engine.run(SegmentationContributionsJob(
            street.raster, model, label_raster=street.label_raster,
            methods=("last_layer", "secant_contributions", "tangent_contributions", "seg_grad_cam"),
        ))  # fmt: skip
        columns = [column["name"] for column in value["tables"]["AUDIT"]["columns"]]
        rows = [dict(zip(columns, row)) for row in value["tables"]["AUDIT"]["rows"]]
        for row in rows:
            share = row["reference_share"]
            print(f"| {name} | {row['method']} | {row['grade']} | {row['largest']:.1e} | {share:.2f} |")
        print(f"spurious share of {name}: {value['numbers']['SPURIOUS_SHARE']:.3f}")
        grades = {row["method"]: row["grade"] for row in rows}
        assert grades["secant_contributions"] == grades["tangent_contributions"] == "A"
        assert grades["last_layer"] == "A" and grades["seg_grad_cam"] == "C"
