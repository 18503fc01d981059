"""Training of ID-Net on the pixels of one scene, with bundles of near-pure pixels as its labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Dirichlet, kl_divergence
from torch.optim.swa_utils import AveragedModel

from ..rasters.errors import InputError
from .idnet import STRONGEST, IdNet
from .idnet_parts import Posterior
from .idnet_start import nonlinear_evidence, start

# Nonlinear mixing is believed in from this share of what linear mixing leaves; else it is held to `WEAKEST`.
# Bilinear and post-nonlinear scenes had 0.6 to 1, linear ones below 0, real ones up to 0.2.
EVIDENCE = 0.5
WEAKEST = 0.02
# Weights are averaged over the epochs behind this share of all.
_AVERAGED = 0.75
# How sure posteriors are that labels are compared with.
_LABEL_CONCENTRATION = 50.0


@dataclass(frozen=True)
class IdNetSettings:
    """How to train. The defaults are meant for any scene: what depends on it is told from its pixels.

    `lam` weighs the bundles' labels and `anchor` how endmembers are held to the bundles, both as many times
    as there are pixels; `beta` is the paper's. `self_training` off leaves both out. Labels are smoothed by
    `label_smoothing`, or, `as_released`, samples of the posterior stand in for them, as in the authors'
    program. `tau` weighs the sparsity of the concentrations, `decay_h` and `decay_g` the squares of the last
    layers of the two nonlinear networks, which begin at nothing and warm up over `warm_up` epochs.
    `strongest` bounds the prior deviation of the nonlinear strengths; None lets the scene's evidence decide.
    `labels` are drawn of each bundle in a step, and `samples` of their latent values. At most `most_pixels`
    are trained on.
    """

    epochs: int = 20
    learning_rate: float = 1e-3
    batch_size: int = 256
    lam: float = 1.0
    beta: float = 10.0
    anchor: float = 1.0
    tau: float = 0.0
    decay_h: float = 1.0
    decay_g: float = 1.0
    warm_up: int = 5
    strongest: float | None = None
    self_training: bool = True
    as_released: bool = False
    label_smoothing: float = 0.02
    labels: int = 20
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
    """Train in place and return the history; the weights are the mean of those after the last epochs.

    `pixels` (n, band) and the bundles' spectra, (m, band) of each material, are in the raster's values. Of
    more than `most_pixels` a random part is trained on. `on_share` gets the share of all epochs that is done
    and may raise to stop. Raises InputError where the loss grows beyond all numbers.
    """
    generator = np.random.default_rng(settings.seed)
    if len(pixels) > settings.most_pixels:
        pixels = pixels[np.sort(generator.choice(len(pixels), settings.most_pixels, replace=False))]
    start(network, pixels, bundles)
    strongest = _strongest(network, pixels, settings)
    y, *spectra = (
        torch.from_numpy(np.asarray(own, np.float32)).to(settings.device) / network.scale.item()
        for own in (pixels, *bundles)
    )
    network.to(settings.device).train()
    anchors = network.mu.mean.detach().clone(), network.mu.directions.detach().clone()
    optimizer = torch.optim.Adam(_groups(network, settings.learning_rate))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda epoch: min(1.0, 2 * (1 - epoch / settings.epochs) + 0.02)
    )
    batches = max(1, round(len(y) / settings.batch_size))
    averaged = AveragedModel(network)
    history: list[IdNetEpoch] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        for number in range(1, settings.epochs + 1):
            network.gain.fill_(min(1.0, (number - 1) / max(1, settings.warm_up)))
            totals = np.zeros(3)
            for place, rows in enumerate(np.array_split(generator.permutation(len(y)), batches), start=1):
                try:
                    objective, terms = _objective(
                        network, y[torch.from_numpy(rows)], spectra, anchors, settings
                    )
                except (torch.linalg.LinAlgError, ValueError) as error:
                    raise _unbounded(number) from error
                optimizer.zero_grad()
                (-objective).backward()
                optimizer.step()
                with torch.no_grad():
                    network.strength.clamp_(max=math.log(strongest))
                totals += [float(term.detach().sum()) for term in terms]
                on_share((number - 1 + place / batches) / settings.epochs)
            schedule.step()
            if not np.isfinite(totals).all():
                raise _unbounded(number)
            if number > _AVERAGED * settings.epochs:
                averaged.update_parameters(network)
            elbo, likelihood, square = totals / len(y)
            history.append(IdNetEpoch(number, elbo, likelihood, math.sqrt(square)))
            on_epoch(history[-1])
    network.load_state_dict(averaged.module.state_dict())
    network.gain.fill_(1.0)
    network.eval().to("cpu")
    return history


def _unbounded(number: int) -> InputError:
    return InputError(f"The loss grew beyond all bounds in epoch {number}; choose a smaller learning rate.")


def _objective(
    network: IdNet, batch: Tensor, spectra: Sequence[Tensor], anchors: tuple[Tensor, Tensor],
    settings: IdNetSettings,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:  # fmt: skip
    """What a step makes larger, and the batch's terms of the ELBO."""
    terms = elbo_terms(network, batch)
    objective = terms[0].mean() - _penalty(network, batch, settings)
    if settings.self_training:
        objective = objective + settings.lam * _labelled(network, spectra, settings)
        objective = objective - settings.anchor * _drift(network, anchors)
    return objective, terms


