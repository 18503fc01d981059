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
            str(folder / "data" / "segmentation.tif"), models[name], epochs=120, batch_size=8, test_share=0.1,
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


def aucs(parts: np.ndarray, planted: np.ndarray) -> tuple[float, float]:
    """How well the sizes of parts (part, n) tell the planted ones: of all pixels together, and of each."""
    together = roc_auc_score(planted, np.abs(parts).mean(1))
    return float(together), float(np.mean([roc_auc_score(planted, np.abs(pixel)) for pixel in parts.T]))


def show(what: str, found: dict[tuple[str, str], tuple[float, float]]) -> None:
    print(f"\n| network | explainer | AUC of {what}: class | single pixels |\n|---|---|---|---|")
    for (network, explainer), (together, each) in found.items():
        print(f"| {network} | {explainer} | {together:.3f} | {each:.3f} |")


def mean_of(found: dict[tuple[str, str], tuple[float, float]], explainer: str) -> float:
    """Mean of a method's AUC of the class over the trained networks."""
    return float(np.mean([both[0] for (_, name), both in found.items() if name == explainer]))


def untrained(path: str, to: Path) -> str:
    """Write a model as another one with the weights of the start."""
    model = load_model(path, PIXEL_CLASSIFICATION)
    network = build_segmentation_network("unet", **model.card.options)
    network.scaling.load_state_dict(model.network.scaling.state_dict())
    save_model(str(to), network, model.spectra, model.card)
    return str(to)


def test_planted_bands_stand_out(engine, street):
    """Painted other is Other but for B7 to B9."""
    rows, cols = pixels_of(street, "Painted other", 300)
    pair, found = ("Painted other", "Other"), {}
    for name, model in street.models.items():
        for explainer in ("secant_contributions", "tangent_contributions", "band_shapley"):
            maps = explained(engine, street, model, pair, explainer=explainer, samples=8)[:, rows, cols]
            found[name, explainer] = aucs(maps, np.isin(np.arange(len(maps)), PLANTED))
        random = untrained(model, street.folder / "untrained.safetensors")
        maps = explained(engine, street, random, pair)[:, rows, cols]
        found[name, "random weights"] = aucs(maps, np.isin(np.arange(len(maps)), PLANTED))
    show("bands B7 to B9", found)
    assert found["none", "secant_contributions"][0] >= 0.95
    assert found["none", "secant_contributions"][1] >= 0.9
    # Where spectra are normalised, a network can do with two of the three bands, or fewer: 0.70 to 0.96.
    assert mean_of(found, "secant_contributions") >= 0.8
    assert found["none", "random weights"][1] <= 0.75


def test_the_planted_ring_stands_out(engine, street):
    """A barrier is closed where a signal stands at a distance of 6 pixels."""
    mask = write_mask(street, *pixels_of(street, "Barrier closed", 60))
    options = {"parts": "rings", "ring_limits": tuple(range(13)), "mask_features": mask}
    pair, found = ("Barrier closed", "Barrier open"), {}
    for name, model in street.models.items():
        random = untrained(model, street.folder / "untrained.safetensors")
        for label, path, explainer in (
            ("secant_contributions", model, "secant_contributions"),
            ("tangent_contributions", model, "tangent_contributions"),
            ("random weights", random, "secant_contributions"),
        ):
            maps = explained(engine, street, path, pair, explainer=explainer, **options)
            found[name, label] = aucs(maps[:, np.isfinite(maps[0])], np.arange(len(maps)) == RING)
    show("ring 6", found)
    assert mean_of(found, "secant_contributions") >= 0.95
    assert mean_of(found, "random weights") <= 0.75


def test_normalisation_per_pixel_in_sun_and_shadow(engine, street):
    """The brightness finds marks of the road's own spectrum again, and normalisation is no harm in shadow."""
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
    shadow = {name: np.nanmean(table[2]) for name, table in ious.items()}
    assert marks["per_pixel"] < marks["per_pixel + brightness"]
    # A network that is trained for long copes with shadow without.
    assert shadow["none"] < min(shadow["per_pixel"], shadow["per_pixel + brightness"]) + 0.01
    assert min(shadow.values()) > 0.8


def test_the_share_of_brightness(engine, street):
    """What sets marks apart from the road is brightness; what sets vegetation apart is not."""
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
