"""comparesensors on two sensors whose evidence is known: shares, accuracy, what is claimed, and bad input."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio

from explanation_layers.engine.jobs import ClassifyJob, CompareSensorsJob, job_from_dict
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.rasters.scene import open_scene
from explanation_layers.rasters.simulate import SCENE_KINDS
from explanation_layers.workflows.classify import classify
from explanation_layers.workflows.compare_sensors import compare
from explanation_layers.workflows.context import Context

PAIR = ("both or neither", "one of the two")


def rows_of(table: dict) -> list[SimpleNamespace]:
    names = [column["name"].replace("class", "class_name") for column in table["columns"]]
    return [SimpleNamespace(**dict(zip(names, row))) for row in table["rows"]]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, copy_raster: Callable) -> SimpleNamespace:
    """The scene of 64 pixels, labels on half of them, and its truth."""
    folder = tmp_path_factory.mktemp("dual")
    files = SCENE_KINDS["dual_sensor"](str(folder), 64, 1, "job", lambda share: None)
    with rasterio.open(files["label_raster"]) as dataset:
        classes = dataset.read()
    kept = np.random.default_rng(0).random(classes.shape) < 0.5
    labels = copy_raster(files["label_raster"], folder / "few.tif", np.where(kept, classes, 0))
    Path(labels + ".aux.xml").write_bytes(Path(files["label_raster"] + ".aux.xml").read_bytes())
    truth = json.loads(Path(files["truth"]).read_text())
    return SimpleNamespace(**files, few=labels, known=truth)


def job_on(planted: SimpleNamespace, **options: object) -> CompareSensorsJob:
    job = CompareSensorsJob(
        scenes=(planted.raster,), sensor_bands=planted.known["sensor_bands"], label_raster=planted.few
    )
    return replace(job, **options)


@pytest.fixture(scope="module")
def compared(planted: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The result of a comparison with two networks of each kind, and its files."""
    folder = tmp_path_factory.mktemp("compared")
    paths = {
        "shares_raster": str(folder / "shares.tif"), "report": str(folder / "report.html"),
        "model_folder": str(folder / "models"),
    }  # fmt: skip
    job = job_on(planted, epochs=14, seeds=2, sample=60, **paths)
    messages: list[dict] = []
    value = compare(job, Context("compare", messages.append))
    return SimpleNamespace(value=value, job=job, folder=folder, messages=messages, **value["tables"])


def given(compared: SimpleNamespace, *names: str) -> tuple[str, ...]:
    return tuple(str(compared.folder / "models" / f"{name}.safetensors") for name in names)


def test_shares_point_to_the_sensor_of_each_class(compared, planted) -> None:
    shares = {(row.class_name, row.sensor): row for row in rows_of(compared.SHARES)}
    for entry in planted.known["classes"]:
        own = [shares[entry["name"], sensor] for sensor in entry["sensors"]]
        assert own[0].pixels == 60 and own[0].seeds == 2
        if len(own) == 1:
            # Of one sensor: most of the attribution and of the Shapley values, beyond the interval's end.
            assert own[0].share_low > 0.6 and own[0].shapley_share_low > 0.75
            assert own[0].share_per_band > 0.6 and own[0].share_per_nm > 0.5
        else:
            # Of both: a quarter at least of each.
            assert min(row.share for row in own) > 0.25 and min(row.shapley_share for row in own) > 0.25
    for name in {row.class_name for row in shares.values()}:
        both = [shares[name, sensor] for sensor in ("VNIR", "SWIR")]
        for kind in ("share", "share_per_band", "share_per_nm", "shapley_share"):
            assert sum(getattr(row, kind) for row in both) == pytest.approx(1)
        for row in both:
            assert row.share_low <= row.share <= row.share_high
            assert row.shapley_low <= row.shapley <= row.shapley_high
    assert shares["(all)", "VNIR"].pixels == 480 and shares["(all)", "VNIR"].bands == 72


