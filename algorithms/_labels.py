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
from ._parameters import described, whole
from ._rasters import RasterSource
from ._text import tr


class LabelledAlgorithm(EngineAlgorithm):
    """An algorithm with the parameters INPUT, LABELS, LABEL_FIELD and UNLABELLED_VALUE."""

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        layer = self.parameterAsLayer(parameters, "LABELS", context)
        self.label_raster = RasterSource.of(layer) if isinstance(layer, QgsRasterLayer) else None
        self.label_source = (
            None if self.label_raster else self.parameterAsSource(parameters, "LABELS", context)
        )
        return super().prepareAlgorithm(parameters, context, feedback)

    def labels(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Return the job fields of the labels: a class raster as it is, features in the scene's CRS."""
        field = self.text("LABEL_FIELD", parameters, context)
        if self.label_raster:
            self.warn_unused("LABEL_FIELD", tr("a class raster"), parameters, feedback)
            return {
                "label_raster": self.label_raster.path(context, feedback),
                "label_name": self.label_raster.name,
                **self.numbers(("UNLABELLED_VALUE",), parameters, context),
            }
        if self.label_source is None:
            raise QgsProcessingException(
                tr("QGIS can open LABELS neither as vector nor as raster; choose a layer or file.")
            )
        if field is None:
            raise QgsProcessingException(
                tr("LABEL_FIELD is missing: name the field of '{layer}' that holds the class.").format(
                    layer=self.label_source.sourceName()
                )
            )
        self.warn_unused("UNLABELLED_VALUE", tr("vector labels"), parameters, feedback)
        index = class_field(self.label_source, field)
        return {
            "label_features": export_features(self.label_source, self.raster, context, feedback, index),
            "label_name": field,
        }


def label_layer(help_text: str, optional: bool = False) -> QgsProcessingParameterDefinition:
    """Declare LABELS."""
    kinds = Qgis.ProcessingSourceType
    types = [kinds.VectorPoint, kinds.VectorPolygon, kinds.Raster]
    return described(
        QgsProcessingParameterMapLayer("LABELS", tr("Labels"), types=types, optional=optional), help_text
    )


def label_field(help_text: str) -> QgsProcessingParameterDefinition:
    """Declare LABEL_FIELD, which rasters do without."""
    return described(
        QgsProcessingParameterField(
            "LABEL_FIELD", tr("Label field"), parentLayerParameterName="LABELS", optional=True
        ),
        help_text,
    )


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
