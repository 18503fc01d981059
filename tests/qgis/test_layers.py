"""How results arrive in a project: named, grouped, ordered, styled, with aliases and lineage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from processing.gui.Postprocessing import handleAlgorithmResults
from processing.gui.RenderingStyles import RenderingStyles
from qgis.core import (
    QgsApplication,
    QgsProcessing,
    QgsProcessingOutputLayerDefinition,
    QgsProject,
    QgsRasterLayer,
    QgsSingleBandGrayRenderer,
    QgsSingleBandPseudoColorRenderer,
)

from explanation_layers.algorithms import _layers


@pytest.fixture
def project():
    project = QgsProject.instance()
    project.clear()
    yield project
    project.clear()


@pytest.fixture
def styled_engine(engine, scene, tmp_path):
    """An engine that leaves rasters with a style beside them."""
    layer = QgsRasterLayer(scene, "style")
    layer.setRenderer(QgsSingleBandPseudoColorRenderer(layer.dataProvider(), 2))
    style = tmp_path / "pseudocolour.qml"
    layer.saveNamedStyle(str(style))

    def answer(job):
        for path in job.output_paths():
            shutil.copy(scene, path)
            shutil.copy(style, Path(path).with_suffix(".qml"))
        return engine.result()

    engine.answer = answer
    return engine


def load(context, feedback, scene, model, project, **more):
    """Run attribution as the toolbox does, and take its results into the project."""
    parameters = {"INPUT": scene, "MODEL": model}
    for name in ("ATTRIBUTION", "SALIENCY", "BAND_TABLE"):
        parameters[name] = QgsProcessingOutputLayerDefinition(QgsProcessing.TEMPORARY_OUTPUT, project)
        parameters[name].destinationName = more.get(name, "")
    algorithm = QgsApplication.processingRegistry().createAlgorithmById("explain:attribution")
    _, ok = algorithm.run(parameters, context, feedback, {}, False)
    assert ok and handleAlgorithmResults(algorithm, context, feedback, parameters)
    return {layer.name(): layer for layer in project.mapLayers().values()}


def test_layers_are_named_grouped_and_ordered(styled_engine, context, feedback, scene, model, project):
    load(context, feedback, scene, model, project)
    group = project.layerTreeRoot().findGroup("Explanation of scene")
    assert [node.name() for node in group.findLayers()] == [
        "Saliency (integrated_gradients, predicted)",
        "Attribution (integrated_gradients, predicted)",
        "Band table (integrated_gradients, predicted)",
    ]
    assert not _layers._waiting


def test_a_name_that_a_model_gave_is_kept(styled_engine, context, feedback, scene, model, project):
    assert "Mine" in load(context, feedback, scene, model, project, SALIENCY="Mine")


def test_style_lineage_and_aliases(styled_engine, context, feedback, scene, model, project):
    layers = load(context, feedback, scene, model, project)
    raster = layers["Attribution (integrated_gradients, predicted)"]
    assert isinstance(raster.renderer(), QgsSingleBandPseudoColorRenderer)
    assert raster.metadata().history() == ["job: kind attribution", "model digest: abc123", "seed: 7"]
    table = layers["Band table (integrated_gradients, predicted)"]
    assert table.attributeAlias(table.fields().lookupField("mean")) == "Mean contribution"


def test_a_style_that_the_user_set_is_kept(
    styled_engine, context, feedback, scene, model, project, tmp_path, monkeypatch
):
    layer = QgsRasterLayer(scene, "style")
    layer.setRenderer(QgsSingleBandGrayRenderer(layer.dataProvider(), 3))
    mine = str(tmp_path / "mine.qml")
    layer.saveNamedStyle(mine)
    monkeypatch.setattr(RenderingStyles, "styles", {"explain:attribution": {"ATTRIBUTION": mine}})
    layers = load(context, feedback, scene, model, project)
    kept = layers["Attribution (integrated_gradients, predicted)"].renderer()
    assert isinstance(kept, QgsSingleBandGrayRenderer) and kept.inputBand() == 3
    ours = layers["Saliency (integrated_gradients, predicted)"].renderer()
    assert isinstance(ours, QgsSingleBandPseudoColorRenderer)
