"""Evaluating explainers: sample, table, ranking, montage, report, and what is refused before any work."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import captum.attr as captum
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from captum.metrics import sensitivity_max
from PIL import Image

from explanation_layers.engine.jobs import EvaluateExplainersJob
from explanation_layers.explainers.scores.complexity import complexity
from explanation_layers.explainers.scores.sensitivity import uniform_copies
from explanation_layers.models.card import PIXEL_CLASSIFICATION, SCENE_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.rasters.errors import Cancelled, InputError
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.evaluate_explainers import evaluate
from explanation_layers.workflows.evaluation_metrics import METRICS
from explanation_layers.workflows.evaluation_sample import Samples, in_turns

SIDE = 16
CLASSES = ("field", "forest", "town")
EIGHT = ["saliency", "input_x_gradient", "integrated_gradients", "guided_backpropagation", "deconvolution",
         "grad_cam", "guided_grad_cam", "occlusion"]  # fmt: skip
FEW = ["saliency", "input_x_gradient"]


def write_chip(path: Path, values: np.ndarray, **profile: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2]}
    with rasterio.open(path, "w", driver="GTiff", dtype=values.dtype, **shape, **profile) as dataset:
        dataset.write(values)
        dataset.descriptions = ("VV", "VH")[: len(values)]


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A folder of 3 x 4 chips of 20 pixels in decibels with a bright square each, and masks of the square."""
    folder = tmp_path_factory.mktemp("chips")
    generator = np.random.default_rng(5)
    for kind, name in enumerate(CLASSES):
        for number in range(4):
            values = 10 * np.log10(generator.gamma(4, 0.25, (2, 20, 20))) - 12
            mask = np.zeros((1, 20, 20), np.uint8)
            mask[0, 6 + kind : 10 + kind, 5:11] = 1
            values += 9 * mask
            write_chip(folder / "chips" / name / f"{number}.tif", values.astype("float32"))
            write_chip(folder / "masks" / name / f"{number}.png.tif", mask)
            (folder / "masks" / name / f"{number}.png.tif").rename(folder / "masks" / name / f"{number}.img")
    return SimpleNamespace(patches=str(folder / "chips"), masks=str(folder / "masks"))


@pytest.fixture
def job(chips: SimpleNamespace, chip_model: str) -> EvaluateExplainersJob:
    """A small evaluation of two fast explainers."""
    return EvaluateExplainersJob(
        models=[chip_model], explainers=FEW, patches=chips.patches, chips=5, samples=2, steps=4,
        occlusion_window=6, occlusion_stride=5, randomised_chips=2, layer="layer1",
    )  # fmt: skip


def table(value: dict) -> list[dict]:
    names = [column["name"] for column in value["tables"]["METRICS"]["columns"]]
    assert len(set(names)) == len(names)
    return [dict(zip(names, row, strict=True)) for row in value["tables"]["METRICS"]["rows"]]


def context_of(messages: list | None = None) -> Context:
    return Context("test", (messages if messages is not None else []).append)


