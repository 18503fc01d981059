"""What all algorithms of the engine share: parameters become a job, the job's result becomes layers.

A sub-class declares its parameters, names the job's outputs in `FILES` and `TABLES`, and builds the job;
the way through the engine and back is the same for all and stands here once.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputLayerDefinition,
    QgsProcessingParameterRasterDestination,
)
from qgis.PyQt.QtGui import QIcon

from ..engine.jobs import Job
from ._given import GivenParameters
from ._layers import ResultPostProcessor, arrange, lineage_of
from ._parameters import is_empty, problem_with
from ._run import required_python, run_job
from ._tables import check_sink, write_table
from ._text import tr


class ExplanationAlgorithm(QgsProcessingAlgorithm):
    """Names, help and checks of an algorithm of this plugin."""

    ID: ClassVar[str]
    GROUP: ClassVar[str]

    def name(self) -> str:
        """Return the permanent id."""
        return self.ID

    def groupId(self) -> str:
        """Return the permanent id of the toolbox group."""
        return self.GROUP

    def group(self) -> str:
        """Return the title of the toolbox group."""
        return {
            "setup": tr("Set-up"),
            "classification": tr("Classification"),
            "explanation": tr("Explanation"),
            "series": tr("Time series"),
            "unmixing": tr("Unmixing"),
        }[self.GROUP]

    def icon(self) -> QIcon:
        """Return the provider's icon."""
        return self.provider().icon() if self.provider() else super().icon()

    def createInstance(self) -> QgsProcessingAlgorithm:
        """Return a fresh copy, as QGIS asks for each run."""
        return type(self)()

    def checkParameterValues(
        self, parameters: dict[str, Any], context: QgsProcessingContext
    ) -> tuple[bool, str]:
        """Say which values are possible before QGIS says only that one is not."""
        problem = self._problem(parameters)
        return (False, problem) if problem else super().checkParameterValues(parameters, context)

    def require_valid(self, parameters: dict[str, Any]) -> None:
        """Raise what `checkParameterValues` would say: models and scripts come without that check."""
        if problem := self._problem(parameters):
            raise QgsProcessingException(problem)

    def _problem(self, parameters: dict[str, Any]) -> str | None:
        for definition in self.parameterDefinitions():
            if problem := problem_with(definition, parameters.get(definition.name())):
                return problem
        return None