def test_only_both_sensors_tell_the_pair_apart(compared, planted) -> None:
    figures = {(row.network, row.class_name): row for row in rows_of(compared.ACCURACY)}
    joint = "VNIR + SWIR"
    for entry in planted.known["classes"]:
        name = entry["name"]
        assert figures[joint, name].f1 > 0.9
        for sensor in ("VNIR", "SWIR"):
            if entry["sensors"] == [sensor]:
                assert figures[sensor, name].f1 > 0.9
                assert figures[f"{joint}, {sensor} at its mean", name].accuracy < 0.1
            else:
                assert figures[sensor, name].f1 < 0.7
    for sensor in ("VNIR", "SWIR"):
        # Guessing between the two is right in half of what is seen to be one of them.
        assert np.mean([figures[sensor, name].accuracy for name in PAIR]) < 0.55
        assert figures[sensor, "(all)"].mcnemar_3 < 1e-10 > figures[joint, "(all)"].mcnemar_1
    overall = figures[joint, "(all)"]
    assert overall.accuracy_low <= overall.accuracy <= overall.accuracy_high
    assert overall.kappa == pytest.approx(overall.accuracy, abs=0.02) and overall.mcnemar_3 is None
    numbers = compared.value["numbers"]
    assert numbers["OVERALL_ACCURACY"] == overall.accuracy
    assert numbers["ACCURACY_GAIN"] == overall.accuracy - numbers["BEST_SINGLE_ACCURACY"] > 0.3


def test_explanations_add_up(compared) -> None:
    record = compared.value["record"]
    assert record["shapley_values_off_by"] < 1e-9
    assert record["mean_residual"] < 0.01
    assert record["pixels"] == 480 and record["job"]["kind"] == "compare_sensors"
    assert [entry["name"] for entry in record["networks"]] == ["VNIR", "SWIR", "VNIR + SWIR"]
    assert record["sensors"][1]["bands"] == list(range(73, 159))


def test_the_raster_shows_each_pixel_s_sensor(compared, planted) -> None:
    with rasterio.open(compared.job.shares_raster) as dataset, rasterio.open(planted.label_raster) as labels:
        shares, classes = dataset.read(), labels.read(1)
        assert dataset.descriptions == ("share of VNIR", "share of SWIR")
    assert np.array_equal(np.isfinite(shares[0]), classes > 0)
    np.testing.assert_allclose(shares.sum(0)[classes > 0], 1, rtol=1e-5)
    table = {(row.class_name, row.sensor): row.share for row in rows_of(compared.SHARES)}
    for entry in planted.known["classes"]:
        mean = shares[0][classes == entry["id"]].mean()
        assert mean == pytest.approx(table[entry["name"], "VNIR"], abs=0.15)
        if len(entry["sensors"]) == 1:
            assert (mean > 0.5) == (entry["sensors"] == ["VNIR"])
    assert Path(compared.job.shares_raster).with_suffix(".qml").exists()


def test_changes_are_claimed_beyond_the_floor_alone(compared) -> None:
    rows = rows_of(compared.CORRELATION)
    assert len(rows) == 8 * 2 * 4
    for row in rows:
        assert (row.pairs, row.floor_pairs) == (4, 2) and row.network == row.sensor
        beyond = row.low > row.floor if row.metric == "wasserstein_nm" else row.high < row.floor
        assert row.changed == ("yes" if beyond else "no")
        assert (row.gained is None) == (row.lost is None) == (not beyond)
        assert (row.chance is not None) == (row.metric == "jaccard")
        assert row.low <= row.high
    claimed = {(row.class_name, row.sensor) for row in rows if row.changed == "yes"}
    assert compared.value["numbers"]["CHANGES"] == len(claimed)
    # Of a class of one sensor the same bands stay on top; what the other's network sees is no evidence.
    jaccard = {(r.class_name, r.sensor): r.value for r in rows if r.metric == "jaccard"}
    assert jaccard["chlorophyll", "VNIR"] > 0.5 > jaccard["chlorophyll", "SWIR"]


