"""What an error layer was made from: its scene, its model, its reference and its classes."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qgis.core import QgsProviderRegistry, QgsVectorLayer

from ...engine.jobs import SeriesSource

PROPERTY = "explanation_layers/review"  # of the layer; the run record beside the file says the same
_CARD = "explanation_layers"  # the key of the card in a model file's metadata
_MOST_HEADER = 100_000_000  # bytes; safetensors allows no more


@dataclass(frozen=True)
class ReviewSources:
    """Paths as they were when the errors were found; `classes` are names with colours, in their order."""

    scene: str | None = None
    series: SeriesSource | None = None
    model: str | None = None
    explainer: str = "integrated_gradients"
    reference: str | None = None
    reference_field: str | None = None
    classes: Mapping[str, str] = field(default_factory=dict)

    def missing(self) -> str | None:
        """Return the first file that is named but no longer there."""
        paths = (self.scene, self.model, *(self.series.paths if self.series else ()))
        return next((path for path in paths if path and _is_gone(path)), None)

    @classmethod
    def of_layer(cls, layer: QgsVectorLayer) -> ReviewSources:
        """Read them from the layer, else from the run record beside its file; empty where neither says."""
        text = layer.customProperty(PROPERTY)
        facts = _as_facts(text) if text else None
        path = file_of(layer)
        if facts is None and path:
            record = _as_facts(_read(path.with_suffix(".json"))) or {}
            facts = record.get("review") or record.get("job")
        return cls.of_facts(facts or {})

    @classmethod
    def of_facts(cls, facts: Mapping) -> ReviewSources:
        """Read them from JSON values."""
        series = facts.get("series")
        classes = facts.get("class_names") or ()
        return cls(
            scene=facts.get("scene"),
            series=SeriesSource.from_dict(series) if series else None,
            model=facts.get("model"),
            explainer=facts.get("explainer") or cls.explainer,
            reference=facts.get("reference"),
            reference_field=facts.get("reference_field"),
            classes={entry["name"]: entry["colour"] for entry in classes},
        )


def file_of(layer: QgsVectorLayer) -> Path | None:
    """Return the file that a vector layer is read from, None where it has none."""
    path = QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source()).get("path")
    return Path(path) if path else None


def model_card(path: str) -> dict:
    """Return the card in a model file's header, without its weights; ValueError where there is none."""
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MOST_HEADER:
                raise ValueError("too long a header")
            header = json.loads(file.read(length))
        return dict(json.loads(header["__metadata__"][_CARD]))
    except (OSError, struct.error, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"no model file of this plugin: {path} ({error})") from error


def _is_gone(path: str) -> bool:
    """Tell whether a plain path no longer exists; GDAL's own names, such as NETCDF:…, can't be told."""
    plain = Path(path)
    return plain.is_absolute() and not path.startswith("/vsi") and not plain.exists()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _as_facts(text: str) -> dict | None:
    try:
        facts = json.loads(text)
    except (TypeError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None
