"""A raster layer as a file that the engine can open, exported or wrapped where it is not one yet."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from osgeo import gdal
from qgis.core import (
    Qgis,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingUtils,
    QgsProviderRegistry,
    QgsRasterBlockFeedback,
    QgsRasterDataProvider,
    QgsRasterFileWriter,
    QgsRasterLayer,
    QgsRasterPipe,
)

from ._text import tr

# Providers that give pictures of values, not the values.
_PICTURES = ("wms", "arcgismapserver")


def known_crs(crs: QgsCoordinateReferenceSystem) -> QgsCoordinateReferenceSystem:
    """Return `crs`, or an invalid one for the placeholders by which GeoPackage says that there is none."""
    placeholder = not crs.authid() and crs.description().startswith("Undefined ")
    return QgsCoordinateReferenceSystem() if placeholder else crs


@dataclass(frozen=True)
class RasterSource:
    """What must be known of a raster layer, taken on the thread that owns the layer."""

    name: str
    source: str
    crs: QgsCoordinateReferenceSystem
    provider: QgsRasterDataProvider

    @classmethod
    def of(cls, layer: QgsRasterLayer) -> RasterSource:
        """Take the facts of `layer`, with a copy of its provider that other threads may use."""
        provider = layer.dataProvider().clone()
        provider.moveToThread(None)
        return cls(layer.name(), layer.source(), known_crs(layer.crs()), provider)

    def path(self, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> str:
        """Return a path that the engine can open, with the CRS that the layer has in QGIS.

        A file is used as it is. A layer whose CRS was set by hand, or that has open options, becomes a
        small virtual raster over its file; a layer without a file is exported to a temporary GeoTIFF.
        """
        if self.provider.name() != "gdal":
            return self._exported(context, feedback)
        parts = QgsProviderRegistry.instance().decodeUri("gdal", self.source)
        options = parts.get("openOptions") or []
        bare = re.sub(r"\|(option|credential):.*$", "", self.source)
        if os.path.exists(bare):
            bare = os.path.abspath(bare)
        if bare.startswith("/vsimem/"):
            return self._exported(context, feedback)
        if not options and self.crs == known_crs(self.provider.crs()):
            return bare
        return self._wrapped(bare, options, context, feedback)

    def _wrapped(
        self, bare: str, options: list[str], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> str:
        """Write a virtual raster over the file that carries the layer's CRS and open options."""
        target = QgsProcessingUtils.generateTempFilename(Path(self.name).stem + ".vrt", context)
        try:
            dataset = gdal.OpenEx(bare, gdal.OF_RASTER, open_options=options)
            crs = self.crs.toWkt(Qgis.CrsWktVariant.Preferred) if self.crs.isValid() else None
            wrapped = gdal.Translate(target, dataset, format="VRT", outputSRS=crs)
        except RuntimeError:  # only where another plugin switched GDAL's exceptions on
            wrapped = None
        if wrapped is None:
            raise QgsProcessingException(
                tr("The raster '{name}' cannot be opened by GDAL: {reason}. Check its file: {path}").format(
                    name=self.name, reason=gdal.GetLastErrorMsg().strip() or "?", path=bare
                )
            )
        feedback.pushInfo(
            tr("'{name}' is read with the CRS and options of its layer in QGIS: {crs}.").format(
                name=self.name, crs=self.crs.userFriendlyIdentifier() if self.crs.isValid() else tr("no CRS")
            )
        )
        return target

    def _exported(self, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> str:
        """Write the layer's values to a temporary GeoTIFF."""
        provider = self.provider
        sized = bool(provider.capabilities() & Qgis.RasterInterfaceCapability.Size)
        if provider.name() in _PICTURES or not sized:
            raise QgsProcessingException(
                tr(
                    "The raster '{name}' comes from the provider '{provider}', which gives pictures and "
                    "not the values of its bands. Save it as a GeoTIFF or use the original file."
                ).format(name=self.name, provider=provider.name())
            )
        feedback.setProgressText(tr("Exporting '{name}' for the engine").format(name=self.name))
        target = QgsProcessingUtils.generateTempFilename("scene.tif", context)
        pipe = QgsRasterPipe()
        pipe.set(provider.clone())
        watcher = QgsRasterBlockFeedback()
        watcher.progressChanged.connect(feedback.setProgress)
        feedback.canceled.connect(watcher.cancel)
        writer = QgsRasterFileWriter(target)
        outcome = writer.writeRaster(
            pipe, provider.xSize(), provider.ySize(), provider.extent(), self.crs,
            QgsCoordinateTransformContext(), watcher,
        )  # fmt: skip
        if feedback.isCanceled():
            raise QgsProcessingException(tr("Cancelled."))
        if outcome != Qgis.RasterFileWriterResult.Success:
            raise QgsProcessingException(
                tr("The raster '{name}' could not be exported for the engine: {reason}.").format(
                    name=self.name, reason=outcome.name
                )
            )
        return target
