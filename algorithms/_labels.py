"""LABELS on INPUT, as points, polygons or a class raster, for algorithms that learn or test with them."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    Qgis,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterField,
    QgsProcessingParameterMapLayer,
    QgsRasterLayer,
)

from ._base import EngineAlgorithm
from ._features import class_field, export_features
from ._parameters import described, is_empty, whole
from ._rasters import RasterSource
from ._text import tr


class LabelSource:
    """A layer of labels, as taken on the thread that owns it: features with a class, or a class raster.

    `name` and `field_name` are the parameters that hold the layer and the field of the class.
    """

    def __init__(
        self, algorithm: EngineAlgorithm, name: str, field_name: str, parameters: dict[str, Any],
        context: QgsProcessingContext,
    ) -> None:  # fmt: skip
        self._algorithm, self._name, self._field_name = algorithm, name, field_name
        layer = algorithm.parameterAsLayer(parameters, name, context)
        self.raster = RasterSource.of(layer) if isinstance(layer, QgsRasterLayer) else None
        self.features = None if self.raster else algorithm.parameterAsSource(parameters, name, context)

    def fields(
        self, kind: str, parameters: dict[str, Any], context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:  # fmt: skip
        """Return the job fields `kind`_raster or `kind`_features: features are brought to the scene's CRS."""
        algorithm = self._algorithm
        field = algorithm.text(self._field_name, parameters, context)
        if self.raster:
            algorithm.warn_unused(self._field_name, tr("a class raster"), parameters, feedback)
            return {f"{kind}_raster": self.raster.path(context, feedback)}
        if self.features is None:
            raise QgsProcessingException(
                tr("QGIS can open {name} neither as vector nor as raster; choose a layer or file.").format(
                    name=self._name
                )
            )
        if field is None:
            raise QgsProcessingException(
                tr("{field} is missing: name the field of '{layer}' that holds the class.").format(
                    field=self._field_name, layer=self.features.sourceName()
                )
            )
        index = class_field(self.features, field)
        exported = export_features(self.features, algorithm.raster, context, feedback, index)
        return {f"{kind}_features": exported}

    def fields_if_given(
        self, kind: str, parameters: dict[str, Any], context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:  # fmt: skip
        """Return the same where the layer is given, nothing where it is not."""
        if not is_empty(parameters.get(self._name)):
            return self.fields(kind, parameters, context, feedback)
        reason = tr("{name} left empty").format(name=self._name)
        self._algorithm.warn_unused(self._field_name, reason, parameters, feedback)
        return {}


class LabelledAlgorithm(EngineAlgorithm):
    """An algorithm with layers of labels on INPUT: LABELS, or others that have a field of the class too."""

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        self.label_sources = {
            field.parentLayerParameterName(): LabelSource(
                self, field.parentLayerParameterName(), field.name(), parameters, context
            )
            for field in self.parameterDefinitions()
            if isinstance(field, QgsProcessingParameterField)
        }
        return super().prepareAlgorithm(parameters, context, feedback)

    def labels(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Return the job fields of LABELS: a class raster as it is, features in the scene's CRS."""
        source = self.label_sources["LABELS"]
        found = source.fields("label", parameters, context, feedback)
        if raster := source.raster:
            return {
                **found, "label_name": raster.name,
                **self.numbers(("UNLABELLED_VALUE",), parameters, context),
            }  # fmt: skip
        self.warn_unused("UNLABELLED_VALUE", tr("vector labels"), parameters, feedback)
        return {**found, "label_name": self.text("LABEL_FIELD", parameters, context)}

    def labels_if_given(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Return the same where LABELS are given, nothing where they are not."""
        if not is_empty(parameters.get("LABELS")):
            return self.labels(parameters, context, feedback)
        for name in ("LABEL_FIELD", "UNLABELLED_VALUE"):
            self.warn_unused(name, tr("no LABELS"), parameters, feedback)
        return {}


def label_inputs(
    help_text: str, optional: bool = True, field_help: str = ""
) -> list[QgsProcessingParameterDefinition]:
    """Declare LABELS and LABEL_FIELD, which rasters do without."""
    field_help = field_help or tr(
        "Field of text or numbers that holds the class; needed where the labels are vectors."
    )
    return [
        class_layer("LABELS", tr("Labels"), help_text, optional),
        class_field_of("LABELS", "LABEL_FIELD", tr("Label field"), field_help),
    ]


def class_layer(
    name: str, title: str, help_text: str, optional: bool = True, advanced: bool = False
) -> QgsProcessingParameterDefinition:
    """Declare a layer for `LabelSource`."""
    kinds = Qgis.ProcessingSourceType
    types = [kinds.VectorPoint, kinds.VectorPolygon, kinds.Raster]
    parameter = QgsProcessingParameterMapLayer(name, title, types=types, optional=optional)
    return described(parameter, help_text, advanced)


def class_field_of(
    layer: str, name: str, title: str, help_text: str, advanced: bool = False
) -> QgsProcessingParameterDefinition:
    """Declare the field that holds the class in the layer parameter `layer`."""
    parameter = QgsProcessingParameterField(name, title, parentLayerParameterName=layer, optional=True)
    return described(parameter, help_text, advanced)


def unlabelled_value(default: int) -> QgsProcessingParameterDefinition:
    """Declare UNLABELLED_VALUE."""
    return whole(
        "UNLABELLED_VALUE",
        tr("Unlabelled value"),
        default,
        -(2**31),
        2**31 - 1,
        tr("Value of a class raster that means 'no label', beside its nodata value."),
        advanced=True,
    )
