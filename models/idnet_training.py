"""Training of ID-Net on the pixels of one scene, with bundles of near-pure pixels as its labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from ..rasters.errors import InputError
from .endmembers import noise_of
from .fcls import fcls
from .idnet import STRONGEST, IdNet, Posterior


# A material's variation is read from pixels with more than this of it, or from so many richest.
_RICH = 0.95
_RICH_PIXELS = 20
# Nonlinear mixing is believed in from this share of what linear mixing leaves; else it is held to `WEAKEST`.
_EVIDENCE = 0.2
_EVIDENCE_PIXELS = 2000
WEAKEST = 0.02
# Pixels whose abundances' squares sum to less are mixed.
_MIXED = 0.9


@dataclass(frozen=True)
class IdNetSettings:
    """How to train."""

    epochs: int = 20
    learning_rate: float = 1e-3
    batch_size: int = 256
    lam: float = 1.0
    beta: float = 10.0
    tau: float = 0.0
    anchor: float = 1.0
    strongest: float | None = None
    decay_h: float = 1.0
    decay_g: float = 1.0
    bundle_size: int = 20
    self_training: bool = True
    as_released: bool = False
    label_smoothing: float = 0.02
    warm_up: int = 5
    samples: int = 5
    most_pixels: int = 10_000
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class IdNetEpoch:
    """One epoch: the mean ELBO of a pixel, in nats, its mean log-likelihood, and the rms error, scaled."""

    number: int
    elbo: float
    likelihood: float
    error: float


def fit_idnet(
    network: IdNet, pixels: np.ndarray, bundles: Sequence[np.ndarray], settings: IdNetSettings,
    on_epoch: Callable[[IdNetEpoch], None], on_share: Callable[[float], None],
) -> list[IdNetEpoch]:  # fmt: skip
    """Train in place and return the history.

    `pixels` (n, band) and the bundles' spectra, (m, band) for each material, in the raster's values.
    """
    generator = np.random.default_rng(settings.seed)
    torch_state = torch.random.get_rng_state()
    torch.manual_seed(settings.seed)
    try:
        return _fit(network, pixels, bundles, settings, on_epoch, on_share, generator)
    finally:
        torch.random.set_rng_state(torch_state)


def _fit(
    network: IdNet, pixels: np.ndarray, bundles: Sequence[np.ndarray], settings: IdNetSettings,
    on_epoch: Callable[[IdNetEpoch], None], on_share: Callable[[float], None], generator: np.random.Generator,
) -> list[IdNetEpoch]:  # fmt: skip
    if len(pixels) > settings.most_pixels:
        pixels = pixels[np.sort(generator.choice(len(pixels), settings.most_pixels, replace=False))]
    start(network, pixels, bundles)
    strongest = settings.strongest
    if strongest is None:
        network.evidence.fill_(nonlinear_evidence(network, pixels))
        strongest = STRONGEST if network.evidence > _EVIDENCE else WEAKEST
    with torch.no_grad():
        network.strength.fill_(math.log(strongest))
    anchors = network.mu.mean.detach().clone(), network.mu.directions.detach().clone()
    y = torch.from_numpy(np.asarray(pixels, np.float32)) / network.scale
    spectra = [torch.from_numpy(np.asarray(own, np.float32)) / network.scale for own in bundles]
    network.to(settings.device).train()
    optimizer = torch.optim.Adam(_groups(network, settings))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda epoch: min(1.0, 2 * (1 - epoch / settings.epochs) + 0.02)
    )
    batches = max(1, round(len(y) / settings.batch_size))
    history: list[IdNetEpoch] = []
    for number in range(1, settings.epochs + 1):
        network.gain.fill_(min(1.0, (number - 1) / max(1, settings.warm_up)))
        totals = np.zeros(3)
        for place, rows in enumerate(np.array_split(generator.permutation(len(y)), batches), start=1):
            batch = y[torch.from_numpy(rows)].to(settings.device)
            elbo, likelihood, error = elbo_terms(network, batch)
            objective = elbo.mean()
            if settings.self_training:
                objective = objective + settings.lam * _supervised(network, spectra, settings, generator)
                objective = objective - settings.anchor * _drift(network, anchors)
            loss = _penalty(network, batch, settings) - objective
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1e3)
            optimizer.step()
            with torch.no_grad():
                network.strength.clamp_(max=math.log(strongest))
            totals += len(rows) * np.array([float(v.detach().mean()) for v in (elbo, likelihood, error)])
            on_share((number - 1 + place / batches) / settings.epochs)
        schedule.step()
        if not np.isfinite(totals).all():
            raise InputError(
                f"The loss grew beyond all bounds in epoch {number}; choose a smaller learning rate."
            )
        totals /= len(y)
        history.append(IdNetEpoch(number, totals[0], totals[1], math.sqrt(totals[2])))
        on_epoch(history[-1])
    network.gain.fill_(1.0)
    network.eval().to("cpu")
    return history


def start(network: IdNet, pixels: np.ndarray, bundles: Sequence[np.ndarray]) -> None:
    """Set the network's scale, endmembers, their directions and the noise from pixels and bundles."""
    high = float(np.percentile(np.abs(pixels), 99.9))
    scale = 1.0 if 0.05 <= high <= 2 else max(high, 1e-12)
    means = np.stack([np.mean(own, 0, dtype=np.float64) for own in bundles]) / scale
    found = np.asarray(pixels, np.float64) / scale
    abundances = fcls(found, means)
    residual = found - abundances @ means
    directions = np.zeros((len(means), network.bands, network.latent))
    rough = np.zeros(len(means))
    for material in range(len(means)):
        directions[material], rough[material] = _variation(
            abundances[:, material], residual, means, material, network.latent
        )
    error = max(1e-4, float(np.sqrt(np.median((residual**2).mean(1)))))
    with torch.no_grad():
        network.scale.fill_(scale)
        network.mu.mean.copy_(torch.from_numpy(means))
        network.mu.directions.copy_(torch.from_numpy(directions) if network.variability else torch.zeros(()))
        network.noise.fill_(math.log(error))
        network.roughness.copy_(torch.from_numpy(np.log(np.clip(rough, 1e-4, error))))


