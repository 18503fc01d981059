"""Gather what the demo made into a QGIS project and render it; run as scripts/demo.py FOLDER, with PyQGIS."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from demo_chart import Profile, chart
from demo_map import Panel, compose, export
from qgis.core import (
    Qgis,
    QgsApplication,
    QgsBasicNumericFormat,
    QgsCategorizedSymbolRenderer,
    QgsColorRampLegendNodeSettings,
    QgsContrastEnhancement,
    QgsMapLayer,
    QgsMarkerSymbol,
    QgsMultiBandColorRenderer,
    QgsProject,
    QgsRasterLayer,
    QgsRasterMinMaxOrigin,
    QgsReferencedRectangle,
    QgsRendererCategory,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QColor

TITLE = "What did the network look at?"
SUBTITLE = (
    "A simulated scene whose classes differ only in planted absorption bands; a network trained on points; "
    "and integrated gradients of the class that it predicts, against the mean spectrum."
)
CAPTION = "Share of each band in the attribution of each class; the planted bands are shaded."
SHOWN_CLASSES = (0, 5)  # chlorophyll and carbonate, one in the visible, one in the shortwave infrared
TRUE_COLOUR_NM = (640.0, 550.0, 460.0)


def main(folder: Path) -> None:
    """Write demo.qgz and map.png into `folder`."""
    project = QgsProject.instance()
    project.setTitle(TITLE)
    project.setFilePathStorage(Qgis.FilePathType.Relative)
    truth = json.loads((folder / "data" / "truth.json").read_text(encoding="utf-8"))

    classes = raster(folder / "classes.tif", "Predicted classes")
    colours = {entry.label: entry.color for entry in classes.renderer().classes()}
    scene = raster(folder / "data" / "scene.tif", "Scene in true colour")
    show_true_colour(scene, truth["wavelengths_nm"])
    labels = table(folder / "data" / "labels.geojson", "Labels")
    show_classes(labels, colours)
    saliency = raster(folder / "saliency.tif", "Saliency (signed sum)")
    confidence = raster(folder / "confidence.tif", "Confidence")
    bands = table(folder / "bands.gpkg", "Band table")
    confusion = table(folder / "confusion.csv", "Confusion")
    profiles = [profile(bands, known, colours) for known in truth["classes"]]
    evidence = [
        evidence_of(folder / "attribution.tif", profiles[index], truth["wavelengths_nm"])
        for index in SHOWN_CLASSES
    ]

    gather(project, "Explanation", [*evidence, saliency, bands])
    gather(project, "Classification", [classes, confidence, confusion])
    gather(project, "Scene", [labels, scene])
    project.setCrs(scene.crs())
    project.viewSettings().setDefaultViewExtent(QgsReferencedRectangle(scene.extent(), scene.crs()))

    drawing = folder / "bands.svg"
    drawing.write_text(chart(profiles, truth["wavelengths_nm"], 1040, 295), encoding="utf-8")
    panels = [
        Panel("Scene in true colour, with labels", [labels, scene]),
        Panel("Predicted classes", [classes]),
        *(Panel(layer.name(), [layer], layer) for layer in evidence),
    ]
    layout = compose(project, TITLE, SUBTITLE, panels, scene.extent(), drawing, CAPTION)
    export(layout, folder / "map.png")
    project.layoutManager().addLayout(layout)
    if not project.write(str(folder / "demo.qgz")):
        raise OSError(f"The project could not be written: {project.error()}")


def raster(path: Path, name: str) -> QgsRasterLayer:
    """Open a raster, in the style that lies beside it."""
    return _opened(QgsRasterLayer(str(path), name))


def table(path: Path, name: str) -> QgsVectorLayer:
    """Open a table or features."""
    return _opened(QgsVectorLayer(str(path), name, "ogr"))


def _opened(layer: QgsMapLayer) -> QgsMapLayer:
    if not layer.isValid():
        raise OSError(f"{layer.source()} could not be opened: {layer.error().summary()}")
    return layer


def gather(project: QgsProject, title: str, layers: Sequence[QgsMapLayer]) -> None:
    """Add `layers` to the project in a group of their own."""
    group = project.layerTreeRoot().addGroup(title)
    for layer in layers:
        project.addMapLayer(layer, False)
        node = group.addLayer(layer)
        node.setExpanded(False)


def show_true_colour(scene: QgsRasterLayer, wavelengths_nm: Sequence[float]) -> None:
    """Show the bands that are nearest to red, green and blue."""
    nearest = [
        1 + min(range(len(wavelengths_nm)), key=lambda band: abs(wavelengths_nm[band] - wanted))
        for wanted in TRUE_COLOUR_NM
    ]
    scene.setRenderer(QgsMultiBandColorRenderer(scene.dataProvider(), *nearest))
    scene.setContrastEnhancement(
        QgsContrastEnhancement.ContrastEnhancementAlgorithm.StretchToMinimumMaximum,
        QgsRasterMinMaxOrigin.Limits.CumulativeCut,
    )


def show_classes(labels: QgsVectorLayer, colours: dict[str, QColor]) -> None:
    """Show the points of each class in the colour that the class has in the raster."""
    categories = []
    for name, colour in colours.items():
        style = {"color": colour.name(), "outline_style": "no", "size": "0.6"}
        categories.append(QgsRendererCategory(name, QgsMarkerSymbol.createSimple(style), name))
    labels.setRenderer(QgsCategorizedSymbolRenderer("class", categories))


def evidence_of(path: Path, shown: Profile, wavelengths_nm: Sequence[float]) -> QgsRasterLayer:
    """Open the attribution at the planted band that counts most for a class, in the style beside the file."""
    band = max(shown.planted, key=lambda band: shown.shares[band])
    layer = raster(path, f"Attribution of {wavelengths_nm[band]:.0f} nm ({shown.name})")
    layer.renderer().setInputBand(band + 1)
    numbers = QgsBasicNumericFormat()
    numbers.setNumberDecimalPlaces(1)
    settings = QgsColorRampLegendNodeSettings()
    settings.setOrientation(Qt.Orientation.Horizontal)
    settings.setNumericFormat(numbers)
    layer.renderer().shader().rasterShaderFunction().setLegendSettings(settings)
    return layer


def profile(bands: QgsVectorLayer, known: dict, colours: dict[str, QColor]) -> Profile:
    """Return the shares of the bands of one class of the truth, from the band table."""
    rows = {row["band"]: row["share"] for row in bands.getFeatures() if row["class"] == known["name"]}
    shares = [rows[band] or 0.0 for band in sorted(rows)]
    return Profile(known["name"], colours[known["name"]].name(), shares, known["bands"])


if __name__ == "__main__":
    application = QgsApplication([], True)
    application.initQgis()
    main(Path(sys.argv[1]))
