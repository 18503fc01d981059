"""The menu of the page of mistakes: corrected labels, training with them, and a copy of the errors."""

from __future__ import annotations

from collections.abc import Callable

from qgis.core import QgsProject, QgsRasterLayer, QgsVectorLayer
from qgis.PyQt.QtGui import QAction
from qgis.PyQt.QtWidgets import QFileDialog, QMenu, QWidget

from ...algorithms._text import tr
from .background import in_background
from .copies import ErrorCopy
from .labels import CLASS_FIELD, Exported, LabelExport
from .sources import ReviewSources, model_card
from .store import ReviewError, ReviewStore

# What the card of a classifier tells of how it was trained, by the parameter that asks for it.
_OPTIONS = {"PATCH_SIZE": "patch_size", "NORMALISATION": "normalisation", "COMPONENTS": "components"}


class Corrections:
    """Actions on the errors that `store` returns; `open_dialog` opens an algorithm with parameters.

    `say` shows what went wrong, `tell` what was done.
    """

    def __init__(
        self, parent: QWidget, store: Callable[[], ReviewStore | None], say: Callable[[str], None],
        tell: Callable[[str], None], open_dialog: Callable[[str, dict], None],
    ) -> None:  # fmt: skip
        self._parent, self._store, self._open_dialog = parent, store, open_dialog
        self._say, self._tell = say, tell
        self.menu = QMenu(parent)
        for text, tip, act in (
            (tr("Export corrected labels…"),
             tr("The reference with the reviewed errors put right, as a GeoPackage"), self.export),
            (tr("Train with corrected labels…"),
             tr("Exports corrected labels and opens 'Train a classifier' with them"), self.retrain),
            (tr("Save a copy…"), tr("The errors with every verdict, as a new GeoPackage"), self.copy),
            (tr("Try again to save"), tr("Writes verdicts that could not be saved so far"), self.save_again),
        ):  # fmt: skip
            action = QAction(text, parent)
            action.setToolTip(tip)
            action.triggered.connect(lambda checked=False, act=act: act())
            self.menu.addAction(action)
        self.menu.setToolTipsVisible(True)

    def export(self, path: str = "", then: Callable[[Exported], None] | None = None) -> None:
        """Write corrected labels to `path`, asked for where it is empty, and add them to the project."""
        store = self._store()
        if store is None or not store.loaded:
            self._say(tr("Open a layer of errors first."))
            return
        path = path or self._asked(tr("Corrected labels"), f"{store.path.stem}_labels.gpkg")
        if not path:
            return
        try:
            reference, field = reference_of(store.sources)
            export = LabelExport(store, reference, field)
        except ReviewError as error:
            self._say(str(error))
            return

        def done(exported: Exported) -> None:
            layer = QgsVectorLayer(exported.path, tr("Corrected labels"), "ogr")
            QgsProject.instance().addMapLayer(layer)
            text = tr("{reviewed} labels from the review and {reference} of the reference are in {path}; "
                      "{left_out} doubtful errors were left out.")  # fmt: skip
            if reference is None:
                text += " " + tr("The reference is no vector layer, so only reviewed errors were written.")
            self._tell(text.format(**vars(exported)))
            if then:
                then(exported)

        in_background(
            tr("Export corrected labels"), lambda cancelled: export.run(path, cancelled), done, self._say
        )

    def retrain(self, path: str = "") -> None:
        """Export corrected labels, then open the dialog of training with the model's own settings."""
        store = self._store()
        if store is None or store.sources.scene is None:
            self._say(tr("Training needs the scene of the errors, and these have none."))
            return
        sources = store.sources
        self.export(path, lambda exported: self._open_dialog(*training(sources, exported.path)))

    def copy(self, path: str = "") -> None:
        """Write the errors as they stand to `path`, asked for where it is empty, and add them."""
        store = self._store()
        if store is None or not store.loaded:
            self._say(tr("Open a layer of errors first."))
            return
        path = path or self._asked(tr("Copy of the errors"), f"{store.path.stem}_copy.gpkg")
        if not path or path == str(store.path):
            return

        def done(written: str) -> None:
            QgsProject.instance().addMapLayer(QgsVectorLayer(written, tr("Errors (copy)"), "ogr"))
            self._tell(tr("All verdicts are in {path}.").format(path=written))

        copy = ErrorCopy(store)
        in_background(
            tr("Save a copy of the errors"), lambda cancelled: copy.run(path, cancelled), done, self._say
        )

    def save_again(self) -> None:
        """Try to write what is unsaved."""
        store = self._store()
        if store is not None and store.save():
            self._tell(tr("All verdicts are saved in {path}.").format(path=store.path))

    def _asked(self, title: str, name: str) -> str:
        store = self._store()
        start = str(store.path.with_name(name)) if store else name
        path, _ = QFileDialog.getSaveFileName(self._parent, title, start, tr("GeoPackages") + " (*.gpkg)")
        return path if not path or path.lower().endswith(".gpkg") else path + ".gpkg"


def reference_of(sources: ReviewSources) -> tuple[QgsVectorLayer | None, str | None]:
    """Return the reference as a vector layer with the field of its classes; None where it is a raster."""
    if not sources.reference:
        return None, None
    for layer in QgsProject.instance().mapLayers().values():
        if isinstance(layer, QgsVectorLayer) and layer.source() == sources.reference:
            return layer, sources.reference_field
    layer = QgsVectorLayer(sources.reference, tr("reference"), "ogr")
    if layer.isValid():
        return layer, sources.reference_field
    if QgsRasterLayer(sources.reference, tr("reference")).isValid():
        return None, None
    raise ReviewError(tr("The reference {path} can't be opened any more.").format(path=sources.reference))


def training(sources: ReviewSources, labels: str) -> tuple[str, dict]:
    """Return the algorithm that trains with `labels`, and its parameters as the model's card has them."""
    parameters = {"INPUT": sources.scene, "LABELS": labels, "LABEL_FIELD": CLASS_FIELD}
    try:
        card = model_card(sources.model) if sources.model else {}
    except ValueError:
        card = {}
    if card.get("task") == "pixel_classification":
        parameters["ARCHITECTURE"] = card.get("architecture")
        options = card.get("options") or {}
        parameters.update({name: options[key] for name, key in _OPTIONS.items() if key in options})
    return "trainclassifier", parameters
