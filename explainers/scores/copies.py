"""Changed copies of inputs, made input by input and passed on in batches.

Every score that changes its input goes through here, so that all explainers see the same copies and a
batch holds as many as the memory allows, of one input or of several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

# From copies (m, band, y, x) and the number (m,) of the input that each is of, to maps by explainer
# (m, band or 1, y, x), or to an output (m,).
Explain = Callable[[Tensor, Tensor], dict[str, Tensor]]
Output = Callable[[Tensor, Tensor], Tensor]
# From the number of an input to what is made for it, in pieces whose first axis is the copies.
Copies = Callable[[int], Iterable[Tensor]]
# Copies that are made at a time, fewer where they have more values than these in all.
PIECE = 16
_MOST_VALUES = 2**22


def in_batches(
    count: int, copies: Copies, batch: int, check: Callable[[], None]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the copies of inputs 0 to `count` - 1 with their input's number, up to `batch` at a time.

    `check` is called before each batch and may raise to stop.
    """
    waiting, members = [], []
    left = 0
    for number in range(count):
        for made in copies(number):
            waiting.append(made)
            members.append(torch.full((len(made),), number, device=made.device))
            left += len(made)
            if left >= batch:
                values, of = torch.cat(waiting), torch.cat(members)
                left %= batch
                yield from _batches(values[: len(of) - left], of[: len(of) - left], batch, check)
                waiting, members = [values[len(of) - left :]], [of[len(of) - left :]]
    if left:
        yield from _batches(torch.cat(waiting), torch.cat(members), batch, check)


def _batches(
    values: Tensor, of: Tensor, batch: int, check: Callable[[], None]
) -> Iterator[tuple[Tensor, Tensor]]:
    for pair in zip(values.split(batch), of.split(batch)):
        check()
        yield pair


def pieces(count: int, values: int) -> Iterator[int]:
    """Yield the sizes of the pieces that `count` copies of so many values each are made in."""
    size = max(1, min(PIECE, _MOST_VALUES // values))
    for start in range(0, count, size):
        yield min(size, count - start)


def outputs(output: Output, x: Tensor, batch: int, check: Callable[[], None]) -> Tensor:
    """Return the output (n,) of the inputs themselves."""
    batches = in_batches(len(x), lambda number: [x[number : number + 1]], batch, check)
    return torch.cat([output(values, of) for values, of in batches])


def random_of(seed: int, key: int) -> np.random.Generator:
    """Return the random numbers of one input, the same in whatever batch it is scored."""
    return np.random.default_rng([seed, key])
