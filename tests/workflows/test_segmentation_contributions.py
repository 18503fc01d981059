"""What a U-Net's last channels give, evidence for other classes, heat maps, and the audit of explainers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch

from explanation_layers.engine.jobs import SegmentationContributionsJob as Job
from explanation_layers.explainers.last_layer import features_of
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.scene import open_scene
from explanation_layers.workflows import segmentation_look
from explanation_layers.workflows.canvas import read_canvas_tile
from explanation_layers.workflows.segmentation_audit import METHODS
from explanation_layers.workflows.segmentation_contributions import contribute


@pytest.fixture
def run(context, tmp_path):
    def run(scene: str, model: str, **options: object) -> SimpleNamespace:
        paths = {name: str(tmp_path / f"{name}.tif") for name in ("contributions", "evidence", "cams")}
        value = contribute(
            Job(scene, model, **{"audit_pixels": 40, "samples": 2, **paths, **options}), context
        )
        arrays, names = {}, {}
        for name in value["files"]:
            with rasterio.open(paths[name]) as dataset:
                arrays[name], names[name] = dataset.read(), dataset.descriptions
        return SimpleNamespace(**arrays, names=names, numbers=value["numbers"], record=value["record"],
                               tables={name: rows_of(table) for name, table in value["tables"].items()},
                               places=value["tables"]["WORST_PIXELS"]["places"])  # fmt: skip

    return run


def rows_of(table: dict) -> list[dict]:
    names = [column["name"] for column in table["columns"]]
    return [dict(zip(names, row)) for row in table["rows"]]


@pytest.fixture
def whole(street, unet) -> SimpleNamespace:
    """Features (channel, y, x) and logits (class, y, x) of the scene in one piece, and which pixels count."""
    model, scene = load_model(unet, PIXEL_CLASSIFICATION), open_scene(street)
    read = read_canvas_tile(scene, model.card, model.network, scene.grid.whole, model.spectra.mean)
    features, logits = features_of(model.network, read.values[None])
    return SimpleNamespace(
        network=model.network, valid=read.valid,
        features=features[0][:, *read.inner].numpy(), logits=logits[0][:, *read.inner].numpy(),
    )  # fmt: skip


@pytest.mark.parametrize("target", ["predicted", "class", "contrast"])
def test_channels_and_bias_are_the_output(run, whole, street, unet, target):
    found = run(
        street, unet, target=target, class_name="tree" if target == "class" else None, methods=("last_layer",)
    )
    ordered = np.sort(whole.logits, 0)
    wanted = {
        "predicted": ordered[-1], "class": whole.logits[2], "contrast": ordered[-1] - ordered[-2],
    }[target]  # fmt: skip
    np.testing.assert_allclose(found.contributions.sum(0)[whole.valid], wanted[whole.valid], atol=1e-5)
    assert np.isnan(found.contributions[:, ~whole.valid]).all()
    assert found.numbers["MAX_RESIDUAL"] < 1e-5 and found.numbers["PIXELS"] == whole.valid.sum()
    assert found.names["contributions"] == ("channel 1", "channel 2", "channel 3", "channel 4", "bias")


def test_class_means_are_those_of_the_true_classes(run, whole, street, unet, street_labels):
    found = run(street, unet, label_raster=street_labels, methods=("last_layer",))
    with rasterio.open(street_labels) as dataset:
        true = np.where(whole.valid, dataset.read(1).astype(int), 0)
    weight = whole.network.head.weight[:, :, 0, 0].numpy()
    for row in found.tables["CHANNELS"]:
        members = true == ["road", "sky", "tree"].index(row["true_class"]) + 1
        assert row["pixels"] == members.sum()
        if row["channel"]:
            activation = whole.features[row["channel"] - 1][members].mean(dtype=np.float64)
            number = ["road", "sky", "tree"].index(row["class"])
            assert row["mean_activation"] == pytest.approx(activation, rel=1e-4, abs=1e-6)
            share = weight[number, row["channel"] - 1] * activation
            assert row["mean_contribution"] == pytest.approx(share, rel=1e-4, abs=1e-6)


def test_evidence_for_other_classes(run, whole, street, unet, street_labels):
    found = run(street, unet, label_raster=street_labels, methods=("last_layer",))
    with rasterio.open(street_labels) as dataset:
        true = np.where(whole.valid, dataset.read(1).astype(int), 0)
    weight = whole.network.head.weight[:, :, 0, 0].numpy()
    speaks = np.einsum("ckyx->cyx", np.maximum(weight[:, :, None, None] * whole.features, 0))
    # Where nothing speaks for any class, no share does.
    shares = speaks / np.maximum(speaks.sum(0), 1e-30)
    for row in found.tables["EVIDENCE_TABLE"]:
        members = true == ["road", "sky", "tree"].index(row["true_class"]) + 1
        number = ["road", "sky", "tree"].index(row["class"])
        assert row["share"] == pytest.approx(shares[number][members].mean(), rel=1e-4)
    labelled = true > 0
    others = shares.sum(0) - np.take_along_axis(shares, np.maximum(true - 1, 0)[None], 0)[0]
    np.testing.assert_allclose(found.evidence[0][labelled], others[labelled], atol=1e-5)
    assert found.numbers["SPURIOUS_SHARE"] == pytest.approx(others[labelled].mean(), rel=1e-4)
    strongest = np.where(np.arange(3)[:, None, None] == true - 1, -1, shares).argmax(0) + 1
    np.testing.assert_array_equal(found.evidence[2][labelled], strongest[labelled])


def test_tiles_give_what_one_piece_gives(run, monkeypatch, street, unet, street_labels):
    one = run(street, unet, label_raster=street_labels, other_model=unet, methods=("last_layer",))
    monkeypatch.setattr(segmentation_look, "canvas_side", lambda *_: 32)
    other = run(street, unet, label_raster=street_labels, other_model=unet, methods=("last_layer",))
    for name in ("contributions", "evidence", "cams"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-5, err_msg=name)
    for name in ("CHANNELS", "EVIDENCE_TABLE"):
        for a, b in zip(one.tables[name], other.tables[name], strict=True):
            assert a.keys() == b.keys()
            for value, back in zip(a.values(), b.values()):
                close = isinstance(value, float) and value == pytest.approx(back, rel=1e-4, abs=1e-6)
                assert close or value == back


def test_heat_maps_of_the_last_features_have_their_closed_form(run, whole, street, unet):
    """Of the features, Seg-Grad-CAM's weights are the class's own times the share of its pixels."""
    found = run(street, unet, cam_layer="features", methods=("last_layer",))
    weight = whole.network.head.weight[:, :, 0, 0].numpy()
    predicted = np.where(whole.valid, whole.logits.argmax(0), -1)
    for number in range(3):
        full = np.einsum("k,kyx->yx", weight[number], whole.features)
        for place, share in ((number, (predicted == number).mean()), (3 + number, whole.valid.mean())):
            wanted = np.maximum(share * full, 0)
            np.testing.assert_allclose(found.cams[place][whole.valid], wanted[whole.valid], atol=1e-5)
    assert found.names["cams"][1] == "Seg-Grad-CAM sky" and found.names["cams"][3] == "Grad-CAM road"


@pytest.fixture
def audited(run, street, unet, street_labels) -> SimpleNamespace:
    return run(street, unet, label_raster=street_labels, methods=METHODS, audit_errors=10, steps=20)


def test_the_audit_grades_exact_methods_a_and_heat_maps_c(audited):
    grades = {row["method"]: row["grade"] for row in audited.tables["AUDIT"]}
    exact = ("last_layer", "secant_contributions", "tangent_contributions", "band_shapley")
    assert {name: grades[name] for name in exact} == dict.fromkeys(exact, "A")
    assert grades["seg_grad_cam"] == grades["grad_cam"] == grades["input_x_gradient"] == "C"
    assert grades["integrated_gradients"] in "AB"
    rows = {row["method"]: row for row in audited.tables["AUDIT"]}
    assert rows["secant_contributions"]["largest"] < 1e-4
    assert 45 <= rows["secant_contributions"]["pixels"] <= 50
    assert rows["seg_grad_cam"]["leakage"] > 0.01 and rows["integrated_gradients"]["leakage"] == 0
    assert all(row["seconds"] > 0 for row in rows.values())
    assert audited.record["grades"] == grades


def test_the_worst_pixels_lie_where_they_are(audited, street, whole):
    assert len(audited.places) == len(audited.tables["WORST_PIXELS"]) == 10 * len(METHODS)
    with rasterio.open(street) as dataset:
        for place, row in zip(audited.places, audited.tables["WORST_PIXELS"]):
            assert dataset.index(*place) == (row["row"], row["column"])
            assert row["output"] == pytest.approx(
                whole.logits[:, row["row"], row["column"]].max(), rel=1e-4, abs=1e-6
            )
            assert row["residual"] == pytest.approx(row["output"] - row["parts"] - row["reference"], abs=1e-6)
    ranks = [
        row["relative_residual"] for row in audited.tables["WORST_PIXELS"] if row["method"] == "grad_cam"
    ]
    assert ranks == sorted(ranks, reverse=True)


def test_channels_of_two_models(run, street, unet, save_unet):
    other = save_unet(seed=5, filters=6)
    rows = run(street, unet, other_model=other, methods=("last_layer",)).tables["CORRELATION"]
    assert [row["model"] for row in rows] == ["MODEL"] * 4 + ["OTHER_MODEL"] * 6
    matched = {(row["channel"], row["partner"]) for row in rows if row["model"] == "MODEL" and row["partner"]}
    back = {(row["partner"], row["channel"]) for row in rows if row["model"] != "MODEL" and row["partner"]}
    assert matched == back and len(matched) <= 4
    assert all(row["kind"] == "unique" for row in rows if row["largest"] is not None and row["largest"] < 0.3)
    same = run(street, unet, other_model=unet, methods=("last_layer",)).tables["CORRELATION"]
    assert all(
        row["partner"] == row["channel"] and row["correlation"] == pytest.approx(1)
        for row in same if row["kind"] != "constant"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"methods": ("lime",)}, "There is no method 'lime'"),
        ({"methods": ()}, "No method"),
        ({"cam_layer": "top"}, "There is no layer 'top'"),
        ({"audit_pixels": 0}, "audited pixels"),
        ({"target": "class"}, "needs a class"),
        ({"extent": [0, 0, 1, 1]}, "extent"),
    ],
)
def test_what_can_not_be_is_said_before_any_work(run, tmp_path, street, unet, options, sentence):
    with pytest.raises(InputError, match=sentence):
        run(street, unet, **options)
    assert not list(tmp_path.iterdir())


def test_other_networks_are_refused_by_name(run, tmp_path, demo, spectral_model):
    with pytest.raises(InputError, match="is a spectral_cnn; choose a U-Net here"):
        run(demo.raster, spectral_model)
    assert not list(tmp_path.iterdir())


def test_labels_of_other_classes_are_named(run, street, unet, demo, copy_raster, tmp_path_factory):
    labels = str(tmp_path_factory.mktemp("other") / "other.tif")
    with rasterio.open(street) as dataset:
        profile = {**dataset.profile, "count": 1, "dtype": "uint8", "nodata": 0}
    with rasterio.open(labels, "w", **profile) as dataset:
        dataset.write(np.ones((1, *torch.Size((61, 74))), dtype=np.uint8))
    with pytest.raises(InputError, match="does not know the class 'class 1'"):
        run(street, unet, label_raster=labels)