def test_the_report_says_what_the_tables_say(compared) -> None:
    page = Path(compared.job.report).read_text()
    assert "Sensors compared: VNIR, SWIR" in page and "McNemar p against VNIR" in page
    shares = next(
        row for row in rows_of(compared.SHARES) if row.class_name == "clay" and row.sensor == "SWIR"
    )
    assert f"{100 * shares.share:.1f} % ({100 * shares.share_low:.1f} to" in page
    assert page.count("<polyline") == 8 * 4  # a class has a curve of each sensor, and two of both
    assert "<script" not in page
    for name in ("shares", "report", "models"):
        assert (compared.folder / f"{name}.json").exists()


def test_progress_tells_what_is_done(compared) -> None:
    texts = [message["text"] for message in compared.messages if message["type"] == "progress"]
    for start in ("Training VNIR, 1 of 2", "Training VNIR + SWIR, 2 of 2", "Explaining", "Mapping shares"):
        assert any(text.startswith(start) for text in texts), start


def test_given_models_give_the_same_shares_and_others_without_labels(compared, planted, context) -> None:
    names = [f"{kind}_{number}" for kind in ("VNIR", "SWIR", "VNIR_SWIR") for number in (1, 2)]
    job = job_on(planted, models=given(compared, *names), sample=60, label_raster=None)
    value = compare(job, context)
    assert "ACCURACY" not in value["tables"] and value["numbers"]["OVERALL_ACCURACY"] is None
    shares = {(row.class_name, row.sensor): row.share for row in rows_of(value["tables"]["SHARES"])}
    before = {(row.class_name, row.sensor): row.share for row in rows_of(compared.SHARES)}
    assert all(shares[key] == pytest.approx(before[key], abs=0.12) for key in before)
    again = compare(job, context)
    assert again["tables"] == value["tables"]


def test_labels_judge_given_models_and_one_network_of_each_claims_nothing(compared, planted, context) -> None:
    job = job_on(planted, models=given(compared, "VNIR_1", "VNIR_SWIR_1"), sample=20)
    value = compare(job, context)
    assert any("Accuracy is that on all LABELS" in text for text in value["warnings"])
    assert any("no change is claimed" in text for text in value["warnings"])
    assert {row.changed for row in rows_of(value["tables"]["CORRELATION"])} == {"unknown"}
    networks = [row.network for row in rows_of(value["tables"]["ACCURACY"]) if row.class_name == "(all)"]
    assert networks[:2] == ["VNIR", "VNIR + SWIR"] and len(networks) == 4


def test_two_rasters_are_the_stack(compared, planted, context, tmp_path) -> None:
    models = given(compared, "VNIR_1", "SWIR_1", "VNIR_SWIR_1")
    stacked = compare(job_on(planted, models=models, sample=12), context)
    for resampling in ("nearest", "average"):
        job = CompareSensorsJob(
            scenes=(planted.vnir, planted.swir), models=models, sample=12, resampling=resampling,
            label_raster=planted.few,
        )  # fmt: skip
        value = compare(job, context)
        for name in ("SHARES", "ACCURACY", "CORRELATION"):
            for one, other in zip(value["tables"][name]["rows"], stacked["tables"][name]["rows"]):
                numbers = [(a, b) for a, b in zip(one, other) if isinstance(a, float)]
                assert [a for a, _ in numbers] == pytest.approx([b for _, b in numbers])
        assert rows_of(value["tables"]["SHARES"])[0].sensor == "vnir"
    coarse = replace(job, grid="coarsest", shares_raster=str(tmp_path / "coarse.tif"), label_raster=None)
    value = compare(replace(coarse, extent=[361_020, 5_814_790, 361_220, 5_814_990]), context)
    with rasterio.open(tmp_path / "coarse.tif") as dataset:
        assert (dataset.shape, dataset.transform.a) == ((10, 10), 20)
    shares = {(row.class_name, row.sensor): row.share for row in rows_of(value["tables"]["SHARES"])}
    single = {entry["name"]: entry["sensors"][0].lower() for entry in planted.known["classes"][:6]}
    found = [shares[name, sensor] for name, sensor in single.items() if (name, sensor) in shares]
    assert len(found) >= 2 and min(found) > 0.5


