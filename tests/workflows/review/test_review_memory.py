"""Memory and time of a review do not grow with the raster: errors on 100,000 x 100,000 pixels of 50 bands."""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np
import pytest

from explanation_layers.engine.client import Engine, EngineError
from explanation_layers.engine.jobs import MisclassificationsJob

from ..test_memory import ALLOCATOR, GIGABYTE, NORTH, PIXEL, SIDE, WEST, huge, peak_bytes, run

__all__ = ["huge"]  # the fixture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads the peak from Linux's /proc"),
]

POINTS = 500


def points(path, count: int, span: int) -> str:
    """Write points of six classes, spread over the first `span` rows and columns of the raster."""
    places = np.random.default_rng(5).integers(0, span, (count, 2)).tolist()
    features = [
        {"type": "Feature", "properties": {"class": f"class {number % 6 + 1}"},
         "geometry": {"type": "Point",
                      "coordinates": [WEST + (x + 0.5) * PIXEL, NORTH - (y + 0.5) * PIXEL]}}
        for number, (x, y) in enumerate(places)
    ]  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return str(path)


def test_a_review_of_scattered_points_takes_under_2_gb_however_far_apart_they_lie(huge, tmp_path):
    peaks = []
    for span in (SIDE // 100, SIDE):
        job = MisclassificationsJob(
            scene=huge.scene, model=huge.models["spectral_cnn"], explained=5,
            label_features=points(tmp_path / f"{span}.geojson", POINTS, span),
        )  # fmt: skip
        result, peak = run(job)
        # An untrained network is right by chance only.
        assert result["numbers"]["ERROR_COUNT"] > POINTS / 2
        peaks.append(peak)
    assert max(peaks) < 2 * GIGABYTE
    assert peaks[1] < 1.1 * peaks[0] + ALLOCATOR


def test_a_review_of_the_whole_raster_stops_in_two_seconds(huge, tmp_path):
    labels, out = points(tmp_path / "points.geojson", 4 * POINTS, SIDE), tmp_path / "out"
    out.mkdir()
    job = MisclassificationsJob(
        scene=huge.scene, model=huge.models["spectral_cnn"], label_features=labels,
        report=str(out / "report.html"),
    )  # fmt: skip
    engine, reached = Engine(sys.executable), []

    def at_work(fraction: float, text: str, seconds_left: float | None) -> None:
        if text.startswith("Comparing"):
            reached.append(time.monotonic())

    try:
        with pytest.raises(EngineError) as stopped:
            engine.run(job, at_work, is_cancelled=lambda: len(reached) >= 3)
        seconds = time.monotonic() - reached[2]
        print(f"stopped in {seconds:.2f} s")
        assert stopped.value.kind == "cancelled" and seconds < 2
        assert os.listdir(out) == []
        assert peak_bytes(engine.pid) < 2 * GIGABYTE
    finally:
        engine.stop()
