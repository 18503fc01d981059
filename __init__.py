"""Explanation Layers: maps that say why a deep-learning model said what it said."""


def classFactory(iface):  # noqa: N802  (the name is QGIS's)
    """Return the plugin object; called by QGIS with its interface, or None when headless."""
    from .plugin.main import ExplanationLayersPlugin

    return ExplanationLayersPlugin(iface)
