"""SERIES: rasters with dates, and what QGIS and the user know of their dates."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qgis.core import (
    Qgis,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterDefinition,
    QgsRasterLayer,
)

from ..engine.jobs import SeriesSource
from ._base import EngineAlgorithm
from ._labels import LabelledAlgorithm
from ._parameters import choice, folder, is_empty, layers, real, words
from ._rasters import RasterSource
from ._text import tr

# What SERIES is read by, and INPUT is not.
_OF_SERIES = ("DATES", "DATE_PATTERN", "CHANNELS", "START_DATE", "END_DATE", "VALUES", "CALIBRATION")
VALUES = ("as_is", "power", "amplitude", "db")
# Endings of rasters that a folder may hold, to take the coordinate system of the first.
_RASTERS = (".tif", ".tiff", ".vrt", ".img", ".nc", ".jp2", ".dat", ".bil", ".bsq", ".bip")


class SeriesLayers:
    """The rasters of a series as taken on the thread that owns their layers."""

    def __init__(self, algorithm: Any, parameters: dict[str, Any], context: QgsProcessingContext) -> None:
        self._algorithm = algorithm
        layers = []
        if not is_empty(parameters.get("SERIES")):
            layers = algorithm.parameterAsLayerList(parameters, "SERIES", context)
        self.rasters = [RasterSource.of(layer) for layer in layers if isinstance(layer, QgsRasterLayer)]
        self.dates = [layer_dates(layer) for layer in layers if isinstance(layer, QgsRasterLayer)]
        self.folder = algorithm.path("SERIES_FOLDER", parameters, context)
        self.unread = _unread(parameters.get("SERIES"), layers)

    def given(self) -> bool:
        """Tell whether there is a series at all."""
        return bool(self.rasters or self.folder or self.unread)

    def first(self) -> RasterSource | None:
        """Return a raster of the series, for its coordinate system."""
        if self.rasters:
            return self.rasters[0]
        if not self.folder:
            return None
        folder = Path(self.folder)
        files = sorted(folder.iterdir()) if folder.is_dir() else [folder]
        for file in files:
            if file.suffix.lower() in _RASTERS:
                layer = QgsRasterLayer(str(file), file.stem)
                if layer.isValid():
                    return RasterSource.of(layer)
        return None

    def source(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> SeriesSource:
        """Return the series for the engine; raise where there is none, or more than one way to it."""
        if self.unread:
            raise QgsProcessingException(
                tr("SERIES: QGIS can't open '{name}' as a raster; check its path.").format(name=self.unread)
            )
        if bool(self.rasters) == bool(self.folder):
            raise QgsProcessingException(
                tr("Give either SERIES, the rasters of the series, or SERIES_FOLDER, a folder of them.")
            )
        paths = [raster.path(context, feedback) for raster in self.rasters] or [self.folder]
        algorithm = self._algorithm

        def text(name: str) -> str:
            declared = algorithm.parameterDefinition(name)
            return (declared and algorithm.text(name, parameters, context)) or ""

        return SeriesSource(
            paths=tuple(paths),
            dates=read_dates(text("DATES")),
            layer_dates=tuple(self.dates),
            date_pattern=text("DATE_PATTERN"),
            channels=_parts(text("CHANNELS")),
            start=text("START_DATE"),
            end=text("END_DATE"),
        )


class SceneOrSeriesAlgorithm(EngineAlgorithm):
    """An algorithm that works on INPUT, or on SERIES in its place."""

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        prepared = super().prepareAlgorithm(parameters, context, feedback)
        self.layers = SeriesLayers(self, parameters, context)
        if self.layers.given() and is_empty(parameters.get("INPUT")):
            self.rasters["INPUT"] = self.layers.first()
        return prepared

    @property
    def source_name(self) -> str:
        """The name of the series' folder, or of INPUT or the first raster of the series, for titles."""
        return Path(self.layers.folder).name if self.layers.folder else self.raster.name

    def scene_or_series(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Return the job fields `scene` and `series`, of which one is None; raise where not one is given."""
        if self.layers.given() != is_empty(parameters.get("INPUT")):
            raise QgsProcessingException(
                tr("Give either INPUT, a raster, or the rasters of a series: SERIES, or SERIES_FOLDER.")
            )
        if self.layers.given():
            return {"scene": None, "series": self.layers.source(parameters, context, feedback)}
        for name in _OF_SERIES:
            if self.parameterDefinition(name):
                self.warn_unused(name, "INPUT", parameters, feedback)
        return {"scene": self.scene(context, feedback), "series": None}


class SeriesAlgorithm(SceneOrSeriesAlgorithm, LabelledAlgorithm):
    """An algorithm that works on SERIES, with LABELS that need not be given."""

    def group_title(self) -> str:
        return tr("{algorithm}: {series}").format(algorithm=self.displayName(), series=self.source_name)

    def series(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Return the job fields of the series, its extent, and its labels where there are some."""
        found: dict[str, Any] = {"series": self.layers.source(parameters, context, feedback)}
        if not is_empty(parameters.get("EXTENT")):
            found["extent"] = self.extent(parameters, context)
        return found | self.labels_if_given(parameters, context, feedback)


def series_inputs(trained: bool) -> list[QgsProcessingParameterDefinition]:
    """Declare SERIES and SERIES_FOLDER; a `trained` model knows the dates and channels that it reads."""
    help_text = tr(
        "Rasters of one grid: one per date, one with a band per date, one with a band per date and channel, "
        "one per channel with a band per date, or variables of a netCDF file."
    )
    if trained:
        help_text += " " + tr("They must have the dates and channels that the model was trained on.")
    return [
        layers("SERIES", tr("Series"), Qgis.ProcessingSourceType.Raster, help_text, optional=True),
        folder("SERIES_FOLDER", tr("Folder of the series"),
               tr("Folder whose rasters are the series, or the path of a netCDF file; in place of SERIES.")),
    ]  # fmt: skip


def series_dates() -> list[QgsProcessingParameterDefinition]:
    """Declare DATES and DATE_PATTERN."""
    return [
        words("DATES", tr("Dates"),
              tr("Dates between commas, such as 2017-06-12, one per raster or one per band; or the path of a "
                 "text file with one per line. Empty: from the layers' temporal properties, the files' "
                 "metadata, the descriptions of bands, or the files' names.")),
        words("DATE_PATTERN", tr("Pattern of dates"),
              tr("How file names and descriptions of bands write dates: %Y year, %m month, %d day, %j day of "
                 "the year, such as %Y%m%d. Empty: the usual ways are tried."), True),
    ]  # fmt: skip


def series_choice(advanced: bool = False) -> list[QgsProcessingParameterDefinition]:
    """Declare CHANNELS, START_DATE and END_DATE."""
    return [
        words("CHANNELS", tr("Channels"),
              tr("Names of the channels to use, between commas, such as VV,VH; empty: all."), advanced),
        words("START_DATE", tr("First date"), tr("Earlier dates are left out, such as 2017-01-01."),
              advanced),
        words("END_DATE", tr("Last date"), tr("Later dates are left out."), advanced),
    ]  # fmt: skip


def series_values(
    values: str, calibration: float, advanced: bool = False
) -> list[QgsProcessingParameterDefinition]:
    """Declare VALUES and CALIBRATION with these defaults."""
    return [
        choice("VALUES", tr("Values"), VALUES, values,
               tr("What the stored numbers of a series are: 'power' or 'amplitude' of radar, decibels "
                  "('db'), or 'as_is' for anything else, such as reflectance."), advanced),
        real("CALIBRATION", tr("Calibration (dB)"), calibration, -1000, 1000,
             tr("Decibels that are added, such as -83 for amplitudes stored as whole numbers."), advanced),
    ]  # fmt: skip


def read_dates(text: str) -> tuple[str, ...]:
    """Return the dates of `text`, between commas, or in the file that it names, one per line."""
    if not os.path.isfile(text):
        return _parts(text)
    try:
        lines = Path(text).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise QgsProcessingException(
            tr("DATES: the file {path} cannot be read as text.").format(path=text)
        ) from None
    return tuple(part for line in lines for part in _parts(line))


def whole_numbers(name: str, text: str | None) -> tuple[int, ...]:
    """Return the whole numbers between commas of parameter `name`, none where it is empty."""
    try:
        return tuple(int(part) for part in _parts(text or ""))
    except ValueError:
        raise QgsProcessingException(
            tr("{name} is '{value}'; write whole numbers between commas, such as 1,2.").format(
                name=name, value=text
            )
        ) from None


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip().strip('"') for part in text.replace(";", ",").split(",") if part.strip())


