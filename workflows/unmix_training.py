"""Finding the endmembers of a scene, and learning to unmix it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from rasterio.windows import Window

from ..engine.unmix_jobs import UnmixJob
from ..models.brightness import Brightness, in_full_light
from ..models.card import UNMIXING, Card, card_classes
from ..models.endmembers import MIXED, bundle_purity, bundles, estimate_count, vca
from ..models.files import Model, Spectra
from ..models.idnet import IdNet, idnet
from ..models.idnet_training import WEAKEST, IdNetEpoch, IdNetSettings, fit_idnet
from ..models.unmixers import FCLS, AbundanceNetwork, Fcls, options_of, scaled_unmixer
from ..rasters.errors import InputError, first_of
from ..rasters.reflectance import reflectance_scale
from ..rasters.scene import Scene
from ..rasters.spectra_tables import SpectraTable, read_spectra_table, resampled
from .context import Context
from .unmix_methods import levelled, unmixed
from .unmix_scene import SceneSample, sample_scene

# Training pixels that the model file keeps, to start explanations from.
_BACKGROUND = 512
# Pixels that say how large the reconstruction error is where the model fits.
_FITTED = 4096
# A bundle whose mean lies nearer to a mixture of the others, in deviations, has nothing of its own.
_APART = 5.0
_FEWEST = 20  # pixels per material to train on


@dataclass(frozen=True)
class Endmembers:
    """Materials: `names`, `spectra` (material, band), and the `bundles` (m, band) of each; reflectance.

    `pixels` (n, band) are the sample's as the method sees them: over their `brightness` where that is free.
    """

    names: tuple[str, ...]
    spectra: np.ndarray
    bundles: list[np.ndarray]
    pixels: np.ndarray
    brightness: Brightness | None


def learn(job: UnmixJob, context: Context, scene: Scene, window: Window, device: str) -> tuple[Model, dict]:
    """Return a model of the scene's mixtures, and what was found on the way, for the record."""
    context.progress(0.0, "Reading pixels")
    sample = sample_scene(job, context, scene, window)
    context.progress(0.03, "Looking for endmembers")
    found, facts = _endmembers(job, context, scene, sample)
    context.check()
    history: list[IdNetEpoch] = []
    unmixer: Fcls | IdNet
    if job.method == FCLS:
        unmixer = Fcls(len(sample.used), len(found.names))
        unmixer.endmembers.copy_(torch.from_numpy(found.spectra))
    else:
        unmixer, history = _train(job, context, found, device)
    network = scaled_unmixer(unmixer, found.brightness, sample.scale)
    network.eval().requires_grad_(False)
    card = Card(
        task=UNMIXING, architecture=job.method, options=options_of(network), bands=sample.card_bands(scene),
        classes=card_classes(found.names),
        training={
            "scale": sample.scale, "seed": job.seed, "pixels": len(sample.pixels),
            "error_fence": _fence(network, sample, context), **facts,
            "history": [asdict(epoch) for epoch in history],
        },
    )  # fmt: skip
    return Model(network, _spectra(job, sample, found), card), facts


def _endmembers(
    job: UnmixJob, context: Context, scene: Scene, sample: SceneSample
) -> tuple[Endmembers, dict]:
    """Find the endmembers in the sample, or read them, and warn where the scene does not bear them out."""
    pixels = sample.pixels
    shown = estimate_count(pixels) if len(pixels) > len(sample.used) else 0
    facts: dict = {"endmembers_shown": shown or None}
    if job.spectra:
        names, spectra, libraries = _given(job, scene, sample)
    else:
        count = job.endmembers or max(2, shown)
        _check_count(count, scene, sample)
        spectra = pixels[vca(pixels, count, job.seed)].astype(np.float64)
        if job.any_brightness:
            spectra = in_full_light(pixels, spectra)
        # Brightest first: another seed finds much the same materials in another order.
        spectra = spectra[np.argsort(-spectra.mean(axis=1), kind="stable")]
        names, libraries = tuple(f"material {number}" for number in range(1, count + 1)), None
    _check_count(len(names), scene, sample)
    _warn_of_count(len(names), shown, bool(job.spectra), context)
    brightness = None
    if job.any_brightness:
        brightness = Brightness.against(spectra)
        pixels = levelled(pixels, brightness.of(pixels))
    rows = bundles(pixels, spectra, job.bundle_size)
    purity = bundle_purity(pixels.astype(np.float64), rows)
    facts["bundles"] = [
        {"material": name, "pixels": len(own), **{k: round(v, 4) for k, v in asdict(pure).items()}}
        for name, own, pure in zip(names, rows, purity)
    ]
    same = [name for name, pure in zip(names, purity) if pure.apart < _APART]
    if same:
        context.warn(
            f"The spectra of {first_of(same)} are mixtures of the other materials: ENDMEMBERS may be too "
            "many."
        )
    beyond = sum(pure.beyond for pure in purity)
    if beyond > MIXED:
        context.warn(
            f"{beyond:.0%} of the pixels lie beyond the purest ones of the materials: these are mixed "
            "themselves, or vary as much. Abundances may be too large; give measured spectra as SPECTRA."
        )
    if job.spectra and libraries is None:
        # How a given spectrum varies is learnt from the pixels nearest to it, which may be of other light.
        libraries = [spectrum + pixels[r] - pixels[r].mean(axis=0) for spectrum, r in zip(spectra, rows)]
    found = Endmembers(names, spectra, libraries or [pixels[r] for r in rows], pixels, brightness)
    return found, facts


