"""Parameters as they were given: layers taken on the thread that owns them, values read as a job's fields."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSource,
    QgsProcessingFeedback,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterRasterLayer,
)

from . import _settings
from ._choices import Rules
from ._features import export_features
from ._parameters import is_empty, was_given
from ._rasters import RasterSource
from ._spectrum import read_spectrum
from ._text import tr


class GivenParameters(QgsProcessingAlgorithm):
    """An algorithm that reads its parameters.

    `RULES` say which parameters the choices need or leave idle. By the names of their parameters, `chosen`
    holds the values of enums and `several` those of enums that may have more than one; `rasters` and
    `sources` hold the rasters and the vector layers or tables, None where QGIS can open none.
    """

    RULES: ClassVar[Rules] = Rules()

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Take what must be known of layers while on the thread that owns them."""
        self.chosen: dict[str, str] = {}
        self.several: dict[str, list[str]] = {}
        self.rasters: dict[str, RasterSource | None] = {}
        self.sources: dict[str, QgsProcessingFeatureSource | None] = {}
        for definition in self.parameterDefinitions():
            name = definition.name()
            if isinstance(definition, QgsProcessingParameterRasterLayer):
                layer = self.parameterAsRasterLayer(parameters, name, context)
                self.rasters[name] = RasterSource.of(layer) if layer and layer.isValid() else None
            elif isinstance(definition, QgsProcessingParameterFeatureSource):
                self.sources[name] = self.parameterAsSource(parameters, name, context)
            elif isinstance(definition, QgsProcessingParameterEnum) and definition.allowMultiple():
                self.several[name] = self.parameterAsEnumStrings(parameters, name, context)
            elif isinstance(definition, QgsProcessingParameterEnum):
                self.chosen[name] = self.parameterAsEnumString(parameters, name, context)
        return True

    @property
    def raster(self) -> RasterSource:
        """INPUT, as taken on the thread that owns the layer."""
        return self._opened("INPUT")

    def scene(self, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> str:
        """Return the path of INPUT for the engine."""
        return self.raster.path(context, feedback)

    def raster_path(
        self, name: str, parameters: dict[str, Any], context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> str | None:  # fmt: skip
        """Return the path of a raster for the engine, None where it is empty."""
        return None if is_empty(parameters.get(name)) else self._opened(name).path(context, feedback)

    def _opened(self, name: str) -> RasterSource:
        if source := self.rasters.get(name):
            return source
        raise QgsProcessingException(
            tr("{name} is not a raster that QGIS can open; choose a raster layer or file.").format(name=name)
        )

    def model(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """Return the absolute path of the input MODEL."""
        return os.path.abspath(self.parameterAsFile(parameters, "MODEL", context))

    def path(self, name: str, parameters: dict[str, Any], context: QgsProcessingContext) -> str | None:
        """Return the absolute path of an input file or folder, None where it is empty."""
        given = self.parameterAsFile(parameters, name, context)
        return os.path.abspath(given) if given else None

    def paths(self, name: str, parameters: dict[str, Any], context: QgsProcessingContext) -> list[str]:
        """Return the absolute paths of a list of input files."""
        if is_empty(parameters.get(name)):
            return []
        return [os.path.abspath(path) for path in self.parameterAsFileList(parameters, name, context)]

    def common(self, parameters: dict[str, Any], context: QgsProcessingContext) -> dict[str, Any]:
        """Return the job fields that DEVICE, MEMORY and SEED stand for."""
        device = self.chosen["DEVICE"]
        memory = (
            None if is_empty(parameters.get("MEMORY")) else self.parameterAsInt(parameters, "MEMORY", context)
        )
        values: dict[str, Any] = {
            "device": _settings.device() if device == "auto" else device,
            "memory_mb": memory or _settings.memory_mb(),
        }
        if self.parameterDefinition("SEED"):
            values["seed"] = self.parameterAsInt(parameters, "SEED", context)
        return values

    def text(self, name: str, parameters: dict[str, Any], context: QgsProcessingContext) -> str | None:
        """Return a text parameter, None where it is empty or idle."""
        if self.RULES.why_unused(name, self.chosen):
            return None
        return self.parameterAsString(parameters, name, context).strip() or None

    def spectrum(
        self, name: str, parameters: dict[str, Any], context: QgsProcessingContext
    ) -> list[float] | None:
        """Return the numbers of a text, or of the file that it names; None where it is empty or idle."""
        text = self.text(name, parameters, context)
        return read_spectrum(text, name) if text else None

    def choices(self, *names: str) -> dict[str, Any]:
        """Return the values of enums by the job's field names."""
        return {name.lower(): self.chosen[name] for name in names}

    def numbers(
        self, names: tuple[str, ...], parameters: dict[str, Any], context: QgsProcessingContext
    ) -> dict:
        """Return whole-number parameters by the job's field names."""
        return {name.lower(): self.parameterAsInt(parameters, name, context) for name in names}

    def fractions(
        self, names: tuple[str, ...], parameters: dict[str, Any], context: QgsProcessingContext
    ) -> dict:
        """Return parameters that are any number by the job's field names."""
        return {name.lower(): self.parameterAsDouble(parameters, name, context) for name in names}

    def switches(
        self, names: tuple[str, ...], parameters: dict[str, Any], context: QgsProcessingContext
    ) -> dict:
        """Return parameters of yes or no by the job's field names."""
        return {name.lower(): self.parameterAsBoolean(parameters, name, context) for name in names}

    def extent(self, parameters: dict[str, Any], context: QgsProcessingContext) -> list[float] | None:
        """Return EXTENT in the raster's CRS as x_min, y_min, x_max, y_max; None where it is empty."""
        if is_empty(parameters.get("EXTENT")):
            return None
        box = self.parameterAsExtent(parameters, "EXTENT", context, self.raster.crs)
        if box.isNull():
            raise QgsProcessingException(
                tr("EXTENT is '{value}', which is no extent; write x_min,x_max,y_min,y_max [CRS].").format(
                    value=parameters["EXTENT"]
                )
            )
        return [box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()]

    def mask_features(self, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> str | None:
        """Return the path of the polygons of MASK in the raster's CRS, None where there are none."""
        polygons = self.sources["MASK"]
        return export_features(polygons, self.raster, context, feedback) if polygons else None

    def warn_unused(
        self, name: str, reason: str, parameters: dict[str, Any], feedback: QgsProcessingFeedback
    ) -> None:
        """Say that a parameter has no effect with `reason`, if the user gave it."""
        if was_given(self.parameterDefinition(name), parameters):
            feedback.pushWarning(tr("{name} is not used with {reason}.").format(name=name, reason=reason))
