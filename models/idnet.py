"""ID-Net: unmixing whose parts mean something, after Borsoi, Imbiriba & Erdogmus 2023, arXiv:2310.02340.

A pixel's endmembers are m_k = mu_k(z_k) with latent z_k ~ N(0, I), its spectrum relu(M a + g) plus noise, and
its abundances a ~ Dir(1). Inference goes q(z | y) q(a | M, y), the latter a Dirichlet of two streams.

What differs from the authors' program, and why. The unrolled stream is steps of Gauss and Newton on the
model itself, each with an exact projection on the simplex; theirs, ten steps of LISTA, ends near NNLS over
its sum, which takes shade for nothing. The nonlinear stream of the inference goes on with these steps for
the nonlinear model, and a network corrects it; that of the mixing has two spectra of physics for each pair,
of strengths that a pixel has for itself, and a network beside them. Both networks begin at nothing. `mu_k` is
affine, since a handful of pure pixels shows no more; m_k's noise is summed in closed form, not drawn.
"""

from __future__ import annotations

import math
from dataclasses import fields

import torch
from torch import Tensor, nn

from .idnet_parts import Decoder, Mixing, Posterior, Unmixed
from .simplex import nearest_in_simplex

# The Dirichlet's concentrations are not smaller: samples of it would be no numbers.
_FLOOR = 1e-2
# Bounds of a pixel's concentration in all.
_UNSURE, _SURE = 10.0, 1e4
# Steps for the nonlinear model, after those for the linear one.
_ROUNDS = 4
# Numbers that the largest array of a chunk may hold.
_CHUNK_VALUES = 2**24
# What networks add is held to a tenth of their output, as in the paper.
_SHARE = 0.1
# The largest prior deviation of the nonlinear strengths: 1 is what one bounce of light in full makes.
STRONGEST = 0.5

# Abundances (n, material), latent values (n, material * latent) and strengths (n, 2) of pixels.
State = tuple[Tensor, Tensor, Tensor]


class IdNet(nn.Module):
    """Endmembers `mu`, mixing `g`, and the inference's networks `h`, `n` and `v` with its unrolled stream.

    Pixels go in in the raster's values; `scale` brings them to about one. `gain` warms the nonlinear streams
    up, from 0 to 1; `evidence` is that for them at the start of training (`nonlinear_evidence`). Without
    `nonlinear` there are none; without `variability` the latent values stay zero.
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
            for values in layer.parameters():
                nn.init.zeros_(values)
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
        # Gradients go through the last step of each stream: at its end the steps before hardly matter.
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
        """One step of Gauss and Newton, of abundances, latent values and strengths together.

        `gram` (k, k) are the products of the basis with itself, `products` (n, k) with the pixels. Returns
        the state and its precision (n, unknown, unknown). The networks' parts are left to `h` to put right.
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
            z = z + _SHARE * self.gain * self.n(features).reshape(z.shape)
        log_sd = _SHARE * self.v(features).reshape(z.shape)
        deviations = precision.diagonal(dim1=1, dim2=2).rsqrt().to(y)
        latent_sd = deviations[:, k : k + k * self.latent].reshape(z.shape) * log_sd.exp()
        correction = a - linear
        if self.nonlinear:
            correction = correction + _SHARE * self.gain * self.h(y)
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
        size = schur.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)[:, None, None]
        plane = flat @ schur @ flat + size / k
        total = (flat @ torch.linalg.inv(plane)).diagonal(dim1=1, dim2=2).sum(1).clamp_min(1e-12)
        smooth = 0.95 * a + 0.05 / k
        sure = (smooth * (1 - smooth)).sum(1) / total - 1
        return (self.certainty.exp() * sure.clamp(_UNSURE, _SURE)).clamp(_UNSURE, _SURE)[:, None]

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
        unknown = self.materials * (1 + self.latent) + 2
        largest = max(self.bands * unknown, (unknown + self.materials**2) * unknown)
        parts = [self._unmix(part) for part in pixels.split(max(1, _CHUNK_VALUES // largest))]
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
    bands: int, materials: int, latent: int = 2, nonlinear: bool = True, variability: bool = True,
    seed: int = 0,
) -> IdNet:  # fmt: skip
    """Make a network for pixels of `bands` and so many materials, with fresh weights of that seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return IdNet(bands, materials, latent, nonlinear, variability)
