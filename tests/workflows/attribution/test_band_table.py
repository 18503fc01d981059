"""The band table sums up the maps by predicted class, with maps or alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from explanation_layers.engine.jobs import ClassifyJob
from explanation_layers.explainers.registry import PIXEL_EXPLAINERS
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.rasters.scene import open_scene
from explanation_layers.workflows.classify import classify

from .conftest import extent_of, quiet, records


@pytest.mark.parametrize("name", ["integrated_gradients", "saliency"])
def test_the_band_table_sums_up_the_raster_by_predicted_class(site, run, tmp_path: Path, name: str) -> None:
    extent = extent_of(site, 8, 4, 30, 24)
    made = run(explainer=name, extent=extent)
    classes = str(tmp_path / "classes.tif")
    classify(ClassifyJob(site.scene, made.job.model, extent=extent, classes=classes), quiet())
    with rasterio.open(classes) as dataset:
        predicted = dataset.read(1)
    names = load_model(made.job.model, PIXEL_CLASSIFICATION).card.class_names
    rows = records(made.result["tables"]["BAND_TABLE"])
    present = [number for number in range(1, len(names) + 1) if (predicted == number).any()]
    assert len(present) > 2 and len(rows) == len(present) * (site.bands - 1)
    absolute_of = {
        number: np.abs(made.attribution[:, predicted == number]).mean(axis=1) for number in present
    }
    wavelengths = open_scene(site.scene).wavelengths_nm
    for row in rows:
        number = names.index(row["class"]) + 1
        values = made.attribution[row["band"] - 1, predicted == number].astype(float)
        absolute = absolute_of[number]
        assert row["pixels"] == row["percentile_pixels"] == len(values)
        assert row["wavelength_nm"] == wavelengths[row["band"] - 1]
        assert row["mean"] == pytest.approx(values.mean(), rel=1e-5, abs=1e-9)
        assert row["mean_absolute"] == pytest.approx(np.abs(values).mean(), rel=1e-5)
        assert row["share"] == pytest.approx(absolute[row["band"] - 1] / np.nansum(absolute), rel=1e-4)
        low, high = np.quantile(values, [0.1, 0.9])
        assert row["percentile_10"] == pytest.approx(low, rel=1e-4, abs=1e-7)
        assert row["percentile_90"] == pytest.approx(high, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("architecture", ["spectral_cnn", "hybrid_cnn"])
@pytest.mark.parametrize("name", PIXEL_EXPLAINERS)
def test_the_table_alone_is_the_table_of_the_maps(site, run, tmp_path, architecture: str, name: str) -> None:
    sides = (20, 12) if architecture == "spectral_cnn" else (10, 4)
    options = {"explainer": name, "architecture": architecture, "extent": extent_of(site, 14, 14, *sides)}
    full = run(**options)
    before = set(tmp_path.iterdir())
    alone = run(**options, attribution=None, saliency=None, table_only=True)
    assert set(tmp_path.iterdir()) == before
    assert alone.result["files"] == {}
    assert alone.result["numbers"]["PIXELS"] == full.result["numbers"]["PIXELS"]
    ours, theirs = (records(made.result["tables"]["BAND_TABLE"]) for made in (alone, full))
    assert len(ours) == len(theirs)
    scale = max(abs(row["mean"]) for row in theirs)
    sizes = max(row["mean_absolute"] for row in theirs)
    for mine, its in zip(ours, theirs, strict=True):
        assert (mine["class"], mine["band"], mine["pixels"]) == (its["class"], its["band"], its["pixels"])
        # Sums of many pixels are of the first level, as settled as most pixels are with it.
        limit = 0.03 if (name, architecture) == ("integrated_gradients", "hybrid_cnn") else 1e-5
        assert mine["mean"] == pytest.approx(its["mean"], abs=limit * scale)
        # A table alone may take these from a sample of the pixels.
        assert mine["mean_absolute"] == pytest.approx(its["mean_absolute"], rel=0.15, abs=0.01 * sizes)
        for percentile in ("percentile_10", "percentile_90"):
            assert mine[percentile] == pytest.approx(its[percentile], rel=0.15, abs=0.15 * sizes)
