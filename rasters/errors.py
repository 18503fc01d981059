"""The one exception family for what a user can cause, its text shown as it is, and lists in such texts."""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 5


class InputError(Exception):
    """What is wrong, where, and what to do, in one sentence or two."""


class Cancelled(Exception):
    """The user asked to stop."""


def first_of(names: Sequence[str]) -> str:
    """Return names for a sentence: the first five between commas, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
