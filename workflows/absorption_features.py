"""Which absorptions the spectra of classes have, what they are called, and which a network looks at."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import numpy as np
from rasterio.errors import WindowError
from rasterio.windows import Window

from ..engine.absorption_jobs import AbsorptionFeaturesJob as Job
from ..models.card import PIXEL_CLASSIFICATION, Card
from ..models.files import Model
from ..models.networks import PatchNetwork
from ..rasters.absorption_table import load_table
from ..rasters.continuum import ranges_of
from ..rasters.errors import InputError, first_of
from ..rasters.grid import Grid
from ..rasters.outputs import Outputs, check_space
from ..rasters.scene import Scene, open_scene
from ..rasters.writers import RasterWriter
from .absorption_plot import plot_features
from .absorption_tables import features_table, overlap_table
from .attribution import explained_window
from .attribution_outputs import FEW
from .attribution_rasters import AttributionRaster
from .class_spectra import ClassSpectra, SpectralTile
from .class_windows import ClassWindows
from .context import Context
from .devices import resolve_device, workers
from .dominant_feature import named_bands, write_dominant
from .feature_findings import SPURIOUS, USED, ClassFindings, Finder
from .fitting import check_has_data, no_data, open_pair
from .pixel_baselines import band_wavelengths
from .record import lineage_tags, run_record, stage_records, with_records
from .spectral_sources import EXPLAINERS, Explaining, FromRaster, SpectralSource
from .targets import BASELINES
from .tiling import BLOCK, map_tiles, tile_count, tile_side, within

# A tile's spectra, attributions and exposures are in memory with what explains them: float32 copies of bands.
_COPIES = 12
# More of the attributions than this in the atmosphere's windows are worth a warning.
_MUCH_ATMOSPHERE = 0.3


def find_features(job: Job, context: Context) -> dict:
    """Find the absorption features of the classes of `job`'s scene."""
    scene, model = _opened(job)
    table = load_table(job.features_table)
    given = AttributionRaster(job.attribution, scene, context) if job.attribution else None
    window = _window(job, scene, given)
    device = resolve_device(job.device)
    inputs = (job.scene, job.class_raster, job.attribution, job.model, job.features_table)
    with Outputs(context.job_id, with_records(job.output_paths()), [p for p in inputs if p]) as outputs:
        context.progress(0.0, "Looking for data")
        used = model.card.used_bands if model and not given else _used(given, window, context)
        check_has_data(scene, window, used[0])
        card = model.card if model else None
        at = _wavelengths(job, scene, used, card)
        ranges = ranges_of(at, [scene.bands[band].good for band in used])
        _check_ranges(ranges, scene)
        grid = scene.grid.sub(window)
        _check_space(job, len(used), grid.width * grid.height)
        with ExitStack() as stack:
            groups = None
            if job.class_raster:
                groups = stack.enter_context(
                    ClassWindows(job.class_raster, scene.grid, window, job.unlabelled_value, context)
                )
            source: SpectralSource
            if given:
                source = FromRaster(
                    job, context, scene, given, used, groups, model, at, ranges, window, device
                )
            else:
                pool = stack.enter_context(workers(device))
                source = Explaining(job, context, scene, cast(Model, model), groups, window, device, pool)
            sums = ClassSpectra(len(source.names), at, ranges)
            side = tile_side(job.memory_mb, 4 * _COPIES * len(scene.bands))
            keep = _Kept(job, given, used, grid, window, stack)
            with keep:
                for tile in _tiles(source, window, side, context, keep):
                    sums.add(tile)
            if not sums.pixels.any():
                raise no_data(scene)
            finder = Finder(at, ranges, table, _sensor_width(scene, used), job.shifts, job.seed)
            shares = given.absorption_shares() if given else {}
            found = _findings(finder, source, sums, shares, context)
            _warn(found, source.names, context)
            facts = {
                **source.facts,
                "wavelengths_nm": [None if np.isnan(value) else float(value) for value in at],
                "ranges_nm": [[float(at[part[0]]), float(at[part[-1]])] for part in ranges],
                "pixels_per_class": dict(zip(source.names, sums.pixels.tolist())),
                "named_features": len(table),
            }
            if job.dominant:
                sets = named_bands(found)
                if not sets:
                    raise InputError(
                        "No class has an absorption that the table has a name for, so that there is no "
                        "DOMINANT; leave it empty, or name features in FEATURES_TABLE."
                    )
                context.progress(0.95, "Writing the dominant features")
                facts["dominant_pixels"] = write_dominant(
                    job.dominant, outputs, grid, sets, lineage_tags(job, source.facts), keep.read, window,
                    side, context,
                )  # fmt: skip
        if job.plot:
            context.progress(0.98, "Drawing the plot")
            plot_features(outputs.stage(job.plot), finder, found, context.check)
        record = run_record(job, context, facts)
        stage_records(outputs, job.output_paths(), record)
    return {
        "files": job.wanted(),
        "tables": {"FEATURES": features_table(found), "OVERLAP": overlap_table(found)},
        "numbers": _numbers(found, sums),
        "strings": {},
        "warnings": context.warnings,
        "record": record,
    }


