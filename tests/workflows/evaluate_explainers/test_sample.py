"""The sample: chips of folders and scenes, their masks, classes in turns, without nodata."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import rasterio
import torch
from affine import Affine

from explanation_layers.engine.jobs import EvaluateExplainersJob
from explanation_layers.models.card import PIXEL_CLASSIFICATION, SCENE_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.workflows.evaluate_explainers import evaluate
from explanation_layers.workflows.evaluation_sample import Samples, in_turns

from .conftest import CLASSES, SIDE, context_of, table, write_chip


def test_chips_of_a_scene_with_polygons_as_mask(
    job: EvaluateExplainersJob, radar: str, tmp_path: Path
) -> None:
    transform = Affine(10, 0, 5e5, 0, -10, 5.8e6)
    points = [(40, 30), (20, 40), (60, 10), (8, 8)]
    labels = tmp_path / "labels.geojson"
    mask = tmp_path / "mask.geojson"
    write_features(labels, [{"type": "Point", "coordinates": list(transform * at)} for at in points])
    corners = [list(transform * at) for at in ((30, 20), (50, 20), (50, 28), (30, 28), (30, 20))]
    write_features(mask, [{"type": "Polygon", "coordinates": [corners]}])
    job = replace(job, patches=None, scene=radar, label_features=str(labels), mask_features=str(mask))
    row = table(evaluate(job, context_of()))[0]
    # One chip holds the mask in part; unlabelled chips have no accuracy.
    assert row["chips"] == 4 and row["accuracy"] is None
    assert row["mass_in_mask"] is not None and row["mass_in_mask_low"] is None


def write_features(path: Path, geometries: list[dict]) -> None:
    features = [{"type": "Feature", "properties": {}, "geometry": geometry} for geometry in geometries]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def test_masks_lie_on_the_middle_of_their_chips(
    job: EvaluateExplainersJob, chips: SimpleNamespace, chip_model: str
) -> None:
    model = load_model(chip_model, SCENE_CLASSIFICATION)
    sample = Samples(replace(job, chips=12, masks=chips.masks), context_of()).of(model, chip_model)
    assert sample.masks is not None and sample.masks.shape == (12, SIDE, SIDE)
    for name, mask in zip(sample.names, sample.masks):
        rows, cols = torch.nonzero(mask, as_tuple=True)
        top = 4 + CLASSES.index(name.split("/")[0])  # 2 pixels are cut on every side
        assert (int(rows.min()), int(rows.max()), int(cols.min()), int(cols.max())) == (top, top + 3, 3, 8)
    assert sample.classes.tolist() == [CLASSES.index(name.split("/")[0]) for name in sample.names]


def test_polygons_reach_the_patches_of_pixels(
    demo: SimpleNamespace, hybrid_model: str, tmp_path: Path
) -> None:
    with rasterio.open(demo.raster) as dataset:
        corners = [(0, 0), (3, 0), (3, 60), (0, 60), (0, 0)]
        corners = [list(dataset.transform * corner) for corner in corners]
    write_features(tmp_path / "mask.geojson", [{"type": "Polygon", "coordinates": [corners]}])
    job = EvaluateExplainersJob(
        models=[hybrid_model], explainers=["saliency"], scene=demo.raster, label_raster=demo.label_raster,
        mask_features=str(tmp_path / "mask.geojson"), chips=2000,
    )  # fmt: skip
    model = load_model(hybrid_model, PIXEL_CLASSIFICATION)
    sample = Samples(job, context_of()).of(model, hybrid_model)
    assert sample.masks is not None
    cols = torch.tensor([int(name.rpartition(" ")[2]) for name in sample.names])
    # Column c of a patch is column (where the scene ends: mirrored) of the scene; 0 to 2 are in the mask.
    across = (cols[:, None] + torch.arange(-4, 5)).abs()
    assert torch.equal(sample.masks, (across < 3)[:, None, :].expand(-1, 9, -1))
    assert sample.masks.any() and not sample.masks.all()


def test_classes_take_turns() -> None:
    classes = np.repeat([0, 1, 2], [50, 3, 10])
    drawn = in_turns(classes, 12, seed=0)
    assert len(set(drawn)) == 12
    assert classes[drawn].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 2, 0]
    assert not np.array_equal(drawn, in_turns(classes, 12, seed=1))
    assert sorted(in_turns(classes, 100, 0)) == list(range(63))


def test_chips_mostly_without_data_are_left_out(job: EvaluateExplainersJob, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    for number, name in enumerate(CLASSES):
        values = generator.normal(-12, 3, (2, SIDE, SIDE)).astype(np.float32)
        values[:, : 12 - 5 * number] = np.nan
        write_chip(tmp_path / "holes" / name / "a.tif", values, nodata=np.nan)
    context = context_of()
    rows = table(evaluate(replace(job, patches=str(tmp_path / "holes"), randomised_chips=0), context))
    assert rows[0]["chips"] == 2 and rows[0]["randomised_similarity"] is None
    assert "1 of 3 chips drawn are mostly nodata and are left out." in context.warnings
