"""PARTS: what the output is divided among by the explainers that divide all of it."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterDefinition,
)

from ._base import EngineAlgorithm
from ._choices import Rules
from ._labels import LabelSource, class_field_of, class_layer
from ._parameters import choice, words
from ._text import tr

# What PARTS need of other parameters.
PARTS = Rules(
    used_with={
        "PARTS": ("EXPLAINER", ("secant_contributions", "tangent_contributions")),
        "RING_LIMITS": ("PARTS", ("rings",)),
        "REGIONS": ("PARTS", ("regions",)),
        "REGION_FIELD": ("PARTS", ("regions",)),
    },
    needed_with={"REGIONS": ("PARTS", "regions")},
)


class DividedAlgorithm(EngineAlgorithm):
    """An algorithm with PARTS; its RULES hold those of `PARTS`."""

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        self._regions = LabelSource(self, "REGIONS", "REGION_FIELD", parameters, context)
        return super().prepareAlgorithm(parameters, context, feedback)

    def parts(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Return the job fields that say what the output is divided among."""
        if self.RULES.why_unused("PARTS", self.chosen):
            return {}
        found: dict[str, Any] = {"parts": self.chosen["PARTS"]}
        if limits := self.text("RING_LIMITS", parameters, context):
            try:
                found["ring_limits"] = tuple(int(limit) for limit in limits.split(","))
            except ValueError:
                raise QgsProcessingException(
                    tr(
                        "RING_LIMITS is '{value}'; write whole numbers between commas, such as 0,3,10."
                    ).format(value=limits)
                ) from None
        if found["parts"] == "regions":
            found |= self._regions.fields("region", parameters, context, feedback)
        return found


def parts(default: str) -> list[QgsProcessingParameterDefinition]:
    """Declare PARTS, RING_LIMITS, REGIONS and REGION_FIELD."""
    return [
        choice("PARTS", tr("Parts"), ("bands", "rings", "regions"), default,
               tr("What secant_contributions and tangent_contributions divide the output among: the "
                  "'bands'; 'rings' of pixels by how far they are from the explained one, one pixel at a "
                  "time and so best for a small EXTENT or MASK; or named 'regions'."), True),
        words("RING_LIMITS", tr("Ring limits (pixels)"),
              tr("Outer limits of the rings, in pixels to the farther of row and column, between commas; "
                 "beyond the last is one more ring. Empty: 0,3,10."), True),
        class_layer("REGIONS", tr("Regions"),
                    tr("Polygons with a name, in any CRS, or a raster of class numbers: the parts for "
                       "PARTS regions."), advanced=True),
        class_field_of("REGIONS", "REGION_FIELD", tr("Region field"),
                       tr("Field that holds the region's name; needed where REGIONS are vectors."), True),
    ]  # fmt: skip
