"""Steps through the errors of a layer and writes each verdict to its GeoPackage at once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from qgis.core import (
    Qgis,
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsFeatureRequest,
    QgsGeometry,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QDateTime, QObject, Qt, pyqtSignal

from ...algorithms._rasters import known_crs
from ...algorithms._text import tr
from .matrix import Pair, PairCount
from .records import COLUMNS, EDITED, ErrorRecord, Filter, sort_key
from .sources import ReviewSources, file_of

_LISTED = 16  # features between two looks at the clock


class ReviewError(Exception):
    """A sentence for the user."""


class ReviewStore(QObject):
    """The errors of `layer`, in an order, through a filter, with what the reviewer says of them.

    What can't be written stays in `unsaved`, and is tried again with the next verdict. When the layer is
    removed from the project, the file is opened again and the review goes on.
    """

    listed = pyqtSignal()  # what there is to step through changed
    changed = pyqtSignal(int)  # the verdict of the error with this feature id changed
    trouble = pyqtSignal(str)

    def __init__(self, layer: QgsVectorLayer, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.path = path = _checked(layer)
        self.name = layer.name()
        self.sources = ReviewSources.of_layer(layer)
        self.crs = known_crs(QgsCoordinateReferenceSystem(layer.crs()))
        self.records: dict[int, ErrorRecord] = {}
        self.counts: dict[Pair, PairCount] = {}  # whatever the filter
        self.order: list[int] = []
        self.filter, self.sorted_by = Filter(), "error_id"
        self.unsaved: dict[int, dict[str, str]] = {}
        self.loaded = False
        self._uri = layer.source()
        self._identity = _identity(path)
        self._layer: QgsVectorLayer | None = None
        self._own_layer: QgsVectorLayer | None = None
        self._take(layer)
        self._features: Iterator[QgsFeature] | None = layer.getFeatures()

    # Reading

    def load(self, seconds: float = 1e9) -> bool:
        """Read errors for about `seconds`; tell whether all are read, so that a window stays awake."""
        end = time.monotonic() + seconds
        while self._features is not None:
            for _ in range(_LISTED):
                feature = next(self._features, None)
                if feature is None:
                    self._features, self.loaded = None, True
                    self._list()
                    break
                record = ErrorRecord.of_feature(feature)
                self.records[record.fid] = record
                self.counts.setdefault(record.pair, PairCount()).add(record.pixels, record.reviewed)
            if time.monotonic() > end:
                break
        return self._features is None

    @property
    def layer(self) -> QgsVectorLayer | None:
        """The layer that errors are read from and written to; None where the file is gone too."""
        return self._layer

    def geometry(self, fid: int) -> QgsGeometry:
        """Return where an error lies, in `crs`; its point where the layer is gone."""
        if self._layer is not None:
            request = QgsFeatureRequest(fid).setNoAttributes()
            feature = next(self._layer.getFeatures(request), None)
            if feature is not None and feature.hasGeometry():
                return feature.geometry()
        record = self.records[fid]
        return QgsGeometry.fromWkt(f"POINT({record.x!r} {record.y!r})")

    def classes(self) -> list[str]:
        """Return the classes in the model's order, and those that only the errors name."""
        known = list(self.sources.classes)
        found = {name for pair in self.counts for name in pair if name}
        return [*known, *sorted(found - set(known))]

    def progress(self) -> tuple[int, int]:
        """Return how many errors have a verdict, and how many there are."""
        return sum(count.reviewed for count in self.counts.values()), len(self.records)

    # Stepping

    def set_filter(self, chosen: Filter) -> None:
        """Step only through the errors that pass."""
        self.filter = chosen
        self._list()

    def sort(self, column: str) -> None:
        """Step in the order of `column`."""
        self.sorted_by = column
        self._list()

    def neighbour(self, fid: int | None, step: int) -> int | None:
        """Return the error `step` places on from `fid`; the first where that isn't listed, None at an end."""
        if fid not in self.order:
            return self.order[0] if self.order else None
        place = self.order.index(fid) + step
        return self.order[place] if 0 <= place < len(self.order) else None

    def _list(self) -> None:
        passing = [record for record in self.records.values() if self.filter.passes(record)]
        self.order = [record.fid for record in sorted(passing, key=sort_key(self.sorted_by))]
        self.listed.emit()

    # Writing

    def record(self, fid: int, **values: str) -> bool:
        """Keep `verdict`, `corrected_class` or `comment` of an error; tell whether it is on disk."""
        values["reviewed_at"] = QDateTime.currentDateTimeUtc().toString(Qt.DateFormat.ISODate)
        record = self.records[fid]
        before = record.reviewed
        for name, value in values.items():
            setattr(record, name, value)
        self.counts[record.pair].reviewed += record.reviewed - before
        self.unsaved.setdefault(fid, {}).update(values)
        saved = self.save()
        self.changed.emit(fid)
        return saved

    def save(self) -> bool:
        """Write what is not on disk yet; say why where that fails."""
        if not self.unsaved:
            return True
        reason = self._hindrance() or self._write()
        if reason:
            text = tr("{reason} Reviews not saved: {count}; they stay here; 'Save a copy…' writes them.")
            self.trouble.emit(text.format(reason=reason, count=len(self.unsaved)))
            return False
        self.unsaved.clear()
        return True

    def _hindrance(self) -> str:
        """Say in a sentence why nothing can be written; empty where something can."""
        found = _identity(self.path)
        if found is None:
            return tr("The file {path} is gone.").format(path=self.path)
        if found != self._identity:
            return tr("The file {path} was replaced since the review began; open it again.").format(
                path=self.path
            )
        if self._layer is None:
            return tr("The layer '{name}' can no longer be read.").format(name=self.name)
        able = self._layer.dataProvider().capabilities()
        if self._layer.readOnly() or not able & Qgis.VectorProviderCapability.ChangeAttributeValues:
            return tr("The layer '{name}' is read-only.").format(name=self.name)
        return ""

    def _write(self) -> str:
        """Write to the file itself, past any edits that wait in the layer; return why where it failed."""
        assert self._layer is not None  # nosec B101
        provider = self._layer.dataProvider()
        fields = self._layer.fields()
        places = {name: fields.lookupField(name) for name in EDITED}
        changes = {
            fid: {places[name]: value or None for name, value in values.items()}
            for fid, values in self.unsaved.items()
        }
        if provider.changeAttributeValues(changes):
            self._layer.triggerRepaint()
            return ""
        reasons = "; ".join(provider.errors())
        provider.clearErrors()
        return tr("The file {path} can't be written: {reasons}.").format(
            path=self.path, reasons=reasons or "?"
        )

    # The layer's life

    def _take(self, layer: QgsVectorLayer) -> None:
        self._layer = layer
        layer.willBeDeleted.connect(self._removed)

    def _removed(self) -> None:
        """Go on with the file itself; what has not been read yet is read from there."""
        self._layer = None
        unread, self._features = self._features is not None, None
        own = QgsVectorLayer(self._uri, self.name, "ogr") if _identity(self.path) else None
        if own is not None and own.isValid():
            self._own_layer = own
            self._take(own)
            if unread:
                self._features = own.getFeatures()
            text = tr(
                "The layer '{name}' was removed from the project; the review goes on in its file {path}."
            )
        else:
            self.loaded = True
            text = tr(
                "The layer '{name}' was removed and its file {path} is gone; new verdicts stay unsaved."
            )
        self.trouble.emit(text.format(name=self.name, path=self.path))

    def close(self) -> None:
        """Let go of the layer."""
        if self._layer is not None:
            self._layer.willBeDeleted.disconnect(self._removed)
        self._layer = self._own_layer = self._features = None


def is_error_layer(layer: object) -> bool:
    """Tell whether `layer` has the columns of an error layer."""
    return isinstance(layer, QgsVectorLayer) and layer.isValid() and not _lacking(layer)


def _lacking(layer: QgsVectorLayer) -> list[str]:
    names = set(layer.fields().names())
    return [name for name in COLUMNS if name not in names]


def _checked(layer: QgsVectorLayer) -> Path:
    """Return the file of `layer`; raise a sentence where it can't be reviewed."""
    if not layer.isValid():
        raise ReviewError(tr("The layer '{name}' can't be read.").format(name=layer.name()))
    if lacking := _lacking(layer):
        raise ReviewError(
            tr("The layer '{name}' is not one of errors: it lacks the columns {columns}. Make one with 'Find "
               "misclassifications'.").format(name=layer.name(), columns=", ".join(lacking))
        )  # fmt: skip
    path = file_of(layer)
    if path is None or layer.providerType() != "ogr":
        raise ReviewError(
            tr("The layer '{name}' is in memory only, and verdicts would be lost: make it permanent as a "
               "GeoPackage first.").format(name=layer.name())
        )  # fmt: skip
    return path


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Return what tells a file from another of its name, None where there is none."""
    try:
        found = os.stat(path) if path else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None