class EngineAlgorithm(GivenParameters, ExplanationAlgorithm):
    """An algorithm whose work is one job of the engine.

    `FILES` are the output parameters that the engine writes itself, in the order of the layers from
    bottom to top; each is the job's field of the same name in capitals. `TABLES` are the sinks that are
    filled from the result. Numbers and texts of the result become outputs of the same name.
    """

    FILES: ClassVar[tuple[str, ...]] = ()
    TABLES: ClassVar[tuple[str, ...]] = ()

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Declare the parameters, and the results that are no layers or files."""
        for parameter in (*self._inputs(), *self._advanced(), *self._destinations()):
            self.addParameter(parameter)
        for output in self._results():
            self.addOutput(output)

    def _inputs(self) -> list:
        return []

    def _advanced(self) -> list:
        return []

    def _destinations(self) -> list:
        return []

    def _results(self) -> list:
        return []

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Check, run the job, and declare its results."""
        self.require_valid(parameters)
        self._check_choices(parameters, feedback)
        python = required_python()
        for name in self.TABLES:
            check_sink(name, parameters.get(name))
        destinations = {name: self.destination(name, parameters, context) for name in self.FILES}
        paths = {name.lower(): path and os.path.abspath(path) for name, path in destinations.items()}
        job = self.job(parameters, context, feedback, paths)
        result = run_job(python, job, feedback)
        declared = self._declare(parameters, context, feedback, result, destinations)
        self.write_styles(declared, result)
        return declared

    def job(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        outputs: dict[str, Any],
    ) -> Job:
        """Build the job from the parameters; `outputs` are its output fields."""
        raise NotImplementedError

    def write_styles(self, outputs: dict[str, Any], result: dict) -> None:
        """Write the styles that hang on the result, before QGIS loads the layers."""

    def group_title(self) -> str:
        """Return the name of the layer group that takes the results."""
        return self.displayName()

    def layer_title(self, output: str) -> str:
        """Return the name of an output's layer."""
        return self.parameterDefinition(output).description()

    def destination(self, name: str, parameters: dict[str, Any], context: QgsProcessingContext) -> str | None:
        """Return the path that an output parameter names, None where the output is not wanted."""
        if not isinstance(self.parameterDefinition(name), QgsProcessingParameterRasterDestination):
            return self.parameterAsFileOutput(parameters, name, context) or None
        path = self.parameterAsOutputLayer(parameters, name, context)
        if path and not path.lower().endswith((".tif", ".tiff")):
            raise QgsProcessingException(
                tr("{name} is written as GeoTIFF; end its name in .tif instead of '{path}'.").format(
                    name=name, path=path
                )
            )
        return path or None

    def _check_choices(self, parameters: dict[str, Any], feedback: QgsProcessingFeedback) -> None:
        if problem := self.RULES.missing(self.chosen, lambda name: not is_empty(parameters.get(name))):
            raise QgsProcessingException(problem)
        for name in self.RULES.used_with:
            if reason := self.RULES.why_unused(name, self.chosen):
                self.warn_unused(name, reason, parameters, feedback)

    # Results

    def _declare(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        result: dict,
        destinations: dict[str, str | None],
    ) -> dict[str, Any]:
        """Write the tables, arrange the layers, and return the outputs by name.

        Of an output that the model at hand does not give, the engine has said why.
        """
        record = result["record"]
        written = {name for name in self.FILES if name.lower() in result["files"]}
        outputs: dict[str, Any] = {name: path for name, path in destinations.items() if name in written}
        self._forget(context, {path for name, path in destinations.items() if path and name not in written})
        aliases: dict[str, dict[str, str]] = {}
        for name in self.TABLES:
            table = result["tables"].get(name)
            if table is None:
                if not is_empty(parameters.get(name)):
                    feedback.pushWarning(
                        tr("{name} is not made: this kind of model has none.").format(name=name)
                    )
                continue
            if destination := write_table(self, name, parameters, context, table, record, self._crs()):
                outputs[name] = destination
                aliases[name] = {column["name"]: column["alias"] for column in table["columns"]}
        lineage = lineage_of(record)
        for order, name in enumerate((*self.TABLES, *self.FILES)):
            destination = outputs.get(name)
            if destination and context.willLoadLayerOnCompletion(destination):
                processor = ResultPostProcessor(self.id(), name, lineage, aliases.get(name))
                title = None if _named_by_model(parameters.get(name)) else self.layer_title(name)
                arrange(context, destination, self.group_title(), order, title, processor)
        declared = {definition.name() for definition in self.outputDefinitions()}
        for values in (result["numbers"], result["strings"]):
            outputs.update({name: value for name, value in values.items() if name in declared})
        return outputs

    def _crs(self) -> QgsCoordinateReferenceSystem:
        """Return the coordinate system of INPUT, none where the algorithm has no such input."""
        scene = self.rasters.get("INPUT")
        return scene.crs if scene else QgsCoordinateReferenceSystem()

    @staticmethod
    def _forget(context: QgsProcessingContext, paths: set[str]) -> None:
        """Take layers that were not made off the list of those to load."""
        wanted = context.layersToLoadOnCompletion()
        context.setLayersToLoadOnCompletion({p: d for p, d in wanted.items() if p not in paths})


def _named_by_model(value: Any) -> bool:
    """Tell whether a model, or a script, chose the name of the output's layer itself."""
    return isinstance(value, QgsProcessingOutputLayerDefinition) and bool(value.destinationName)