def test_models_of_a_sensor_s_own_raster_fit(compared, planted, context, tmp_path) -> None:
    """A model that was trained on vnir.tif alone is the network of the VNIR of the stack."""
    from explanation_layers.engine.jobs import TrainClassifierJob
    from explanation_layers.workflows.train_classifier import train

    own = str(tmp_path / "own.safetensors")
    train(
        TrainClassifierJob(planted.vnir, own, label_raster=planted.few, epochs=2, compare_splits=False),
        context,
    )
    job = job_on(
        planted, models=(own, *given(compared, "VNIR_1", "VNIR_SWIR_1")), sample=10, label_raster=None
    )
    value = compare(job, context)
    assert [len(entry["digests"]) for entry in value["record"]["networks"]] == [2, 1]


def test_trained_models_classify_the_stack(compared, planted, context, tmp_path) -> None:
    (path,) = given(compared, "VNIR_1")
    card = load_model(path, PIXEL_CLASSIFICATION).card
    assert card.used_bands == list(range(72)) and len(card.bands) == 158
    assert card.training["seed"] == 0
    classify(ClassifyJob(planted.raster, path, classes=str(tmp_path / "classes.tif")), context)
    assert open_scene(str(tmp_path / "classes.tif")).grid.width == 64


def test_three_sensors(planted, context) -> None:
    job = job_on(
        planted, sensor_bands="VNIR:420-990 nm; SWIR1:1000-1900nm; SWIR2:1.9-2.5 um", epochs=1, seeds=1,
        sample=4,
    )  # fmt: skip
    value = compare(job, context)
    shares = rows_of(value["tables"]["SHARES"])
    assert [row.sensor for row in shares[:3]] == ["VNIR", "SWIR1", "SWIR2"]
    assert sum(row.shapley_share for row in shares[:3]) == pytest.approx(1)
    assert value["record"]["shapley_values_off_by"] < 1e-9
    networks = [entry["name"] for entry in value["record"]["networks"]]
    assert networks == ["VNIR", "SWIR1", "SWIR2", "VNIR + SWIR1 + SWIR2"]


