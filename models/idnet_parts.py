"""The parts of ID-Net: what it finds of pixels, the decoder of endmembers, and the mixing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Sums of two reflectances are taken as no smaller than this: what bends a response is divided by them.
_DARK = 0.02


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
    """mu_k: endmembers (n, material, band) of latent values (n, material, latent), in straight lines."""

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
        for values in self.rest[-1].parameters():
            nn.init.zeros_(values)

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
