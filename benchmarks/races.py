"""Integrated gradients of a whole scene against Captum, in one run, as ratios.

Captum is called as its documentation shows, on the same network, pixels and baseline, with 50 steps (its
default) and the batch that is best for it. Ours is the whole job: reading, explaining, writing. Errors are
against Captum with 300 steps: the sum of the absolute differences over the sum of the absolute values, of
the attributions per band, averaged over pixels or classes.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import captum.attr
import numpy as np
import rasterio
import torch
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window
from torch import Tensor

from ..engine.jobs import AttributionJob
from ..explainers.base import Options, patches_at
from ..explainers.costs import body_operations
from ..explainers.integrated_gradients import IntegratedGradients
from ..models.files import Model
from ..rasters.scene import open_scene
from ..workflows.attribution import explain
from .scene import quiet_context, trained, write_scene

STEPS, REFERENCE_STEPS = 50, 300
BATCHES = {"spectral_cnn": (1, 4, 8, 16, 32), "hybrid_cnn": (1, 2, 4, 8)}
SAMPLE = {"spectral_cnn": 64, "hybrid_cnn": 32}
# The corner and sides of the window for the per-class table's error: four classes meet there.
TABLE_WINDOW = (60, 24, 16, 16)
# "zero" is what Captum takes when it is given none. A tolerance of 0.02 keeps our error just below that
# of Captum's 50 steps; 0.01 is our default.
CASES = {
    "spectral_cnn": (("zero", 0.02), ("zero", 0.01), ("mean", 0.02)),
    "hybrid_cnn": (("zero", 0.01), ("mean", 0.02)),
}


def main(source: Path, architectures: Sequence[str]) -> None:
    """Race with these architectures, or all, and print Markdown; without the scene, say so."""
    if not source.is_dir():
        print(f"The races need the scene in {source}; nothing was measured.")
        return
    torch.set_grad_enabled(False)
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    print(f"{torch.get_num_threads()} threads, matrix product {_peak() / 1e9:.0f} GFLOP/s\n")
    with tempfile.TemporaryDirectory() as folder:
        write_scene(source, Path(folder))
        for architecture in architectures or BATCHES:
            with torch.enable_grad():
                model = trained(Path(folder), architecture)
            race = Race(Path(folder), model, architecture)
            for baseline, tolerance in CASES[architecture]:
                race.per_pixel(baseline, tolerance)
            if architecture == "hybrid_cnn":
                race.per_class("zero", 0.01)
            race.convergence()


class Race:
    """The races of one network."""

    def __init__(self, folder: Path, model: Model, architecture: str) -> None:
        self.folder, self.model, self.architecture = folder, model, architecture
        self.network = model.network
        self.scene = open_scene(str(folder / "scene.dat"))
        side = self.network.patch_size
        whole = Window(0, 0, self.scene.grid.width, self.scene.grid.height)
        self.tile = torch.from_numpy(self.scene.read(whole, side // 2, model.card.used_bands))
        self.classes = torch.cat([
            self.network.logits(self.tile[None, :, top : top + 16 + side - 1])[0].argmax(0)
            for top in range(0, self.scene.grid.height, 16)
        ])  # fmt: skip
        generator = np.random.default_rng(0)
        pixels = torch.from_numpy(generator.integers(0, self.classes.shape[0], (2, SAMPLE[architecture])))
        self.rows, self.cols = pixels

    def per_pixel(self, baseline: str, tolerance: float) -> None:
        """Attributions per pixel and band of the whole scene."""
        before = self._captum_seconds(baseline)
        output = str(self.folder / "attribution.tif")
        seconds, result = self._job(baseline, tolerance, attribution=output)
        after = self._captum_seconds(baseline)
        theirs = min(before[0], after[0])
        reference = self._captum(self.rows, self.cols, baseline, REFERENCE_STEPS)
        with rasterio.open(output) as file:
            ours = torch.from_numpy(file.read()[:, self.rows, self.cols].T)
        error = _error(self._captum(self.rows, self.cols, baseline, STEPS), reference)
        pixels = self.classes.numel()
        print(f"### {self.architecture}, pixel and band, baseline {baseline}, tolerance {tolerance:g}\n")
        print(f"- Captum: {1e3 * theirs:.2f} ms a pixel (batch {before[1]}), error {error:.3%}")
        print(
            f"- ours: {1e3 * seconds / pixels:.2f} ms a pixel ({seconds:.1f} s for {pixels} pixels), "
            f"error {_error(ours, reference):.3%}, "
            f"{result['record']['evaluations_per_pixel']:.1f} segments each, "
            f"mean residual {result['numbers']['MEAN_RESIDUAL']:.1e}, "
            f"{result['numbers']['UNSETTLED']} not settled"
        )
        # A body run backward takes as many operations as run forward.
        once = body_operations(self.network, 1) * pixels
        rate = once * result["record"]["evaluations_per_pixel"] / seconds / _peak()
        captums = 2 * STEPS * once / (theirs * pixels) / _peak()
        print(f"- of the machine's rate: our way back {rate:.0%}, Captum both ways {captums:.0%}")
        print(f"- **ratio {theirs * pixels / seconds:.1f}**\n", flush=True)

    def per_class(self, baseline: str, tolerance: float) -> None:
        """The table of means per class and band of the whole scene."""
        before = self._captum_seconds(baseline)
        seconds, _ = self._job(baseline, tolerance, table_only=True)
        theirs = min(before[0], self._captum_seconds(baseline)[0])
        col, row, width, height = TABLE_WINDOW
        rows, cols = (
            index.flatten()
            for index in torch.meshgrid(
                torch.arange(row, row + height), torch.arange(col, col + width), indexing="ij"
            )
        )
        classes = self.classes[rows, cols]
        extent = [float(col), -float(row + height), float(col + width), -float(row)]
        _, part = self._job(baseline, tolerance, table_only=True, extent=extent)
        ours = _table_means(part, len(self.model.card.used_bands))
        means = {}
        for steps in (STEPS, REFERENCE_STEPS):
            values = self._captum(rows, cols, baseline, steps)
            means[steps] = torch.stack([values[classes == number].mean(0) for number in classes.unique()])
        pixels = self.classes.numel()
        print(f"### {self.architecture}, means per class and band, baseline {baseline}\n")
        print(
            f"- Captum: {1e3 * theirs:.2f} ms a pixel (batch {before[1]}), error of the means "
            f"{_error(means[STEPS], means[REFERENCE_STEPS]):.3%}"
        )
        print(
            f"- ours: {1e3 * seconds / pixels:.2f} ms a pixel ({seconds:.1f} s), error of the means "
            f"{_error(ours, means[REFERENCE_STEPS]):.3%} ({len(ours)} classes, {len(rows)} pixels)"
        )
        print(f"- **ratio {theirs * pixels / seconds:.1f}**\n", flush=True)

    def convergence(self) -> None:
        """How the error falls with the work, per pixel: gradients sampled, and secants."""
        count = 12
        rows, cols = self.rows[:count], self.cols[:count]
        print(f"### {self.architecture}: error against 3000 secant segments, {count} pixels\n")
        print("| baseline | segments or steps | Gauss-Legendre | even secants | graded secants |")
        print("|---|---|---|---|---|")
        for baseline in ("zero", "mean"):
            x, base, weights = self._prepared(rows, cols, baseline)
            graded, even = (IntegratedGradients(self.network, Options()) for _ in range(2))
            spectra = self.model.spectra.background[:12, :, None, None].expand(-1, -1, *x.shape[2:])
            own = torch.eye(len(weights[0]))[self.network.logits(spectra).flatten(1).argmax(1)]
            graded.learn(spectra, base[:1].expand_as(spectra), own)
            exact = torch.cat([
                even.level(x[i : i + 1], base[i : i + 1], weights[i : i + 1], 3000).sum((2, 3))
                for i in range(count)
            ])  # fmt: skip
            for segments in (4, 8, 12, 16, 24, 50):
                sampled = IntegratedGradients(self.network, Options(steps=segments))
                errors = [
                    _error(maps.sum((2, 3)), exact)
                    for maps in (
                        sampled.attribute(x, base, weights).values,
                        even.level(x, base, weights, segments),
                        graded.level(x, base, weights, segments),
                    )
                ]
                print(f"| {baseline} | {segments} | " + " | ".join(f"{e:.2%}" for e in errors) + " |")
        print(flush=True)

    def _job(self, baseline: str, tolerance: float, **options: object) -> tuple[float, dict]:
        job = AttributionJob(
            scene=self.scene.path, model=str(self.folder / f"{self.architecture}.safetensors"),
            baseline=baseline, tolerance=tolerance, **options,
        )  # fmt: skip
        start = time.perf_counter()
        result = explain(job, quiet_context())
        return time.perf_counter() - start, result

    def _captum_seconds(self, baseline: str) -> tuple[float, int]:
        """Return the seconds a pixel with the best batch, and that batch."""
        found = []
        for batch in BATCHES[self.architecture]:
            rows, cols = self.rows[:batch], self.cols[:batch]
            seconds = _fastest(partial(self._captum, rows, cols, baseline, STEPS, batch))
            found.append((seconds / batch, batch))
        return min(found)

    def _captum(self, rows: Tensor, cols: Tensor, baseline: str, steps: int, batch: int = 4) -> Tensor:
        """Return Captum's attributions per band (n, band)."""
        x, base, weights = self._prepared(rows, cols, baseline)
        explainer = captum.attr.IntegratedGradients(lambda z: self.network(z).flatten(1))
        with torch.enable_grad():
            return torch.cat([
                explainer.attribute(
                    x[part], baselines=base[part], target=weights[part].argmax(1), n_steps=steps
                ).sum((2, 3))
                for part in torch.arange(len(x)).split(batch)
            ])  # fmt: skip

    def _prepared(self, rows: Tensor, cols: Tensor, baseline: str) -> tuple[Tensor, Tensor, Tensor]:
        x = patches_at(self.tile, rows, cols, self.network.patch_size)
        spectrum = self.model.spectra.mean * (baseline == "mean")
        weights = torch.eye(len(self.model.card.classes))[self.classes[rows, cols]]
        return x, spectrum[None, :, None, None].expand_as(x).contiguous(), weights


def _table_means(result: dict, bands: int) -> Tensor:
    table = result["tables"]["BAND_TABLE"]
    column = [column["name"] for column in table["columns"]].index("mean")
    return torch.tensor([row[column] for row in table["rows"]]).unflatten(0, (-1, bands))


def _error(values: Tensor, reference: Tensor) -> float:
    return float(((values - reference).abs().sum(1) / reference.abs().sum(1)).mean())


def _fastest(function: Callable[[], object], repeats: int = 3) -> float:
    def runs() -> Iterator[float]:
        for _ in range(repeats):
            start = time.perf_counter()
            function()
            yield time.perf_counter() - start

    return min(runs())


def _peak() -> float:
    """Return the machine's rate of a float32 matrix product, in operations a second."""
    a = torch.randn(1024, 1024)
    return 2 * 1024**3 / _fastest(lambda: a @ a, 20)
