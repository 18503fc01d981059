"""The translated texts of the QGIS side."""

from __future__ import annotations

from qgis.PyQt.QtCore import QCoreApplication


def tr(text: str) -> str:
    """Return `text` in the user's language, from the plugin's one translation context."""
    return QCoreApplication.translate("ExplanationLayers", text)
