"""What tests of workflows share: a small scene with labels, two models trained on it, contexts."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

from explanation_layers.engine.client import Engine, engine_for
from explanation_layers.engine.jobs import ClassifyJob, DemoDataJob, TrainClassifierJob
from explanation_layers.models.card import (
    PIXEL_CLASSIFICATION,
    SCENE_CLASSIFICATION,
    Card,
    CardBand,
    card_classes,
)
from explanation_layers.models.files import Spectra, save_model
from explanation_layers.models.scene_networks import build_scene_network
from explanation_layers.models.segmentation_networks import build_segmentation_network
from explanation_layers.rasters.scene import open_scene
from explanation_layers.rasters.writers import RasterWriter
from explanation_layers.workflows.classify import classify
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.demo_data import simulate
from explanation_layers.workflows.train_classifier import train

SIZE = 56


def pytest_configure(config: pytest.Config) -> None:
    # affine 2 and rasterio know no other operator than the one that affine 3 means to retire.
    config.addinivalue_line("filterwarnings", "ignore:Use `@` matmul:PendingDeprecationWarning")
    config.addinivalue_line("filterwarnings", "ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine in a process of its own."""
    engine = engine_for(sys.executable)
    yield engine
    engine.stop()


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Jobs this small are slower on several threads, much so on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture
def context() -> Context:
    """A context whose messages nobody reads."""
    return Context("test", lambda message: None)


@pytest.fixture(scope="session")
def copy_raster() -> Callable[..., str]:
    """Return a function that writes a copy of a raster with another profile or other values."""

    def copy(source: str, target: Path, values: np.ndarray | None = None, **profile: object) -> str:
        with rasterio.open(source) as dataset:
            values = dataset.read() if values is None else values
            tags = [dataset.tags(number) for number in dataset.indexes]
            profile = {**dataset.profile, "dtype": values.dtype, "count": len(values), **profile}
        with rasterio.open(target, "w", **profile) as dataset:
            dataset.write(values)
            for number, items in zip(dataset.indexes, tags):
                dataset.update_tags(number, **items)
        return str(target)

    return copy


@pytest.fixture(scope="session")
def write_points() -> Callable[..., str]:
    """Return a function that writes the pixels with a class of a class raster as GeoJSON points."""

    def write(path: Path, raster: str, prefix: str = "") -> str:
        with rasterio.open(raster) as dataset:
            classes, transform = dataset.read(1), dataset.transform
        features = [
            {
                "type": "Feature",
                "properties": {"class": f"{prefix}{classes[row, col]}"},
                "geometry": {"type": "Point", "coordinates": list(transform * (col + 0.5, row + 0.5))},
            }
            for row, col in np.argwhere(classes)
        ]
        Path(path).write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return str(path)

    return write


@pytest.fixture(scope="session")
def demo(
    tmp_path_factory: pytest.TempPathFactory, copy_raster: Callable, write_points: Callable
) -> SimpleNamespace:
    """A simulated scene: paths `raster`, `label_raster` (few of its pixels), `points` (the same pixels)."""
    folder = tmp_path_factory.mktemp("demo")
    job = DemoDataJob("hyperspectral", str(folder), SIZE, seed=1)
    files = simulate(job, Context("demo", lambda message: None))["files"]
    with rasterio.open(files["label_raster"]) as dataset:
        classes = dataset.read()
    kept = np.random.default_rng(0).random(classes.shape) < 0.2
    labels = copy_raster(files["label_raster"], folder / "few.tif", np.where(kept, classes, 0))
    shutil.copy(files["label_raster"] + ".aux.xml", labels + ".aux.xml")  # the names of the classes
    points = write_points(folder / "points.geojson", labels)
    return SimpleNamespace(
        raster=files["raster"], label_raster=labels, points=points, all_classes=files["label_raster"]
    )


def _trained(folder: Path, demo: SimpleNamespace, **options: object) -> str:
    model = str(folder / "model.safetensors")
    job = TrainClassifierJob(
        demo.raster, model, label_raster=demo.label_raster, compare_splits=False, **options
    )
    train(job, Context("train", lambda message: None))
    return model


@pytest.fixture(scope="session")
def spectral_model(tmp_path_factory: pytest.TempPathFactory, demo: SimpleNamespace) -> str:
    """The path of a `spectral_cnn` that knows the classes of the demo scene."""
    return _trained(tmp_path_factory.mktemp("spectral"), demo, epochs=12)


@pytest.fixture(scope="session")
def hybrid_model(tmp_path_factory: pytest.TempPathFactory, demo: SimpleNamespace) -> str:
    """The path of a `hybrid_cnn` with patches of 9 pixels; it learnt a little."""
    options = {"architecture": "hybrid_cnn", "patch_size": 9, "components": 8, "normalisation": "per_pixel"}
    return _trained(tmp_path_factory.mktemp("hybrid"), demo, epochs=6, **options)