def _variation(
    abundance: np.ndarray, residual: np.ndarray, means: np.ndarray, material: int, latent: int
) -> tuple[np.ndarray, float]:
    """Directions (band, latent) of a material's variation, and what they leave, as pixels rich in it show.

    Nonlinear mixing shows in mixed pixels only. Variation within the simplex can't be told from mixing, so
    it is left out, unless what is outside is the material's brightness.
    """
    own = np.argsort(-abundance)
    own = own[: max(_RICH_PIXELS, int((abundance > _RICH).sum()))]
    basis = np.linalg.svd(means - means.mean(0), full_matrices=False)[2][: len(means) - 1]
    outside = residual[own] / abundance[own, None].clip(0.3)
    outside = outside - outside @ basis.T @ basis
    _, sizes, vectors = np.linalg.svd(outside, full_matrices=False)
    sizes = sizes / math.sqrt(max(1, len(own) - 1))
    count = min(latent, len(sizes))
    directions = np.zeros((means.shape[1], latent))
    directions[:, :count] = vectors[:count].T * sizes[:count]
    bright = means[material] - means[material] @ basis.T @ basis
    length = np.linalg.norm(bright)
    cosine = vectors[0] @ bright / max(length, 1e-12)
    if BRIGHT and abs(cosine) > 0.9 and sizes[0] < 0.3 * length:
        directions[:, 0] = means[material] * sizes[0] / length * np.sign(cosine)
    return directions, math.sqrt((sizes[count:] ** 2).sum() / means.shape[1])


BRIGHT = True


@torch.no_grad()
def nonlinear_evidence(network: IdNet, pixels: np.ndarray) -> float:
    """How much of what linear mixing leaves of mixed pixels, beyond the noise, nonlinear mixing explains.

    Up to 1; below 0 where it explains less than two free numbers would of noise. Of a `network` that has
    started, so no truth and no training is needed.
    """
    if not network.nonlinear:
        return 0.0
    rows = np.random.default_rng(0).permutation(len(pixels))[:_EVIDENCE_PIXELS]
    y = torch.from_numpy(np.asarray(pixels[np.sort(rows)], np.float32))
    kept = network.strength.clone()
    errors = []
    for strength in (1e-4, STRONGEST / 2):
        network.strength.fill_(math.log(strength))
        found = network.unmix(y)
        mixed = found.abundances.square().sum(1) < _MIXED if not errors else mixed
        errors.append(float(((found.reconstruction - y) / network.scale).square()[mixed].mean()))
    network.strength.copy_(kept)
    linear, nonlinear = errors
    noise = min(nonlinear, (noise_of(pixels) / float(network.scale)) ** 2)
    free = 1 + 2 / max(1, network.bands - network.materials * (1 + network.latent))
    return (linear - free * nonlinear) / max(linear - noise, 1e-12) if mixed.any() else 0.0


