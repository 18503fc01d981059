"""Which parameters apply with which choices: nothing is accepted and then ignored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ._text import tr


@dataclass(frozen=True)
class Rules:
    """What the choices of an algorithm's enums mean for its other parameters.

    `used_with` maps a parameter to the enum it depends on and the values that use it; `needed_with` to the
    one value that cannot do without it.
    """

    used_with: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    needed_with: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def why_unused(self, name: str, chosen: Mapping[str, str]) -> str | None:
        """Return the choice that makes the parameter `name` idle, such as 'EXPLAINER=saliency', or None."""
        if name not in self.used_with:
            return None
        enum, values = self.used_with[name]
        if reason := self.why_unused(enum, chosen):
            return reason
        return None if chosen[enum] in values else f"{enum}={chosen[enum]}"

    def missing(self, chosen: Mapping[str, str], is_given: Callable[[str], bool]) -> str | None:
        """Return the sentence about a parameter that a choice needs and that was not given, or None."""
        for name, (enum, value) in self.needed_with.items():
            applies = chosen[enum] == value and not self.why_unused(enum, chosen)
            if applies and not is_given(name):
                return tr("{name} is missing: {choice} needs it.").format(name=name, choice=f"{enum}={value}")
        return None