class Page(HTMLParser):
    """Collects the tags and what they refer to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]


def test_the_eight_of_the_study(job: EvaluateExplainersJob, chips: SimpleNamespace, tmp_path: Path) -> None:
    messages: list[dict] = []
    job = replace(
        job, explainers=EIGHT, masks=chips.masks, montage=str(tmp_path / "montage.png"),
        report=str(tmp_path / "report.html"),
    )  # fmt: skip
    value = evaluate(job, context_of(messages))
    rows = table(value)
    assert [row["explainer"] for row in rows] == EIGHT
    for row in rows:
        defined = [metric.name for metric in METRICS if row[metric.name] is not None]
        missing = {metric.name for metric in METRICS} - set(defined)
        assert missing <= {"residual"}
        assert ("residual" in defined) == (row["explainer"] in ("input_x_gradient", "integrated_gradients"))
        # Below two chips there is no interval; some maps of a network that knows nothing are zero.
        known = [name for name in defined if row[f"{name}_low"] is not None]
        assert known and all(row[f"{name}_low"] <= row[name] <= row[f"{name}_high"] for name in known)
        assert all(-1 <= row[f"similarity_{stage}"] <= 1 for stage in ("fc", "layer4", "layer1", "conv1"))
        assert 0 <= row["deletion"] <= 1 and 0 <= row["mass_in_mask"] <= 1 and row["seconds_per_chip"] > 0
        assert (row["chips"], row["layer"]) == (5, "layer1") and row["zero_maps"] < 5
        assert row["radius_db"] == pytest.approx(0.02 * 30)
        assert row["bands"] == "VV, VH" and 0 <= row["accuracy"] <= 1
    assert min(row["place"] for row in rows) == 1
    fractions = [m["fraction"] for m in messages if m["type"] == "progress"]
    assert fractions == sorted(fractions) and all(m["text"] for m in messages if m["type"] == "progress")
    _check_files(job, value)


def _check_files(job: EvaluateExplainersJob, value: dict) -> None:
    with Image.open(job.montage or "") as picture:
        assert picture.format == "PNG" and picture.size[0] > 1000
    text = Path(job.report or "").read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags and "link" not in page.tags and "@media print" in text
    assert page.links and all(link.startswith("data:image/png;base64,") for link in page.links)
    for words in (
        "Klotz",
        "0.4528",
        "Guided Grad-CAM",
        "down to conv1",
        "Not separable from",
        "&#34;seed&#34;",
    ):
        assert words in text
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text)
    for path in (job.montage, job.report):
        record = json.loads(Path(path or "").with_suffix(".json").read_text())
        assert record["protocol"]["sensitivity"]["norm"].startswith("Frobenius")
        assert record["protocol"]["png_encoder"].startswith("Pillow")
        assert len(record["ranking"]) == 8 and record["models"][0]["radius_in_decibels"] == [0.6, 0.6]
    assert value["files"] == {"montage": job.montage, "report": job.report}


def test_scores_are_those_of_the_sample_drawn(job: EvaluateExplainersJob, chip_model: str) -> None:
    row = table(evaluate(job, context_of()))[0]
    model = load_model(chip_model, SCENE_CLASSIFICATION)
    sample = Samples(job, context_of()).of(model, chip_model)
    x = model.network.prepare(sample.raw)
    target = model.network.logits(x).flatten(1).argmax(1)
    saliency = captum.Saliency(lambda values: model.network.logits(values).flatten(1))

    def explain(values: torch.Tensor | tuple, target: torch.Tensor) -> tuple[torch.Tensor]:
        values = values[0] if isinstance(values, tuple) else values
        return (saliency.attribute(values.clone().requires_grad_(), target=target).contiguous(),)

    copies = uniform_copies(x, job.radius, job.samples, job.seed, sample.keys)
    stored = torch.cat([piece for number in range(len(x)) for piece in copies(number)])
    theirs = sensitivity_max(
        explain, x, perturb_func=lambda inputs: stored, n_perturb_samples=job.samples, target=target
    )
    assert row["max_sensitivity"] == pytest.approx(float(theirs.mean()), rel=1e-4)
    maps = explain(x, target)[0]
    sizes = [complexity(values, False).gray_kb for values in maps]
    assert row["png_kb"] == pytest.approx(np.mean(sizes), rel=0.01)
    assert row["accuracy"] == pytest.approx(np.mean(target.numpy() == sample.classes))


def test_the_seed_decides(job: EvaluateExplainersJob) -> None:
    def scores(seed: int) -> list[dict]:
        rows = table(evaluate(replace(job, seed=seed), context_of()))
        return [{name: each for name, each in row.items() if name != "seconds_per_chip"} for row in rows]

    assert scores(3) == scores(3)
    assert scores(3) != scores(4)


def test_models_of_two_polarisations_share_a_table(
    job: EvaluateExplainersJob, save_chip_model: Callable, tmp_path: Path
) -> None:
    models = [save_chip_model(used=(0,)), save_chip_model(used=(1,))]
    job = replace(job, models=models, report=str(tmp_path / "r.html"), montage=str(tmp_path / "m.png"))
    value = evaluate(job, context_of())
    rows = table(value)
    assert [(row["bands"], row["explainer"]) for row in rows] == [
        (band, name) for band in ("VV", "VH") for name in FEW
    ]
    assert len({row["model"] for row in rows}) == 2
    assert rows[0]["max_sensitivity"] != rows[2]["max_sensitivity"]
    assert len(value["record"]["ranking"]) == 2
    assert "Ranking over all models" in Path(job.report or "").read_text()
    with Image.open(io.BytesIO(Path(job.montage or "").read_bytes())) as picture:
        assert picture.size[1] > 3 * picture.size[0] / 2


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


@pytest.mark.parametrize("kind", ["spectral", "hybrid"])
def test_pixel_classifiers(
    kind: str, demo: SimpleNamespace, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model = request.getfixturevalue(f"{kind}_model")
    names = ["saliency", "integrated_gradients", "guided_backpropagation", "deeplift", "gradient_shap",
             "occlusion"]  # fmt: skip
    job = EvaluateExplainersJob(
        models=[model], explainers=names, scene=demo.raster, label_raster=demo.label_raster, chips=6,
        samples=2, steps=8, randomised_chips=2, baseline="mean", montage=str(tmp_path / "m.png"),
        report=str(tmp_path / "r.html"),
    )  # fmt: skip
    rows = table(evaluate(job, context_of()))
    assert [row["explainer"] for row in rows] == names
    for row in rows:
        assert row["max_sensitivity"] > 0 and row["deletion"] is not None
        # Occlusion hides a band of the whole patch: its map has no place there.
        assert (row["png_kb"] is None) == (kind == "hybrid" and row["explainer"] == "occlusion")
        assert row["speckle_sensitivity"] is row["bright_share"] is row["radius_db"] is None
        assert row["similarity_front"] is not None and row["bands"].endswith("bands")
    assert rows[1]["residual"] < 0.05 and rows[0]["residual"] is None
    assert "Beside the study" not in Path(job.report or "").read_text()


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


def test_maps_of_zeros_are_no_good_scores(job: EvaluateExplainersJob, tmp_path: Path) -> None:
    # At the lower limit the input is 0, and so is input x gradient; replacing bands by their mean is not.
    for name in CLASSES:
        write_chip(tmp_path / "dark" / name / "a.tif", np.full((2, SIDE, SIDE), -60, np.float32))
    context = context_of()
    job = replace(
        job, explainers=["input_x_gradient", "band_ablation"], patches=str(tmp_path / "dark"),
        speckle_looks=0, baseline="mean", report=str(tmp_path / "r.html"),
    )  # fmt: skip
    dark, ablation = table(evaluate(job, context))
    assert dark["zero_maps"] == 3 and dark["max_sensitivity"] is None and dark["png_kb"] is None
    assert ablation["zero_maps"] == 0 and ablation["max_sensitivity"] > 0
    assert ablation["place"] == 1 and dark["points"] == 0
    assert any("a map of zeros for 3 of 3 chips" in warning for warning in context.warnings)
    assert "a map of zeros" in Path(job.report or "").read_text()


def test_flat_maps_point_nowhere(job: EvaluateExplainersJob) -> None:
    context = context_of()
    # The last layer has shrunk a chip of 16 pixels to one: Grad-CAM is that value, or 0, everywhere.
    saliency, cam = table(
        evaluate(replace(job, explainers=["saliency", "grad_cam"], layer="layer4"), context)
    )
    assert cam["zero_maps"] + cam["flat_maps"] == 5 and cam["max_sensitivity"] is None
    assert saliency["flat_maps"] == 0 and (saliency["points"], cam["points"]) == (1, 0)
    assert cam["flat_maps"] == 0 or any("choose an earlier one" in text for text in context.warnings)


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


def test_cancelling_stops_at_once(job: EvaluateExplainersJob, tmp_path: Path) -> None:
    context = context_of()
    report = tmp_path / "report.html"
    job = replace(job, explainers=EIGHT, chips=12, samples=50, steps=50, report=str(report))
    asked: list[float] = []

    def cancel() -> None:
        asked.append(time.monotonic())
        context.cancel()

    timer = threading.Timer(2.0, cancel)
    timer.start()
    with pytest.raises(Cancelled):
        evaluate(job, context)
    assert time.monotonic() - asked[0] < 0.8
    assert list(tmp_path.iterdir()) == []


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
