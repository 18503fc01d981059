"""Models, cards and reports of scene classifiers hold figures that can be checked."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from explanation_layers.rasters.chips import chips_of_folder
from explanation_layers.rasters.errors import Cancelled
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.train_scene_classifier import train

from .conftest import CHIPS, CLASSES, SIDE, model_of, speckle, write


def test_figures_are_those_of_the_written_model_on_the_test_chips(job, chips, context, tmp_path) -> None:
    generator = np.random.default_rng(7)
    for kind, name in enumerate(CLASSES):
        for number in range(3 + kind):
            write(tmp_path / "test" / name / f"{number}.tif", speckle(generator, kind, SIDE + 4))
    value = train(replace(job, test_patches=str(tmp_path / "test"), epochs=4), context)
    test = chips_of_folder(str(tmp_path / "test"), SIDE)
    with torch.no_grad():
        network = model_of(job.model).network
        predicted = network(torch.from_numpy(test.read(range(len(test))))).flatten(1).argmax(1).numpy()
    confusion = np.zeros((3, 3), dtype=int)
    np.add.at(confusion, (test.classes, predicted), 1)
    table = value["tables"]["CONFUSION"]
    names = [column["name"] for column in table["columns"]]
    assert names == ["band", "reference", *(f"predicted_{i}" for i in (1, 2, 3)), "chips", "recall",
                     "precision", "f1"]  # fmt: skip
    assert [row[0] for row in table["rows"]] == ["all"] * 3
    assert [row[1] for row in table["rows"]] == ["field", "ship", "town"] == list(test.names)
    assert [row[2:5] for row in table["rows"]] == confusion.tolist()
    assert [row[5] for row in table["rows"]] == [4, 3, 5]
    hits = np.diag(confusion)
    assert value["numbers"]["OVERALL_ACCURACY"] == pytest.approx(hits.sum() / 12) and hits.sum() > 8
    assert value["numbers"]["BALANCED_ACCURACY"] == pytest.approx((hits / (4, 3, 5)).mean())
    assert model_of(job.model).card.training["split"] == "given"
    json.dumps(value, allow_nan=False)


def test_the_card_tells_what_was_done(job, context) -> None:
    value = train(replace(job, seed=3, label_name="kind", speckle_filter="lee", looks=4.0), context)
    model = model_of(job.model)
    card = model.card
    assert card.options == {
        "bands": 2, "classes": 3, "patch_size": SIDE, "values": "power", "speckle_filter": "lee",
        "looks": 4.0,
    }  # fmt: skip
    assert [(band.name, band.used) for band in card.bands] == [("S1 VV", True), ("S1 VH", True)]
    training = card.training
    assert training["seed"] == 3 and training["label_name"] == "kind" and training["split"] == "random"
    assert training["train_chips"] == dict.fromkeys(("field", "ship", "town"), 10)
    assert training["test_chips"] == dict.fromkeys(("field", "ship", "town"), 4)
    assert training["settings"]["schedule"] == "cosine" and set(training["software"]) == {"torch", "monai"}
    assert training["overall_accuracy"] == value["numbers"]["OVERALL_ACCURACY"]
    assert value["strings"] == {"MODEL": job.model, "MODELS": job.model}
    record = json.loads(Path(job.model).with_suffix(".json").read_text())
    assert record["model_digest"] == card.digest and record["training"] == training
    assert model.spectra.class_means.shape == (3, 2) and model.spectra.background.shape == (0, 2)


def test_limits_are_percentiles_of_the_training_chips_in_decibels(job, chips, context, tmp_path) -> None:
    test = {"test_patches": str(chips)}
    train(replace(job, **test), context)
    model = model_of(job.model)
    found = chips_of_folder(str(chips))
    values = found.read(range(len(found))).swapaxes(0, 1).reshape(2, -1)
    limits = np.percentile(10 * np.log10(np.maximum(values, 1e-5)), (1, 99), axis=1)
    assert torch.stack([model.network.low, model.network.high]).numpy() == pytest.approx(limits, abs=1e-4)
    assert model.spectra.mean.numpy() == pytest.approx(values.mean(1), rel=1e-5)
    by_class = found.read(range(CHIPS)).mean((0, 2, 3))  # the first class
    assert model.spectra.class_means[0].numpy() == pytest.approx(by_class, rel=1e-5)


def test_limits_can_be_given_for_all_bands_or_for_each(job, context) -> None:
    train(replace(job, clip=[-25.0, 5.0]), context)
    network = model_of(job.model).network
    assert network.low.tolist() == [-25, -25] and network.high.tolist() == [5, 5]
    value = train(replace(job, clip=[-25.0, 5.0, -32.0, 0.0], band="each"), context)
    paths = value["strings"]["MODELS"].split(";")
    assert [model_of(path).network.low.tolist() for path in paths] == [[-25], [-32]]
    assert [model_of(path).card.training["clip"] for path in paths] == ["given"] * 2


def test_each_band_gets_a_model_on_the_same_chips(job, context, tmp_path) -> None:
    report = tmp_path / "report.html"
    value = train(replace(job, band="each", epochs=5, report=str(report)), context)
    paths = value["strings"]["MODELS"].split(";")
    assert [Path(path).name for path in paths] == ["m_S1_VV.safetensors", "m_S1_VH.safetensors"]
    assert value["strings"]["MODEL"] == value["files"]["model"] == paths[0]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "m_S1_VH.json", "m_S1_VH.safetensors", "m_S1_VV.json", "m_S1_VV.safetensors", "report.html",
        "report.json",
    ]  # fmt: skip
    cards = [model_of(path).card for path in paths]
    assert [card.used_bands for card in cards] == [[0], [1]]
    rows = value["tables"]["CONFUSION"]["rows"]
    assert [row[0] for row in rows] == ["S1_VV"] * 3 + ["S1_VH"] * 3
    # What tells a town is in VV alone.
    accuracies = [card.training["overall_accuracy"] for card in cards]
    assert accuracies[0] > accuracies[1] and accuracies[0] == value["numbers"]["OVERALL_ACCURACY"]
    assert [entry["model_digest"] for entry in value["record"]["models"]] == [card.digest for card in cards]
    page = report.read_text("utf-8")
    for accuracy in accuracies:
        assert f"{100 * accuracy:.2f} %" in page
    assert "<script" not in page and page.count("<svg") == 2 and " dB" in page


def test_names_in_the_report_are_text_not_markup(job, chips, context, tmp_path) -> None:
    (chips / "town").rename(chips / "<i>town")
    train(replace(job, report=str(tmp_path / "report.html")), context)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "&lt;i&gt;town" in page and "<i>" not in page
    assert "drawn at random from each class." in page and not re.search(r"(src|href)\s*=|url\(", page)


@pytest.mark.parametrize("band", ["2", "s1 vh", "VH"])
def test_a_band_by_number_name_or_polarisation(job, context, band) -> None:
    train(replace(job, band=band), context)
    assert model_of(job.model).card.used_bands == [1]


def test_equal_jobs_give_equal_bytes(job, context, tmp_path) -> None:
    other = replace(job, model=str(tmp_path / "other.safetensors"))
    for each in (job, other):
        train(each, context)
    assert Path(job.model).read_bytes() == Path(other.model).read_bytes()


def test_progress_tells_epoch_and_loss(job) -> None:
    messages: list[dict] = []
    train(replace(job, epochs=2), Context("job", messages.append))
    texts = [message["text"] for message in messages if message["type"] in ("progress", "log")]
    assert any(re.fullmatch(r"Training resnet18, epoch 1 of 2, loss \d\.\d{4}", text) for text in texts)
    shares = [message["fraction"] for message in messages if message["type"] == "progress"]
    assert shares == sorted(shares)


def test_cancel_stops_within_two_seconds_and_leaves_nothing(job, tmp_path) -> None:
    before = sorted(tmp_path.iterdir())
    moments: list[float] = []

    def send(message: dict) -> None:
        if "epoch 1 of" in message.get("text", "") and not moments:
            moments.append(time.monotonic())
            context.cancel()

    context = Context("job", send)
    with pytest.raises(Cancelled):
        train(replace(job, epochs=1000), context)
    assert time.monotonic() - moments[0] < 2 and sorted(tmp_path.iterdir()) == before