class _Kept:
    """Attributions for a second look: those that are given, or those made on the way, in a file meanwhile."""

    def __init__(
        self, job: Job, given: AttributionRaster | None, used: Sequence[int], grid: Grid, window: Window,
        stack: ExitStack,
    ) -> None:  # fmt: skip
        self._given, self._used, self._window = given, list(used), window
        self._writer: RasterWriter | None = None
        if job.dominant and not given:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            self._path = str(Path(folder) / "attribution.tif")
            self._writer = RasterWriter(self._path, grid, len(self._used), block=BLOCK)
        self._scene: Scene | None = None

    def __enter__(self) -> _Kept:
        if self._writer:
            self._writer.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer:
            self._writer.__exit__(*error)  # type: ignore[arg-type]

    def write(self, tile: Window, values: np.ndarray) -> None:
        """Keep the attributions (band, y, x) of a tile, where they will be wanted."""
        if self._writer:
            self._writer.write(within(tile, self._window), values)

    def read(self, tile: Window) -> np.ndarray:
        """Return the attributions (band, y, x) of a tile."""
        if self._given:
            return self._given.read(tile, self._used)
        self._scene = self._scene or open_scene(self._path)
        return self._scene.read(within(tile, self._window))


def _tiles(
    source: SpectralSource, window: Window, side: int, context: Context, keep: _Kept
) -> Iterator[SpectralTile]:
    total = tile_count(window, side)
    with ThreadPoolExecutor(1) as executor:
        for number, (tile, found) in enumerate(map_tiles(executor, source.read, window, side), 1):
            keep.write(tile, np.where(found.classes >= 0, found.attribution, np.float32(np.nan)))
            yield found
            context.log(f"Tile {number} of {total} done") if total > 1 else None


def _opened(job: Job) -> tuple[Scene, Model | None]:
    """Return the scene and the model, None where there is none; InputError where the job can't be done."""
    if not job.model and not job.attribution:
        raise InputError(
            "Give MODEL, to explain it on the way, or ATTRIBUTION, a raster that 'attribution' made."
        )
    if not job.model and not job.class_raster:
        raise InputError(
            "Give CLASSES, a raster of the class of each pixel, or MODEL, which then says the classes."
        )
    if job.shifts < 1 or job.seed < 0:
        raise InputError("SHIFTS must be 1 or more, and SEED 0 or more.")
    if not job.model:
        return open_scene(job.scene), None
    scene, model = open_pair(job.scene, job.model, PIXEL_CLASSIFICATION)
    needed = not job.attribution or not job.class_raster
    if needed and not isinstance(model.network, PatchNetwork):
        raise InputError(
            f"The model {job.model} is a {model.card.architecture}, which is explained and classified as a "
            "whole: give its maps, ATTRIBUTION from 'attribution' and CLASSES from 'classify'."
        )
    if not job.attribution and job.explainer not in EXPLAINERS:
        raise InputError(
            f"The explainer '{job.explainer}' can't be used here; choose one of {', '.join(EXPLAINERS)}."
        )
    if job.baseline not in BASELINES:
        raise InputError(f"There is no baseline '{job.baseline}'; choose one of {', '.join(BASELINES)}.")
    return scene, model


