"""The page of mistakes: steps through the errors of a layer, shows each, and takes verdicts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from qgis.core import QgsProject, QgsVectorLayer
from qgis.PyQt.QtCore import QTimer

from ...algorithms import _settings
from ...algorithms._text import tr
from ...engine.jobs import ExplainPixelsJob
from .matrix import Pair
from .mistakes_form import MistakesForm
from .on_map import OnMap
from .profile import Explanation
from .records import ErrorRecord, Filter
from .requests import PixelRequests
from .store import ReviewError, ReviewStore, is_error_layer

_READ_SECONDS = 0.01  # of reading before the window may draw again
_KEPT = 200  # explanations of errors that were visited


class MistakesPage(MistakesForm):
    """Everything about the errors of one layer; `say` shows a sentence to the user."""

    def __init__(self, on_map: OnMap, requests: PixelRequests, say: Callable[[str], None]) -> None:
        super().__init__()
        self._on_map, self._requests, self._say = on_map, requests, say
        self.store: ReviewStore | None = None
        self.current: int | None = None
        self._kept: OrderedDict[int, Explanation] = OrderedDict()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._read)
        requests.answered.connect(self._answered)
        requests.failed.connect(self._failed)
        self._connect()
        project = QgsProject.instance()
        project.layersAdded.connect(self._list_layers)
        project.layersRemoved.connect(self._list_layers)
        self._list_layers()
        self.show_nothing(tr("Choose a layer of errors, as 'Find mistakes' makes them."))

    def _connect(self) -> None:
        self.layers.layerChanged.connect(self.open)
        self.filters.filtered.connect(self._filter)
        self.filters.sorted.connect(self._sort)
        self.matrix.chosen.connect(self._choose_pair)
        self.previous.clicked.connect(lambda: self.step(-1))
        self.next.clicked.connect(lambda: self.step(1))
        self.to_error.clicked.connect(self.zoom)
        self.blink.clicked.connect(self.flash)
        self.verdicts.judged.connect(self.judge)
        self.verdicts.corrected.connect(self._correct)
        self.verdicts.commented.connect(self._comment)

    def _list_layers(self, *_: object) -> None:
        """Offer only layers of errors."""
        layers = QgsProject.instance().mapLayers().values()
        self.layers.setExceptedLayerList([layer for layer in layers if not is_error_layer(layer)])

    # Opening and closing

    def open(self, layer: QgsVectorLayer | None) -> None:
        """Review `layer`; a sentence where it is no layer of errors."""
        if layer is None or (self.store is not None and self.store.layer is layer):
            return
        self.close_store()
        try:
            self.store = ReviewStore(layer, self)
        except ReviewError as error:
            self._say(str(error))
            self.show_nothing(str(error))
            return
        self.layers.setLayer(layer)
        self.filters.reset()
        self.store.trouble.connect(self._say)
        self.store.changed.connect(self._changed)
        self.show_nothing(tr("Reading the errors…"))
        self._timer.start(0)

    def close_store(self) -> None:
        """Let go of the layer; a comment that is being written is kept first."""
        self.verdicts.comment.clearFocus()
        self._timer.stop()
        if self.store is not None:
            self.store.close()
            self.store.deleteLater()
        self.store, self.current = None, None
        self._kept.clear()
        self._on_map.clear()

    def shut(self) -> None:
        """Let go of everything; the page is not used again."""
        self.close_store()
        project = QgsProject.instance()
        project.layersAdded.disconnect(self._list_layers)
        project.layersRemoved.disconnect(self._list_layers)

    def _read(self) -> None:
        if self.store is None or not self.store.load(_READ_SECONDS):
            return
        self._timer.stop()
        store = self.store
        self.verdicts.set_classes(store.classes())
        self.filters.show_pairs(store.counts)
        self.show_counts(self.store.classes(), self.store.counts)
        store.listed.connect(self._listed)
        records = store.records
        first = next((fid for fid in store.order if not records[fid].reviewed), None)
        first = store.neighbour(None, 0) if first is None else first
        if first is None:
            self.show_nothing(tr("The layer '{name}' holds no errors.").format(name=store.name))
        else:
            self.go_to(first)

    # Stepping

    def step(self, by: int) -> None:
        """Go to the next or the previous error that passes the filter."""
        if self.store is not None and self.store.loaded:
            fid = self.store.neighbour(self.current, by)
            if fid is not None:
                self.go_to(fid)

    def go_to(self, fid: int) -> None:
        """Show one error, on the map too."""
        if self.store is None:
            return
        self.verdicts.comment.clearFocus()
        self.current = fid
        record = self.store.records[fid]
        self.verdicts.show_record(record)
        self.show_facts(record)
        self._tell_progress()
        self.zoom()
        self._explain(record)

    def zoom(self) -> None:
        """Bring the current error into the middle of the map."""
        if self.store is not None and self.current is not None:
            shape = self.store.geometry(self.current)
            if not self._on_map.point_at(shape, self.store.crs):
                self._say(
                    tr("This error can't be brought into the map's CRS; choose another CRS for the project.")
                )

    def flash(self) -> None:
        """Let the current error blink on the map."""
        if self.store is not None and self.current is not None:
            self._on_map.flash(self.store.geometry(self.current), self.store.crs)

    def _filter(self, chosen: Filter) -> None:
        if self.store is not None and self.store.loaded:
            self.show_pair(chosen.pair)
            self.store.set_filter(chosen)

    def _sort(self, column: str) -> None:
        if self.store is not None and self.store.loaded:
            self.store.sort(column)

    def _listed(self) -> None:
        """Stay with the error that is shown where it passes the filter."""
        assert self.store is not None  # nosec B101
        if self.current in self.store.order:
            self._tell_progress()
        elif self.store.order:
            self.go_to(self.store.order[0])
        else:
            self.current = None
            self.show_nothing(tr("No error passes the filter."))

    def _choose_pair(self, pair: Pair | None) -> None:
        """Filter by a cell of the matrix, and select its errors on the map."""
        self.filters.choose_pair(pair)
        if self.store is not None and self.store.layer is not None:
            chosen = [r.fid for r in self.store.records.values() if pair is not None and r.pair == pair]
            self.store.layer.selectByIds(chosen)

    def _tell_progress(self) -> None:
        assert self.store is not None  # nosec B101
        order = self.store.order
        place = order.index(self.current) + 1 if self.current in order else 0
        self.show_progress(place, len(order), *self.store.progress())

    # Judging

    def judge(self, verdict: str) -> None:
        """Keep a verdict; of a label error the predicted class is the right one until another is chosen."""
        if self.store is None or self.current is None:
            return
        record, values = self.store.records[self.current], {"verdict": verdict}
        if verdict == "label error" and not record.corrected_class:
            values["corrected_class"] = record.predicted_class
        elif record.verdict == "label error" and record.corrected_class == record.predicted_class:
            values["corrected_class"] = ""
        if self.store.record(self.current, **values) and verdict and self.go_on.isChecked():
            self.step(1)

    def _correct(self, name: str) -> None:
        if self.store is not None and self.current is not None:
            self.store.record(self.current, corrected_class=name)

    def _comment(self, text: str) -> None:
        if self.store is not None and self.current is not None:
            self.store.record(self.current, comment=text)

    def _changed(self, fid: int) -> None:
        assert self.store is not None  # nosec B101
        self.show_counts(self.store.classes(), self.store.counts)
        self._tell_progress()
        if fid == self.current:
            self.verdicts.show_record(self.store.records[fid])

    # Explaining

    def _explain(self, record: ErrorRecord) -> None:
        assert self.store is not None  # nosec B101
        sources = self.store.sources
        if record.fid in self._kept:
            self.view.show_error(self._kept[record.fid], *record.pair)
        elif sources.model is None or not (sources.scene or sources.series):
            self.view.show_note(
                tr("These errors are those of a class raster: there is no model to explain. What is known is "
                   "written above.")
            )  # fmt: skip
        elif gone := sources.missing():
            self.view.show_note(tr("The file {path} is no longer there.").format(path=gone))
        else:
            self.view.show_note(tr("Asking the engine…"))
            job = ExplainPixelsJob(
                scene=sources.scene,
                series=sources.series,
                model=sources.model,
                points=((record.x, record.y),),
                explainer=sources.explainer,
                target="contrast",
                class_name=record.predicted_class,
                contrast_class=record.true_class,
                device=_settings.device(),
                memory_mb=_settings.memory_mb(),
            )
            self._requests.ask((self.store, record.fid), lambda: job)

    def _answered(self, key: object, result: dict) -> None:
        if self.store is None or not isinstance(key, tuple) or key[0] is not self.store:
            return
        explanation = Explanation.from_result(result)
        self._kept[key[1]] = explanation
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        if key[1] == self.current:
            self.view.show_error(explanation, *self.store.records[key[1]].pair)

    def _failed(self, key: object, text: str) -> None:
        if isinstance(key, tuple) and key[0] is self.store:
            self._say(text)
            if key[1] == self.current:
                self.view.show_note(text)
