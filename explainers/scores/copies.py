"""Changed copies of inputs, made input by input and passed on in batches.

Every score that changes its input goes through here, so that all explainers see the same copies and a
batch holds as many as the memory allows, of one input or of several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

# From copies (m, band, y, x) and the number (m,) of the input that each is of, to maps by explainer
# (m, band or 1, y, x), or to an output (m,).
Explain = Callable[[Tensor, Tensor], dict[str, Tensor]]
Output = Callable[[Tensor, Tensor], Tensor]
# From the number of an input to what is made for it, its first axis the copies.
Copies = Callable[[int], Tensor]


def in_batches(
    count: int, copies: Copies, batch: int, check: Callable[[], None]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the copies of inputs 0 to `count` - 1 with their input's number, up to `batch` at a time.

    `check` is called before each batch and may raise to stop.
    """
    waiting: list[Tensor] = []
    members: list[Tensor] = []
    for number in range(count):
        made = copies(number)
        waiting.append(made)
        members.append(torch.full((len(made),), number, device=made.device))
        if number + 1 < count and sum(map(len, waiting)) < batch:
            continue
        for values, of in zip(torch.cat(waiting).split(batch), torch.cat(members).split(batch)):
            check()
            yield values, of
        waiting, members = [], []


def outputs(output: Output, x: Tensor, batch: int, check: Callable[[], None]) -> Tensor:
    """Return the output (n,) of the inputs themselves."""
    pieces = in_batches(len(x), lambda number: x[number : number + 1], batch, check)
    return torch.cat([output(values, of) for values, of in pieces])


def random_of(seed: int, key: int) -> np.random.Generator:
    """Return the random numbers of one input, the same in whatever batch it is scored."""
    return np.random.default_rng([seed, key])
