"""Features of a model explained on the way are those of its attribution raster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from explanation_layers.engine.absorption_jobs import AbsorptionFeaturesJob
from explanation_layers.engine.jobs import AttributionJob
from explanation_layers.rasters.absorption_table import load_table, match
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.scene import open_scene
from explanation_layers.workflows.absorption_features import find_features
from explanation_layers.workflows.attribution import explain

from .conftest import quiet, records


def middle(demo: SimpleNamespace, side: int = 20) -> list[float]:
    grid = open_scene(demo.raster).grid
    left, top = grid.transform * (16, 16)
    right, bottom = grid.transform * (16 + side, 16 + side)
    return [left, bottom, right, top]


@pytest.mark.parametrize("name", ["spectral_model", "hybrid_model"])
def test_on_the_way_is_as_from_the_raster(
    request: pytest.FixtureRequest, demo: SimpleNamespace, tmp_path: Path, name: str
) -> None:
    model, extent = request.getfixturevalue(name), middle(demo, 12)
    path, saliency = str(tmp_path / "a.tif"), None
    asked = AttributionJob(demo.raster, model, explainer="deeplift", extent=extent, attribution=path,
                           saliency=saliency)  # fmt: skip
    share = explain(asked, quiet())["record"]["absorption_share"]
    job = AbsorptionFeaturesJob(
        scene=demo.raster, model=model, explainer="deeplift", extent=extent, shifts=200,
        dominant=str(tmp_path / "d.tif"),
    )  # fmt: skip
    ours = find_features(job, quiet())
    theirs = find_features(replace(job, attribution=path, dominant=str(tmp_path / "e.tif")), quiet())
    assert ours["record"]["baseline"] == "continuum"
    for mine, its in zip(records(ours, "FEATURES"), records(theirs, "FEATURES"), strict=True):
        assert (mine["feature"], mine["bands"]) == (its["feature"], its["bands"])
        assert mine["share"] == pytest.approx(its["share"], rel=1e-4)
    for row in records(ours, "OVERLAP"):
        assert row["absorption_share"] == pytest.approx(share[row["class"]], rel=1e-4)
    with rasterio.open(tmp_path / "d.tif") as one, rasterio.open(tmp_path / "e.tif") as other:
        np.testing.assert_array_equal(one.read(1), other.read(1))


def test_labels_choose_the_pixels_that_are_explained(
    demo: SimpleNamespace, spectral_model: str, tmp_path: Path
) -> None:
    job = AbsorptionFeaturesJob(
        scene=demo.raster, model=spectral_model, class_raster=demo.label_raster, explainer="deeplift",
        extent=middle(demo), shifts=200,
    )  # fmt: skip
    result = find_features(job, quiet())
    with rasterio.open(demo.label_raster) as dataset:
        numbers = dataset.read(1, window=Window(16, 16, 20, 20))
    counts = {row["class"]: row["pixels"] for row in records(result, "OVERLAP")}
    assert sorted(counts.values()) == sorted(np.unique(numbers[numbers > 0], return_counts=True)[1].tolist())
    table = load_table()
    planted = {name: match(centre, table).name for name, centre in (("clay", 2200), ("plastic", 1725))}
    for name, feature in planted.items():
        if name in counts:
            rows = [row for row in records(result, "FEATURES") if row["class"] == name]
            assert feature in {row["feature"] for row in rows}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"explainer": "saliency"}, "explainer 'saliency' can't be used here; choose one of integrated"),
        ({"baseline": "black"}, "There is no baseline 'black'"),
        ({"extent": [0.0, 0.0, 1.0, 1.0]}, "lies outside the raster"),
    ],
)
def test_what_can_not_be_explained_is_told(
    demo: SimpleNamespace, spectral_model: str, change: dict, sentence: str
) -> None:
    job = AbsorptionFeaturesJob(scene=demo.raster, model=spectral_model)
    with pytest.raises(InputError, match=sentence):
        find_features(replace(job, **change), quiet())


def test_a_segmentation_network_is_sent_to_attribution(street: str, unet: str) -> None:
    with pytest.raises(InputError, match="give its maps, ATTRIBUTION"):
        find_features(AbsorptionFeaturesJob(scene=street, model=unet), quiet())
