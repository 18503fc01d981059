"""What can't be explained is refused in a sentence: fields, chips that do not fit, models of pixels."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from explanation_layers.engine.jobs import AttributionJob
from explanation_layers.rasters.errors import InputError
from explanation_layers.workflows.attribution import explain

from .conftest import PLACES, mask, polygon


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"patches": None, "scene": None}, r"the rasters SERIES or the chips in PATCHES; give one"),
        ({"scene": "scene.tif"}, r"the rasters SERIES or the chips in PATCHES; give one"),
        ({"explainer": "lime"}, r"There is no explainer 'lime'; choose one of saliency"),
        ({"explainer": "deeplift"}, r"The explainer 'deeplift' can't explain a scene classifier; choose one"),
        ({"target": "best"}, r"There is no target 'best'"),
        ({"target": "class"}, r"The target 'class' needs a class; choose one of field, forest, town"),
        ({"target": "class", "class_name": "sea"}, r"The model has no class 'sea'"),
        ({"baseline": "black"}, r"There is no baseline 'black'; choose one of zero, mean.*, speckle"),
        ({"baseline": "class_mean"}, r"The baseline 'class_mean' needs a class"),
        ({"baseline": "spectrum"}, r"The baseline 'spectrum' needs a spectrum"),
        ({"merge": "max"}, r"There is no merge 'max'"),
        ({"layer": "layer5"}, r"There is no layer 'layer5'; choose one of layer1, layer2, layer3, layer4"),
        ({"occlusion_stride": -1}, r"The occlusion stride can't be -1"),
        ({"device": "tpu"}, r"There is no device 'tpu'"),
        ({"patches": "/nowhere"}, r"There is no folder /nowhere"),
    ],
)
def test_what_can_not_be_is_one_sentence(
    folder_of_chips, chip_model, context, tmp_path, change, sentence
) -> None:
    out = str(tmp_path / "out")
    job = AttributionJob(None, chip_model, patches=folder_of_chips(PLACES), chip_folder=out)
    with pytest.raises(InputError, match=sentence) as caught:
        explain(replace(job, **change), context)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert not os.path.exists(out)


def test_chips_that_do_not_fit(folder_of_chips, radar, chip_model, save_chip_model, context, tmp_path):
    def refused(sentence: str, **fields: object) -> None:
        job = AttributionJob(**{"scene": None, "model": chip_model, "explainer": "saliency", **fields})
        with pytest.raises(InputError, match=sentence) as caught:
            explain(job, context)
        assert "PATCH_SIZE" not in str(caught.value)

    patches = folder_of_chips(PLACES)
    refused(r"field/a.tif is VV, the model's is HH", patches=patches, model=save_chip_model(("HH", "VH")))
    refused("has 2 bands, the model was trained on 1", patches=patches, model=save_chip_model(("VV",), (0,)))
    large = save_chip_model(patch_size=32)
    refused(r"has 20 x 18 pixels, which is smaller than a chip of 32 x 32; leave the file out", model=large,
            patches=patches)  # fmt: skip
    refused(r"speckle' needs values that are power, amplitude or decibels", patches=patches,
            model=save_chip_model(values="as_is"), baseline="speckle")  # fmt: skip
    refused("lies in PATCHES", patches=patches, chip_folder=os.path.join(patches, "out"))
    refused("lies in PATCHES", patches=patches, chip_folder=patches)
    refused("is an input of this job", patches=patches, saliency=os.path.join(patches, "town", "a.tif"))
    refused("CHIP_FOLDER takes a raster per chip of PATCHES", scene=radar, chip_folder=str(tmp_path / "out"))
    far = mask(tmp_path, polygon(30, 20, 46, 36, "town"))
    refused("mask has no chip inside the extent", scene=radar, mask_features=far,
            extent=[5e5, 5.8e6 - 100, 5e5 + 100, 5.8e6])  # fmt: skip
    broken = Path(patches) / "town" / "b.tif"
    broken.write_bytes(b"II*\0 cut short")
    refused(r"b.tif can't be opened as a raster.* SKIP_UNREADABLE", patches=patches)
    value = explain(AttributionJob(None, chip_model, patches=patches, skip_unreadable=True,
                                   explainer="saliency"), context)  # fmt: skip
    assert "can't be read and are left out: town/b.tif" in value["warnings"][0]
    assert value["numbers"]["CHIPS"] == 3


def test_pixel_classifiers_refuse_what_is_for_chips(demo, spectral_model, folder_of_chips, context, tmp_path):
    def refused(sentence: str, **fields: object) -> None:
        job = AttributionJob(**{"scene": demo.raster, "model": spectral_model, **fields})
        with pytest.raises(InputError, match=sentence):
            explain(job, context)

    refused("classifies pixels, not chips; give a raster", scene=None, patches=folder_of_chips(PLACES))
    refused("The baseline 'speckle' is for scene classifiers; choose one of zero", baseline="speckle")
    refused("'grad_cam' can't explain a pixel or patch classifier", explainer="grad_cam")
    refused("CHIP_FOLDER takes a raster per chip, and the model classifies", chip_folder=str(tmp_path / "o"))