def elbo_terms(network: IdNet, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ELBO (n,), its log-likelihood (n,) and the mean squared error (n,) of scaled pixels; one sample."""
    found = network.infer(y)
    a = _sample(found)
    z = found.latent + found.latent_sd * torch.randn_like(found.latent)
    c = found.strength + found.strength_sd * torch.randn_like(found.strength)
    m = network.mu(z)
    mixed = (a[..., None] * m).sum(1) + network.mix(m, a, c)
    squares = (y - mixed.relu()).square()
    variance = network.variance(a)
    likelihood = -0.5 * (squares.sum(1) / variance + network.bands * (2 * math.pi * variance).log())
    elbo = likelihood - _abundance_divergence(found)
    if network.variability:
        elbo = elbo - _gaussian_divergence(found.latent, found.latent_sd, 0.0, 1.0).sum((1, 2))
    if network.nonlinear:
        own = _gaussian_divergence(found.strength, found.strength_sd, 0.0, network.strength.exp())
        elbo = elbo - own.sum(1)
    return elbo, likelihood, squares.mean(1)


def _abundance_divergence(found: Posterior) -> Tensor:
    return kl_divergence(Dirichlet(found.alpha), Dirichlet(torch.ones_like(found.alpha)))


def _gaussian_divergence(
    mean: Tensor, sd: Tensor, prior_mean: Tensor | float, prior_sd: Tensor | float
) -> Tensor:
    ratio = (sd / prior_sd).square()
    return 0.5 * (ratio + ((mean - prior_mean) / prior_sd).square() - 1 - ratio.log())


def _sample(found: Posterior) -> Tensor:
    a = Dirichlet(found.alpha).rsample().clamp(1e-6, 1 - 1e-6)
    return a / a.sum(1, keepdim=True)


def _supervised(
    network: IdNet, spectra: Sequence[Tensor], settings: IdNetSettings, generator: np.random.Generator
) -> Tensor:
    rows = [own[torch.from_numpy(generator.integers(0, len(own), settings.bundle_size))] for own in spectra]
    y = torch.cat(rows).to(settings.device)
    kinds = torch.arange(len(rows), device=y.device).repeat_interleave(settings.bundle_size)
    found = network.infer(y)
    labels = torch.nn.functional.one_hot(kinds, len(rows)).to(y)
    labels = (1 - settings.label_smoothing) * labels + settings.label_smoothing / len(rows)
    posterior = Dirichlet(found.alpha)
    target = _sample(found) if settings.as_released else labels
    noise = torch.randn(settings.samples, *found.latent.shape, device=y.device)
    z = found.latent + found.latent_sd * noise
    m = network.mu(z.flatten(0, 1)).unflatten(0, z.shape[:2])
    own = m[:, torch.arange(len(y)), kinds]
    variance = (2 * network.roughness).exp()[kinds] + (2 * network.noise).exp()
    matches = -0.5 * ((y - own).square().sum(2) / variance + network.bands * (2 * math.pi * variance).log())
    weights = matches.softmax(0).detach()
    return (
        (
            (1 + settings.beta) * (posterior.log_prob(target) + (weights * matches).sum(0)).mean()
            - _gaussian_divergence(found.latent, found.latent_sd, 0.0, 1.0).sum((1, 2)).mean()
        )
        * len(y)
        / settings.batch_size
    )


def _drift(network: IdNet, anchors: tuple[Tensor, Tensor]) -> Tensor:
    """How far endmembers and directions are from where they began, in nats: as if all pixels were labelled."""
    variance = (2 * network.noise.detach()).exp()
    off = (network.mu.mean - anchors[0]).square().sum() + (network.mu.directions - anchors[1]).square().sum()
    return off / (2 * variance)


def _penalty(network: IdNet, batch: Tensor, settings: IdNetSettings) -> Tensor:
    total = batch.new_zeros(())
    if network.nonlinear:
        for decay, part in ((settings.decay_h, network.h), (settings.decay_g, network.g.rest)):
            total = total + decay * sum(p.square().sum() for p in part[-1:].parameters())
    return total


def _groups(network: IdNet, settings: IdNetSettings) -> list[dict]:
    fast = [network.noise, network.roughness, network.certainty, network.strength]
    known = {id(p) for p in fast}
    rest = [p for p in network.parameters() if id(p) not in known]
    rate = settings.learning_rate
    return [{"params": rest, "lr": rate}, {"params": fast, "lr": 20 * rate}]
