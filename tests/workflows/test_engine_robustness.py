"""The main job's jobs in the real engine when things go wrong: killed, cancelled, disk full, bad input.

Each time: one sentence, nothing half-written, what was there before untouched, and the next job works.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.shutil import copy as copy_raster

from explanation_layers.engine.client import Engine, EngineError
from explanation_layers.engine.jobs import JOBS, AttributionJob, ClassifyJob, Job, TrainClassifierJob
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.scene import open_scene
from explanation_layers.workflows import train_classifier
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.server import REGISTRY

BANDS, SIDE, STRETCH = 12, 64, 80  # of the scene, and how many times wider the large one is
AT_WORK = ("Training", "Classifying", "Explaining")  # how progress begins once a job computes
EARLIER = {"out.tif": b"an earlier map", "out.json": b"{}", "out.tif.aux.xml": b"<PAMDataset/>"}


@dataclass(frozen=True)
class World:
    """A scene, the same stretched to 5120 x 5120 pixels, its labels, and a model of it."""

    scene: str
    large: str
    labels: str
    model: str


@pytest.fixture(scope="module")
def world(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    world = World(*(str(folder / name) for name in ("scene.tif", "large.vrt", "labels.tif", "m.safetensors")))
    generator = np.random.default_rng(5)
    classes = np.indices((SIDE, SIDE)).sum(0) // 8 % 2 + 1
    values = (
        generator.normal(1000, 20, (BANDS, SIDE, SIDE)) + 100 * classes * np.hanning(BANDS)[:, None, None]
    )
    _write(world.scene, values.astype("float32"))
    _write(world.labels, classes[np.newaxis].astype("uint8"))
    _stretch(world.scene, world.large, STRETCH)
    engine.run(
        TrainClassifierJob(world.scene, world.model, label_raster=world.labels, split="random",
                           test_share=0.9, epochs=3, compare_splits=False)
    )  # fmt: skip
    return world


def _write(path: str, values: np.ndarray) -> None:
    profile = {"driver": "GTiff", "count": len(values), "width": SIDE, "height": SIDE, "dtype": values.dtype}
    with rasterio.open(
        path, "w", crs="EPSG:32633", transform=Affine(30, 0, 5e5, 0, -30, 5e6), **profile
    ) as file:
        file.write(values)


def _stretch(source: str, path: str, factor: int) -> None:
    """Write a virtual raster that shows each pixel of the source `factor` times in a row and a column."""
    copy_raster(source, path, driver="VRT")
    text, side = Path(path).read_text(encoding="utf-8"), SIDE * factor
    text = text.replace(
        f'rasterXSize="{SIDE}" rasterYSize="{SIDE}"', f'rasterXSize="{side}" rasterYSize="{side}"'
    )
    text = text.replace(
        f'<DstRect xOff="0" yOff="0" xSize="{SIDE}" ySize="{SIDE}" />',
        f'<DstRect xOff="0" yOff="0" xSize="{side}" ySize="{side}" />',
    )
    Path(path).write_text(text, encoding="utf-8")
    assert open_scene(path).grid.width == side


def long_jobs(world: World, folder: Path) -> dict[str, Job]:
    """Jobs that would take minutes, with outputs in `folder`."""
    out = str(folder / "out.tif")
    return {
        "train": TrainClassifierJob(
            world.scene, str(folder / "out.safetensors"), label_raster=world.labels, split="random",
            epochs=100_000, patience=100_000, report=str(folder / "out.html"),
        ),
        "classify": ClassifyJob(world.large, world.model, classes=out),
        "attribution": AttributionJob(world.large, world.model, saliency=out),
    }  # fmt: skip


def small_job(world: World, folder: Path) -> ClassifyJob:
    return ClassifyJob(world.scene, world.model, classes=str(folder / "next.tif"))


def assert_next_job_works(engine: Engine, world: World, folder: Path) -> None:
    folder.mkdir()
    engine.run(small_job(world, folder))
    assert sorted(os.listdir(folder)) == ["next.json", "next.qml", "next.tif", "next.tif.aux.xml"]


def failure(engine: Engine, job: Job, **options: object) -> EngineError:
    with pytest.raises(EngineError) as caught:
        engine.run(job, **options)
    text = str(caught.value)
    assert text[0].isupper() and text.endswith(".") and "Traceback" not in text
    return caught.value


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def with_earlier_outputs(folder: Path) -> Path:
    folder.mkdir()
    for name, value in EARLIER.items():
        (folder / name).write_bytes(value)
    return folder


class WhenAtWork:
    """Calls `act` once, when the job says that it does one of `words`, and keeps what was staged then."""

    def __init__(
        self, folder: Path, act: Callable[[], None] = lambda: None, words: tuple[str, ...] = AT_WORK
    ) -> None:
        self._folder, self._act, self._words = folder, act, words
        self.since: float | None = None
        self.staged: list[str] = []

    def __call__(self, fraction: float, text: str, seconds_left: float | None) -> None:
        if self.since is None and text.startswith(self._words):
            self.staged = [name for name in os.listdir(self._folder) if name.startswith(".part-")]
            self.since = time.monotonic()
            self._act()


@pytest.mark.parametrize("name", ["train", "classify", "attribution"])
def test_killed_in_mid_job_leaves_what_was_there_and_the_next_job_works(engine, world, tmp_path, name):
    folder = with_earlier_outputs(tmp_path / "out")
    kill = WhenAtWork(folder, lambda: os.kill(engine.pid, signal.SIGKILL))
    error = failure(engine, long_jobs(world, folder)[name], on_progress=kill)
    assert error.kind == "memory" and "killed, perhaps because memory ran out" in str(error)
    assert bool(kill.staged) == (name != "train")  # a model is staged only when it is trained
    assert contents(folder) == EARLIER
    assert_next_job_works(engine, world, tmp_path / "next")


@pytest.mark.parametrize(
    ("name", "words", "lives_on"),
    [
        ("train", "Reading labels", True),
        ("train", "Training", True),
        ("classify", "Classifying", True),
        ("attribution", "Looking for data", True),
        ("attribution", "Explaining", True),
    ],
)
def test_cancelled_in_mid_job_within_two_seconds(engine, world, tmp_path, name, words, lives_on):
    folder = with_earlier_outputs(tmp_path / "out")
    engine.run(small_job(world, tmp_path))
    pid, reached = engine.pid, WhenAtWork(folder, words=(words,))
    job = long_jobs(world, folder)[name]
    error = failure(engine, job, on_progress=reached, is_cancelled=lambda: reached.since is not None)
    seconds = time.monotonic() - reached.since
    print(f"{name}, {words}: cancelled in {seconds:.2f} s")
    assert error.kind == "cancelled" and seconds < 2.0
    assert contents(folder) == EARLIER
    assert_next_job_works(engine, world, tmp_path / "next")
    assert engine.pid == pid or not lives_on


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk (root on Linux)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave nothing free on the folder's disk."""
    with open(folder / "full", "wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


def filled_disk_jobs(world: World, disk: Path) -> dict[str, Job]:
    """Jobs of seconds, so that there is time to fill the disk; their outputs fit on it while it is empty."""
    jobs = long_jobs(world, disk)
    x_min, y_max = 5e5, 5e6
    extent = [x_min, y_max - 30 * 300, x_min + 30 * 300, y_max]
    return {
        "train": replace(jobs["train"], epochs=100, test_share=0.9, compare_splits=False),
        "classify": replace(jobs["classify"], probabilities=str(disk / "p.tif"), extent=extent),
        "attribution": replace(jobs["attribution"], explainer="saliency", extent=extent),
    }


@pytest.mark.parametrize("name", ["classify", "attribution"])
def test_too_small_a_disk_is_told_before_any_work(engine, world, small_disk, tmp_path, name):
    at_work = WhenAtWork(small_disk)
    error = failure(engine, long_jobs(world, small_disk)[name], on_progress=at_work)
    assert error.kind == "input" and at_work.since is None
    assert f"The disk of the folder {small_disk} has 8.4 MB free" in str(error)
    assert contents(small_disk) == {}
    assert_next_job_works(engine, world, tmp_path / "next")


@pytest.mark.parametrize("name", ["train", "classify", "attribution"])
def test_a_disk_that_fills_while_the_job_works_leaves_nothing(engine, world, small_disk, tmp_path, name):
    filling = WhenAtWork(small_disk, lambda: fill(small_disk))
    error = failure(engine, filled_disk_jobs(world, small_disk)[name], on_progress=filling)
    assert filling.since is not None
    assert error.kind == "input" and str(small_disk) in str(error) and "full" in str(error)
    assert os.listdir(small_disk) == ["full"]
    assert_next_job_works(engine, world, tmp_path / "next")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_told_where_no_disk_can_be_mounted(world, tmp_path, monkeypatch):
    def save_on_a_full_disk(path, *arguments):
        Path(path).touch()
        with open("/dev/full", "wb") as file:
            file.write(b"weights")

    monkeypatch.setattr(train_classifier, "save_model", save_on_a_full_disk)
    folder = with_earlier_outputs(tmp_path / "out")
    job = replace(filled_disk_jobs(world, folder)["train"], epochs=1)
    with pytest.raises(InputError, match="full") as caught:
        train_classifier.train(job, Context("1", lambda message: None))
    assert str(folder) in str(caught.value)
    assert contents(folder) == EARLIER


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"scene": "/nowhere/scene.tif"}, "/nowhere/scene.tif"),
        ({"extent": [0.0, 0.0, 1.0, 1.0]}, "extent"),
        ({"explainer": "lime"}, "There is no explainer 'lime'"),
    ],
)
def test_bad_input_leaves_the_engine_alive(engine, world, tmp_path, change, sentence):
    engine.run(small_job(world, tmp_path))
    pid = engine.pid
    folder = with_earlier_outputs(tmp_path / "out")
    job = replace(long_jobs(world, folder)["attribution"], **change)
    error = failure(engine, job)
    assert error.kind == "input" and sentence in str(error)
    assert contents(folder) == EARLIER
    assert_next_job_works(engine, world, tmp_path / "next")
    assert engine.pid == pid


def test_every_job_has_a_worker_that_imports():
    # "fake" is the job of the tests of the engine, where they run in the same process.
    assert set(REGISTRY) == set(JOBS) - {"fake"}
    for place in REGISTRY.values():
        module, _, function = place.partition(":")
        assert callable(getattr(importlib.import_module(module, "explanation_layers.workflows"), function))
