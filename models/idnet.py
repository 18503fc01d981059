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
_DARK = 0.02
# The largest prior deviation of the nonlinear strengths: 1 is what one bounce of light in full makes.
STRONGEST = 0.5

State = tuple[Tensor, Tensor, Tensor]


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

    Each pair of materials adds a_i a_j times two spectra: m_i m_j, of light that met both (bilinear; Fan et
    al. 2009), and (m_i - m_j)^2 / (m_i + m_j), how a bent response to their mean looks (post-nonlinear).
    The pixel's two strengths weigh them. `rest` is a network for what physics of pairs leaves.
    """

    first: Tensor
    second: Tensor

    def __init__(self, bands: int, materials: int) -> None:
        super().__init__()
        pairs = torch.combinations(torch.arange(materials), 2)
        for name, side in (("first", pairs[:, 0]), ("second", pairs[:, 1])):
            self.register_buffer(name, nn.functional.one_hot(side, materials).double(), persistent=False)
        self.rest = nn.Sequential(
            nn.Linear(materials * (bands + 1), bands), nn.ReLU(),
            nn.Linear(bands, bands), nn.ReLU(),
            nn.Linear(bands, bands),
        )  # fmt: skip
        nn.init.zeros_(self.rest[-1].weight)
        nn.init.zeros_(self.rest[-1].bias)

    def spectra(self, means: Tensor) -> Tensor:
        """Both spectra of each pair, (2, pair, band), of endmembers (material, band)."""
        one, other = self.first.to(means) @ means, self.second.to(means) @ means
        bent = (one - other).square() / (one + other).clamp_min(_DARK)
        return torch.stack([one * other, bent])

    def pairs(self, a: Tensor) -> Tensor:
        """a_i a_j of each pair, (n, pair)."""
        return (a @ self.first.to(a).T) * (a @ self.second.to(a).T)

    def network(self, m: Tensor, a: Tensor) -> Tensor:
        """What the network adds (n, band) for endmembers (n, material, band)."""
        impure = 1 - a.square().sum(1, keepdim=True)
        return 0.1 * impure * self.rest(torch.cat([m.flatten(1), a], 1))


class IdNet(nn.Module):
    """Endmembers `mu`, mixing `g`, and the inference's networks `h`, `n` and `v` with its unrolled stream.

    Pixels go in in the raster's values; `scale` brings them to about one. `gain` warms the nonlinear streams
    up, from 0 to 1; `evidence` is that for them at the start of training (`nonlinear_evidence`). Without `nonlinear` there are none; without `variability` the latent values stay zero.
    """

    scale: Tensor
    gain: Tensor
    evidence: Tensor

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
        self.strength = nn.Parameter(torch.full((2,), math.log(STRONGEST)))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("evidence", torch.zeros(()))

    def infer(self, y: Tensor) -> Posterior:
        """Posterior of pixels (n, band) in units of `scale`."""
        basis = self._basis()
        gram, products = basis @ basis.T, y.double() @ basis.T
        state = self._state(len(y), products)
        with torch.no_grad():
            for _ in range(self.variability):
                state, _ = self._step(gram, products, state, linear=True)
        state, precision = self._step(gram, products, state, linear=True)
        linear = state[0]
        if self.nonlinear:
            with torch.no_grad():
                for _ in range(_ROUNDS - 1):
                    state, _ = self._step(gram, products, state)
            state, precision = self._step(gram, products, state)
        return self._posterior(y, linear, state, precision)

    def _basis(self) -> Tensor:
        """Spectra (k, band) that a pixel is a sum of: endmembers, their directions, both of each pair."""
        means = self.mu.mean.double()
        directions = self.mu.directions.double().transpose(1, 2).flatten(0, 1)
        return torch.cat([means, directions, self.g.spectra(means).flatten(0, 1)])

    def _state(self, count: int, like: Tensor) -> State:
        a = like.new_full((count, self.materials), 1 / self.materials)
        return a, like.new_zeros(count, self.materials * self.latent), like.new_zeros(count, 2)

    def _weights(self, state: State, gain: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (n, k) of the basis in the pixel, and their derivatives (n, k, unknown)."""
        a, z, c = state
        count, latent = len(a), self.latent
        one, other = self.g.first, self.g.second
        pairs = self.g.pairs(a) * gain
        weights = [a, a.repeat_interleave(latent, 1) * z, (c[..., None] * pairs[:, None]).flatten(1)]
        own = torch.eye(self.materials, dtype=a.dtype, device=a.device)
        by_a = gain * ((a @ other.T)[..., None] * one + (a @ one.T)[..., None] * other)
        blocks = [
            own.expand(count, -1, -1),
            own.repeat_interleave(latent, 0) * z[..., None],
            (c[..., None, None] * by_a[:, None]).flatten(1, 2),
        ]
        by_z = torch.diag_embed(a.repeat_interleave(latent, 1))
        by_c = (torch.eye(2, dtype=a.dtype, device=a.device)[:, None] * pairs[:, None, :, None]).flatten(1, 2)
        rest = a.new_zeros
        rows = [
            torch.cat([blocks[0], rest(count, self.materials, z.shape[1] + 2)], 2),
            torch.cat([blocks[1], by_z, rest(count, z.shape[1], 2)], 2),
            torch.cat([blocks[2], rest(count, by_c.shape[1], z.shape[1]), by_c], 2),
        ]
        return torch.cat(weights, 1), torch.cat(rows, 1)

    def _step(
        self, gram: Tensor, products: Tensor, state: State, linear: bool = False
    ) -> tuple[State, Tensor]:
        """One Gauss-Newton step of abundances, latent values and strengths together.

        Returns them and the precision of all (n, unknown, unknown).
        """
        k, latent = self.materials, self.materials * self.latent
        gain = (torch.zeros_like(self.gain) if linear else self.gain).double()
        weights, slopes = self._weights(state, gain)
        normal = slopes.mT @ gram @ slopes
        right = ((products - weights @ gram)[:, None] @ slopes).squeeze(1)
        right = right + (normal * torch.cat(state, 1)[:, None]).sum(2)
        noise = self.variance(state[0])
        prior = self._prior()
        normal = normal + torch.diag_embed(noise[:, None] * prior)
        across = torch.linalg.solve(normal[:, k:, k:], torch.cat([normal[:, k:, :k], right[:, k:, None]], 2))
        schur = normal[:, :k, :k] - normal[:, :k, k:] @ across[..., :k]
        reduced = right[:, :k] - (normal[:, :k, k:] @ across[..., k:]).squeeze(2)
        a = nearest_in_simplex(schur, reduced)
        others = across[..., k] - (across[..., :k] * a[:, None]).sum(2)
        return (a, others[:, :latent], others[:, latent:]), normal / noise[:, None, None]

    def variance(self, a: Tensor) -> Tensor:
        """Variance (n,) of a band about its mean: of the noise and, mixed, of the endmembers."""
        return (2 * self.noise).exp() + (a.square() * (2 * self.roughness).to(a).exp()).sum(1)

    def _prior(self) -> Tensor:
        """Precisions of abundances, latent values and strengths, (unknown,)."""
        latent = self.materials * self.latent
        start = self.scale.new_full((self.materials,), 1e-6)
        own = self.scale.new_full((latent,), 1.0 if self.variability else 1e8)
        return torch.cat([start, own, (-2 * self.strength).exp()]).double()

    def _posterior(self, y: Tensor, linear: Tensor, state: State, precision: Tensor) -> Posterior:
        k = self.materials
        a, z, c = (value.to(y) for value in state)
        linear = linear.to(y)
        z = z.unflatten(1, (k, self.latent))
        features = self.front(y)
        if self.variability:
            z = z + 0.1 * self.gain * self.n(features).reshape(z.shape)
        log_sd = 0.1 * self.v(features).reshape(z.shape)
        deviations = precision.diagonal(dim1=1, dim2=2).rsqrt().to(y)
        latent_sd = deviations[:, k : k + k * self.latent].reshape(z.shape) * log_sd.exp()
        correction = a - linear
        if self.nonlinear:
            correction = correction + 0.1 * self.gain * self.h(y)
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
        spectra = self.g.spectra(self.mu.mean)
        weights = c[..., None] * self.g.pairs(a)[:, None]
        return self.gain * (weights.flatten(1) @ spectra.flatten(0, 1) + self.g.network(m, a))

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
