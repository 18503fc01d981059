"""Which chips a scene classifier learns from: of scenes, split by blocks, without nodata, as warned of."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine

from explanation_layers.rasters.errors import InputError
from explanation_layers.workflows.train_scene_classifier import train

from .conftest import CHIPS, SIDE, model_of, speckle, write


def test_points_of_a_scene_are_split_by_blocks_without_overlap(job, scene, points, context) -> None:
    places = [(row, col, "dark" if col < 100 else "bright") for row in range(20, 190, 25)
              for col in (20, 45, 140, 170)]  # fmt: skip
    job = replace(job, patches=None, scene=scene, label_features=points(*places), patch_size=SIDE)
    value = train(job, context)
    training = model_of(job.model).card.training
    assert training["split"] == "blocks" and training["block_size"] > 0
    assert training["test_chips_that_overlap_training"] == 0
    assert sum(training["train_chips"].values()) + sum(training["test_chips"].values()) == len(places)
    assert not [text for text in value["warnings"] if "overlap" in text]


def test_chips_too_close_for_blocks_are_split_at_random_and_it_is_said(job, scene, points, context) -> None:
    places = [(50, 30 + i, "dark") for i in range(3)] + [(50, 160 + i, "bright") for i in range(3)]
    job = replace(job, patches=None, scene=scene, label_features=points(*places), patch_size=SIDE)
    value = train(job, context)
    training = model_of(job.model).card.training
    assert training["split"] == "random" and training["test_chips_that_overlap_training"] == 1
    assert any("too close together for blocks" in text for text in value["warnings"])
    assert any(text.startswith("100 % of the test chips overlap") for text in value["warnings"])


def test_a_class_raster_gives_chips(job, scene, context, tmp_path) -> None:
    classes = np.ones((1, 200, 200), dtype=np.uint8)
    classes[:, :, 100:] = 2
    write(tmp_path / "classes.tif", classes, crs="EPSG:32633", transform=Affine(10, 0, 5e5, 0, -10, 5e6))
    job = replace(job, patches=None, scene=scene, label_raster=str(tmp_path / "classes.tif"), patch_size=SIDE)
    train(job, context)
    training = model_of(job.model).card.training
    assert sum(training["train_chips"].values()) + sum(training["test_chips"].values()) == 100
    assert training["test_chips_that_overlap_training"] == 0


def test_chips_without_data_are_left_out_and_others_filled(job, chips, context) -> None:
    generator = np.random.default_rng(9)
    for number, rows in ((0, 15), (1, 5)):
        values = speckle(generator, 0)
        values[1, :rows] = np.nan
        write(chips / "ship" / f"{number:02}.tif", values)
    value = train(job, context)
    assert "1 chip(s) are mostly nodata and are left out: ship/00.tif." in value["warnings"]
    training = model_of(job.model).card.training
    assert training["train_chips"]["ship"] + training["test_chips"]["ship"] == CHIPS - 1
    assert all(tensor.isfinite().all() for tensor in model_of(job.model).network.state_dict().values())


@pytest.mark.parametrize("values", ["power", "as_is"])
def test_constant_chips_make_a_warning_and_no_nan(job, chips, context, values) -> None:
    for path in chips.rglob("*.tif"):
        write(path, np.zeros((2, SIDE, SIDE), dtype=np.float32))
    value = train(replace(job, values=values), context)
    assert (
        f"{3 * CHIPS} chip(s) hold the same value everywhere in a band; check their files."
        in (value["warnings"])
    )
    state = model_of(job.model).network.state_dict()
    assert all(tensor.isfinite().all() for tensor in state.values())
    json.dumps(value, allow_nan=False)


def test_sizes_that_tell_the_class_and_few_chips_are_warned_of(job, chips, context) -> None:
    for path in sorted((chips / "town").iterdir()):
        write(path, speckle(np.random.default_rng(1), 2, SIDE + 10))
    value = train(replace(job, patch_size=SIDE - 4), context)
    sizes, few = value["warnings"]
    assert "field about 20 x 20, ship about 20 x 20, town about 30 x 30" in sizes
    assert sizes.endswith("only the middle 16 x 16 pixels are used.")
    assert few.startswith("Some classes have fewer than 10 test chips (field 4, ship 4, town 4)")
    assert value["record"]["warnings"] == value["warnings"]


def test_an_unreadable_file_is_named_and_skipped_on_request(job, chips, context) -> None:
    (chips / "ship" / "00.tif").write_bytes(b"no raster")
    with pytest.raises(InputError, match=r"00\.tif.*SKIP_UNREADABLE"):
        train(job, context)
    value = train(replace(job, skip_unreadable=True), context)
    assert any("ship/00.tif" in text for text in value["warnings"])
