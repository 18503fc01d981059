"""What can't be trained on is refused in a sentence, and nothing is written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from explanation_layers.rasters.errors import InputError
from explanation_layers.workflows.train_scene_classifier import train

from .conftest import speckle, write


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"patches": None}, "either from the folder PATCHES or from the scene INPUT"),
        ({"scene": "/s.tif"}, "either from the folder PATCHES or from the scene INPUT"),
        ({"label_raster": "/l.tif"}, "the folder PATCHES tells the classes itself"),
        ({"patches": "/nowhere"}, "no folder /nowhere"),
        ({"architecture": "vgg"}, "no architecture 'vgg'; choose one of resnet18, resnet50, resnet101"),
        ({"values": "dn"}, "no kind of values 'dn'"),
        ({"augmentation": "mixup"}, "no augmentation 'mixup'"),
        ({"schedule": "cyclic"}, "no schedule 'cyclic'"),
        ({"speckle_filter": "frost"}, "no speckle filter 'frost'"),
        ({"patch_size": 8}, "patch size can't be 8; choose 16 or more"),
        ({"patch_size": -1}, "patch size can't be -1"),
        ({"patch_size": 64}, "20 x 20 pixels, which is smaller than a chip of 64 x 64"),
        ({"epochs": 0}, "number of epochs can't be 0"),
        ({"batch_size": 1}, "batch size can't be 1"),
        ({"test_share": 1.0}, "test share 1 is not between 0 and 1"),
        ({"looks": 0.0}, "number of looks 0 is not between"),
        ({"band": "HH"}, "no band 'HH'; choose by number, or by name: 1 S1 VV, 2 S1 VH"),
        ({"band": "3"}, "no band '3'"),
        ({"clip": [5.0, -25.0]}, "from 5 to -25; the first must be the smaller"),
        ({"clip": [1.0, 1.0]}, "from 1 to 1"),
        ({"clip": [1.0, 2.0, 3.0]}, r"3 number\(s\) for 2 band"),
        ({"clip": [0.0, float("nan")]}, "from 0 to nan"),
        ({"memory_mb": 0}, "take 0 MB, more than the 0 MB"),
        ({"device": "cuda"}, "no CUDA device"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(job, context, tmp_path, change, sentence) -> None:
    if change.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one here")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=sentence) as caught:
        train(replace(job, **change), context)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_folders_that_can_not_train(job, chips, context, tmp_path) -> None:
    for name in ("ship", "field"):
        (chips / name).rename(tmp_path / name)
    with pytest.raises(InputError, match="one class only, 'town'; two or more are needed"):
        train(job, context)
    with pytest.raises(InputError, match="no classes; two or more are needed in a sub-folder each"):
        train(replace(job, patches=str(chips / "town")), context)
    write(chips / "lone" / "1.tif", speckle(np.random.default_rng(0), 0))
    with pytest.raises(InputError, match="Class 'lone' has 1 chips with data; it needs 2 or more"):
        train(job, context)
    write(chips / "lone" / "2.tif", speckle(np.random.default_rng(0), 0, 30))
    with pytest.raises(InputError, match="set PATCH_SIZE to 20 or less"):
        train(job, context)


def test_test_chips_must_have_the_same_classes_and_bands(job, chips, context, tmp_path) -> None:
    test = tmp_path / "test"
    for name in ("ship", "field"):
        write(test / name / "1.tif", speckle(np.random.default_rng(0), 0)[:1])
    job = replace(job, test_patches=str(test))
    with pytest.raises(InputError, match="classes field, ship, those to train with field, ship, town"):
        train(job, context)
    write(test / "town" / "1.tif", speckle(np.random.default_rng(0), 0)[:1])
    with pytest.raises(InputError, match=r"have 1 band\(s\), those to train with 2"):
        train(job, context)


def test_a_scene_needs_labels_and_a_size(job, scene, points, context) -> None:
    job = replace(job, patches=None, scene=scene)
    with pytest.raises(InputError, match="There are no labels"):
        train(job, context)
    labelled = replace(job, label_features=points((50, 50, "a"), (90, 150, "b")))
    with pytest.raises(InputError, match="set PATCH_SIZE"):
        train(labelled, context)


def test_a_model_does_not_replace_a_chip(job, chips, context) -> None:
    with pytest.raises(InputError, match="is an input of this job"):
        train(replace(job, model=str(chips / "ship" / "00.tif")), context)
