"""Which raster, or which rasters as a series, a click on the map asks about."""

from __future__ import annotations

from collections.abc import Callable

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
)

from ...algorithms._rasters import RasterSource, known_crs
from ...algorithms._series import layer_dates
from ...engine.jobs import SeriesSource


class ClickedRasters:
    """The rasters that a model file reads, as taken on the thread that owns the layers.

    A model of dates reads `layer` as a series: alone where it has all the bands, else with the rasters of its
    group in the order of their names.
    """

    def __init__(self, layer: QgsRasterLayer, card: dict) -> None:
        bands = card.get("bands") or []
        self.is_series = any(band.get("date") for band in bands)
        layers = [layer]
        if self.is_series and layer.bandCount() != len(bands):
            layers = _group_of(layer)
        self.name = layer.name()
        self.count = len(layers)
        self.crs = known_crs(QgsCoordinateReferenceSystem(layer.crs()))
        self.extent = QgsRectangle(layer.extent())
        self._sources = [RasterSource.of(each) for each in layers]
        self._dates = tuple(layer_dates(each) for each in layers)
        self._fields: dict | None = None

    def job_fields(self) -> dict:
        """Return the fields `scene` or `series` of a job; a layer that is no plain file is exported once.

        May be called on another thread.
        """
        if self._fields is None:
            context, feedback = QgsProcessingContext(), QgsProcessingFeedback(False)
            paths = tuple(source.path(context, feedback) for source in self._sources)
            if self.is_series:
                self._fields = {"series": SeriesSource(paths=paths, layer_dates=self._dates)}
            else:
                self._fields = {"scene": paths[0]}
        return self._fields


class RasterCache:
    """Keeps the last `ClickedRasters`, so that clicks on one raster open it once."""

    def __init__(self) -> None:
        self._key: tuple | None = None
        self._kept: ClickedRasters | None = None

    def get(self, layer: QgsRasterLayer, model: str, card: Callable[[], dict]) -> ClickedRasters:
        """Return the rasters of `layer` for the model file `model`, whose card `card` reads."""
        group = [each.id() for each in _group_of(layer)]
        key = (layer.id(), layer.source(), layer.crs().toWkt(), model, tuple(group))
        if self._kept is None or key != self._key:
            self._kept, self._key = ClickedRasters(layer, card()), key
        return self._kept


def _group_of(layer: QgsRasterLayer) -> list[QgsRasterLayer]:
    """Return the rasters of the group that `layer` is in, by name; of no group only itself."""
    root = QgsProject.instance().layerTreeRoot()
    node = root.findLayer(layer.id())
    if node is None or node.parent() is None or node.parent() is root:
        return [layer]
    layers = [each.layer() for each in node.parent().findLayers()]
    return sorted((each for each in layers if isinstance(each, QgsRasterLayer)), key=QgsRasterLayer.name)
