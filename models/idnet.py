"""ID-Net: unmixing whose parts mean something, after Borsoi, Imbiriba & Erdogmus 2023, arXiv:2310.02340."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from .simplex import nearest_in_simplex

_FLOOR = 1e-2
_ROUNDS = 4
_CHUNK_VALUES = 2**24


@dataclass(frozen=True)
class Posterior:
    """What the inference says of pixels: Gaussians of the latent values, a Dirichlet of the abundances.

    `latent` and `latent_sd` (n, material, latent); `strength` and `strength_sd` (n, 2) of the nonlinear
    terms; `linear` and `correction` (n, material): abundances of the linear stream and what the nonlinear
    stream adds; `concentration` (n, 1): how sure; `alpha_linear`, `alpha` (n, material).
    """

    latent: Tensor
    latent_sd: Tensor
    strength: Tensor
    strength_sd: Tensor
    linear: Tensor
    correction: Tensor
    concentration: Tensor
    alpha_linear: Tensor
    alpha: Tensor


@dataclass(frozen=True)
class Unmixed:
    """Pixels unmixed. Spectra are in the raster's values.

    `abundances` (n, material), the posterior means, sum to 1. `alpha` = `alpha_linear` + `alpha_nonlinear`
    are the Dirichlet's concentrations, `sd` the abundances' posterior deviations (all (n, material)).
    `endmembers` (n, material, band) are posterior means, `spread` (n, material) the rms over the bands of
    how far they are from the scene's mean endmembers. `linear` (n, band, material) holds a_k m_k, `nonlinear`
    (n, band) what the mixing adds, `clipped` (n, band) what the ReLU takes; over materials these add up to
    `reconstruction` (n, band). `d` and `d_mix` (n,) are the nonlinear parts' shares of the inference and of
    the mixing, 0 to 1.
    """

    abundances: Tensor
    alpha: Tensor
    alpha_linear: Tensor
    alpha_nonlinear: Tensor
    sd: Tensor
    endmembers: Tensor
    spread: Tensor
    linear: Tensor
    nonlinear: Tensor
    clipped: Tensor
    reconstruction: Tensor
    d: Tensor
    d_mix: Tensor


class Decoder(nn.Module):
    """mu_k: endmembers (n, material, band) of latent values (n, material, latent), by straight directions."""

    def __init__(self, bands: int, materials: int, latent: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.rand(materials, bands))
        self.directions = nn.Parameter(torch.zeros(materials, bands, latent))

    def forward(self, z: Tensor) -> Tensor:
        return self.mean + torch.einsum("kbh,nkh->nkb", self.directions, z)


class Mixing(nn.Module):
    """g: what a mixture is more than the sum of its parts; nothing for pure pixels.

    `terms` are two of physics: bilinear, the sum over pairs of a_i a_j m_i m_j (Fan et al. 2009), and
    post-nonlinear, how the variance of the endmembers about the mixture bends it. `rest` is a network.
    """

    def __init__(self, bands: int, materials: int) -> None:
        super().__init__()
        self.rest = nn.Sequential(
            nn.Linear(materials * (bands + 1), bands), nn.ReLU(),
            nn.Linear(bands, bands), nn.ReLU(),
            nn.Linear(bands, bands),
        )  # fmt: skip
        nn.init.zeros_(self.rest[-1].weight)
        nn.init.zeros_(self.rest[-1].bias)

    def terms(self, m: Tensor, a: Tensor) -> Tensor:
        """Both terms (n, band, 2) for endmembers (n, material, band) and abundances (n, material)."""
        mixed, squares, floor = self._sums(m, a)
        own = (a.square()[:, None] @ m.square()).squeeze(1)
        return torch.stack([(mixed.square() - own) / 2, (squares - mixed.square()) / floor], 2)

    def slopes(self, m: Tensor, a: Tensor, strength: Tensor) -> Tensor:
        """Derivatives (n, band, material) of the terms, times their strength (n, 2), by the abundances."""
        mixed, squares, floor = self._sums(m, a)
        mixed, squares, floor = mixed[:, None], squares[:, None], floor[:, None]
        bilinear = m * mixed - a[..., None] * m.square()
        inside = (mixed == floor).to(m)
        post = (m.square() - 2 * m * mixed) / floor - inside * m * (squares - mixed.square()) / floor.square()
        both = strength[:, 0, None, None] * bilinear + strength[:, 1, None, None] * post
        return both.transpose(1, 2)

    def network(self, m: Tensor, a: Tensor) -> Tensor:
        """What the network adds (n, band)."""
        impure = 1 - a.square().sum(1, keepdim=True)
        return 0.1 * impure * self.rest(torch.cat([m.flatten(1), a], 1))

    @staticmethod
    def _sums(m: Tensor, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mixed = (a[:, None] @ m).squeeze(1)
        squares = (a[:, None] @ m.square()).squeeze(1)
        return mixed, squares, mixed.clamp_min(0.02)


class IdNet(nn.Module):
    """Endmembers `mu`, mixing `g`, and the inference's networks `h`, `n` and `v` with its unrolled stream.

    Pixels go in in the raster's values; `scale` brings them to about one. `gain` warms the nonlinear streams
    up, from 0 to 1. Without `nonlinear` there are none; without `variability` the latent values stay zero.
    """

    scale: Tensor
    gain: Tensor

    def __init__(
        self, bands: int, materials: int, latent: int, nonlinear: bool = True, variability: bool = True
    ) -> None:
        super().__init__()
        self.bands, self.materials, self.latent = bands, materials, latent
        self.nonlinear, self.variability = nonlinear, variability
        self.mu = Decoder(bands, materials, latent)
        self.g = Mixing(bands, materials)
        wide = 4 * materials
        self.h = nn.Sequential(
            nn.Linear(bands, 2 * bands), nn.ReLU(), nn.Linear(2 * bands, bands // 2 + 1), nn.ReLU(),
            nn.Linear(bands // 2 + 1, bands // 4 + 1), nn.ReLU(), nn.Linear(bands // 4 + 1, wide), nn.ReLU(),
            nn.Linear(wide, materials),
        )  # fmt: skip
        self.front = nn.Sequential(nn.Linear(bands, 5 * latent * materials), nn.ReLU())
        self.n = nn.Linear(5 * latent * materials, latent * materials)
        self.v = nn.Linear(5 * latent * materials, latent * materials)
        for layer in (self.h[-1], self.n, self.v):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        # Logarithms of the deviations of noise and endmembers, in units of `scale`.
        self.noise = nn.Parameter(torch.tensor(math.log(0.02)))
        self.roughness = nn.Parameter(torch.full((materials,), math.log(0.02)))
        self.certainty = nn.Parameter(torch.zeros(()))
        self.strength_mean = nn.Parameter(torch.zeros(2))
        self.strength_sd = nn.Parameter(torch.zeros(2))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("gain", torch.ones(()))

    def infer(self, y: Tensor) -> Posterior:
        """Posterior of pixels (n, band) in units of `scale`."""
        z = y.new_zeros(len(y), self.materials, self.latent)
        c = y.new_zeros(len(y), 2)
        a = y.new_full((len(y), self.materials), 1 / self.materials)
        gain = self.gain if self.nonlinear else torch.zeros_like(self.gain)
        # Twice: with the mean endmembers, then with the pixel's own.
        for _ in range(1 + self.variability):
            a, z, _, _ = self._step(y, a, z, c, torch.zeros_like(gain))
        linear = a
        if self.nonlinear:
            for _ in range(_ROUNDS):
                a, z, c, _ = self._step(y, a, z, c, gain)
        _, z, c, precision = self._step(y, a, z, c, gain)
        return self._posterior(y, a, linear, z, c, precision, gain)

    def _step(
        self, y: Tensor, a: Tensor, z: Tensor, c: Tensor, gain: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One Gauss-Newton step of abundances, latent values and strengths together.

        Returns them and the precision matrix of all three, (n, k, k).
        """
        count, k = len(y), self.materials
        m = self.mu(z)
        base = torch.einsum("nk,nkb->nb", a, m)
        terms = self.g.terms(m, a)
        spectrum = base + gain * (torch.einsum("nbc,nc->nb", terms, c) + self.g.network(m, a))
        by_a = m.transpose(1, 2) + gain * self.g.slopes(m, a, c)
        by_z = torch.einsum("nk,kbh->nbkh", a, self.mu.directions).flatten(2)
        jacobian = torch.cat([by_a, by_z, gain * terms], 2)
        here = torch.cat([a, z.flatten(1), c], 1)
        target = y - spectrum + (jacobian @ here[..., None]).squeeze(2)
        noise = self.variance(a)
        prior, centre = self._prior(gain)
        jacobian, target = jacobian.double(), target.double()
        normal = jacobian.transpose(1, 2) @ jacobian
        right = (jacobian.transpose(1, 2) @ target[..., None]).squeeze(2)
        weight = noise.double()
        normal = normal + torch.diag_embed(weight[:, None] * prior)
        right = right + weight[:, None] * prior * centre
        inner = normal[:, k:, k:]
        across = torch.linalg.solve(inner, torch.cat([normal[:, k:, :k], right[:, k:, None]], 2))
        schur = normal[:, :k, :k] - normal[:, :k, k:] @ across[..., :k]
        reduced = right[:, :k] - (normal[:, :k, k:] @ across[..., k:]).squeeze(2)
        new = nearest_in_simplex(schur, reduced)
        others = across[..., k] - (across[..., :k] @ new[..., None]).squeeze(2)
        new, others = new.to(y), others.to(y)
        z = others[:, : k * self.latent].reshape(count, k, self.latent)
        return new, z, others[:, k * self.latent :], normal / weight[:, None, None]

    def variance(self, a: Tensor) -> Tensor:
        """Variance (n,) of a band about its mean: of the noise and, mixed, of the endmembers."""
        return (2 * self.noise).exp() + (a.square() * (2 * self.roughness).exp()).sum(1)

    def _prior(self, gain: Tensor) -> tuple[Tensor, Tensor]:
        """Precisions and means of abundances, latent values and strengths, (k,)."""
        latent = self.materials * self.latent
        start = gain.new_full((self.materials,), 1e-6)
        own = gain.new_ones(latent) if self.variability else gain.new_full((latent,), 1e8)
        prior = torch.cat([start, own, (-2 * self.strength_sd).exp()]).double()
        centre = torch.cat([gain.new_zeros(self.materials + latent), self.strength_mean]).double()
        return prior, centre

    def _posterior(
        self, y: Tensor, a: Tensor, linear: Tensor, z: Tensor, c: Tensor, precision: Tensor, gain: Tensor
    ) -> Posterior:
        k, count = self.materials, len(y)
        features = self.front(y)
        if self.variability:
            z = z + 0.1 * gain * self.n(features).reshape(z.shape)
        log_sd = 0.1 * self.v(features).reshape(z.shape)
        deviations = precision.diagonal(dim1=1, dim2=2).rsqrt().to(y)
        latent_sd = deviations[:, k : k + k * self.latent].reshape(z.shape) * log_sd.exp()
        correction = a - linear
        if self.nonlinear:
            correction = correction + 0.1 * gain * self.h(y)
        concentration = self._concentration(a, precision.detach()).to(y)
        alpha_linear = concentration * linear + _FLOOR
        alpha = (concentration * (linear + correction)).clamp_min(0) + _FLOOR
        return Posterior(
            z, latent_sd, c, deviations[:, -2:], linear, correction, concentration, alpha_linear, alpha
        )

    def _concentration(self, a: Tensor, precision: Tensor) -> Tensor:
        """Concentration (n, 1) of the Dirichlet whose variances sum to those of the abundances."""
        k = self.materials
        flat = torch.eye(k, dtype=precision.dtype, device=precision.device) - 1 / k
        cross = precision[:, :k, k:]
        schur = precision[:, :k, :k] - cross @ torch.linalg.solve(precision[:, k:, k:], cross.mT)
        # On the plane of the sum; the 1 across it keeps the matrix regular.
        plane = flat @ schur @ flat + torch.full_like(flat, 1 / k) * schur.diagonal(dim1=1, dim2=2).mean(1)[
            :, None, None
        ].clamp_min(1e-12)
        covariance = flat @ torch.linalg.inv(plane) @ flat
        total = covariance.diagonal(dim1=1, dim2=2).sum(1).clamp_min(1e-12)
        smooth = 0.95 * a + 0.05 / k
        sure = (smooth * (1 - smooth)).sum(1) / total - 1
        return (self.certainty.exp() * sure.clamp(10, 1e4)).clamp(10, 1e4)[:, None]

    def mix(self, m: Tensor, a: Tensor, c: Tensor) -> Tensor:
        """Nonlinear part (n, band) for endmembers (n, material, band), abundances and strengths (n, 2)."""
        if not self.nonlinear:
            return torch.zeros_like(m[:, 0])
        terms = torch.einsum("nbc,nc->nb", self.g.terms(m, a), c)
        return self.gain * (terms + self.g.network(m, a))

    @torch.no_grad()
    def unmix(self, pixels: Tensor) -> Unmixed:
        """Unmix pixels (n, band), in the raster's values."""
        chunk = max(64, _CHUNK_VALUES // (self.bands * self.materials * (2 + self.latent)))
        parts = [self._unmix(part) for part in pixels.split(chunk)]
        return Unmixed(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Unmixed)))

    def _unmix(self, pixels: Tensor) -> Unmixed:
        y = pixels.to(self.scale) / self.scale
        found = self.infer(y)
        total = found.alpha.sum(1, keepdim=True)
        a = found.alpha / total
        m = self.mu(found.latent)
        parts = (a[..., None] * m).transpose(1, 2)
        nonlinear = self.mix(m, a, found.strength)
        mixed = parts.sum(2)
        clipped = (-(mixed + nonlinear)).clamp_min(0)
        streams = found.linear.norm(dim=1), found.correction.norm(dim=1)
        sizes = mixed.norm(dim=1), nonlinear.norm(dim=1)
        scale = self.scale
        return Unmixed(
            abundances=a, alpha=found.alpha, alpha_linear=found.alpha_linear,
            alpha_nonlinear=found.alpha - found.alpha_linear, sd=(a * (1 - a) / (total + 1)).sqrt(),
            endmembers=m * scale, spread=(m - self.mu.mean).square().mean(2).sqrt() * scale,
            linear=parts * scale, nonlinear=nonlinear * scale, clipped=clipped * scale,
            reconstruction=(mixed + nonlinear + clipped) * scale,
            d=streams[1] / sum(streams), d_mix=sizes[1] / (sum(sizes)).clamp_min(1e-12),
        )  # fmt: skip


def idnet(
    bands: int,
    materials: int,
    latent: int = 2,
    nonlinear: bool = True,
    variability: bool = True,
    seed: int = 0,
) -> IdNet:
    """A network with fresh weights of that seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return IdNet(bands, materials, latent, nonlinear, variability)