def _given(
    job: UnmixJob, scene: Scene, sample: SceneSample
) -> tuple[tuple[str, ...], np.ndarray, list[np.ndarray] | None]:
    """Return names, mean spectra (material, band), and bundles where all materials have several spectra."""
    table = read_spectra_table(str(job.spectra))
    scale = reflectance_scale(table.values, "float64", table.path)
    bands = sample.bands(scene)
    if table.wavelengths is None or not any(band.wavelength_nm for band in bands):
        values = _by_band(table, scene, sample) / scale
    else:
        values = resampled(table, bands, scene.path) / scale
    owners = np.array([table.materials.index(name) for name in table.names])
    groups = [values[owners == number] for number in range(len(table.materials))]
    if job.endmembers and job.endmembers != len(groups):
        raise InputError(
            f"SPECTRA has {len(groups)} materials and ENDMEMBERS is {job.endmembers}; leave ENDMEMBERS 0."
        )
    libraries = groups if min(map(len, groups)) > 1 else None
    return table.materials, np.stack([group.mean(axis=0) for group in groups]), libraries


def _by_band(table: SpectraTable, scene: Scene, sample: SceneSample) -> np.ndarray:
    """Return the table's values (n, band), which are of all the scene's bands or of those that are read."""
    if table.values.shape[1] == len(sample.used):
        return table.values
    if table.values.shape[1] == len(scene.bands):
        return table.values[:, list(sample.used)]
    raise InputError(
        f"{table.path} has {table.values.shape[1]} values per spectrum, {scene.path} has {len(scene.bands)} "
        "bands, and one of the two tells no wavelengths; give wavelengths, or a value for each band."
    )


def _check_count(count: int, scene: Scene, sample: SceneSample) -> None:
    if count < 2:
        raise InputError(
            f"There {'is' if count == 1 else 'are'} {count} material(s) to unmix; give two or more."
        )
    if count > len(sample.used):
        raise InputError(
            f"{count} endmembers can't be told apart in {len(sample.used)} bands of {scene.path}; choose no "
            "more endmembers than bands."
        )
    if count > len(sample.pixels):
        raise InputError(
            f"{scene.path} has {len(sample.pixels)} pixel(s) with data to find {count} endmembers in; choose "
            "a larger extent, or give SPECTRA."
        )


def _warn_of_count(count: int, shown: int, given: bool, context: Context) -> None:
    if not shown or count == shown:
        return
    what = "SPECTRA has" if given else "ENDMEMBERS is"
    if count > shown:
        context.warn(
            f"{what} {count}, and the scene shows {shown}: that may be too many, and abundances be divided "
            "among spectra that hardly differ."
        )
    else:
        context.warn(
            f"{what} {count}, and the scene shows {shown}: that may be too few, and what is missing be taken "
            "for other materials or for nonlinear mixing."
        )


def _train(job: UnmixJob, context: Context, found: Endmembers, device: str) -> tuple[IdNet, list[IdNetEpoch]]:
    fewest = _FEWEST * len(found.names)
    if len(found.pixels) < fewest:
        raise InputError(
            f"{len(found.pixels)} pixels with data are too few to train on, {fewest} are needed for "
            f"{len(found.names)} materials; choose METHOD fcls, or a larger extent or sample."
        )
    text = ["Training"]

    def on_epoch(epoch: IdNetEpoch) -> None:
        text[0] = f"Training, epoch {epoch.number} of {job.epochs}, error {epoch.error:.4f}"
        if epoch.number == 1 or epoch.number % 10 == 0:
            context.log(f"{text[0]}, ELBO {epoch.elbo:.1f}")

    def on_share(done: float) -> None:
        context.check()
        context.progress(0.05 + 0.65 * done, text[0])

    network = idnet(found.pixels.shape[1], len(found.names), seed=job.seed)
    # Brightness that is free bends what linear mixtures leave of a pixel as nonlinear mixing does.
    strongest = WEAKEST if job.any_brightness else None
    settings = replace(IdNetSettings(), epochs=job.epochs, seed=job.seed, device=device, strongest=strongest)
    history = fit_idnet(network, found.pixels, found.bundles, settings, on_epoch, on_share)
    return network, history


def _fence(network: AbundanceNetwork, sample: SceneSample, context: Context) -> float:
    """Return the reconstruction error beyond which a pixel is outside of what the model explains.

    Tukey's outer fence, the upper quartile and three times the distance of the quartiles, over the sample.
    """
    errors = [
        batch.error for batch in unmixed(network, sample.pixels[:_FITTED], "cpu", context.check)
    ]  # fmt: skip
    low, high = np.percentile(np.concatenate(errors), [25, 75])
    return float(f"{high + 3 * (high - low):.6g}")


def _spectra(job: UnmixJob, sample: SceneSample, found: Endmembers) -> Spectra:
    """Return the mean pixel, the endmembers and a sample of pixels, in stored values."""
    chosen = np.sort(np.random.default_rng(job.seed).permutation(len(sample.pixels))[:_BACKGROUND])
    stored = [
        torch.from_numpy(np.ascontiguousarray(values * sample.scale, dtype=np.float32))
        for values in (sample.pixels.mean(axis=0, dtype=np.float64), found.spectra, sample.pixels[chosen])
    ]
    return Spectra(stored[0], stored[1], stored[2])