def test_patches_and_normalisation_per_pixel(planted, context, tmp_path) -> None:
    job = job_on(
        planted, architecture="spatial_cnn", patch_size=5, normalisation="per_pixel", epochs=1, seeds=1,
        sample=4, extent=[361_100, 5_814_600, 361_300, 5_814_800],
        shares_raster=str(tmp_path / "shares.tif"),
    )  # fmt: skip
    value = compare(job, context)
    assert value["record"]["shapley_values_off_by"] < 1e-9 and value["record"]["mean_residual"] < 0.02
    with rasterio.open(tmp_path / "shares.tif") as dataset:
        assert dataset.shape == (20, 20)
        np.testing.assert_allclose(dataset.read().sum(0), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sensor_bands": "VNIR:1-80; SWIR:73-158"}, "Band 73 is VNIR's and SWIR's"),
        ({"sensor_bands": "VNIR:1-72; SWIR:73-160"}, "has bands 1 to 158"),
        ({"sensor_bands": "VNIR:1-72; SWIR:"}, "The sensor SWIR has no bands"),
        ({"sensor_bands": ""}, "SENSOR_BANDS is missing"),
        ({"label_raster": None}, "Neither MODELS nor LABELS"),
        ({"seeds": 0}, "number of seeds can't be 0"),
        ({"sample": 0}, "number of pixels to explain can't be 0"),
        ({"architecture": "unet"}, "no architecture 'unet'; choose one of spectral_cnn"),
        ({"epochs": 0}, "number of epochs can't be 0"),
        ({"sensor_bands": ";".join(f"s{i}:{i}" for i in range(1, 10))}, "9 sensors are too many"),
        ({"extent": [0.0, 0.0, 1.0, 1.0]}, "lies outside the raster"),
        ({"memory_mb": 1}, "take . MB, more than the 1 MB"),
    ],
)
def test_what_cannot_be_compared_is_told(planted, context, options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        compare(job_on(planted, epochs=options.pop("epochs", 1), **options), context)


@pytest.mark.parametrize(
    ("names", "bands", "sentence"),
    [
        (["VNIR_1"], None, "Fewer than two models"),
        (["VNIR_1", "VNIR_2"], None, "All models read the same sensors"),
        (
            ["VNIR_1", "SWIR_1"],
            None,
            r"No model reads all sensors that the others read \(the largest lacks VNIR",
        ),
        (["VNIR_1", "VNIR_SWIR_1"], "A:1-60; B:73-158", "reads band 61 of .*, which is no sensor's"),
    ],
)
def test_models_that_cannot_be_compared_are_told(
    compared, planted, context, names: list[str], bands: str | None, sentence: str
) -> None:
    job = job_on(planted, models=given(compared, *names))
    with pytest.raises(InputError, match=sentence):
        compare(replace(job, sensor_bands=bands or job.sensor_bands), context)


def test_models_of_other_bands_or_classes_are_told(
    compared, planted, demo, spectral_model, unet, context
) -> None:
    job = job_on(planted, models=(*given(compared, "VNIR_SWIR_1"), spectral_model))
    with pytest.raises(InputError, match=r"reads 167 bands, which are neither .* \(VNIR 72, SWIR 86\)"):
        compare(job, context)
    other = CompareSensorsJob(
        scenes=(demo.raster,), sensor_bands="A:1-80; B:81-167", models=(spectral_model, spectral_model)
    )
    with pytest.raises(InputError, match="All models read the same sensors"):
        compare(other, context)
    with pytest.raises(InputError, match="is a U-Net; give classifiers"):
        compare(replace(job, models=(unet, spectral_model)), context)


def test_a_class_without_pixels_is_named(planted, context, copy_raster, tmp_path) -> None:
    """All labels of a class lie where a sensor has no data."""
    with rasterio.open(planted.few) as dataset:
        classes = dataset.read()
    with rasterio.open(planted.raster) as dataset:
        values = dataset.read()
    values[80][classes[0] == 5] = -32768
    holes = copy_raster(planted.raster, tmp_path / "holes.tif", values)
    with pytest.raises(InputError, match="No pixel of clay has data in all sensors"):
        compare(job_on(planted, scenes=(holes,), epochs=1), context)


def test_an_extent_without_a_class_says_so(compared, planted, context) -> None:
    x, y = 361_020.0, 5_814_990.0
    job = job_on(
        planted, models=given(compared, "VNIR_1", "VNIR_SWIR_1"), label_raster=None, sample=20,
        extent=[x, y - 60, x + 60, y],
    )  # fmt: skip
    warnings = compare(job, context)["warnings"]
    assert any("is there to explain; the tables do not tell of it" in text for text in warnings)


def test_cancel_stops_every_stage_within_two_seconds(compared, planted, tmp_path) -> None:
    models = given(compared, "VNIR_1", "SWIR_1", "VNIR_SWIR_1")
    trained = job_on(planted, report=str(tmp_path / "report.html"))
    mapped = replace(trained, models=models, sample=40, shares_raster=str(tmp_path / "shares.tif"))
    for job, start in ((trained, "Training VNIR"), (mapped, "Explaining"), (mapped, "Mapping"),
                       (mapped, "Comparing")):  # fmt: skip
        asked: list[float] = []
        context = Context("cancel", lambda message: None)

        def watch(message: dict, context: Context = context, start: str = start, asked: list = asked) -> None:
            if message.get("text", "").startswith(start) and not asked:
                asked.append(time.monotonic())
                context.cancel()

        context._send = watch
        with pytest.raises(Cancelled):
            compare(job, context)
        assert time.monotonic() - asked[0] < 2
        assert list(tmp_path.iterdir()) == []


def test_the_job_crosses_the_bridge(planted) -> None:
    job = job_on(planted, extent=[1.0, 2.0, 3.0, 4.0], models=("a", "b"))
    assert job_from_dict(json.loads(json.dumps(job.to_dict()))) == job
