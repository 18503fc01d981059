"""The report of a review: where the errors are, what they may be, and the spectra of the classes confused."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rasterio.windows import Window

from ..engine.jobs import MisclassificationsJob as Job
from ..models.metrics import Accuracy
from ..rasters.scene import Scene
from .pixel_chips import display_bands
from .report import page
from .review_findings import PairSpectra
from .review_reference import Reference
from .review_regions import Regions
from .review_spectra import Line, pair_figure
from .review_suspicion import RULES, SUSPICIONS, Known
from .review_tables import WORTH

# Colours of the suspicions (Okabe & Ito 2008), as in the layer's style.
COLOURS = dict(zip(SUSPICIONS, ("#d55e00", "#cc79a7", "#56b4e9", "#333333", "#f0e442", "#0072b2")))
# The longer side of the picture behind the map, in pixels; pairs with spectra; errors that are listed.
_MAP_SIDE = 400
_PAIRS, _LISTED = 6, 25
_DOTS = 110
_SHOWN = ("error_id", "true_class", "predicted_class", "pixels", "confidence", "margin", "suspicion")
# Sentences, which have a row of their own.
_SAID = ("rule", "evidence")


class ReviewReport:
    """One HTML page without scripts or outside files."""

    def __init__(
        self, job: Job, scene: Scene, bands: list[int], reference: Reference, regions: Regions,
        known: Known | None, pairs: PairSpectra | None,
    ) -> None:  # fmt: skip
        self._job, self._scene, self._bands, self._reference = job, scene, bands, reference
        self._regions, self._known, self._pairs = regions, known, pairs

    def page(
        self, table: dict, accuracy: Accuracy, numbers: dict, record: dict, check: Callable[[], None]
    ) -> str:
        """Return the page; `check` may raise to stop."""
        names = [column["name"] for column in table["columns"]]
        errors = [dict(zip(names, row)) for row in table["rows"]]
        kinds = Counter(error["suspicion"] for error in errors)
        pixels: Counter[str] = Counter()
        for error in errors:
            pixels[error["suspicion"]] += error["pixels"]
        aliases = {column["name"]: column["alias"] for column in table["columns"]}
        return page(
            "review_report.html", job=self._job, record=record, numbers=numbers, accuracy=accuracy,
            classes=self._reference.classes, errors=errors[:_LISTED], total=len(errors),
            shown=[(name, aliases[name]) for name in _SHOWN], said=[(name, aliases[name]) for name in _SAID],
            kinds=[(name, COLOURS[name], kinds[name], pixels[name], RULES[name], WORTH[name])
                   for name in SUSPICIONS],
            map=_png(self._map(errors, check)) if errors else None,
            pairs=self._pair_figures(errors, check),
        )  # fmt: skip

    def _map(self, errors: Sequence[dict], check: Callable[[], None]) -> Figure:
        """Return the scene with its errors in the colours of the suspicions."""
        picture = _picture(self._scene, check)
        transform = self._scene.grid.display_transform(0)
        figure = Figure(figsize=(7.5, 0.6 + 7.5 * min(1.5, picture.shape[0] / picture.shape[1])), dpi=_DOTS)
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0.06, 1, 0.94))
        axes.imshow(picture, extent=(0, self._scene.grid.width, self._scene.grid.height, 0))
        back = ~transform
        # The least instructive first, so that they are not on top.
        for error in reversed(errors):
            x, y = back * (error["x"], error["y"])
            size = 3.0 + 2.5 * np.log1p(error["pixels"])
            axes.plot(x, y, "o", ms=size, mfc=COLOURS[error["suspicion"]], mec="white", mew=0.5)
        axes.set_axis_off()
        there = [name for name in SUSPICIONS if any(error["suspicion"] == name for error in errors)]
        marks = [Line2D([], [], marker="o", ls="", color=COLOURS[name], label=name) for name in there]
        figure.legend(handles=marks, loc="lower center", ncols=6, fontsize=8, frameon=False)
        return figure

    def _pair_figures(self, errors: Sequence[dict], check: Callable[[], None]) -> list[tuple[str, str]]:
        """Return the pairs of classes with most wrong pixels, and the spectra of each as a picture."""
        if self._known is None or self._pairs is None:
            return []
        counts: Counter[tuple[str, str]] = Counter()
        for error in errors:
            counts[error["true_class"], error["predicted_class"]] += error["pixels"]
        figures, names = [], self._reference.names
        for (true, predicted), pixels in counts.most_common(_PAIRS):
            check()
            figure = self._pair_figure(names.index(true), names.index(predicted))
            title = f"{true} taken for {predicted}: {pixels} pixels"
            figures.append((title, _png(figure)))
        return figures

    def _pair_figure(self, true: int, predicted: int) -> Figure:
        assert self._known is not None and self._pairs is not None  # nosec B101
        colours = [entry.colour for entry in self._reference.classes]
        names, means = self._reference.names, self._known.space.raw_means
        lines = (
            Line(f"{names[true]}, correct", means[true], colours[true], "-"),
            Line(f"{names[predicted]}, correct", means[predicted], colours[predicted], "-"),
            Line("the errors", self._pairs.mean(true, predicted), "black", "--"),
        )
        return pair_figure(self._scene, self._bands, lines)


def _picture(scene: Scene, check: Callable[[], None]) -> np.ndarray:
    """Return the scene in colour (y, x, 3), thinned to a small picture row by row."""
    step = max(1, -(-max(scene.grid.width, scene.grid.height) // _MAP_SIDE))
    bands = display_bands(scene)
    distinct = list(dict.fromkeys(bands))
    rows = []
    for row in range(0, scene.grid.height, step):
        check()
        values = scene.read(Window(0, row, scene.grid.width, 1), bands=distinct)[:, 0, ::step]
        rows.append(values[[distinct.index(band) for band in bands]])
    planes = np.stack(rows, 1)
    picture = np.full((*planes.shape[1:], 3), 0.5)
    for colour, plane in enumerate(planes):
        known = np.isfinite(plane)
        if known.any():
            low, high = np.percentile(plane[known], (2, 98))
            picture[..., colour][known] = np.clip((plane[known] - low) / max(high - low, 1e-30), 0, 1)
    return picture


def _png(figure: Figure) -> str:
    """Return a figure as base64 for a page."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return base64.b64encode(stream.getvalue()).decode("ascii")
