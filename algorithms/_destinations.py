"""Short ways to declare outputs: rasters, tables, points, pages and model files."""

from __future__ import annotations

from qgis.core import (
    Qgis,
    QgsProcessingException,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterRasterDestination,
)

from ._parameters import described
from ._text import tr


def raster(
    name: str, title: str, help_text: str, optional: bool = True, by_default: bool = True
) -> QgsProcessingParameterDefinition:
    """Declare a raster; `by_default` says whether an optional one is made where the user says nothing."""
    parameter = QgsProcessingParameterRasterDestination(
        name, title, optional=optional, createByDefault=by_default
    )
    return described(parameter, help_text)


def table(name: str, title: str, help_text: str, by_default: bool = True) -> QgsProcessingParameterDefinition:
    """Declare a table without geometry."""
    return features(name, title, Qgis.ProcessingSourceType.Vector, help_text, by_default)


def points(name: str, title: str, help_text: str) -> QgsProcessingParameterDefinition:
    """Declare a layer of points."""
    return features(name, title, Qgis.ProcessingSourceType.VectorPoint, help_text)


def features(
    name: str, title: str, kind: Qgis.ProcessingSourceType, help_text: str, by_default: bool = True
) -> QgsProcessingParameterDefinition:
    """Declare a layer of one kind of geometry."""
    parameter = QgsProcessingParameterFeatureSink(
        name, title, kind, optional=True, createByDefault=by_default
    )
    return described(parameter, help_text)


def picture(name: str, title: str, help_text: str) -> QgsProcessingParameterDefinition:
    """Declare a PNG file."""
    return _file(name, title, tr("PNG files") + " (*.png)", help_text)


def report(help_text: str) -> QgsProcessingParameterDefinition:
    """Declare REPORT, an HTML page."""
    return _file("REPORT", tr("Report"), tr("HTML files") + " (*.html)", help_text)


def model(help_text: str, optional: bool = False) -> QgsProcessingParameterDefinition:
    """Declare MODEL as an output."""
    kinds = tr("Model files") + " (*.safetensors)"
    parameter = QgsProcessingParameterFileDestination("MODEL", tr("Model file"), kinds, optional=optional)
    return described(parameter, help_text)


def check_model(path: str) -> None:
    """Say where the output MODEL has another ending than model files have."""
    if not path.lower().endswith(".safetensors"):
        raise QgsProcessingException(tr("MODEL must be a file that ends in .safetensors."))


def _file(name: str, title: str, kinds: str, help_text: str) -> QgsProcessingParameterDefinition:
    parameter = QgsProcessingParameterFileDestination(name, title, kinds, optional=True, createByDefault=True)
    return described(parameter, help_text)
