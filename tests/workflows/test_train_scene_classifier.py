"""Training of scene classifiers: from chips to model files, with figures that can be checked."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

from explanation_layers.engine.jobs import TrainSceneClassifierJob
from explanation_layers.models.card import SCENE_CLASSIFICATION
from explanation_layers.models.files import Model, load_model
from explanation_layers.rasters.chips import chips_of_folder
from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.train_scene_classifier import train

SIDE, CHIPS = 20, 14
CLASSES = ("ship", "field", "town")


def speckle(generator: np.random.Generator, kind: int, side: int = SIDE) -> np.ndarray:
    """Power (band, y, x) of a chip: dark, bright, or with a bright spot in the first band only."""
    values = generator.gamma(4, 0.25, (2, side, side)) * (0.02, 0.3, 0.02)[kind]
    if kind == 2:
        values[0, 6:14, 6:14] += 2
    return values.astype(np.float32)


def write(path: Path, values: np.ndarray, **profile: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2]}
    with rasterio.open(path, "w", driver="GTiff", dtype=values.dtype, **shape, **profile) as dataset:
        dataset.write(values)
        for number, name in zip(dataset.indexes, ("S1 VV", "S1 VH")):
            dataset.set_band_description(number, name)


@pytest.fixture
def chips(tmp_path: Path) -> Path:
    """A folder of three classes of 14 chips each, power in VV and VH."""
    generator = np.random.default_rng(2)
    for kind, name in enumerate(CLASSES):
        for number in range(CHIPS):
            write(tmp_path / "chips" / name / f"{number:02}.tif", speckle(generator, kind))
    return tmp_path / "chips"


@pytest.fixture
def job(chips: Path, tmp_path: Path) -> TrainSceneClassifierJob:
    """A short training on that folder."""
    return TrainSceneClassifierJob(
        str(tmp_path / "m.safetensors"), patches=str(chips), values="power", epochs=1, batch_size=8,
        learning_rate=0.005,
    )  # fmt: skip


@pytest.fixture
def scene(tmp_path: Path) -> str:
    """A scene of 200 x 200 pixels whose left half is dark and right half bright."""
    values = np.random.default_rng(0).gamma(4, 0.25, (2, 200, 200)).astype(np.float32)
    values[:, :, :100] *= 0.02
    write(tmp_path / "scene.tif", values, crs="EPSG:32633", transform=Affine(10, 0, 5e5, 0, -10, 5e6))
    return str(tmp_path / "scene.tif")


@pytest.fixture
def points(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes points at pixels (row, col, class) of the scene."""

    def write_points(*places: tuple[int, int, str]) -> str:
        features = [
            {
                "type": "Feature",
                "properties": {"class": name},
                "geometry": {"type": "Point", "coordinates": [5e5 + 10 * col + 5, 5e6 - 10 * row - 5]},
            }
            for row, col, name in places
        ]
        path = tmp_path / "points.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return str(path)

    return write_points


def model_of(path: str) -> Model:
    return load_model(path, SCENE_CLASSIFICATION)


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
