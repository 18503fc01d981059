"""The table of an evaluation holds the scores of the sample drawn; montage and report show them."""

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
import torch
from captum.metrics import sensitivity_max
from PIL import Image

from explanation_layers.engine.jobs import EvaluateExplainersJob
from explanation_layers.explainers.scores.complexity import complexity
from explanation_layers.explainers.scores.sensitivity import uniform_copies
from explanation_layers.models.card import SCENE_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.rasters.errors import Cancelled
from explanation_layers.workflows.evaluate_explainers import evaluate
from explanation_layers.workflows.evaluation_metrics import METRICS
from explanation_layers.workflows.evaluation_sample import Samples

from .conftest import CLASSES, FEW, SIDE, context_of, table, write_chip

EIGHT = ["saliency", "input_x_gradient", "integrated_gradients", "guided_backpropagation", "deconvolution",
         "grad_cam", "guided_grad_cam", "occlusion"]  # fmt: skip


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
