"""The page of Explain at a click: pixels and polygons of a raster, explained and compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qgis.core import (
    Qgis,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsPointXY,
    QgsProcessingUtils,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QColor, QKeySequence, QShortcut

from ...algorithms import _settings
from ...algorithms._text import tr
from ...engine.jobs import ExplainPixelsJob
from . import colours
from .chart import ProfileChart
from .legend import Curve
from .on_map import OnMap
from .pixel_view import common_range, mean_curves
from .pixels_form import PixelsForm
from .profile import Explanation, Pixel
from .rasters import ClickedRasters, RasterCache
from .requests import PixelRequests
from .sources import model_card

MOST_PIXELS = 6  # that are compared; more lines can't be told apart


@dataclass(eq=False)
class Chosen:
    """A point or polygon that the user chose, in `crs`, and what the engine says of it."""

    shape: QgsGeometry
    crs: QgsCoordinateReferenceSystem
    explanation: Explanation | None = None

    @property
    def pixel(self) -> Pixel | None:
        """The pixel as explained, None until then and where there is no data."""
        pixel = self.explanation.pixels[0] if self.explanation else None
        return pixel if pixel and pixel.pixels else None


class PixelsPage(PixelsForm):
    """Asks for each pixel once; `active_layer` returns the layer whose selected polygons are meant."""

    def __init__(
        self, on_map: OnMap, requests: PixelRequests, say: Callable[[str], None],
        active_layer: Callable[[], object],
    ) -> None:  # fmt: skip
        super().__init__()
        self._on_map, self._requests, self._say, self._active_layer = on_map, requests, say, active_layer
        self._rasters = RasterCache()
        self.chosen: list[Chosen] = []
        requests.answered.connect(self._answered)
        requests.failed.connect(self._failed)
        self.raster.layerChanged.connect(self._ask_again)
        self.model.fileChanged.connect(self._model_changed)
        self.explainer.activated.connect(self._ask_again)
        self.target.activated.connect(self._ask_again)
        self.place.returnPressed.connect(self._typed)
        self.polygons.clicked.connect(self.add_selected)
        self.apart.toggled.connect(self._show)
        self.pixels.currentRowChanged.connect(self._show)
        self.remove.clicked.connect(self.remove_current)
        self.clear.clicked.connect(self.remove_all)
        delete = QShortcut(QKeySequence(Qt.Key.Key_Delete), self.pixels)
        delete.setContext(Qt.ShortcutContext.WidgetShortcut)
        delete.activated.connect(self.remove_current)
        self._model_changed(self.model.filePath())

    # Choosing pixels

    def add(self, shape: QgsGeometry, crs: QgsCoordinateReferenceSystem, beside: bool = False) -> None:
        """Explain a point or a polygon in `crs`, `beside` those before or in their place."""
        if not (beside or self.keep.isChecked()):
            self.chosen = []
        if len(self.chosen) >= MOST_PIXELS:
            self._say(tr("No more than {n} pixels can be compared; remove one first.").format(n=MOST_PIXELS))
            return
        self.chosen.append(Chosen(QgsGeometry(shape), crs))
        self._ask(len(self.chosen) - 1)

    def add_selected(self) -> None:
        """Explain the mean of each selected polygon of the active layer."""
        layer = self._active_layer()
        chosen: list[Chosen] = []
        if isinstance(layer, QgsVectorLayer) and layer.geometryType() == Qgis.GeometryType.Polygon:
            features = [feature for feature in layer.getSelectedFeatures() if feature.hasGeometry()]
            chosen = [Chosen(QgsGeometry(feature.geometry()), layer.crs()) for feature in features]
        if not chosen:
            self._say(tr("Select one or more polygons of the active layer first."))
            return
        if len(chosen) > MOST_PIXELS:
            self._say(tr("Only the first {n} polygons are compared.").format(n=MOST_PIXELS))
        self.chosen = chosen[:MOST_PIXELS]
        self._ask(0)

    def remove_current(self) -> None:
        """Remove the pixel that is chosen in the list."""
        row = self.pixels.currentRow()
        if 0 <= row < len(self.chosen):
            del self.chosen[row]
            self._list(min(row, len(self.chosen) - 1))

    def remove_all(self) -> None:
        """Remove every pixel."""
        self.chosen = []
        self._list(-1)

    def _typed(self) -> None:
        layer = self.raster.currentLayer()
        try:
            x, y = (float(part) for part in self.place.text().replace(";", ",").split(","))
        except ValueError:
            self._say(tr("Write two numbers with a comma between, such as 393210.5, 5814320."))
            return
        if layer is not None:
            self.add(QgsGeometry.fromPointXY(QgsPointXY(x, y)), layer.crs())

    # Asking

    def _model_changed(self, path: str) -> None:
        self.show_targets(self._card())
        if path:
            self.remember_model()
        self._ask_again()

    def _card(self) -> dict:
        """Return the model's card, an empty one where there is none; the engine says what is wrong."""
        try:
            return model_card(self.model.filePath()) if self.model.filePath() else {}
        except ValueError:
            return {}

    def _ask_again(self, *_: object) -> None:
        """Ask anew for all pixels, after the raster, the model or what is explained changed."""
        for each in self.chosen:
            each.explanation = None
        self._ask(self.pixels.currentRow())

    def _ask(self, row: int) -> None:
        """Ask for all pixels that have no answer yet; that request takes the place of those that wait."""
        self._list(row)
        if not self.chosen:
            return
        layer, model = self.raster.currentLayer(), self.model.filePath()
        if not isinstance(layer, QgsRasterLayer) or not layer.isValid():
            self._show_text(tr("Choose a raster of the project."))
            return
        if not model:
            self._show_text(tr("Choose a model file, as the training algorithms write them."))
            return
        rasters = self._rasters.get(layer, model, self._card)
        points, polygons = self._shapes_on(rasters)
        if not (points or polygons):
            return
        target, class_name = self.target.currentData()
        settings = {
            "model": model, "explainer": self.explainer.currentData(), "target": target,
            "class_name": class_name, "device": _settings.device(), "memory_mb": _settings.memory_mb(),
        }  # fmt: skip
        places = tuple((shape.asPoint().x(), shape.asPoint().y()) for _, shape in points)
        texts = [shape.asJson() for _, shape in polygons]

        def make_job() -> ExplainPixelsJob:
            features = _written(texts) if texts else None
            return ExplainPixelsJob(
                points=places, polygon_features=features, **rasters.job_fields(), **settings
            )

        self._requests.ask((self, tuple(each for each, _ in (*points, *polygons))), make_job)

    def _shapes_on(self, rasters: ClickedRasters) -> tuple[list, list]:
        """Return points and polygons without an answer, in the raster's CRS; those outside are dropped."""
        points, polygons = [], []
        for each in [each for each in self.chosen if each.explanation is None]:
            shape = QgsGeometry(each.shape)
            try:
                shape.transform(QgsCoordinateTransform(each.crs, rasters.crs, QgsProject.instance()))
                inside = shape.boundingBox().intersects(rasters.extent)
            except QgsCsException:
                inside = False
            if not inside:
                self.chosen.remove(each)
                self._list(len(self.chosen) - 1)
                self._say(tr("That place is outside of the raster '{name}'.").format(name=rasters.name))
            elif shape.type() == Qgis.GeometryType.Point:
                points.append((each, shape))
            else:
                polygons.append((each, shape))
        return points, polygons

    def _answered(self, key: object, result: dict) -> None:
        if not isinstance(key, tuple) or key[0] is not self:
            return
        explanation = Explanation.from_result(result)
        for each, pixel in zip(key[1], explanation.pixels):
            each.explanation = explanation.with_pixel(pixel)
        for warning in result.get("warnings", []):
            self._say(warning)
        self._list(self.pixels.currentRow())

    def _failed(self, key: object, text: str) -> None:
        if isinstance(key, tuple) and key[0] is self:
            self._say(text)
            self._show_text(text)

    # Showing

    def colour(self, number: int) -> QColor:
        """Return the colour of the pixel at a place in the list."""
        return colours.readable(QColor(colours.PIXEL_COLOURS[number]), colours.base_colour(self))

    def _list(self, row: int) -> None:
        texts = [_words(number, each) for number, each in enumerate(self.chosen)]
        shown = [self.colour(number) for number in range(len(self.chosen))]
        self.list_pixels(texts, shown, row if row >= 0 else len(self.chosen) - 1)
        self._on_map.clear_marks()
        for each, colour in zip(self.chosen, shown):
            self._on_map.mark(each.shape, each.crs, colour)
        self._show()

    def _show_text(self, text: str) -> None:
        self.stack.setCurrentIndex(0)
        self.chart.show_note(text)
        self.bars.show_pixel(None)
        self.chip.show_chip(None)

    def _show(self, *_: object) -> None:
        """Draw the pixels that are explained: in one chart, or side by side."""
        known = [
            (number, each.explanation)
            for number, each in enumerate(self.chosen)
            if each.explanation and each.pixel
        ]
        if not known:
            waits = any(each.explanation is None for each in self.chosen)
            nothing = tr("There is no data here.") if self.chosen else tr("Click a pixel on the map.")
            self._show_text(tr("Asking the engine…") if waits else nothing)
            return
        row = self.pixels.currentRow()
        current = next((pair for pair in known if pair[0] == row), known[-1])
        pixel = current[1].pixels[0]
        self.bars.show_pixel(pixel)
        self.chip.show_chip(pixel.chip)
        self.stack.setCurrentIndex(1 if self.apart.isChecked() and len(known) > 1 else 0)
        if self.stack.currentIndex() == 0:
            curves = [
                self._curve(number, each, len(known) > 1 and number == current[0]) for number, each in known
            ]
            _draw(self.chart, current[1], curves)
            return
        same = common_range(current[1].axis, [each.pixels[0] for _, each in known])
        for chart, (number, each) in zip(self.charts_for(len(known)), known):
            _draw(chart, each, [self._curve(number, each, False)], same)

    def _curve(self, number: int, explanation: Explanation, strong: bool) -> Curve:
        name = tr("pixel {n}").format(n=number + 1)
        return Curve(name, explanation.pixels[0].values, self.colour(number).name(), 2.4 if strong else 1.6)


