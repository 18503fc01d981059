"""The algorithms as steps of a model of the model designer, each fed by the outputs of those before."""

from __future__ import annotations

import shutil
from pathlib import Path

from osgeo import gdal
from qgis.core import (
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
)

Source = QgsProcessingModelChildParameterSource


def child(model, name, **sources):
    """Add algorithm `name` to the model; a tuple (child, output) is an output of an earlier step."""
    step = QgsProcessingModelChildAlgorithm(f"explain:{name}")
    step.setChildId(name)
    for parameter, value in sources.items():
        source = Source.fromChildOutput(*value) if isinstance(value, tuple) else Source.fromStaticValue(value)
        step.addParameterSources(parameter, [source])
    model.addChildAlgorithm(step)


def output(model, name, parameter):
    """Make the output `parameter` of the step `name` an output of the model."""
    step = model.childAlgorithm(name)
    wanted = QgsProcessingModelOutput(parameter, parameter)
    wanted.setChildId(name)
    wanted.setChildOutputName(parameter)
    step.setModelOutputs({parameter: wanted})
    model.setChildAlgorithm(step)


def chain(label_field: str = "kind", size: int = 48) -> QgsProcessingModelAlgorithm:
    """Demo data, training, classification and attribution, in a row."""
    model = QgsProcessingModelAlgorithm("chain", "tests")
    raster, trained = ("demodata", "RASTER"), ("trainclassifier", "MODEL")
    child(model, "demodata", SCENE="hyperspectral", SIZE=size, SEED=1)
    child(
        model,
        "trainclassifier",
        INPUT=raster,
        LABELS=("demodata", "LABELS"),
        LABEL_FIELD=label_field,
        EPOCHS=2,
        SPLIT="random",
        COMPARE_SPLITS=False,
    )
    child(model, "classify", INPUT=raster, MODEL=trained)
    child(model, "attribution", INPUT=raster, MODEL=trained, EXPLAINER="saliency")
    output(model, "classify", "CLASSES")
    output(model, "attribution", "SALIENCY")
    return model


def test_a_chain_of_all_steps(engine, scene, points, feedback, context, tmp_path):
    labels = points([(300_105.0, 5_799_895.0, "water")])

    def answer(job):
        for path in job.output_paths():
            if job.KIND in ("classify", "attribution"):
                shutil.copy(scene, path)
            elif job.KIND == "train_classifier":
                Path(path).write_bytes(b"")
        return engine.result(strings={"RASTER": scene, "LABELS": labels} if job.KIND == "demo_data" else None)

    engine.answer = answer
    model = chain()
    assert model.validate()[0], model.validate()[1]
    destinations = {
        "classify:CLASSES": str(tmp_path / "c.tif"),
        "attribution:SALIENCY": str(tmp_path / "s.tif"),
    }
    _, ok = model.run(destinations, context, feedback, {}, False)
    assert ok, feedback.errors
    jobs = {job.KIND: job for job in engine.jobs}
    demo, train = jobs["demo_data"], jobs["train_classifier"]
    classify, attribution = jobs["classify"], jobs["attribution"]
    assert train.scene == classify.scene == attribution.scene == scene
    assert train.model == classify.model == attribution.model
    assert (classify.classes, attribution.saliency) == tuple(destinations.values())
    assert (demo.size, train.epochs, attribution.explainer) == (48, 2, "saliency")


def test_a_chain_for_real(provider, real_engine, feedback, context, tmp_path):
    destinations = {
        "classify:CLASSES": str(tmp_path / "c.tif"),
        "attribution:SALIENCY": str(tmp_path / "s.tif"),
    }
    _, ok = chain("class", 32).run(destinations, context, feedback, {}, False)
    assert ok, feedback.errors
    classes, saliency = (gdal.Open(path) for path in destinations.values())
    assert classes.GetGeoTransform() == saliency.GetGeoTransform() and saliency.RasterCount == 3


def test_an_error_in_a_step_is_its_sentence(engine, scene, points, feedback, context):
    model = QgsProcessingModelAlgorithm("broken", "tests")
    child(model, "attribution", INPUT=scene, MODEL="m.safetensors", EXPLAINER="lime")
    _, ok = model.run({}, context, feedback)
    assert not ok
    assert any("EXPLAINER is 'lime'; it must be one of" in error for error in feedback.errors)
    assert engine.jobs == []
