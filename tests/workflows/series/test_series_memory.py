"""Memory and time do not grow with the raster: jobs on a series of 100,000 x 100,000 pixels."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

from explanation_layers.engine.client import Engine, EngineError
from explanation_layers.engine.jobs import (
    AttributionJob,
    ClassifyJob,
    ClusterSeriesJob,
    GradSlamJob,
    SeriesSource,
    TrainAutoencoderJob,
    TrainClassifierJob,
)
from explanation_layers.rasters.wavelengths import Band

pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="reads the peak of memory from Linux's /proc"
)

SIDE, DATES, TEXTURE, GIGABYTE = 100_000, 40, 512, 1e9
WEST, NORTH, PIXEL = 300_000, 5_800_000, 1
_SOURCE = """<SimpleSource><SourceFilename relativeToVRT="1">texture.tif</SourceFilename>
<SourceBand>{band}</SourceBand><SrcRect xOff="0" yOff="0" xSize="{texture}" ySize="{texture}"/>
<DstRect xOff="0" yOff="0" xSize="{side}" ySize="{side}"/></SimpleSource>"""
_BAND = (
    """<VRTRasterBand dataType="Float32" band="{band}"><Description>{name}</Description>
<NoDataValue>nan</NoDataValue>"""
    + _SOURCE
    + "</VRTRasterBand>"
)


@pytest.fixture(scope="module")
def huge(tmp_path_factory) -> SeriesSource:
    """A virtual raster of 40 dates and 2 channels, one small texture stretched over all of it."""
    folder = tmp_path_factory.mktemp("huge_series")
    values = np.random.default_rng(3).gamma(10, 0.01, (2 * DATES, TEXTURE, TEXTURE)).astype(np.float32)
    profile = {"driver": "GTiff", "count": len(values), "width": TEXTURE, "height": TEXTURE}
    georeference = {"crs": "EPSG:32633", "transform": Affine(PIXEL, 0, WEST, 0, -PIXEL, NORTH)}
    with rasterio.open(
        folder / "texture.tif", "w", dtype="float32", tiled=True, **profile, **georeference
    ) as file:
        file.write(values)
    days = np.datetime64("2017-01-03") + 6 * np.arange(DATES)
    names = [Band(f"{day} {channel}").name for day in days for channel in ("VV", "VH")]
    bands = "\n".join(
        _BAND.format(band=band, name=name, side=SIDE, texture=TEXTURE) for band, name in enumerate(names, 1)
    )
    (folder / "huge.vrt").write_text(
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><SRS>EPSG:32633</SRS>'
        f"<GeoTransform>{WEST}, {PIXEL}, 0, {NORTH}, 0, -{PIXEL}</GeoTransform>\n{bands}</VRTDataset>"
    )
    return SeriesSource((str(folder / "huge.vrt"),))


def peak_bytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return 1024.0 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def run(job) -> tuple[dict, float]:
    """Return the result of a job in a fresh engine and that engine's peak."""
    engine = Engine(sys.executable)
    try:
        started = time.monotonic()
        result = engine.run(job)
        peak = peak_bytes(engine.pid)
        print(f"{job.KIND}: {peak / GIGABYTE:.3f} GB, {time.monotonic() - started:.1f} s")
        return result, peak
    finally:
        engine.stop()


@pytest.mark.slow
def test_a_huge_series_is_learnt_clustered_and_explained_within_2_gb(huge, tmp_path):
    model = str(tmp_path / "model.safetensors")
    _, peak = run(TrainAutoencoderJob(series=huge, model=model, values="power", sample=4000, epochs=1))
    assert peak < 2 * GIGABYTE
    peaks = []
    for rows in (128, 256):
        extent = [WEST + 61_000, NORTH - 72_000 - rows, WEST + 61_000 + 256, NORTH - 72_000]
        names = {
            name: str(tmp_path / f"{name}{rows}.tif") for name in ("date_importance", "signed", "top_date")
        }
        result, peak = run(GradSlamJob(series=huge, model=model, extent=extent, **names))
        assert result["numbers"]["PIXELS"] == 256 * rows
        peaks.append(peak)
        with rasterio.open(names["signed"]) as dataset:
            assert (dataset.width, dataset.height, dataset.count) == (256, rows, 2 * DATES)
    assert max(peaks) < 2 * GIGABYTE
    assert peaks[1] < 1.1 * peaks[0] + 0.1 * GIGABYTE
    job = ClusterSeriesJob(
        series=huge, model=model, clusters=4, sample=4000, extent=extent,
        clusters_raster=str(tmp_path / "clusters.tif"),
    )  # fmt: skip
    assert run(job)[1] < 2 * GIGABYTE


