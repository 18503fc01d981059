"""How differences pass the operations of a network: what each does to them, once its gate is known.

An operation that is not linear has a gate: what differences are multiplied by on their way through it, made
from the values at both ends of the difference (secant) or from those at the input alone (tangent).
Differences of many parts lie in one batch, (part * n, ...), gates of all parts in one of (n, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ..models.relus import secants

# Below this distance a secant is no more exact than the derivative.
_NEAR = 1e-6

Call = Callable[..., Any]


def gated(differences: Tensor, gate: Tensor, own: bool = False) -> Tensor:
    """Return differences (part * n, ...) times a gate (n, ...), in place where they are nobody else's."""
    if torch.is_grad_enabled() or not own:
        if len(gate) == 1:
            return differences * gate
        return (differences.unflatten(0, (-1, len(gate))) * gate).flatten(0, 1)
    differences.unflatten(0, (-1, len(gate))).mul_(gate)
    return differences


def ends(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values (2n, ...) of a run of both ends at the input and at the reference, (n, ...) each."""
    at_input, at_reference = values.chunk(2)
    return at_input, at_reference


class Operation:
    """One that differences pass as they are: it is linear, has no bias and keeps batches apart."""

    # Whether a map's place can be taken by what is the same at both ends.
    constants: ClassVar[bool] = False

    def __init__(self, call: Call) -> None:
        self.call = call

    def run(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        """Return the operation's own result, which overwrites nothing."""
        return self.call(*args, **kwargs)

    def gate(self, rule: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> Any:
        """Return what `carry` needs of the run at the ends: `args` are the operation's, `output` its result.

        By the `rule` `secant` maps are (2n, ...), input first; by `tangent` they are those of the input.
        """
        return None

    def carry(self, gate: Any, args: Sequence[Any], kwargs: Mapping[str, Any], own: bool) -> Tensor:
        """Return the differences behind the operation; `own`: those before it may be overwritten."""
        return self.call(*args, **kwargs)

    def carry_biases(self, gate: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        """Return, by the rule `tangent`, the part of biases behind the operation, with those of its own."""
        return self.carry(gate, args, kwargs, False)


class Constant:
    """A value of the run at the ends that is no map of the input: the same for all parts."""

    def __init__(self, value: Any) -> None:
        self.value = value


def plain(value: Any) -> Any:
    """Return a value, that of a constant in its place."""
    return value.value if isinstance(value, Constant) else value


class Sum(Operation):
    """Sum or difference of two; a term that is the same at both ends has no difference."""

    constants = True

    def carry(self, gate: Any, args: Sequence[Any], kwargs: Mapping[str, Any], own: bool) -> Tensor:
        if isinstance(args[1], Constant):
            return args[0]
        return self.call(0 if isinstance(args[0], Constant) else args[0], args[1], **kwargs)

    def carry_biases(self, gate: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        return self.call(*map(plain, args), **kwargs)


class Product(Operation):
    """Product: that of two maps is bilinear, and each counts with the mean of the other at both ends."""

    constants = True

    def gate(self, rule: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> Any:
        if any(isinstance(factor, Constant) for factor in args):
            return None
        if rule == "tangent":
            return tuple(args)
        return tuple((at_input + at_start) / 2 for at_input, at_start in map(ends, args))

    def carry(self, gate: Any, args: Sequence[Any], kwargs: Mapping[str, Any], own: bool) -> Tensor:
        if gate is None:
            return self.call(*map(plain, args))
        return gated(args[0], gate[1]) + gated(args[1], gate[0])

    def carry_biases(self, gate: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        carried = self.carry(gate, args, kwargs, False)
        return carried if gate is None else carried - gate[0] * gate[1]


class ReLU(Operation):
    """ReLU: its secant, or its derivative, 0 at 0."""

    def run(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        return torch.relu(args[0])

    def gate(self, rule: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> Any:
        if rule == "tangent":
            return (args[0] > 0).to(output.dtype)
        return secants(args[0].unflatten(0, (2, -1)).transpose(0, 1))[:, 0]

    def carry(self, gate: Any, args: Sequence[Any], kwargs: Mapping[str, Any], own: bool) -> Tensor:
        return gated(args[0], gate, own)


class Activation(ReLU):
    """Another function of each value: its secant, or its derivative where the ends are within 1e-6.

    By the rule `tangent` what it adds to slope times value counts as a bias.
    """

    def run(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        return self.call(args[0].clone(), *args[1:], **kwargs)

    def gate(self, rule: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> Any:
        if rule == "tangent":
            slope = self._slope(args[0], args[1:], kwargs)
            self._intercept = output - slope * args[0]
            return slope
        (z, start), (end, begin) = ends(args[0]), ends(output)
        distance = z - start
        near = distance.abs() < _NEAR
        secant = (end - begin) / distance.masked_fill(near, 1)
        return torch.where(near, self._slope(z, args[1:], kwargs), secant)

    def carry_biases(self, gate: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        return gated(args[0], gate) + self._intercept

    def _slope(self, z: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        with torch.enable_grad():
            z = z.detach().clone().requires_grad_(True)
            # A copy: the operation may work in place.
            return torch.autograd.grad(self.call(z.clone(), *args, **kwargs).sum(), z)[0]


class MaxPool(Operation):
    """Maximum over windows: of the places k and k' of the two ends' maxima, t and 1 - t of the difference.

    With a = z[k] - z[k'] and b = z'[k'] - z'[k], neither below 0, t = a / (a + b), or 1 where both are 0.
    """

    def __init__(
        self, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil: bool = False
    ) -> None:
        stride = stride or kernel
        super().__init__(functional.max_pool2d)
        self._window = tuple(map(_pair, (kernel, stride, padding, dilation)))
        self._ceil, self._kernel = ceil, _pair(kernel)
        self._touching = not ceil and self._window[1:] == (self._kernel, (0, 0), (1, 1))

    def run(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        kernel, stride, padding, dilation = self._window
        return functional.max_pool2d(args[0], kernel, stride, padding, dilation, self._ceil)

    def gate(self, rule: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> Any:
        values = args[0]
        found, places = torch.ops.aten.max_pool2d_with_indices(values, *self._window, self._ceil)
        if rule == "tangent":
            shares = [(places, torch.ones_like(found))]
        else:
            (z, start), (end, begin), (k, k_start) = ends(values), ends(found), ends(places)
            a, b = end - _values_at(z, k_start), begin - _values_at(start, k)
            t = torch.where(a + b > 0, a / (a + b), 1)
            shares = [(k, t), (k_start, 1 - t)]
        if not self._touching:
            return shares
        # Windows that do not overlap: a weight for each cell, which keeps the maps as they lie in memory.
        cells = torch.empty_like(values[: len(shares[0][0])])
        flat = torch.zeros(cells.shape, dtype=cells.dtype, device=cells.device).flatten(2)
        for at, share in shares:
            flat.scatter_add_(2, at.flatten(2), share.flatten(2))
        return cells.copy_(flat.view(cells.shape))

    def carry(self, gate: Any, args: Sequence[Any], kwargs: Mapping[str, Any], own: bool) -> Tensor:
        if self._touching:
            weighed = gated(args[0], gate, own)
            return functional.avg_pool2d(weighed, self._kernel, divisor_override=1)
        flat = args[0].flatten(2)
        found = []
        for places, share in gate:
            at = places.flatten(2).repeat(len(flat) // len(places), 1, 1)
            found.append(gated(flat.gather(2, at).unflatten(2, places.shape[2:]), share))
        return sum(found[1:], found[0])


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _values_at(x: Tensor, places: Tensor) -> Tensor:
    return x.flatten(2).gather(2, places.flatten(2)).view(places.shape)