def layer_dates(layer: QgsRasterLayer) -> tuple[str, ...]:
    """Return the dates that a layer's temporal properties tell: none, one, or one per band."""
    properties = layer.temporalProperties()
    modes = Qgis.RasterTemporalMode
    if not properties.isActive():
        return ()
    if properties.mode() == modes.FixedTemporalRange:
        ranges = [properties.fixedTemporalRange()]
    elif properties.mode() == getattr(modes, "FixedRangePerBand", None):
        bands = properties.fixedRangePerBand()
        ranges = [bands[band] for band in sorted(bands)]
        if len(ranges) != layer.bandCount():
            return ()
    else:
        return ()
    days = [each.begin().date() for each in ranges]
    return tuple(day.toString("yyyy-MM-dd") for day in days) if all(day.isValid() for day in days) else ()


def _unread(value: Any, layers: Sequence[Any]) -> str | None:
    """Return the first name in a list of rasters where QGIS could not open all."""
    if is_empty(value) or not isinstance(value, (list, tuple, str)):
        return None
    names = [value] if isinstance(value, str) else list(value)
    if len(layers) >= len(names):
        return None
    sources = {layer.source() for layer in layers} | {layer.id() for layer in layers}
    return next((str(name) for name in names if str(name) not in sources), str(names[-1]))