@pytest.fixture(scope="module")
def classifier(huge, tmp_path_factory) -> str:
    """A classifier of the huge series, of points of two classes that lie a raster apart."""
    folder = tmp_path_factory.mktemp("huge_classifier")
    places = np.random.default_rng(5).integers(0, SIDE, (60, 2)).tolist()
    points = [
        {"type": "Feature", "properties": {"class": "ab"[number % 2]},
         "geometry": {"type": "Point", "coordinates": [WEST + x + 0.5, NORTH - y - 0.5]}}
        for number, (x, y) in enumerate(places)
    ]  # fmt: skip
    labels, model = folder / "points.geojson", str(folder / "model.safetensors")
    labels.write_text(json.dumps({"type": "FeatureCollection", "features": points}))
    job = TrainClassifierJob(
        None, model, series=huge, values="power", label_features=str(labels), split="random", epochs=1,
        compare_splits=False,
    )  # fmt: skip
    assert run(job)[1] < 2 * GIGABYTE
    return model


@pytest.mark.slow
def test_a_huge_series_is_classified_within_2_gb(huge, classifier, tmp_path):
    peaks = []
    for rows in (128, 256):
        extent = [WEST + 61_000, NORTH - 72_000 - rows, WEST + 61_000 + 256, NORTH - 72_000]
        out = str(tmp_path / f"classes{rows}.tif")
        result, peak = run(ClassifyJob(None, classifier, series=huge, classes=out, extent=extent))
        assert result["numbers"]["PIXELS"] == 256 * rows
        peaks.append(peak)
    assert max(peaks) < 2 * GIGABYTE
    assert peaks[1] < 1.1 * peaks[0] + 0.1 * GIGABYTE


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classify", "attribution"])
def test_a_classifier_of_a_whole_huge_series_stops_at_once(huge, classifier, tmp_path, kind):
    out = str(tmp_path / "out.tif")
    job = {
        "classify": ClassifyJob(None, classifier, series=huge, classes=out),
        "attribution": AttributionJob(None, classifier, series=huge, table_only=True),
    }[kind]
    stops_at_once(job, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["train", "cluster", "explain"])
def test_a_whole_huge_series_starts_and_stops_at_once(huge, tmp_path, kind):
    model = str(tmp_path / "model.safetensors")
    training = TrainAutoencoderJob(series=huge, model=model, values="power", sample=4000, epochs=1)
    run(training)
    (tmp_path / "model.json").unlink()
    (tmp_path / "out").mkdir()
    out = str(tmp_path / "out" / "out.tif")
    job = {
        "train": TrainAutoencoderJob(
            series=huge, model=str(tmp_path / "out" / "m.safetensors"), values="power", epochs=10_000
        ),
        "cluster": ClusterSeriesJob(series=huge, model=model, sample=4000, clusters=3, clusters_raster=out),
        "explain": GradSlamJob(series=huge, model=model, top_date=out),
    }[kind]
    stops_at_once(job, tmp_path / "out")


def stops_at_once(job, folder: Path) -> None:
    """Cancel a job as soon as its work has begun: it stops within 2 s and leaves nothing in the folder."""
    engine, seen = Engine(sys.executable), {}

    def progress(fraction: float, text: str, seconds_left: float | None) -> None:
        if text.startswith(("Training, epoch", "Clustering tile", "Classifying tile", "Explaining, ")):
            seen.setdefault("cancel", time.monotonic())

    try:
        with pytest.raises(EngineError) as stopped:
            engine.run(job, progress, lambda level, text: None, lambda: "cancel" in seen)
        assert stopped.value.kind == "cancelled"
        assert time.monotonic() - seen["cancel"] < 2
        assert not list(folder.iterdir())
        assert peak_bytes(engine.pid) < 2 * GIGABYTE
    finally:
        engine.stop()
        torch.set_num_threads(1)
