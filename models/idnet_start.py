"""Where the training of ID-Net starts: endmembers, how they vary, noise, and evidence of nonlinearity."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from .endmembers import noise_of
from .fcls import fcls
from .idnet import STRONGEST, IdNet

# A material's variation is read from pixels with more than this of it, or from so many richest.
_RICH = 0.95
_RICH_PIXELS = 20
_EVIDENCE_PIXELS = 2000
# Pixels whose abundances' squares sum to less are mixed.
_MIXED = 0.9
# A prior deviation of the nonlinear strengths that leaves nothing of them.
_NONE = 1e-4
# No noise is smaller, of values of about one.
_LEAST_NOISE = 1e-4
# Reflectances keep their unit; what lies beyond these limits is brought to about one.
_DARKEST, _BRIGHTEST = 0.05, 2.0


def start(network: IdNet, pixels: np.ndarray, bundles: Sequence[np.ndarray]) -> None:
    """Set the network's scale, endmembers, their directions and the noise from pixels and bundles.

    Arguments as those of `fit_idnet`.
    """
    high = float(np.percentile(np.abs(pixels), 99.9))
    scale = 1.0 if _DARKEST <= high <= _BRIGHTEST else max(high, 1e-12)
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
    error = max(_LEAST_NOISE, float(np.sqrt(np.median((residual**2).mean(1)))))
    with torch.no_grad():
        network.scale.fill_(scale)
        network.mu.mean.copy_(torch.from_numpy(means))
        network.mu.directions.copy_(torch.from_numpy(directions) if network.variability else torch.zeros(()))
        network.noise.fill_(math.log(error))
        network.roughness.copy_(torch.from_numpy(np.log(np.clip(rough, _LEAST_NOISE, error))))


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
    if abs(cosine) > 0.9 and sizes[0] < 0.3 * length:
        directions[:, 0] = means[material] * sizes[0] / length * np.sign(cosine)
    return directions, math.sqrt((sizes[count:] ** 2).sum() / means.shape[1])


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
    errors, abundances = [], []
    for strength in (_NONE, STRONGEST / 2):
        network.strength.fill_(math.log(strength))
        found = network.unmix(y)
        errors.append(((found.reconstruction - y) / network.scale).square().mean(1))
        abundances.append(found.abundances)
    network.strength.copy_(kept)
    mixed = abundances[0].square().sum(1) < _MIXED
    if not mixed.any():
        return 0.0
    linear, nonlinear = (float(error[mixed].mean()) for error in errors)
    noise = min(nonlinear, (noise_of(pixels) / float(network.scale)) ** 2)
    free = 1 + 2 / max(1, network.bands - network.materials * (1 + network.latent))
    return (linear - free * nonlinear) / max(linear - noise, 1e-12)
