"""PATCHES, a folder of chips, in the place of INPUT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterDefinition,
)

from ._base import EngineAlgorithm
from ._labels import LabelledAlgorithm
from ._parameters import is_empty, switch
from ._text import tr


class ChipAlgorithm(EngineAlgorithm):
    """An algorithm that works on a folder of chips, PATCHES, or else on a raster, INPUT."""

    patches: str | None = None

    def take_patches(self, parameters: dict[str, Any], context: QgsProcessingContext, choice: str) -> None:
        """Set `patches` to PATCHES, None where INPUT is given; raise `choice` where not one of them is."""
        self.patches = self.path("PATCHES", parameters, context)
        if bool(self.patches) != is_empty(parameters.get("INPUT")):
            raise QgsProcessingException(choice)

    @property
    def source_name(self) -> str:
        """The name of the folder or of the raster, for titles."""
        return Path(self.patches).name if self.patches else self.raster.name


class LabelledChipAlgorithm(ChipAlgorithm, LabelledAlgorithm):
    """An algorithm that works on a folder of chips, PATCHES, or else on INPUT with LABELS."""

    def take_labelled(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        """Set `patches` to PATCHES, None with INPUT; raise where neither is given, or LABELS are missing."""
        self.take_patches(
            parameters, context, tr("Give either PATCHES, a folder of chips, or INPUT with LABELS, a scene.")
        )
        if self.patches:
            for name in ("LABELS", "LABEL_FIELD", "UNLABELLED_VALUE"):
                self.warn_unused(name, "PATCHES", parameters, feedback)
        elif is_empty(parameters.get("LABELS")):
            raise QgsProcessingException(tr("LABELS is missing: it says where on INPUT to look."))


def skip_unreadable(default: bool) -> QgsProcessingParameterDefinition:
    """Declare SKIP_UNREADABLE."""
    return switch(
        "SKIP_UNREADABLE",
        tr("Skip unreadable files"),
        default,
        tr("Leaves out chips whose files can't be read and names them, instead of stopping."),
        advanced=True,
    )
