"""Work on a sample in pieces, on several workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def gathered(pool: ThreadPoolExecutor, function: Callable[[range], T], ranges: Iterable[range]) -> list[T]:
    """Return what a function makes of each range, in order; where one fails the rest is not begun."""
    futures = [pool.submit(function, piece) for piece in ranges]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()


def pieces(count: int, size: int) -> list[range]:
    """Return ranges of up to `size` that make up 0 to `count`."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]
