"""What can't be evaluated is refused in a sentence before any work."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from explanation_layers.engine.jobs import EvaluateExplainersJob
from explanation_layers.rasters.errors import InputError
from explanation_layers.workflows.evaluate_explainers import evaluate

from .conftest import CLASSES, SIDE, context_of, write_chip

BAD = {
    "unknown explainer": ({"explainers": ["lime"]}, "There is no explainer 'lime'; choose some of saliency"),
    "twice": ({"explainers": ["saliency", "saliency"]}, "The explainer 'saliency' is there twice"),
    "none": ({"explainers": []}, "There is no explainer to judge"),
    "no model": ({"models": []}, "There is no model"),
    "not served": ({"explainers": ["deeplift"]}, "can't explain a scene classifier; choose one of saliency"),
    "no chips": ({"patches": None}, "Chips come from the folder PATCHES, or from the scene"),
    "both": ({"scene": "a.tif"}, "choose one of the two"),
    "no labels": ({"patches": None, "scene": "a.tif"}, "There are no labels"),
    "labels": ({"label_features": "a.geojson"}, "LABELS belong to a scene"),
    "folder": ({"patches": "/nowhere"}, "There is no folder /nowhere"),
    "mask": ({"mask_features": "a.geojson"}, "go with a scene; PATCHES take a folder, MASKS"),
    "layer": ({"layer": "layer9"}, "There is no layer 'layer9'; choose one of layer1"),
    "baseline": ({"baseline": "spectrum"}, "There is no baseline 'spectrum' here; choose one of zero"),
    "radius": ({"radius": 0.0}, "The radius can't be 0.0"),
    "share": ({"bright_share": 1.0}, "The bright share 1.0 is not between 0 and 1"),
    "samples": ({"samples": 0}, "The number of samples can't be 0; choose 1 or more"),
    "masks": ({"masks": "/nowhere"}, "There is no folder /nowhere; choose the folder of the masks"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case: str, job: EvaluateExplainersJob, tmp_path: Path) -> None:
    changes, sentence = BAD[case]
    report = tmp_path / "report.html"
    with pytest.raises(InputError, match=re.escape(sentence)):
        evaluate(replace(job, report=str(report), **changes), context_of())
    assert list(tmp_path.iterdir()) == []


def test_masks_that_are_missing_or_of_another_size(
    job: EvaluateExplainersJob, chips: SimpleNamespace, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"holds no mask for \w+/\d.tif, .* sub-folders"):
        evaluate(replace(job, masks=str(tmp_path)), context_of())
    for name in CLASSES:
        for number in range(4):
            write_chip(tmp_path / name / f"{number}.tif", np.ones((1, 9, 9), np.uint8))
    with pytest.raises(InputError, match=r"has 9 x 9 pixels and its chip 20 x 20; both need the same size"):
        evaluate(replace(job, masks=str(tmp_path)), context_of())


def test_classes_that_the_model_does_not_know(job: EvaluateExplainersJob, tmp_path: Path) -> None:
    write_chip(tmp_path / "sea" / "a.tif", np.zeros((2, SIDE, SIDE), np.float32))
    with pytest.raises(InputError, match="does not know the class 'sea' of the labels; its classes"):
        evaluate(replace(job, patches=str(tmp_path)), context_of())


def test_models_that_do_not_go_together(
    job: EvaluateExplainersJob, spectral_model: str, save_chip_model: Callable
) -> None:
    with pytest.raises(InputError, match="classify scenes and others pixels"):
        evaluate(replace(job, models=[*job.models, spectral_model]), context_of())
    with pytest.raises(InputError, match="classifies pixels; choose a scene"):
        evaluate(replace(job, models=[spectral_model]), context_of())
    with pytest.raises(InputError, match="Band 1 of .* is VV, the model's is VH"):
        evaluate(replace(job, models=[save_chip_model(names=("VH", "VV"))]), context_of())