def _window(job: Job, scene: Scene, given: AttributionRaster | None) -> Window:
    window = explained_window(scene, job.extent, job.mask_features)
    if given is None:
        return window
    try:
        return window.intersection(given.window)
    except WindowError as error:
        raise InputError(
            f"The attributions {given.path} and the extent or mask do not overlap; change one of them."
        ) from error


def _used(given: AttributionRaster | None, window: Window, context: Context) -> list[int]:
    return cast(AttributionRaster, given).used_bands(window, context)


def _wavelengths(job: Job, scene: Scene, used: list[int], card: Card | None) -> np.ndarray:
    """Return the wavelengths (band,) in nm of the bands that are read, NaN where unknown."""
    if card is not None and list(card.used_bands) != list(used):
        card = None
    known = band_wavelengths(job.wavelengths, scene, used, card)
    if not any(known):
        raise InputError(
            f"Absorption features need wavelengths, and {scene.path} tells none; give those of its bands as "
            "WAVELENGTHS."
        )
    return np.array([np.nan if value is None else value for value in known], dtype=np.float64)


def _check_ranges(ranges: Sequence[np.ndarray], scene: Scene) -> None:
    if not ranges:
        raise InputError(
            f"No three bands of {scene.path} follow each other closely enough for a continuum outside of the "
            "atmosphere's windows; check WAVELENGTHS."
        )


def _check_space(job: Job, bands: int, pixels: int) -> None:
    needed = {job.dominant: 2 * pixels} if job.dominant else {}
    if job.dominant and not job.attribution:
        needed[str(Path(tempfile.gettempdir()) / "attribution")] = 4 * bands * pixels
    check_space(needed)


def _sensor_width(scene: Scene, used: Sequence[int]) -> float:
    """Return the median width in nm of the bands that are read, 0 where the scene tells none."""
    widths = [width for band in used if (width := scene.bands[band].fwhm_nm)]
    return float(np.median(widths)) if widths else 0.0


def _findings(
    finder: Finder, source: SpectralSource, sums: ClassSpectra, shares: dict[str, float], context: Context
) -> list[ClassFindings]:
    deviation = sums.deviation()
    found = []
    for number in np.flatnonzero(sums.pixels).tolist():
        context.check()
        name = source.names[number]
        signed, absolute = sums.attribution(number)
        share = sums.absorption_share(number) if sums.two_legs else shares.get(name)
        exposure = source.exposure(sums.exposure(number), sums.departure(number), deviation)
        found.append(
            finder.find(
                name, int(sums.pixels[number]), sums.mean(number), sums.noise(number), signed, absolute,
                exposure, share,
            )
        )  # fmt: skip
    return found


def _warn(found: Sequence[ClassFindings], names: Sequence[str], context: Context) -> None:
    known = {one.name for one in found}
    if missing := [name for name in names if name not in known]:
        context.warn(f"No pixel has the class {first_of(missing)}: there is nothing to say of it.")
    for one in found:
        if one.atmosphere is not None and one.atmosphere > _MUCH_ATMOSPHERE:
            context.warn(
                f"{one.atmosphere:.0%} of the attributions of {one.name} lie in the atmosphere's windows: "
                "what was learnt there is no property of the ground."
            )
    if slopes := [
        one.name for one in found if one.absorption_share is not None and one.absorption_share < FEW
    ]:
        context.warn(
            f"Absorptions did less than {FEW:.0%} of what decided for {first_of(slopes)}: the network goes "
            "by brightness or slope there."
        )
    for one in found:
        if spurious := [each.match.name for each in one.features if each.verdict == SPURIOUS]:
            context.warn(
                f"For {one.name} the network follows what its spectrum does not show: {first_of(spurious)}."
            )


def _numbers(found: Sequence[ClassFindings], sums: ClassSpectra) -> dict[str, float | int | None]:
    features = [each for one in found for each in one.features]
    return {
        "PIXELS": int(sums.pixels.sum()),
        "FEATURE_SHARE": _mean([one.overlap.share if one.overlap else None for one in found]),
        "ATMOSPHERE_SHARE": _mean([one.atmosphere for one in found]),
        "ABSORPTION_SHARE": sums.absorption_share(),
        "USED_FEATURES": sum(each.verdict == USED for each in features),
        "SPURIOUS_FEATURES": sum(each.verdict == SPURIOUS for each in features),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
