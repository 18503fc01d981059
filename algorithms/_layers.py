"""How results arrive in the project: named, grouped, ordered, styled, and with their lineage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qgis.core import (
    QgsMapLayer,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsRasterLayer,
    QgsVectorLayer,
)

# QGIS keeps no reference to a post-processor; each one stays here until its layer has been seen to.
_waiting: set[ResultPostProcessor] = set()

_LONGEST_LIST = 10


class ResultPostProcessor(QgsProcessingLayerPostProcessorInterface):
    """Styles one result layer and writes its lineage; one instance per layer."""

    def __init__(
        self, algorithm_id: str, output: str, lineage: Sequence[str], aliases: dict[str, str] | None = None
    ) -> None:
        super().__init__()
        self.algorithm_id = algorithm_id
        self.output = output
        self.lineage = tuple(lineage)
        self.aliases = aliases or {}
        _waiting.add(self)

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        """Called by QGIS on the main thread, once the layer is in the project."""
        _waiting.discard(self)
        if isinstance(layer, (QgsRasterLayer, QgsVectorLayer)) and not user_style(
            self.algorithm_id, self.output
        ):
            style = Path(layer.source().split("|")[0]).with_suffix(".qml")
            if style.is_file():
                layer.loadNamedStyle(str(style))
        if isinstance(layer, QgsVectorLayer):
            for name, alias in self.aliases.items():
                layer.setFieldAlias(layer.fields().lookupField(name), alias)
        metadata = layer.metadata()
        for line in self.lineage:
            metadata.addHistoryItem(line)
        layer.setMetadata(metadata)
        layer.triggerRepaint()


def user_style(algorithm_id: str, output: str) -> str | None:
    """Return the style file that the user chose for this output in the Processing options, if any."""
    from processing.gui.RenderingStyles import RenderingStyles

    return RenderingStyles.getStyle(algorithm_id, output)


def arrange(
    context: QgsProcessingContext,
    destination: str,
    group: str,
    order: int,
    name: str | None,
    post_processor: ResultPostProcessor,
) -> None:
    """Tell QGIS how to take up the layer `destination`; `name` None keeps the name that a model gave."""
    details = context.layerToLoadOnCompletionDetails(destination)
    if name:
        details.name = name
    details.groupName = group
    details.layerSortKey = order
    details.setPostProcessor(post_processor)


def lineage_of(record: dict) -> list[str]:
    """Return the lines of a run record that say how a layer came about, as text for its metadata."""
    return [
        f"{key.replace('_', ' ')}: {_plain(value)}"
        for key, value in record.items()
        if value not in (None, "", [], {})
    ]


def _plain(value: object) -> str:
    """Return a value of the record as short text."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items() if inner is not None)
    if isinstance(value, (list, tuple)):
        shown = ", ".join(_plain(inner) for inner in value[:_LONGEST_LIST])
        return shown if len(value) <= _LONGEST_LIST else f"{shown}, … ({len(value)} in the run record)"
    return str(value)