def _strongest(network: IdNet, pixels: np.ndarray, settings: IdNetSettings) -> float:
    """Set the prior of the nonlinear strengths to what bounds it, and return that bound."""
    strongest = settings.strongest
    if strongest is None:
        network.evidence.fill_(nonlinear_evidence(network, pixels))
        strongest = STRONGEST if network.evidence > EVIDENCE else WEAKEST
    with torch.no_grad():
        network.strength.fill_(math.log(strongest))
    return strongest


def elbo_terms(network: IdNet, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ELBO (n,), its log-likelihood (n,) and the mean squared error (n,) of scaled pixels (n, band).

    By one sample of the posterior, whose divergences from the priors are exact.
    """
    found = network.infer(y)
    a = _sample(found)
    z = found.latent + found.latent_sd * torch.randn_like(found.latent)
    c = found.strength + found.strength_sd * torch.randn_like(found.strength)
    m = network.mu(z)
    mixed = (a[..., None] * m).sum(1) + network.mix(m, a, c)
    squares = (y - mixed.relu()).square()
    likelihood = gaussian_log_density(squares, network.variance(a))
    elbo = likelihood - kl_divergence(Dirichlet(found.alpha), Dirichlet(torch.ones_like(found.alpha)))
    if network.variability:
        elbo = elbo - gaussian_divergence(found.latent, found.latent_sd, 1.0).sum((1, 2))
    if network.nonlinear:
        elbo = elbo - gaussian_divergence(found.strength, found.strength_sd, network.strength.exp()).sum(1)
    return elbo, likelihood, squares.mean(1)


def gaussian_log_density(squares: Tensor, variance: Tensor) -> Tensor:
    """Log density of bands of one `variance` (...) whose squared distances from the mean are (..., band)."""
    return -0.5 * (squares.sum(-1) / variance + squares.shape[-1] * (2 * math.pi * variance).log())


def gaussian_divergence(mean: Tensor, sd: Tensor, prior_sd: Tensor | float) -> Tensor:
    """KL divergence of normal distributions from one about zero."""
    ratio = (sd / prior_sd).square()
    return 0.5 * (ratio + (mean / prior_sd).square() - 1 - ratio.log())


def _sample(found: Posterior) -> Tensor:
    """Abundances drawn so that gradients go through (Figurnov et al. 2018); none is nothing."""
    a = Dirichlet(found.alpha).rsample().clamp(1e-6, 1 - 1e-6)
    return a / a.sum(1, keepdim=True)


def _labelled(network: IdNet, spectra: Sequence[Tensor], settings: IdNetSettings) -> Tensor:
    """What the labels say: log densities of abundances and of endmembers, weighed against a step's pixels.

    Pixels of a bundle are known to be pure, and to be their material's endmember. The latent samples that fit
    it better count for more (importance weights).
    """
    rows = [own[torch.randint(len(own), (settings.labels,)).to(own.device)] for own in spectra]
    y = torch.cat(rows)
    kinds = torch.arange(len(rows), device=y.device).repeat_interleave(settings.labels)
    found = network.infer(y)
    labels = nn.functional.one_hot(kinds, len(rows)).to(y)
    labels = (1 - settings.label_smoothing) * labels + settings.label_smoothing / len(rows)
    if settings.as_released:
        abundances = Dirichlet(found.alpha).log_prob(_sample(found))
    else:
        # Smoothed labels are off by more than sure posteriors are: they tell the mean, not how sure to be.
        alpha = found.alpha * (_LABEL_CONCENTRATION / found.alpha.sum(1, keepdim=True)).detach()
        abundances = Dirichlet(alpha).log_prob(labels)
    noise = torch.randn(settings.samples, *found.latent.shape).to(y)
    m = network.mu((found.latent + found.latent_sd * noise).flatten(0, 1))
    own = m.unflatten(0, (settings.samples, -1))[:, torch.arange(len(y), device=y.device), kinds]
    variance = (2 * network.roughness).exp()[kinds] + (2 * network.noise).exp()
    matches = gaussian_log_density((y - own).square(), variance)
    spectral = (matches.softmax(0).detach() * matches).sum(0)
    latent = gaussian_divergence(found.latent, found.latent_sd, 1.0).sum((1, 2))
    total = (1 + settings.beta) * (abundances + spectral) - latent
    return total.sum() / settings.batch_size


def _drift(network: IdNet, anchors: tuple[Tensor, Tensor]) -> Tensor:
    """How far endmembers and directions are from where they began, in nats of a band's noise."""
    variance = (2 * network.noise.detach()).exp()
    off = (network.mu.mean - anchors[0]).square().sum() + (network.mu.directions - anchors[1]).square().sum()
    return off / (2 * variance)


def _penalty(network: IdNet, batch: Tensor, settings: IdNetSettings) -> Tensor:
    total = batch.new_zeros(())
    if network.nonlinear:
        for decay, last in ((settings.decay_h, network.h[-1]), (settings.decay_g, network.g.rest[-1])):
            total = total + decay * sum(values.square().sum() for values in last.parameters())
    if settings.tau:
        total = total + settings.tau * network.infer(batch).alpha.sqrt().sum(1).square().mean()
    return total


def _groups(network: IdNet, rate: float) -> list[dict]:
    """Deviations, as few logarithms, learn faster than weights and spectra."""
    fast = [network.noise, network.roughness, network.certainty, network.strength]
    known = {id(values) for values in fast}
    rest = [values for values in network.parameters() if id(values) not in known]
    return [{"params": rest, "lr": rate}, {"params": fast, "lr": 20 * rate}]
