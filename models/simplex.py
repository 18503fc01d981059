"""Least squares on the simplex for batches in which each pixel has endmembers of its own; differentiable."""

from __future__ import annotations

import torch
from torch import Tensor

_RIDGE = 1e-9
_TOLERANCE = 1e-9


def nearest_in_simplex(gram: Tensor, products: Tensor) -> Tensor:
    """Minimise a G a / 2 - b a over the simplex, for each G (n, k, k) and b (n, k); returns a (n, k).

    Block principal pivoting as in `fcls`, but one system a pixel. Gradients pass through the system of the
    support that was found. Where pivoting doesn't end, which rounding can do, the last answer is clipped.
    """
    materials = products.shape[1]
    energy = gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None].clamp_min(1e-30)
    gram = gram / energy + _RIDGE * torch.eye(materials, dtype=gram.dtype, device=gram.device)
    products = products / energy[:, 0]
    with torch.no_grad():
        support = _support(gram, products)
    abundances, _ = _on_support(gram, products, support)
    abundances = (abundances * support).clamp_min(0)
    return abundances / abundances.sum(1, keepdim=True)


def _support(gram: Tensor, products: Tensor) -> Tensor:
    count, materials = products.shape
    support = torch.ones_like(products, dtype=torch.bool)
    fewest = torch.full((count,), materials + 1, device=products.device)
    patience = torch.full((count,), 3, device=products.device)
    places = torch.arange(materials, device=products.device)
    todo = torch.arange(count, device=products.device)
    for _ in range(10 + 5 * materials):
        abundances, slopes = _on_support(gram[todo], products[todo], support[todo])
        scale = _TOLERANCE * (1 + products[todo].abs().amax(1, keepdim=True))
        wrong = torch.where(support[todo], abundances < -_TOLERANCE, slopes < -scale)
        wrongs = wrong.sum(1)
        going = wrongs > 0
        todo, wrong, wrongs = todo[going], wrong[going], wrongs[going]
        if not len(todo):
            break
        better = wrongs < fewest[todo]
        fewest[todo] = torch.where(better, wrongs, fewest[todo])
        patience[todo] = torch.where(better, 3, patience[todo] - 1)
        last = torch.where(wrong, places, -1).amax(1, keepdim=True) == places
        support[todo] ^= torch.where((patience[todo] >= 0)[:, None], wrong, last)
    return support


def _on_support(gram: Tensor, products: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
    """Best values with the sum of one on the supports (n, k), and the slopes of the error (n, k)."""
    count, materials = products.shape
    inside = support.to(gram)
    system = gram.new_zeros(count, materials + 1, materials + 1)
    both = inside[:, :, None] * inside[:, None, :]
    system[:, :-1, :-1] = gram * both + torch.diag_embed(1 - inside)
    system[:, -1, :-1] = system[:, :-1, -1] = inside
    right = torch.cat([products * inside, torch.ones_like(products[:, :1])], 1)
    solved = torch.linalg.solve(system, right)
    values = solved[:, :-1] * inside
    return values, (gram * values[:, None]).sum(2) - products + solved[:, -1:]