def _draw(
    chart: ProfileChart,
    explanation: Explanation,
    curves: list[Curve],
    same: tuple[float, float] | None = None,
) -> None:
    """Draw pixels before the mean of the class that the explained one was given."""
    pixel = explanation.pixels[0]
    means = mean_curves(explanation, pixel, (pixel.predicted,))
    favoured, _, other = pixel.target.partition(" against ")
    sides = other or tr("against"), favoured
    chart.show_curves(explanation.axis, [*means, *curves], pixel.attribution, sides, same)


def _words(number: int, each: Chosen) -> str:
    """Return the line of the list for a pixel."""
    pixel = each.pixel
    if pixel is None:
        state = tr("no data") if each.explanation else "…"
        return f"{number + 1}: {state}"
    count = "" if pixel.pixels == 1 else " · " + tr("mean of {n} pixels").format(n=pixel.pixels)
    found = f"{pixel.predicted} {pixel.confidence:.0%} · " if pixel.predicted else ""
    return f"{number + 1}: {found}{pixel.x:.6g}, {pixel.y:.7g}{count}"


def _written(shapes: list[str]) -> str:
    """Write polygons (GeoJSON geometries in the scene's CRS) to a temporary file and return its path."""
    path = Path(QgsProcessingUtils.generateTempFilename("polygons.geojson"))
    features = [{"type": "Feature", "properties": {}, "geometry": json.loads(shape)} for shape in shapes]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    return str(path)
