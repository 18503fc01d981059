"""Do the explainers find the evidence that was planted? A table for docs/planted-evidence.md.

Run as `.venv/bin/python benchmarks/planted_evidence.py [spectral_cnn|hybrid_cnn]`.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # As a script this file is no part of the package: load it again as one.
    import importlib
    import runpy

    root = Path(__file__).resolve().parents[1]
    runpy.run_path(str(root / "engine" / "launcher.py"))["register"](root)
    sys.exit(importlib.import_module("explanation_layers.benchmarks.planted_evidence").main(sys.argv[1:]))

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from rasterio.warp import transform
from sklearn.metrics import roc_auc_score

from ..engine.jobs import AttributionJob, DemoDataJob, TrainClassifierJob
from ..models.card import PIXEL_CLASSIFICATION
from ..models.files import load_model, save_model
from ..rasters.scene import open_scene
from ..workflows.attribution import explain
from ..workflows.context import Context
from ..workflows.demo_data import simulate
from ..workflows.train_classifier import train

SETTINGS: dict[str, dict] = {
    "integrated_gradients": {},
    "integrated_gradients, baseline zero": {"explainer": "integrated_gradients", "baseline": "zero"},
    "integrated_gradients, baseline continuum": {
        "explainer": "integrated_gradients",
        "baseline": "continuum",
    },
    "deeplift": {},
    "gradient_shap": {},
    "input_x_gradient": {},
    "saliency": {},
    "band_ablation": {},
    "occlusion, windows of 5 bands": {"explainer": "occlusion", "occlusion_bands": 5, "occlusion_stride": 1},
}


@dataclass(frozen=True)
class Study:
    """How much of what: sides in pixels of the scene and of the windows that are explained."""

    architecture: str
    size: int
    trained_side: int
    random_side: int
    initialisations: int
    seeds: tuple[int, ...] = (0, 1, 2)


STUDIES = (Study("spectral_cnn", 64, 24, 6, 6), Study("hybrid_cnn", 64, 16, 4, 6))


@dataclass(frozen=True)
class Site:
    """A simulated scene with its truth and the labelled points in the scene's CRS."""

    scene: str
    points: str
    truth: dict

    @classmethod
    def simulated(cls, folder: Path, size: int, seed: int) -> Site:
        """Simulate a scene of `size` x `size` pixels into `folder`."""
        files = simulate(DemoDataJob("hyperspectral", str(folder / "scene"), size, seed), _quiet())["files"]
        truth = json.loads(Path(files["truth"]).read_text(encoding="utf-8"))
        labels = json.loads(Path(files["labels"]).read_text(encoding="utf-8"))
        geometries = [feature["geometry"] for feature in labels["features"]]
        longitudes, latitudes = zip(*(geometry["coordinates"] for geometry in geometries))
        places = transform("EPSG:4326", open_scene(files["raster"]).grid.crs, longitudes, latitudes)
        for geometry, x, y in zip(geometries, *places):
            geometry["coordinates"] = [x, y]
        points = folder / "points.geojson"
        points.write_text(json.dumps(labels), encoding="utf-8")
        return cls(files["raster"], str(points), truth)

    def trained(self, path: Path, architecture: str, **settings: object) -> str:
        """Train a model with the default settings but `settings`, and return its path."""
        job = TrainClassifierJob(
            self.scene, str(path), label_features=self.points, label_name="class",
            architecture=architecture, compare_splits=False, **settings,  # type: ignore[arg-type]
        )  # fmt: skip
        train(job, _quiet())
        return str(path)

    def middle(self, side: int) -> list[float]:
        """Return the extent of the `side` x `side` pixels in the middle of the scene."""
        grid = open_scene(self.scene).grid
        corner = (grid.width - side) // 2
        left, top = grid.transform * (corner, corner)
        right, bottom = grid.transform * (corner + side, corner + side)
        return [left, bottom, right, top]

    def areas(self, model: str, setting: str, side: int) -> dict[str, float]:
        """Return the AUC of each class that is predicted in the middle of the scene.

        It is the chance that a band that was planted for the class has a larger mean absolute attribution
        in the band table than a band that was planted for none. Bands of other classes are left out.
        """
        strength = self.strengths(model, setting, side)
        return {
            entry["name"]: _area(strength[entry["name"]], entry["bands"], self.truth["unplanted_bands"])
            for entry in self.truth["classes"]
            if entry["name"] in strength
        }

    def strengths(self, model: str, setting: str, side: int) -> dict[str, dict[int, float]]:
        """Return the mean absolute attribution of each class predicted in the middle, by band from 0."""
        options = {"explainer": setting, "baseline": "mean", **SETTINGS[setting]}
        job = AttributionJob(self.scene, model, extent=self.middle(side), table_only=True, **options)
        table = explain(job, _quiet())["tables"]["BAND_TABLE"]
        place = {column["name"]: number for number, column in enumerate(table["columns"])}
        strength: dict[str, dict[int, float]] = {}
        for row in table["rows"]:
            strength.setdefault(row[place["class"]], {})[row[place["band"]] - 1] = row[place["mean_absolute"]]
        return strength


def randomised(model: str, path: Path, seed: int) -> str:
    """Write the model with fresh random weights, scaling and projection kept, and return its path."""
    loaded = load_model(model, PIXEL_CLASSIFICATION)
    torch.manual_seed(seed)
    for layer in loaded.network.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    save_model(str(path), loaded.network, loaded.spectra, loaded.card)
    return str(path)


def _area(strength: dict[int, float], own: Sequence[int], unplanted: Sequence[int]) -> float:
    planted = [True] * len(own) + [False] * len(unplanted)
    return float(roc_auc_score(planted, [strength[band] for band in (*own, *unplanted)]))


def _quiet() -> Context:
    return Context("planted-evidence", lambda message: None)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def measure(study: Study) -> list[str]:
    """Return the rows of the Markdown table of a study."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SETTINGS}
    control: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for seed in study.seeds:
        with _folder() as folder:
            site = Site.simulated(folder, study.size, seed)
            model = site.trained(folder / "trained.safetensors", study.architecture, seed=seed)
            for name in SETTINGS:
                found[name].append(site.areas(model, name, study.trained_side))
                print(f"{study.architecture}, scene {seed}, {name}: {found[name][-1]}", file=sys.stderr)
            for number in range(study.initialisations):
                fresh = randomised(model, folder / "random.safetensors", 1000 * seed + number)
                for name in SETTINGS:
                    areas = site.areas(fresh, name, study.random_side)
                    control[name].append(float(np.mean(list(areas.values()))))
            print(f"{study.architecture}, scene {seed}, random weights: {control}", file=sys.stderr)
    return [_row(name, found[name], control[name]) for name in SETTINGS]


def _row(name: str, found: list[dict[str, float]], control: list[float]) -> str:
    every = [area for areas in found for area in areas.values()]
    by_class = {label: np.mean([areas[label] for areas in found if label in areas]) for label in found[0]}
    worst = min(by_class, key=lambda label: by_class[label])
    return (
        f"| {name} | {np.mean(every):.3f} | {min(every):.3f} | {worst} {by_class[worst]:.3f} | "
        f"{np.mean(control):.2f} | {min(control):.2f}–{max(control):.2f} |"
    )


def main(names: Sequence[str]) -> int:
    """Print a table per architecture, or for the `names` alone."""
    for study in STUDIES:
        if not names or study.architecture in names:
            print(f"\n### {study.architecture}\n")
            print("| explainer | mean AUC | lowest | worst class | random weights | their range |")
            print("|---|---|---|---|---|---|")
            print("\n".join(measure(study)), flush=True)
    return 0