@pytest.fixture
def run_classify(context: Context) -> Callable[..., SimpleNamespace]:
    """Return a function that classifies into a folder and reads the three rasters back."""

    def run(scene: str, model: str, folder: Path, **options: object) -> SimpleNamespace:
        names = ("classes", "confidence", "probabilities")
        paths = {name: str(folder / f"{name}.tif") for name in names}
        value = classify(ClassifyJob(scene, model, **paths, **options), context)
        arrays = {}
        for name, path in paths.items():
            with rasterio.open(path) as dataset:
                arrays[name] = dataset.read()
        return SimpleNamespace(value=value, paths=paths, **arrays)

    return run


CHIP = 16


@pytest.fixture(scope="session")
def save_chip_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Return a function that writes an untrained ResNet-18 for chips of 16 x 16 pixels in decibels."""

    def save(names: tuple[str, ...] = ("VV", "VH"), used: tuple[int, ...] = (0, 1), **options: object) -> str:
        torch.manual_seed(3)
        options = {"bands": len(used), "classes": 3, "patch_size": CHIP, "values": "db", **options}
        network = build_scene_network("resnet18", **options)
        network.low.fill_(-25)
        network.high.fill_(5)
        # Small logits: no class is certain.
        network.trunk.fc.weight.data.mul_(0.05)
        means = torch.tensor([-9.0, -16.0])[: len(used)]
        spectra = Spectra(means, means + torch.tensor([[-3.0], [0.0], [2.0]]), means.expand(4, -1))
        card = Card(
            SCENE_CLASSIFICATION, "resnet18", options,
            tuple(CardBand(name, None, None, place in used) for place, name in enumerate(names)),
            card_classes(("field", "forest", "town")),
        )  # fmt: skip
        path = str(tmp_path_factory.mktemp("chips") / "chips.safetensors")
        with torch.no_grad():
            save_model(path, network, spectra, card)
        return path

    return save


@pytest.fixture(scope="session")
def chip_model(save_chip_model: Callable[..., str]) -> str:
    """The path of a model of chips with the bands VV and VH."""
    return save_chip_model()


@pytest.fixture(scope="session")
def radar(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A georeferenced scene of 70 x 53 pixels in decibels, bands VV and VH, no data in a corner."""
    generator = np.random.default_rng(11)
    values = 10 * np.log10(generator.gamma(4, 0.25, (2, 53, 70))) + np.array([[[-9.0]], [[-16.0]]])
    values[:, 20:40, 30:50] += 8
    values[0, :10, :12] = np.nan
    path = str(tmp_path_factory.mktemp("radar") / "radar.tif")
    profile = {"driver": "GTiff", "count": 2, "width": 70, "height": 53, "dtype": "float32", "nodata": np.nan}
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5.8e6)}
    with rasterio.open(path, "w", **profile, **place) as file:
        file.write(values.astype("float32"))
        file.descriptions = ("VV", "VH")
    return path


STREET = (61, 74)


@pytest.fixture(scope="session")
def save_unet(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Return a function that writes an untrained U-Net of 3 classes whose batch norms have learnt."""

    def save(bands: int = 3, seed: int = 0, **options: object) -> str:
        torch.manual_seed(seed)
        options = {
            "bands": bands, "classes": 3, "normalisation": "standard", "depth": 2, "filters": 4, **options,
        }  # fmt: skip
        network = build_segmentation_network("unet", **options)
        network.scaling.scale.fill_(0.5)
        with torch.no_grad():
            for _ in range(5):
                network.train()(2 * torch.rand(2, bands, 64, 64))
            network.eval()
        mean = torch.linspace(0.8, 1.2, bands)
        spectra = Spectra(mean, mean + torch.tensor([[-0.3], [0.0], [0.2]]), mean.expand(4, -1))
        card = Card(
            PIXEL_CLASSIFICATION, "unet", options,
            tuple(CardBand(str(number), None, None, True) for number in range(bands)),
            card_classes(("road", "sky", "tree")),
        )  # fmt: skip
        path = str(tmp_path_factory.mktemp("unet") / "unet.safetensors")
        save_model(path, network, spectra, card)
        return path

    return save


@pytest.fixture(scope="session")
def unet(save_unet: Callable[..., str]) -> str:
    """The path of an untrained U-Net for `street`."""
    return save_unet()


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A georeferenced scene of 3 bands whose sides no U-Net divides, with nodata in a corner."""
    values = 2 * np.random.default_rng(7).random((3, *STREET), dtype=np.float32)
    values[:, 20:40, 30:50] += 0.8
    values[0, :9, :12] = np.nan
    path = str(tmp_path_factory.mktemp("street") / "street.tif")
    profile = {"driver": "GTiff", "count": 3, "width": STREET[1], "height": STREET[0], "dtype": "float32"}
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5.8e6), "nodata": np.nan}
    with rasterio.open(path, "w", **profile, **place) as file:
        file.write(values)
    return path


@pytest.fixture(scope="session")
def street_labels(street: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Named classes of most pixels of `street`, in stripes; 0 where there is none."""
    path = str(tmp_path_factory.mktemp("street") / "labels.tif")
    classes = np.indices(STREET)[1] // 7 % 4
    grid = open_scene(street).grid
    with RasterWriter(path, grid, 1, "uint8", 0, class_names=("road", "sky", "tree")) as writer:
        writer.write(grid.whole, classes.astype(np.uint8))
    return path
