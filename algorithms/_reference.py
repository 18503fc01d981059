"""TARGET reference: the class that a layer names at each pixel."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingContext, QgsProcessingFeedback, QgsProcessingParameterDefinition

from ._base import EngineAlgorithm
from ._choices import Rules
from ._explaining import target_among
from ._labels import LabelSource, class_field_of, class_layer
from ._text import tr

_TARGETS = ("predicted", "class", "reference", "contrast")
# What TARGET reference needs of other parameters.
REFERENCE = Rules(
    used_with=dict.fromkeys(("REFERENCE", "REFERENCE_FIELD", "UNLABELLED_VALUE"), ("TARGET", ("reference",))),
    needed_with={"REFERENCE": ("TARGET", "reference")},
)


class ReferencedAlgorithm(EngineAlgorithm):
    """An algorithm with REFERENCE and UNLABELLED_VALUE; its RULES hold those of `REFERENCE`."""

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        self._reference = LabelSource(self, "REFERENCE", "REFERENCE_FIELD", parameters, context)
        return super().prepareAlgorithm(parameters, context, feedback)

    def reference(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Return the job fields of the reference, none with other targets."""
        if self.RULES.why_unused("REFERENCE", self.chosen):
            return {}
        if not self._reference.raster:
            self.warn_unused("UNLABELLED_VALUE", tr("a vector as REFERENCE"), parameters, feedback)
        return {
            **self._reference.fields("reference", parameters, context, feedback),
            **self.numbers(("UNLABELLED_VALUE",), parameters, context),
        }


def target_or_reference(default: str) -> list[QgsProcessingParameterDefinition]:
    """Declare TARGET, CLASS, CONTRAST_CLASS, REFERENCE and REFERENCE_FIELD."""
    help_text = tr(
        "What is explained: the 'predicted' class of each pixel, one 'class', the class that a 'reference' "
        "names at each pixel, whatever is predicted there, or the 'contrast' of two classes, which is the "
        "output of the one minus that of the other."
    )
    return [
        *target_among(_TARGETS, default, help_text),
        class_layer("REFERENCE", tr("Reference"),
                    tr("For TARGET reference and classifiers of pixels: points or polygons with a class, in "
                       "any CRS, or a raster of class numbers. Pixels without a class there are not "
                       "explained.")),
        class_field_of("REFERENCE", "REFERENCE_FIELD", tr("Reference field"),
                       tr("Field of text or numbers that holds the class; needed where the reference is a "
                          "vector.")),
    ]  # fmt: skip
