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
from .fcls import fcls
from .idnet import IdNet, Posterior


@dataclass(frozen=True)
class IdNetSettings:
    """How to train."""

    epochs: int = 40
    learning_rate: float = 1e-3
    batch_size: int = 256
    lam: float = 1.0
    beta: float = 10.0
    tau: float = 0.0
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
            loss = _penalty(network, batch, settings) - objective
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1e3)
            optimizer.step()
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
    residual = found - fcls(found, means) @ means
    plane = np.linalg.svd(means - means.mean(0), full_matrices=False)[2][: len(means) - 1]
    directions = np.zeros((len(means), network.bands, network.latent))
    rough = np.zeros(len(means))
    for material, own in enumerate(bundles):
        # What lies in the plane of the simplex can't be told from mixing.
        inside = np.asarray(own, np.float64) / scale - means[material]
        inside = inside - inside @ plane.T @ plane
        _, sizes, vectors = np.linalg.svd(inside, full_matrices=False)
        count = min(network.latent, len(sizes))
        sizes = sizes / math.sqrt(max(1, len(own) - 1))
        directions[material, :, :count] = vectors[:count].T * sizes[:count]
        rough[material] = math.sqrt((sizes[count:] ** 2).sum() / network.bands)
    error = max(1e-4, float(np.sqrt(np.median((residual**2).mean(1)))))
    with torch.no_grad():
        network.scale.fill_(scale)
        network.mu.mean.copy_(torch.from_numpy(means))
        network.mu.directions.copy_(torch.from_numpy(directions) if network.variability else torch.zeros(()))
        network.noise.fill_(math.log(error))
        network.roughness.copy_(torch.from_numpy(np.log(np.clip(rough, 1e-4, error))))


def elbo_terms(network: IdNet, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ELBO (n,), its log-likelihood (n,) and the mean squared error (n,) of scaled pixels; one sample."""
    found = network.infer(y)
    a = _sample(found)
    z = found.latent + found.latent_sd * torch.randn_like(found.latent)
    c = found.strength + found.strength_sd * torch.randn_like(found.strength)
    m = network.mu(z)
    mixed = (a[:, None] @ m).squeeze(1) + network.mix(m, a, c)
    squares = (y - mixed.relu()).square()
    variance = network.variance(a)
    likelihood = -0.5 * (squares.sum(1) / variance + network.bands * (2 * math.pi * variance).log())
    elbo = likelihood - _abundance_divergence(found)
    if network.variability:
        elbo = elbo - _gaussian_divergence(found.latent, found.latent_sd, 0.0, 1.0).sum((1, 2))
    if network.nonlinear:
        own = _gaussian_divergence(
            found.strength, found.strength_sd, network.strength_mean, network.strength_sd.exp()
        )
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


def _penalty(network: IdNet, batch: Tensor, settings: IdNetSettings) -> Tensor:
    total = batch.new_zeros(())
    if network.nonlinear:
        for decay, part in ((settings.decay_h, network.h), (settings.decay_g, network.g.rest)):
            total = total + decay * sum(p.square().sum() for p in part[-1:].parameters())
    return total


def _groups(network: IdNet, settings: IdNetSettings) -> list[dict]:
    fast = [network.noise, network.roughness, network.certainty, network.strength_mean, network.strength_sd]
    known = {id(p) for p in fast}
    rest = [p for p in network.parameters() if id(p) not in known]
    rate = settings.learning_rate
    return [{"params": rest, "lr": rate}, {"params": fast, "lr": 20 * rate}]
